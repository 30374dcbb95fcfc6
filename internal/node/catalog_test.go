package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate/internal/env"
	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/store"
)

// testPatience bounds what a healthy cluster needs for anything.
const testPatience = 40 * time.Second

func patience(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testPatience)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits for something that the cluster does by itself.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(testPatience); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("not in %v: %s", testPatience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (c *cluster) create(i int, name string) placement.Keyspace {
	c.t.Helper()
	record, err := c.nodes[i].CreateKeyspace(patience(c.t), placement.Spec{Name: name})
	if err != nil {
		c.t.Fatalf("create %s at node %d: %v", name, i, err)
	}
	return record
}

// in returns a keyspace at a node, once it is there.
func (c *cluster) in(i int, name string) *Keyspace {
	c.t.Helper()
	var k *Keyspace
	eventually(c.t, fmt.Sprintf("node %d carries %s", i, name), func() bool {
		var ok bool
		k, ok = c.nodes[i].Keyspace(name)
		return ok
	})
	return k
}

func (k *Keyspace) testPut(t testing.TB, key, value string) int64 {
	t.Helper()
	put := store.PutRequest{Key: []byte(key), Value: []byte(value)}
	res, err := k.Propose(patience(t), store.KindPut, put.AppendTo(nil))
	if err != nil || res.Err != nil {
		t.Fatalf("put %s in %s: %v, %v", key, k.name, err, res)
	}
	return res.Response.(*store.PutResponse).Revision
}

func (k *Keyspace) testGet(t testing.TB, key string) string {
	t.Helper()
	if err := k.Barrier(patience(t)); err != nil {
		t.Fatalf("read %s in %s: %v", key, k.name, err)
	}
	view, err := k.View()
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	res, err := view.Range(&store.RangeRequest{Key: []byte(key)})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.KVs) == 0 {
		return ""
	}
	return string(res.KVs[0].Value)
}

// Goal: a keyspace is a complete etcd of its own, served by every node that carries it from
// the moment at which it was created, and survives restarts of one node and of all.
func TestKeyspacesAreApart(t *testing.T) {
	c := newCluster(t, 3)
	c.startAll()
	names := []string{DefaultKeyspace, "team-a", "team-b"}
	for i, name := range names[1:] {
		record := c.create(i, name)
		if s := record.Shards[0]; s.ID != uint64(placement.FirstShard+i) || len(s.Nodes) != 3 || record.Replicas != 3 {
			t.Fatalf("created %+v", record)
		}
	}
	for i, name := range names {
		for n := range i + 1 {
			if rev := c.in(i, name).testPut(t, "k", fmt.Sprintf("%s %d", name, n)); rev != int64(n+2) {
				t.Errorf("the revision of %s is %d after %d puts", name, rev, n+1)
			}
		}
	}
	check := func() {
		t.Helper()
		for i := range c.nodes {
			for n, name := range names {
				if got, want := c.in(i, name).testGet(t, "k"), fmt.Sprintf("%s %d", name, n); got != want {
					t.Errorf("node %d, %s: k is %q, want %q", i, name, got, want)
				}
			}
		}
	}
	check()
	c.stop(1)
	c.start(1)
	check()
	c.stopAll()
	for i := range c.nodes {
		c.start(i)
	}
	check()
}

