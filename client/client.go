package client

import (
	"fmt"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorate/quorate/api/quorate/v1"
)

// DefaultKeyspace is the keyspace of clients that choose none.
const DefaultKeyspace = "default"

// Client is an etcd client in one keyspace. Like the one that it embeds it may be used by any
// number of goroutines.
type Client struct {
	*clientv3.Client
	keyspace  string
	keyspaces quoratev1.KeyspacesClient
	guide     *guide
}

// New returns a client of a keyspace, by name; the empty name is DefaultKeyspace. Nothing is
// asked of the cluster yet beyond what clientv3.New asks: that the keyspace does not exist is
// an error of the calls. The error is that of a name that no keyspace can have, or
// clientv3.New's.
func New(cfg clientv3.Config, keyspace string) (*Client, error) {
	if err := checkName(keyspace); err != nil {
		return nil, err
	}
	r := newRouting()
	cfg.DialOptions = slices.Concat(cfg.DialOptions, r.dialOptions(), InKeyspace(keyspace))
	etcd, err := clientv3.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("client of keyspace %q: %w", orDefault(keyspace), err)
	}
	conn := etcd.ActiveConnection()
	r.guide.begin(etcd.Ctx(), conn)
	r.routed.Store(conn)
	return &Client{
		Client:    etcd,
		keyspace:  orDefault(keyspace),
		keyspaces: quoratev1.NewKeyspacesClient(conn),
		guide:     r.guide,
	}, nil
}

// Keyspace is the name of the client's keyspace.
func (c *Client) Keyspace() string { return c.keyspace }

// Keyspaces manages the cluster's keyspaces, over the same connections. Its calls choose no
// keyspace, any node answers them, and none is sent again by this package.
func (c *Client) Keyspaces() quoratev1.KeyspacesClient { return c.keyspaces }

// Close ends the client, its calls and its connections.
func (c *Client) Close() error {
	err := c.Client.Close()
	c.guide.close()
	return err
}
