package client

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// A write is sent once, whatever error leaves its outcome open (L4); for some of them etcd's
// client alone sends it again, which shows that the test can fail. Reads are repeated.
func TestUncertainWriteIsSentOnce(t *testing.T) {
	nodes := startFakes(t, 1)
	node, ctx := nodes[0], testContext(t)
	ours := fakeClient(t, nodes)
	plain, err := clientv3.New(configOf(nodes))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	for _, test := range []struct {
		err         error
		want        codes.Code
		plain, read int
	}{
		{rpctypes.ErrGRPCTimeout, codes.Unavailable, 1, 4},
		{rpctypes.ErrGRPCLeaderChanged, codes.Unavailable, 1, 4},
		{status.Error(codes.Unavailable, "connection lost"), codes.Unavailable, 1, 4},
		{status.Error(codes.DeadlineExceeded, "too slow"), codes.Unavailable, 4, 4},
		{status.Error(codes.Canceled, "stopping"), codes.Unavailable, 4, 4},
		{status.Error(codes.Internal, "?"), codes.Internal, 1, 1},
	} {
		node.set(func() { node.mu.fail = func(context.Context) error { return test.err } })
		_, err := ours.Put(ctx, "k", "v")
		if got := codeOf(err); got != test.want {
			t.Errorf("after %v the put ends with %v, want %v", test.err, err, test.want)
		}
		if n := node.count("Put"); n != 1 {
			t.Errorf("after %v the put was sent %d times, want once", test.err, n)
		}
		_, _ = plain.Put(ctx, "k", "v")
		if n := node.count("Put"); n != test.plain {
			t.Errorf("after %v etcd's client sent the put %d times, not %d: the documentation is wrong", test.err, n, test.plain)
		}
		_, _ = ours.Get(ctx, "k")
		if n := node.count("Range"); n != test.read {
			t.Errorf("after %v the get was sent %d times, want %d", test.err, n, test.read)
		}
	}
}

// codeOf is the code of an error as etcd's client returns it.
func codeOf(err error) codes.Code {
	var e rpctypes.EtcdError
	if errors.As(err, &e) {
		return e.Code()
	}
	return status.Code(err)
}

// The node counts the caller's deadline, too. Whoever is first, the caller sees the end of its
// own context, and the write is sent once.
func TestOwnDeadlineIsSeenAsSuch(t *testing.T) {
	nodes := startFakes(t, 1)
	node, c := nodes[0], fakeClient(t, nodes)
	c.guide.clock = func() time.Duration { return 0 }
	if c.guide.known.Load().leader != node.endpoint {
		t.Fatalf("known is %+v", c.guide.known.Load())
	}
	node.set(func() {
		node.mu.fail = func(ctx context.Context) error {
			<-ctx.Done()
			return status.FromContextError(ctx.Err()).Err()
		}
	})
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		_, err := c.Put(ctx, "k", "v")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the put ends with %v, want the context's error", err)
		}
		cancel()
		if n := node.count("Put"); n > 1 {
			t.Errorf("the put was sent %d times", n)
		}
	}
	if c.guide.known.Load().leader != "" {
		t.Error("a node that does not answer is still preferred")
	}
}

// A connection that breaks leaves a write's outcome open.
func TestWriteIsNotSentToAnotherNodeAfterACrash(t *testing.T) {
	nodes := startFakes(t, 2)
	c := fakeClient(t, nodes)
	arrived := make(chan struct{})
	nodes[0].set(func() {
		nodes[0].mu.fail = func(ctx context.Context) error {
			close(arrived)
			<-ctx.Done()
			return ctx.Err()
		}
	})
	result, ctx := make(chan error, 1), testContext(t)
	go func() {
		_, err := c.Put(ctx, "k", "v")
		result <- err
	}()
	select {
	case <-arrived:
	case err := <-result:
		t.Fatalf("the put did not go to the leader: %v", err)
	}
	nodes[0].server.Stop()
	if err := <-result; codeOf(err) != codes.Unavailable {
		t.Errorf("the put ends with %v, want Unavailable", err)
	}
	if n := nodes[1].count("Put"); n != 0 {
		t.Errorf("the put was sent to the other node")
	}
	// The next one is not held up by the node that is gone.
	if resp, err := c.Put(testContext(t), "k", "v"); err != nil || resp.Header.MemberId != 2 {
		t.Errorf("the next put: %v, %v; want it from member 2", resp, err)
	}
}