// Goal: a deleted keyspace serves nobody, can be brought back with all it had, and is gone
// when its grace is over, on every node and on disk; its shard's id is not given again.
func TestDeletedKeyspaces(t *testing.T) {
	c := newCluster(t, 3)
	clock := &shiftedClock{Clock: env.SystemClock()}
	for i := range c.cfgs {
		c.cfgs[i].Clock = clock
	}
	c.startAll()
	first := c.create(0, "a")
	c.in(1, "a").testPut(t, "k", "v")
	served := func(want bool) {
		t.Helper()
		eventually(t, fmt.Sprintf("all nodes serve it: %v", want), func() bool {
			n := 0
			for i := range c.nodes {
				if _, ok := c.nodes[i].Keyspace("a"); ok == want {
					n++
				}
			}
			return n == len(c.nodes)
		})
	}
	remove := func() {
		t.Helper()
		if _, err := c.nodes[2].DeleteKeyspace(patience(t), "a"); err != nil {
			t.Fatal(err)
		}
		served(false)
	}
	remove()
	if _, err := c.nodes[0].CreateKeyspace(patience(t), placement.Spec{Name: "a"}); !errors.Is(err, placement.ErrExists) {
		t.Errorf("created over a deleted one: %v", err)
	}
	if _, err := c.nodes[1].UndeleteKeyspace(patience(t), "a"); err != nil {
		t.Fatal(err)
	}
	served(true)
	if got := c.in(0, "a").testGet(t, "k"); got != "v" {
		t.Errorf("brought back, k is %q", got)
	}
	remove()
	clock.shift.Store(int64(placement.Grace + time.Minute))
	id := shard.ID(first.Shards[0].ID)
	eventually(t, "no node has anything of it", func() bool {
		for _, n := range c.nodes {
			left, err := store.Shards(n.engine)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range left {
				if s == id {
					return false
				}
			}
			for _, g := range n.log.log.Groups() {
				if g == shard.Group(id) {
					return false
				}
			}
		}
		return true
	})
	second := c.create(1, "a")
	if got := c.in(2, "a").testGet(t, "k"); got != "" || second.Shards[0].ID <= first.Shards[0].ID {
		t.Errorf("created anew, it has shard %d and k is %q", second.Shards[0].ID, got)
	}
}

// shiftedClock is the machine's, moved.
type shiftedClock struct {
	env.Clock
	shift atomic.Int64
}

func (c *shiftedClock) Now() time.Time { return c.Clock.Now().Add(time.Duration(c.shift.Load())) }

// Goal: a node that was away while keyspaces came and went carries what there is when it
// comes back, and has nothing of what there was.
func TestReturningNodeCatchesUp(t *testing.T) {
	c := newCluster(t, 3)
	clock := &shiftedClock{Clock: env.SystemClock()}
	for i := range c.cfgs {
		c.cfgs[i].Clock = clock
	}
	c.startAll()
	gone := c.create(0, "gone")
	c.in(2, "gone").testPut(t, "k", "v")
	c.stop(2)
	c.create(0, "new")
	c.in(0, "new").testPut(t, "k", "v")
	if _, err := c.nodes[0].DeleteKeyspace(patience(t), "gone"); err != nil {
		t.Fatal(err)
	}
	clock.shift.Store(int64(placement.Grace + time.Minute))
	eventually(t, "the record is gone", func() bool {
		records, err := c.nodes[0].KeyspaceRecords(patience(t), true)
		return err == nil && len(records) == 1
	})
	c.create(1, "gone") // another one of that name
	c.in(1, "gone").testPut(t, "k", "another")
	c.start(2)
	// Until it has caught up the node takes the name for the one that is gone, whose group
	// answers nobody any more.
	eventually(t, "the node serves the one that has the name now", func() bool {
		k := c.in(2, "gone")
		return k.shard != shard.ID(gone.Shards[0].ID) && k.testGet(t, "k") == "another"
	})
	if got := c.in(2, "new").testGet(t, "k"); got != "v" {
		t.Errorf("k is %q", got)
	}
	eventually(t, "the returned node has erased what is gone", func() bool {
		left, err := store.Shards(c.nodes[2].engine)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range left {
			if s == shard.ID(gone.Shards[0].ID) {
				return false
			}
		}
		return true
	})
}

