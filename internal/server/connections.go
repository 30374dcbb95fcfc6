package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// connections are those to other members' client ports. They are made when they are first
// needed; gRPC closes them while nobody needs them.
type connections struct {
	node   Node
	config *Config
	log    *slog.Logger

	mu struct {
		sync.Mutex
		closed bool
		to     map[uint64]*memberConnections
		// distrust is why there was no TLS with a member, as the log knows it, by its URL.
		distrust map[string]string
	}
}

// memberConnections are those to one member. Streams have connections of their own, each for
// so many: a member lets a connection have a limited number of calls, and those above it would
// wait for a watch to end.
type memberConnections struct {
	unary   *grpc.ClientConn
	streams []*streamConnection
}

type streamConnection struct {
	*grpc.ClientConn
	open int // streams; guarded by connections.mu
}

const (
	// streamsPerConnection is how many streams share a connection, unless fewer may.
	streamsPerConnection = 512
	// connectTimeout bounds an attempt to connect, and, nearly, the pause before the next one.
	// Meanwhile calls wait for the first attempt, and fail at once after it.
	connectTimeout = time.Second
	// pingInterval is how often a member that is silent is asked whether it is still there:
	// the least that gRPC allows.
	pingInterval = 10 * time.Second
	pingTimeout  = 5 * time.Second
)

func newConnections(node Node, config *Config, log *slog.Logger) *connections {
	c := &connections{node: node, config: config, log: log}
	c.mu.to, c.mu.distrust = make(map[uint64]*memberConnections), make(map[string]string)
	return c
}

// forUnary is the connection to a member for unary calls.
func (c *connections) forUnary(member uint64) (*grpc.ClientConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	to, err := c.toMember(member)
	if err != nil {
		return nil, err
	}
	if to.unary == nil {
		to.unary, err = c.connect(member)
	}
	return to.unary, err
}

// forStream is a connection to a member with room for one more stream, whose place leave gives
// back. There are no more of them than StreamsMax asks for.
func (c *connections) forStream(member uint64) (conn *grpc.ClientConn, leave func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	to, err := c.toMember(member)
	if err != nil {
		return nil, nil, err
	}
	room := int(min(streamsPerConnection, c.config.ConcurrentStreamsMax))
	i := slices.IndexFunc(to.streams, func(s *streamConnection) bool { return s.open < room })
	if i < 0 {
		conn, err := c.connect(member)
		if err != nil {
			return nil, nil, err
		}
		i, to.streams = len(to.streams), append(to.streams, &streamConnection{ClientConn: conn})
	}
	s := to.streams[i]
	s.open++
	return s.ClientConn, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		s.open--
	}, nil
}

// toMember returns a member's connections; the caller holds the lock.
func (c *connections) toMember(member uint64) (*memberConnections, error) {
	if c.mu.closed {
		return nil, rpctypes.ErrGRPCStopped
	}
	to := c.mu.to[member]
	if to == nil {
		to = new(memberConnections)
		c.mu.to[member] = to
	}
	return to, nil
}

// connect prepares a connection; it is made with the first call.
func (c *connections) connect(member uint64) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+strconv.FormatUint(member, 16),
		grpc.WithContextDialer(c.dial),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDisableServiceConfig(),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: connectTimeout / 10, Multiplier: 2, Jitter: 0.2, MaxDelay: connectTimeout},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: max(pingInterval, 2*c.config.Keepalive.MinTime), Timeout: pingTimeout,
		}),
		grpc.WithStaticStreamWindowSize(streamWindowBytes),
		grpc.WithStaticConnWindowSize(connWindowBytes),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawMessageCodec{}),
			grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)))
}

// dial connects to a member where it tells clients to find it. That is looked up for every
// connection: a member may be elsewhere when it comes back.
func (c *connections) dial(ctx context.Context, member string) (net.Conn, error) {
	id, err := strconv.ParseUint(member, 16, 64)
	if err != nil {
		return nil, err
	}
	members, err := c.node.Members(ctx, false)
	if err != nil {
		return nil, err
	}
	err = fmt.Errorf("member %s has not said yet where clients find it", member)
	for _, m := range members {
		if m.ID != id {
			continue
		}
		for _, u := range m.ClientURLs {
			var conn net.Conn
			if conn, err = c.dialOne(ctx, u, connectTimeout/time.Duration(len(m.ClientURLs))); err == nil {
				return conn, nil
			}
		}
	}
	return nil, err
}

func (c *connections) dialOne(ctx context.Context, clientURL string, timeout time.Duration) (net.Conn, error) {
	u, err := url.Parse(clientURL)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := c.config.Network.Dial(ctx, u.Host)
	if err != nil || u.Scheme != "https" {
		return conn, err
	}
	secured := tls.Client(conn, c.config.MemberTLS(u.Hostname()))
	err = secured.HandshakeContext(ctx)
	c.noteTrust(clientURL, err)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return secured, nil
}

// noteTrust says in the log why a member cannot be spoken to, once until that changes: calls
// that cannot be passed on do not say it to the client.
func (c *connections) noteTrust(clientURL string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		delete(c.mu.distrust, clientURL)
		return
	}
	if c.mu.distrust[clientURL] != err.Error() {
		c.mu.distrust[clientURL] = err.Error()
		c.log.Warn("no TLS with another member: calls are not passed on to it", "url", clientURL, "reason", err.Error())
	}
}

// close ends all connections, and with them the calls on them.
func (c *connections) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.closed = true
	for _, to := range c.mu.to {
		if to.unary != nil {
			to.unary.Close()
		}
		for _, s := range to.streams {
			s.Close()
		}
	}
}