// A keyspace is on one node of three. The others would pass calls on, and are only asked when
// that one is down.
func TestNodesWithoutTheKeyspaceAreAvoided(t *testing.T) {
	nodes := startFakes(t, 3)
	ctx, carrier := testContext(t), nodes[0]
	for _, n := range nodes[1:] {
		n.set(func() { n.mu.without = true })
	}
	c := fakeClient(t, nodes)
	for range 10 {
		if _, err := c.Put(ctx, "k", "v"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Get(ctx, "k", clientv3.WithSerializable()); err != nil {
			t.Fatal(err)
		}
	}
	if resp := <-c.Watch(ctx, "k", clientv3.WithCreatedNotify()); resp.Err() != nil || !resp.Created {
		t.Errorf("the watch: %+v", resp)
	}
	for _, method := range []string{"Put", "Range", "Watch"} {
		if n := nodes[1].count(method) + nodes[2].count(method); n > 0 {
			t.Errorf("nodes without the keyspace got %d calls of %s", n, method)
		}
	}
	carrier.server.Stop()
	for range 2 { // the first may have been on its way
		_, _ = c.Put(ctx, "k", "v")
	}
	if n := nodes[1].count("Put") + nodes[2].count("Put"); n == 0 {
		t.Error("with the one node down nobody is asked")
	}
}

// Writes and linearizable reads follow the leader; an answer of a newer term is enough to look
// for it.
func TestCallsFollowTheLeader(t *testing.T) {
	nodes := startFakes(t, 3)
	ctx, c := testContext(t), fakeClient(t, nodes)
	now := time.Duration(0)
	c.guide.clock = func() time.Duration { return now }
	for leader := uint64(1); leader <= 3; leader++ {
		for _, n := range nodes {
			n.set(func() { n.mu.leader, n.mu.term = leader, leader })
		}
		now += learnPeriod
		for range 2 { // the first answer tells the term, the second call starts the survey
			if _, err := c.Put(ctx, "k", "v"); err != nil {
				t.Fatal(err)
			}
		}
		c.guide.surveys.Wait()
		for range 10 {
			if resp, err := c.Put(ctx, "k", "v"); err != nil || resp.Header.MemberId != leader {
				t.Fatalf("a put: %v, %v; want it from member %d", resp, err, leader)
			}
			if resp, err := c.Get(ctx, "k"); err != nil || resp.Header.MemberId != leader {
				t.Fatalf("a get: %v, %v; want it from member %d", resp, err, leader)
			}
		}
	}
	var from []uint64
	for range 10 {
		resp, err := c.Get(ctx, "k", clientv3.WithSerializable())
		if err != nil {
			t.Fatal(err)
		}
		from = append(from, resp.Header.MemberId)
	}
	if slices.Sort(from); len(slices.Compact(from)) != 3 {
		t.Errorf("serializable reads were answered by the members %v, want all", from)
	}
}

// What the caller has configured stays: its interceptors see every call; its metadata stay,
// but for the keyspace (L1). Calls of other services name none.
func TestOptionsOfTheCaller(t *testing.T) {
	nodes := startFakes(t, 1)
	cfg, seen := configOf(nodes), 0
	cfg.DialOptions = []grpc.DialOption{grpc.WithChainUnaryInterceptor(
		func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			if strings.HasSuffix(method, "/Put") {
				seen++
			}
			return invoke(ctx, method, req, reply, cc, opts...)
		})}
	c, err := New(cfg, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	other := metadata.AppendToOutgoingContext(testContext(t), keyspaceMetadata, "other")
	if _, err := c.Put(other, "k", "v"); err != nil || seen != 1 {
		t.Errorf("the put ends with %v, and the caller's interceptor saw %d", err, seen)
	}
	if _, err := c.Status(other, nodes[0].endpoint); err != nil {
		t.Error(err)
	}
	c.guide.surveys.Wait()
	nodes[0].mu.Lock()
	defer nodes[0].mu.Unlock()
	for _, name := range nodes[0].mu.names {
		if name != DefaultKeyspace {
			t.Errorf("a call named the keyspace %q, want %q", name, DefaultKeyspace)
		}
	}
	if md, _ := metadata.FromOutgoingContext(withKeyspace(t.Context(), "/quorate.v1.Keyspaces/List", "a")); md != nil {
		t.Errorf("a call of another service has the metadata %v", md)
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"", "a", "team-a", "0", strings.Repeat("x", 63)} {
		if err := checkName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"-a", "a-", "A", "a_b", "ä", "a b", strings.Repeat("x", 64)} {
		if c, err := New(clientv3.Config{Endpoints: []string{"127.0.0.1:1"}}, name); err == nil {
			c.Close()
			t.Errorf("%q is taken for a name", name)
		}
	}
}
