package placement

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quorate/quorate/ring"
)

// testCluster has nodes 1..n in their own zones, each with weight 1.
func testCluster(n int) Cluster {
	c := Cluster{Engines: []string{"raft", "paxos"}, KeyspaceMax: 1000, Seed: 1, Now: 1000}
	for i := range n {
		id := ring.NodeID(i + 1)
		c.Nodes = append(c.Nodes, ring.Node{ID: id, Weight: 1, Domains: []string{fmt.Sprint("zone", i%3)}})
	}
	return c
}

// write is what a transaction does with a record.
func write(t testing.TB, c *Catalog, k *Keyspace) {
	t.Helper()
	revision := c.CounterRevision + k.Revision + 1
	if name, err := c.Put([]byte(Key(k.Name)), k.Encode(), revision); err != nil || name != k.Name {
		t.Fatalf("a record that was made here is not read: %q, %v", name, err)
	}
	if id := k.Shards[0].ID; id == c.NextShard {
		if _, err := c.Put([]byte(NextShardKey), fmt.Append(nil, id+1), revision); err != nil {
			t.Fatal(err)
		}
	}
}

// Goal: whatever comes and goes, shard ids are given once, replicas are on as many nodes as
// are wanted, no node carries more than its share allows, and records survive their way
// through the system keyspace.
func TestCatalogKeepsItsInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := rapid.IntRange(1, 9).Draw(t, "nodes")
		cluster := testCluster(nodes)
		c := NewCatalog()
		given := map[uint64]bool{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			name := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}).Draw(t, "name")
			before, there := c.Keyspace(name)
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				spec := Spec{Name: name, Replicas: rapid.SampledFrom([]int{0, 1, 3, 5}).Draw(t, "replicas")}
				k, err := c.Create(spec, cluster)
				if err != nil {
					if !there && spec.Replicas <= nodes {
						t.Fatalf("%+v on %d nodes: %v", spec, nodes, err)
					}
					continue
				}
				if there || given[k.Shards[0].ID] || len(k.Shards[0].Nodes) != k.Replicas {
					t.Fatalf("created %+v over %+v", k, before)
				}
				given[k.Shards[0].ID] = true
				writeRapid(t, c, &k)
			case 1:
				if k, err := c.Remove(name, 2000); err == nil {
					if before.State != Active || k.Epoch != before.Epoch+1 || k.Expires() != 2000+24*3600 {
						t.Fatalf("deleted %+v: %+v", before, k)
					}
					writeRapid(t, c, &k)
				}
			case 2:
				if k, err := c.Restore(name); err == nil {
					if before.State != Deleted || k.Expires() != 0 {
						t.Fatalf("brought back %+v: %+v", before, k)
					}
					writeRapid(t, c, &k)
				}
			case 3:
				if there && before.State == Deleted {
					c.Delete([]byte(Key(name)))
				}
			}
		}
		checkLoads(t, c, &cluster)
	})
}

func writeRapid(t *rapid.T, c *Catalog, k *Keyspace) {
	if _, err := c.Put([]byte(Key(k.Name)), k.Encode(), 1); err != nil {
		t.Fatal(err)
	}
	got, _ := c.Keyspace(k.Name)
	got.Revision = k.Revision
	if fmt.Sprint(got) != fmt.Sprint(*k) {
		t.Fatalf("read back %+v, written %+v", got, *k)
	}
	if k.Shards[0].ID == c.NextShard {
		c.NextShard++
	}
}

// checkLoads: each shard's nodes are different ones.
func checkLoads(t *rapid.T, c *Catalog, cluster *Cluster) {
	for _, k := range c.Keyspaces() {
		seen := map[uint64]bool{}
		for _, n := range k.Shards[0].Nodes {
			if seen[n.ID] || n.Incarnation != 1 {
				t.Fatalf("%s is on %v", k.Name, k.Shards[0].Nodes)
			}
			seen[n.ID] = true
		}
		if !c.Has(k.Shards[0].ID) {
			t.Fatalf("shard %d of %s is unknown", k.Shards[0].ID, k.Name)
		}
	}
}

// Goal: many keyspaces spread evenly, over nodes and over who should lead.
func TestKeyspacesSpread(t *testing.T) {
	c, cluster := NewCatalog(), testCluster(6)
	const count = 60
	replicas, leads := map[uint64]int{}, map[uint64]int{}
	for i := range count {
		k, err := c.Create(Spec{Name: fmt.Sprint("k", i)}, cluster)
		if err != nil {
			t.Fatal(err)
		}
		write(t, c, &k)
		for j, n := range k.Shards[0].Nodes {
			replicas[n.ID]++
			if j == 0 {
				leads[n.ID]++
			}
		}
	}
	for id, n := range replicas {
		if fair := count * 3 / 6; n > (fair*125+99)/100 {
			t.Errorf("node %d carries %d replicas, a fair share is %d", id, n, fair)
		}
		if fair := count / 6; leads[id] > (fair*125+99)/100 {
			t.Errorf("node %d should lead %d, a fair share is %d", id, leads[id], fair)
		}
	}
}