// Goal: of many who create keyspaces at once all get what they asked for, each name goes to
// one of those who want it, and no shard is given twice.
func TestCreateAtOnce(t *testing.T) {
	c := newCluster(t, 3)
	c.startAll()
	const each = 6
	var wg sync.WaitGroup
	var taken atomic.Int64
	for i := range c.nodes {
		for n := range each {
			wg.Go(func() {
				_, err := c.nodes[i].CreateKeyspace(patience(t), placement.Spec{Name: fmt.Sprintf("own-%d-%d", i, n), Replicas: 1 + 2*(n%2)})
				if err != nil {
					t.Error(err)
				}
				_, err = c.nodes[i].CreateKeyspace(patience(t), placement.Spec{Name: fmt.Sprintf("shared-%d", n)})
				switch {
				case err == nil:
					taken.Add(1)
				case !errors.Is(err, placement.ErrExists):
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if taken.Load() != each {
		t.Errorf("%d of %d shared names were given", taken.Load(), each)
	}
	for i := range c.nodes {
		records, err := c.nodes[i].KeyspaceRecords(patience(t), true)
		if err != nil || len(records) != 4*each {
			t.Fatalf("node %d: %d keyspaces, %v", i, len(records), err)
		}
		seen := map[uint64]string{}
		for _, r := range records {
			s := r.Shards[0]
			if other := seen[s.ID]; other != "" || len(s.Nodes) != r.Replicas {
				t.Errorf("shard %d is %s's and %s's, on %v", s.ID, r.Name, other, s.Nodes)
			}
			seen[s.ID] = r.Name
		}
	}
}

// Goal: a quota goes with the keyspace, from its creation and after a change.
func TestKeyspaceQuota(t *testing.T) {
	c := newCluster(t, 1)
	c.startAll()
	if _, err := c.nodes[0].CreateKeyspace(patience(t), placement.Spec{Name: "a", QuotaBytes: placement.QuotaBytesMin}); err != nil {
		t.Fatal(err)
	}
	k := c.in(0, "a")
	quota := func(want int64) {
		t.Helper()
		eventually(t, fmt.Sprintf("the quota is %d", want), func() bool {
			_, got := k.Size()
			return got == want
		})
	}
	quota(placement.QuotaBytesMin)
	none := int64(-1)
	if _, err := c.nodes[0].UpdateKeyspace(patience(t), "a", placement.Change{QuotaBytes: &none}); err != nil {
		t.Fatal(err)
	}
	quota(none)
	if _, err := c.nodes[0].UpdateKeyspace(patience(t), DefaultKeyspace, placement.Change{}); !errors.Is(err, placement.ErrInvalid) {
		t.Errorf("the default keyspace was changed: %v", err)
	}
}

// Goal: every node knows who carries a keyspace as soon as its creation is acknowledged, leaves
// itself out, and tells deleted ones from those that there never were.
func TestCarriers(t *testing.T) {
	c := newCluster(t, 3)
	c.startAll()
	for round := range 5 {
		name := fmt.Sprint("solo-", round)
		record, err := c.nodes[round%3].CreateKeyspace(patience(t), placement.Spec{Name: name, Replicas: 1})
		if err != nil {
			t.Fatal(err)
		}
		for i, n := range c.nodes {
			got, err := n.Carriers(patience(t), name)
			carrier := shard.NodeID(record.Shards[0].Nodes[0].ID)
			if want := carrier != n.identity.Node; err != nil || slices.Contains(got, carrier) != want || len(got) > 1 {
				t.Errorf("node %d, which is %s: %s is on %v, %v; want %s", i, n.identity.Node, name, got, err, carrier)
			}
		}
	}
	if _, err := c.nodes[0].DeleteKeyspace(patience(t), "solo-0"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.nodes[0].Carriers(patience(t), "solo-0"); !errors.Is(err, placement.ErrDeleted) {
		t.Errorf("deleted: %v", err)
	}
	for _, name := range []string{"none", "No name", SystemKeyspace} {
		if _, err := c.nodes[1].Carriers(patience(t), name); !errors.Is(err, placement.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
