package node

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/quorate/quorate/internal/env"
	"github.com/quorate/quorate/internal/store"
)

// cluster is a few real nodes in this process, over loopback and real files.
type cluster struct {
	t     testing.TB
	cfgs  []Config
	nodes []*Node
}

func newCluster(t testing.TB, n int) *cluster {
	t.Helper()
	c := &cluster{t: t, nodes: make([]*Node, n)}
	var members []Member
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // the node opens the port again
		members = append(members, Member{Name: fmt.Sprintf("n%d", i), PeerURLs: []string{"http://" + l.Addr().String()}})
	}
	for i := range n {
		c.cfgs = append(c.cfgs, Config{
			Name: members[i].Name, DataDir: t.TempDir(), InitialCluster: members, Token: t.Name(),
			ListenPeer: []string{members[i].PeerURLs[0][len("http://"):]}, Engines: testEngines,
			FS: env.OSFS(), Network: env.TCP(), Clock: env.SystemClock(), Seed: env.Seed(),
		})
	}
	return c
}

func (c *cluster) start(i int) {
	c.t.Helper()
	cfg := c.cfgs[i]
	cfg.Seed = env.Seed()
	n, err := Start(context.Background(), cfg)
	if err != nil {
		c.t.Error(err)
		return
	}
	c.nodes[i] = n
}

func (c *cluster) startAll() {
	c.t.Helper()
	done := make(chan struct{})
	for i := range c.cfgs {
		go func() {
			c.start(i)
			done <- struct{}{}
		}()
	}
	for range c.cfgs {
		<-done
	}
	c.t.Cleanup(c.stopAll)
	if c.t.Failed() {
		c.t.FailNow()
	}
}

func (c *cluster) stopAll() {
	for i := range c.nodes {
		c.stop(i)
	}
}

func (c *cluster) stop(i int) {
	if c.nodes[i] == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.nodes[i].HandOver(ctx) // without a quorum nobody can take over
	select {
	case err := <-c.nodes[i].Failed():
		c.t.Errorf("node %d failed: %v", i, err)
	default:
	}
	if err := c.nodes[i].Close(); err != nil {
		c.t.Error(err)
	}
	c.nodes[i] = nil
}

func (c *cluster) put(i int, key, value string) *store.Result {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	k, _ := c.nodes[i].Keyspace(DefaultKeyspace)
	put := store.PutRequest{Key: []byte(key), Value: []byte(value)}
	res, err := k.Propose(ctx, store.KindPut, put.AppendTo(nil))
	if err != nil {
		c.t.Fatalf("put %s at node %d: %v", key, i, err)
	}
	return res
}

func (c *cluster) get(i int, key string) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	k, _ := c.nodes[i].Keyspace(DefaultKeyspace)
	if err := k.Barrier(ctx); err != nil {
		c.t.Fatalf("barrier at node %d: %v", i, err)
	}
	view, err := k.View()
	if err != nil {
		c.t.Fatal(err)
	}
	defer view.Close()
	res, err := view.Range(&store.RangeRequest{Key: []byte(key)})
	if err != nil {
		c.t.Fatal(err)
	}
	if len(res.KVs) == 0 {
		return ""
	}
	return string(res.KVs[0].Value)
}

// Goal: what is written at any node is read at every node, and survives restarts
// of one node and of all.
func TestClusterKeepsWhatItAcknowledged(t *testing.T) {
	c := newCluster(t, 3)
	c.startAll()
	for i := range 30 {
		c.put(i%3, fmt.Sprintf("k%d", i), fmt.Sprint(i))
	}
	for i := range 30 {
		if got := c.get((i+1)%3, fmt.Sprintf("k%d", i)); got != fmt.Sprint(i) {
			t.Fatalf("k%d: %q", i, got)
		}
	}
	c.stop(1)
	c.put(0, "while-down", "x")
	c.start(1)
	if got := c.get(1, "while-down"); got != "x" {
		t.Fatalf("restarted node reads %q", got)
	}
	for i := range c.nodes {
		c.stop(i)
	}
	c.startAll()
	for i := range 30 {
		if got := c.get(i%3, fmt.Sprintf("k%d", i)); got != fmt.Sprint(i) {
			t.Fatalf("after restart of all, k%d: %q", i, got)
		}
	}
}

// Goal: every member publishes itself in the system keyspace.
func TestMembersPublishThemselves(t *testing.T) {
	c := newCluster(t, 3)
	for i := range c.cfgs {
		c.cfgs[i].AdvertiseClientURLs = []string{fmt.Sprintf("http://127.0.0.1:%d", 10000+i)}
	}
	c.startAll()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		list, err := c.nodes[0].Members(ctx, true)
		if err != nil {
			t.Fatal(err)
		}
		complete := len(list) == 3
		for _, m := range list {
			complete = complete && len(m.ClientURLs) == 1
		}
		if complete {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("members: %+v", list)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Goal: an answer stays what it was while later commands are applied (a result
// that the store reused reached the client once).
func TestAnswersAreNotReused(t *testing.T) {
	c := newCluster(t, 1)
	c.startAll()
	done := make(chan error)
	for w := range 16 {
		go func() {
			for i := range 50 {
				res := c.put(0, fmt.Sprintf("w%d-%d", w, i), "x")
				if _, ok := res.Response.(*store.PutResponse); !ok {
					done <- fmt.Errorf("writer %d put %d: response %T", w, i, res.Response)
					return
				}
			}
			done <- nil
		}()
	}
	for range 16 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
