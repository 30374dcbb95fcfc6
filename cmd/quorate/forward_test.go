package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	rpcstatus "google.golang.org/grpc/status"

	"github.com/quorate/quorate/api/quorate/v1"
	"github.com/quorate/quorate/internal/env"
	"github.com/quorate/quorate/internal/server"
)

// testNodes are real nodes in this process, each with a port for the keyspace solo.
type testNodes struct {
	t       *testing.T
	configs []*Config
	running []runningNode
}

func newTestNodes(t *testing.T, count int) *testNodes {
	t.Helper()
	n := &testNodes{t: t, running: make([]runningNode, count)}
	base, dir := freePorts(t), t.TempDir()
	url := func(i, port int) string { return fmt.Sprintf("http://127.0.0.1:%d", base+3*i+port) }
	var cluster []string
	for i := range count {
		cluster = append(cluster, fmt.Sprintf("n%d=%s", i, url(i, 1)))
	}
	for i := range count {
		c, _, err := configureFrom(t, nil, "--name", fmt.Sprint("n", i), "--data-dir", filepath.Join(dir, fmt.Sprint("n", i)),
			"--listen-client-urls", url(i, 0), "--advertise-client-urls", url(i, 0),
			"--listen-peer-urls", url(i, 1), "--initial-advertise-peer-urls", url(i, 1), "--initial-cluster", strings.Join(cluster, ","),
			"--heartbeat-interval", "50", "--election-timeout", "500", "--listen", "solo="+url(i, 2))
		if err != nil {
			t.Fatal(err)
		}
		n.configs = append(n.configs, &c.Node)
	}
	t.Cleanup(func() {
		for i := range n.running {
			n.stop(i)
		}
	})
	done := make(chan error, count)
	for i := range count {
		go func() { done <- n.start(i) }()
	}
	for range count {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// start starts a node, and returns when it is ready.
func (n *testNodes) start(i int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	l, err := listen(ctx, env.TCP(), n.configs[i], nil)
	if err != nil {
		return err
	}
	node, err := startNode(ctx, n.configs[i], l, discardLog())
	if err != nil {
		return err
	}
	n.running[i] = node
	select {
	case <-node.Ready():
		return nil
	case err := <-node.Failed():
		return err
	case <-ctx.Done():
		return fmt.Errorf("node %d is not ready", i)
	}
}

func (n *testNodes) stop(i int) {
	node := n.running[i]
	if node == nil {
		return
	}
	n.running[i] = nil
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := errors.Join(node.Drain(ctx), node.Close(ctx)); err != nil {
		n.t.Errorf("stop node %d: %v", i, err)
	}
}

// Goal: a keyspace with one replica is a whole etcd through a node that does not carry it,
// from the moment at which it is created, and survives a restart of the node that does: no
// write is lost or runs twice, and a watch misses nothing.
func TestForwardingInACluster(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	n := newTestNodes(t, 3)
	admin := keyspacesClient(t, address(n.configs[0].ListenClientURLs[0]))
	created, err := admin.Create(ctx, &quoratev1.CreateRequest{Name: "solo", Replicas: 1})
	if err != nil {
		t.Fatal(err)
	}
	replicas := created.Keyspace.Shards[0].Replicas
	carrier := slices.IndexFunc(n.configs, func(c *Config) bool { return c.Name == replicas[0].NodeName })
	if len(replicas) != 1 || carrier < 0 {
		t.Fatalf("created on %v", replicas)
	}
	through := (carrier + 1) % len(n.configs)
	c, plain := etcdClient(t, n.configs[through].KeyspacePorts[0].URL), etcdClient(t, n.configs[through].ListenClientURLs[0])

	if _, err := c.Put(ctx, "k", "0"); err != nil {
		t.Fatalf("the first write: %v", err)
	}
	watch := c.Watch(clientv3.WithRequireLeader(ctx), "k", clientv3.WithRev(1))
	lease, err := c.Grant(ctx, 6)
	if err != nil {
		t.Fatal(err)
	}
	alive, err := c.KeepAlive(ctx, lease.ID)
	if err != nil {
		t.Fatal(err)
	}
	<-alive
	n.stop(carrier)
	if _, err := c.Put(ctx, "k", "lost"); rpcstatus.Code(err) != codes.Unavailable {
		t.Errorf("a write that nobody can take: %v", err)
	}
	if err := n.start(carrier); err != nil {
		t.Fatal(err)
	}
	const writes = 20
	for i := 1; i <= writes; i++ {
		// Each is compared with the one before: tried again in doubt, it cannot run twice.
		before, now := fmt.Sprint(i-1), fmt.Sprint(i)
		for done := false; !done; {
			_, err := c.Txn(ctx).If(clientv3.Compare(clientv3.Value("k"), "=", before)).Then(clientv3.OpPut("k", now, clientv3.WithLease(lease.ID))).Commit()
			got, getErr := c.Get(ctx, "k")
			done = err == nil && getErr == nil && string(got.Kvs[0].Value) == now
			if ctx.Err() != nil {
				t.Fatalf("write %d: %v, %v", i, err, getErr)
			}
		}
	}
	for next := 0; next <= writes; {
		m, ok := <-watch
		if !ok || m.Err() != nil {
			t.Fatalf("the watch ended: %v", m.Err())
		}
		for _, e := range m.Events {
			if got := string(e.Kv.Value); got != fmt.Sprint(next) {
				t.Fatalf("the watch saw %q, want %d", got, next)
			}
			next++
		}
	}
	if m, ok := <-alive; !ok || m.ID != lease.ID {
		t.Errorf("the lease is not kept any more: %v", m)
	}
	inSolo := metadata.AppendToOutgoingContext(ctx, server.KeyspaceMetadata, "solo")
	if got, err := plain.Get(inSolo, "k"); err != nil || len(got.Kvs) != 1 || got.Kvs[0].Version != writes+1 {
		t.Errorf("by metadata: %+v, %v", got, err)
	}
	if got, err := plain.Get(ctx, "k"); err != nil || got.Count != 0 {
		t.Errorf("the default keyspace: %+v, %v", got, err)
	}
	if _, err := admin.Delete(ctx, &quoratev1.DeleteRequest{Name: "solo"}); err != nil {
		t.Fatal(err)
	}
	for {
		_, err := c.Get(ctx, "k")
		if rpcstatus.Code(err) == codes.FailedPrecondition && strings.Contains(err.Error(), "undelete it first") {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("deleted: %v", err)
		}
	}
}
