package client_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/api/quorate/v1"
	"github.com/quorate/quorate/client"
)

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// open returns a client of a keyspace.
func open(t *testing.T, at []string, keyspace string) *client.Client {
	t.Helper()
	c, err := client.New(clientv3.Config{Endpoints: at}, keyspace)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// create makes a keyspace and returns a client of it, once it has a leader.
func create(t *testing.T, at []string, r *quoratev1.CreateRequest) *client.Client {
	t.Helper()
	ctx, c := testContext(t), open(t, at, r.Name)
	if _, err := c.Keyspaces().Create(ctx, r); err != nil {
		t.Fatal(err)
	}
	for {
		_, err := c.Get(ctx, "k", clientv3.WithCountOnly())
		if err == nil {
			return c
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// What is written in one keyspace is not in another: by reads, watches, leases and locks.
func TestKeyspacesAreApart(t *testing.T) {
	ctx := testContext(t)
	apart, other := create(t, endpoints, &quoratev1.CreateRequest{Name: "apart"}), open(t, endpoints, "")
	if apart.Keyspace() != "apart" || other.Keyspace() != client.DefaultKeyspace {
		t.Errorf("the keyspaces are %q and %q", apart.Keyspace(), other.Keyspace())
	}
	watch := apart.Watch(ctx, "apart/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	<-watch
	if _, err := other.Put(ctx, "apart/k", "default's"); err != nil {
		t.Fatal(err)
	}
	lease, err := apart.Grant(ctx, 60)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := apart.Put(ctx, "apart/k", "ours", clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	if resp := <-watch; len(resp.Events) != 1 || string(resp.Events[0].Kv.Value) != "ours" {
		t.Errorf("the watch saw %v (%v), want our put alone", resp.Events, resp.Err())
	}
	alive, err := apart.KeepAlive(ctx, lease.ID)
	if err != nil {
		t.Fatal(err)
	}
	if resp := <-alive; resp == nil || resp.TTL != 60 {
		t.Errorf("the lease is kept alive with %+v", resp)
	}
	for c, want := range map[*client.Client]string{apart: "ours", other: "default's"} {
		resp, err := c.Get(ctx, "apart/k")
		if err != nil || len(resp.Kvs) != 1 || string(resp.Kvs[0].Value) != want {
			t.Errorf("in %s: %v, %v; want %q", c.Keyspace(), resp, err, want)
		}
	}
	// Both have the lock of the same name.
	for _, c := range []*client.Client{apart, other} {
		session, err := concurrency.NewSession(c.Client)
		if err != nil {
			t.Fatal(err)
		}
		defer session.Close()
		if err := concurrency.NewMutex(session, "apart/lock").TryLock(ctx); err != nil {
			t.Errorf("in %s: %v", c.Keyspace(), err)
		}
	}
	// A client of etcd's alone, told which keyspace.
	plain, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialOptions: client.InKeyspace("apart")})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if resp, err := plain.Get(ctx, "apart/k"); err != nil || len(resp.Kvs) != 1 || string(resp.Kvs[0].Value) != "ours" {
		t.Errorf("etcd's client: %v, %v", resp, err)
	}
}

// A keyspace that is not there is not found, by calls and by watches.
func TestNoSuchKeyspace(t *testing.T) {
	ctx, c := testContext(t), open(t, endpoints, "nowhere")
	if _, err := c.Put(ctx, "k", "v"); status.Code(err) != codes.NotFound {
		t.Errorf("a put ends with %v, want NotFound", err)
	}
	if resp := <-c.Watch(ctx, "k"); status.Code(resp.Err()) != codes.NotFound {
		t.Errorf("a watch ends with %v, want NotFound", resp.Err())
	}
}

// A keyspace on one node of three is reached from the first call on.
func TestKeyspaceOnOneNode(t *testing.T) {
	ctx := testContext(t)
	create(t, endpoints, &quoratev1.CreateRequest{Name: "single", Replicas: 1})
	for range 5 {
		c := open(t, endpoints, "single")
		if resp := <-c.Watch(ctx, "k", clientv3.WithCreatedNotify()); !resp.Created {
			t.Errorf("a watch: %+v, %v", resp, resp.Err())
		}
		if _, err := c.Put(ctx, "k", "v"); err != nil {
			t.Error(err)
		}
		c.Close()
	}
}

// leaderOf is the member that leads a client's keyspace, as a node knows it.
func leaderOf(t *testing.T, c *client.Client) (leader, term uint64) {
	t.Helper()
	resp, err := c.Status(testContext(t), c.Endpoints()[0])
	if err != nil {
		t.Fatal(err)
	}
	return resp.Leader, resp.RaftTerm
}

// settled waits until writes and linearizable reads come from the node that leads: a hundred
// of them without an exception. It returns that member.
func settled(t *testing.T, c *client.Client) uint64 {
	t.Helper()
	ctx := testContext(t)
	for {
		leader, term := leaderOf(t, c)
		var last *pb.ResponseHeader
		n := 0
		for ; n < 100; n++ {
			if n%2 == 0 {
				resp, err := c.Put(ctx, "settled", "v")
				if err != nil {
					t.Fatal(err)
				}
				last = resp.Header
			} else {
				resp, err := c.Get(ctx, "settled")
				if err != nil {
					t.Fatal(err)
				}
				last = resp.Header
			}
			if last.MemberId != leader || last.RaftTerm != term {
				break
			}
		}
		if n == 100 {
			return leader
		}
		if ctx.Err() != nil {
			t.Fatalf("answers come from member %x, but %x leads", last.MemberId, leader)
		}
	}
}

// Writes and linearizable reads are answered by the leader's node, also after the leader has
// moved; serializable reads by several.
func TestLeaderAnswers(t *testing.T) {
	ctx := testContext(t)
	c := create(t, endpoints, &quoratev1.CreateRequest{Name: "led"})
	members, err := c.MemberList(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		leader := settled(t, c)
		next := slices.IndexFunc(members.Members, func(m *pb.Member) bool { return m.ID == leader }) + 1
		target := members.Members[next%len(members.Members)].ID
		// Only the leader's node does this, and the call finds it.
		if _, err := c.MoveLeader(ctx, target); err != nil {
			t.Fatal(err)
		}
		if got := settled(t, c); got != target {
			t.Errorf("after the leadership went to %x, %x leads", target, got)
		}
	}
	from := make(map[uint64]bool)
	for range 30 {
		resp, err := c.Get(ctx, "settled", clientv3.WithSerializable())
		if err != nil {
			t.Fatal(err)
		}
		from[resp.Header.MemberId] = true
	}
	if len(from) != 3 {
		t.Errorf("serializable reads come from %d nodes, want 3", len(from))
	}
}

// The leader's node dies among writers. Every acknowledged write is there, none was made twice,
// and writing goes on with the others.
func TestNodeDeathWhileWriting(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster of its own and waits for an election")
	}
	own, err := startCluster()
	if err != nil {
		t.Fatal(err)
	}
	defer own.stop()
	c := create(t, own.Endpoints, &quoratev1.CreateRequest{Name: "writes"})
	settled(t, c)
	leader, _ := leaderOf(t, c)
	members, err := c.MemberList(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(members.Members, func(m *pb.Member) bool { return m.ID == leader })

	const writers, before, after = 4, 400, 400
	var acked [writers][]string
	var count, failed atomic.Int64
	dead := make(chan struct{})
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := 0; count.Load() < before+after && t.Context().Err() == nil; i++ {
				if count.Load() >= before {
					<-dead // what comes now is written after the death
				}
				key := fmt.Sprintf("w%d/%d", w, i)
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				if _, err := c.Put(ctx, key, key); err == nil {
					acked[w] = append(acked[w], key)
					if count.Add(1) == before/2 {
						// The others are in the middle of a write.
						own.kill(t, strings.TrimPrefix(members.Members[at].ClientURLs[0], "http://"))
						close(dead)
					}
				} else {
					failed.Add(1)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	t.Logf("%d acknowledged, %d failed", count.Load(), failed.Load())

	resp, err := c.Get(testContext(t), "w", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	made := make(map[string]int64)
	for _, kv := range resp.Kvs {
		made[string(kv.Key)] = kv.Version
		if kv.Version != 1 {
			t.Errorf("%s was written %d times", kv.Key, kv.Version)
		}
	}
	for _, keys := range acked {
		for _, key := range keys {
			if made[key] == 0 {
				t.Errorf("%s was acknowledged and is not there", key)
			}
		}
	}
}