// Goal: what cannot be is refused with a sentence that says what to do, and of the right kind.
func TestCatalogRefuses(t *testing.T) {
	c, cluster := NewCatalog(), testCluster(3)
	for _, name := range []string{"there", "gone"} {
		k, err := c.Create(Spec{Name: name}, cluster)
		if err != nil {
			t.Fatal(err)
		}
		write(t, c, &k)
	}
	k, err := c.Remove("gone", 1)
	if err != nil {
		t.Fatal(err)
	}
	write(t, c, &k)
	empty := testCluster(3)
	for i := range empty.Nodes {
		empty.Nodes[i].Weight = 0
	}
	full := testCluster(3)
	full.KeyspaceMax = 2
	create := func(s Spec, cluster Cluster) func() error {
		return func() error { _, err := c.Create(s, cluster); return err }
	}
	small := int64(5)
	for _, x := range []struct {
		what string
		do   func() error
		want error
		says string
	}{
		{"no name", create(Spec{}, cluster), ErrInvalid, "is empty"},
		{"long name", create(Spec{Name: strings.Repeat("x", 64)}, cluster), ErrInvalid, "too long"},
		{"huge name", create(Spec{Name: strings.Repeat("x", 1<<20)}, cluster), ErrInvalid, "..."},
		{"upper case", create(Spec{Name: "A"}, cluster), ErrInvalid, "other characters"},
		{"slash", create(Spec{Name: "a/b"}, cluster), ErrInvalid, "other characters"},
		{"dash", create(Spec{Name: "-a"}, cluster), ErrInvalid, "dash"},
		{"the cluster's own", create(Spec{Name: System}, cluster), ErrExists, "every cluster"},
		{"there", create(Spec{Name: "there"}, cluster), ErrExists, "another name"},
		{"deleted", create(Spec{Name: "gone"}, cluster), ErrExists, "undelete"},
		{"two replicas", create(Spec{Name: "a", Replicas: 2}, cluster), ErrInvalid, "1, 3, 5 or 7"},
		{"five replicas", create(Spec{Name: "a", Replicas: 5}, cluster), ErrNoRoom, "3 nodes"},
		{"empty nodes", create(Spec{Name: "a"}, empty), ErrNoRoom, "0 nodes"},
		{"engine", create(Spec{Name: "a", Engine: "vsr"}, cluster), ErrInvalid, "raft, paxos"},
		{"quota", create(Spec{Name: "a", QuotaBytes: small}, cluster), ErrInvalid, "1048576"},
		{"full", create(Spec{Name: "a"}, full), ErrNoRoom, "its limit"},
		{"update unknown", func() error { _, err := c.Update("x", Change{}); return err }, ErrNotFound, "list"},
		{"update deleted", func() error { _, err := c.Update("gone", Change{}); return err }, ErrDeleted, "undelete"},
		{"update quota", func() error { _, err := c.Update("there", Change{QuotaBytes: &small}); return err }, ErrInvalid, "quota"},
		{"delete default", func() error { _, err := c.Remove(Default, 1); return err }, ErrInvalid, "cluster's own"},
		{"delete twice", func() error { _, err := c.Remove("gone", 1); return err }, ErrDeleted, "undelete"},
		{"undelete unknown", func() error { _, err := c.Restore("x"); return err }, ErrNotFound, "x"},
		{"undelete active", func() error { _, err := c.Restore("there"); return err }, ErrInvalid, "not deleted"},
	} {
		if err := x.do(); !errors.Is(err, x.want) || !strings.Contains(err.Error(), x.says) || len(err.Error()) > 600 {
			t.Errorf("%s: %v; want %v that says %q", x.what, err, x.want, x.says)
		}
	}
}

// Goal: no bytes in the system keyspace make a catalog panic or lose what it has; a later
// format is told from damage.
func FuzzPut(f *testing.F) {
	k, err := NewCatalog().Create(Spec{Name: "a"}, testCluster(3))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(Key("a")), k.Encode())
	f.Add([]byte(NextShardKey), []byte("17"))
	f.Add([]byte("members/1"), []byte("{}"))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		c := NewCatalog()
		write(t, c, &k)
		name, err := c.Put(key, value, 1)
		if err != nil && name != "" {
			t.Fatalf("%q was refused and taken: %v", name, err)
		}
		if _, there := c.Keyspace("a"); !there {
			t.Fatal("what was there is gone")
		}
		c.placement()
	})
}

// Goal: a record of a later format is refused as that, and nothing is done with it.
func TestLaterFormat(t *testing.T) {
	_, err := NewCatalog().Put([]byte(Key("a")), []byte(`{"format":2,"name":"a"}`), 1)
	if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "newer version") {
		t.Error(err)
	}
}

// Goal: a deleted keyspace is found when its grace is over, and no other; one that was brought
// back, or is gone, is not. Method: records that come and go, at the moment before and at it.
func TestExpired(t *testing.T) {
	c := NewCatalog()
	write := func(name string, state State, shard uint64) {
		k := Keyspace{Format: recordFormat, Name: name, Epoch: 1, State: state, Replicas: 1, Shards: []Shard{{ID: shard, Engine: "raft", First: []Node{{ID: 1, Incarnation: 1}}, Nodes: []Node{{ID: 1, Incarnation: 1}}, Last: 1}}}
		if state == Deleted {
			k.DeletedAt = 1000
		}
		if _, err := c.Put([]byte(Key(name)), k.Encode(), 1); err != nil {
			t.Fatal(err)
		}
	}
	over := int64(1000) + int64(Grace/time.Second)
	names := func(now int64) (names []string) {
		for _, k := range c.Clone().Expired(now) {
			names = append(names, k.Name)
		}
		return names
	}
	write("b", Deleted, 21)
	write("a", Deleted, 20)
	write("c", Active, 22)
	if got := names(over - 1); len(got) != 0 {
		t.Errorf("a second before: %v", got)
	}
	if got := names(over); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("then: %v", got)
	}
	write("a", Active, 20)
	c.Delete([]byte(Key("b")))
	if got := names(over); len(got) != 0 {
		t.Errorf("brought back, and gone: %v", got)
	}
}
