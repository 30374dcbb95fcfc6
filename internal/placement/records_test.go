package placement

import (
	"errors"
	"strings"
	"testing"
)

// Goal: whatever a record says, reading it does not panic; what is read is written and read again as
// the same, and fits a ring.
func FuzzDecodeMember(f *testing.F) {
	m := testMember(1)
	m.Zone, m.Weight, m.State, m.KeyspaceURLs = "a/b", 3, Draining, map[string][]string{"k": {"http://k"}}
	f.Add(m.Encode())
	f.Add([]byte(`{"id":281474976710656}`))
	f.Add([]byte(`{"id":1,"weight":-1}`))
	f.Add([]byte(`{"id":1,"zone":"a//b"}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		m, err := DecodeMember(value)
		if err != nil {
			if !errors.Is(err, ErrMember) {
				t.Fatal(err)
			}
			return
		}
		again, err := DecodeMember(m.Encode())
		if err != nil || string(again.Encode()) != string(m.Encode()) {
			t.Fatalf("%s became %s: %v", m.Encode(), again.Encode(), err)
		}
		if n := nodeAt(m.place(), 1); n.ID != m.ID || !n.On(m.ID, m.Incarnation) {
			t.Fatalf("the place of %+v is %+v", m, n)
		}
	})
}

// Goal: no record that a catalog takes keeps others from being planned for, or makes a panic.
func FuzzPlanWith(f *testing.F) {
	k, err := NewCatalog().Create(Spec{Name: "a"}, testCluster(3))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(Key("a"), k.Encode())
	k.Shards[0].Joining = []Arrival{{Node: Node{ID: 4, Incarnation: 2}, For: k.Shards[0].Nodes[0]}}
	k.Shards[0].Leaving = []Node{{ID: 5, Incarnation: 3, Life: 2}}
	f.Add(Key("a"), k.Encode())
	f.Add(MemberKey(9), []byte(`{"id":9,"disk":1,"zone":"z/r","weight":7,"state":"removing","incarnation":65535}`))
	f.Add(RemovedKey(1), []byte(`{"id":1,"name":"n1"}`))
	f.Add(PausedKey, []byte("true"))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		c := four(t)
		if _, err := c.Put([]byte(key), value, 1); err != nil {
			return
		}
		if _, ok := c.Keyspace(System); !ok || c.shards[systemShard] != System {
			t.Fatal("the system keyspace is gone")
		}
		for _, dead := range []map[uint64]bool{nil, ids(2)} {
			p := Planning{Seed: 1, Silent: dead, Dead: dead}
			proposals, err := c.Plan(p)
			if err != nil {
				t.Fatalf("nobody can plan any more: %v", err)
			}
			for _, x := range proposals {
				put(t, c, Key(x.Keyspace), x.Next.Encode())
			}
			if _, err := c.Overview(p); err != nil {
				t.Fatal(err)
			}
		}
		c.Emptied()
	})
}

// Goal: records that cannot be are refused with the reason, whoever wrote them.
func TestRecordsRefused(t *testing.T) {
	k, _ := four(t).Keyspace("three")
	edit := func(change func(*Keyspace, *Shard)) string {
		next, s := k, k.Shards[0].clone()
		next.Shards = []Shard{s}
		change(&next, &next.Shards[0])
		return string(next.Encode())
	}
	for _, x := range []struct {
		what, key, value string
		want             error
		says             string
	}{
		{"no JSON", MemberKey(1), "{", ErrMember, "JSON"},
		{"no id", MemberKey(1), "{}", ErrMember, "id 0"},
		{"a huge id", MemberKey(1 << 48), `{"id":281474976710656}`, ErrMember, "id 1000000000000"},
		{"another one's record", MemberKey(1), `{"id":2}`, ErrMember, "node 2"},
		{"another one's end", RemovedKey(1), `{"id":2}`, ErrMember, "node 2"},
		{"a weight", MemberKey(1), `{"id":1,"weight":1025}`, ErrMember, "1025"},
		{"a zone", MemberKey(1), `{"id":1,"zone":"a b"}`, ErrMember, "zone"},
		{"replicas", Key("three"), edit(func(k *Keyspace, _ *Shard) { k.Replicas = 32 }), ErrInvalid, "can be none"},
		{"one node twice", Key("three"), edit(func(_ *Keyspace, s *Shard) { s.Nodes[1] = s.Nodes[0] }), ErrInvalid, "can be none"},
		{"no node", Key("three"), edit(func(_ *Keyspace, s *Shard) { s.Nodes[1].ID = 0 }), ErrInvalid, "can be none"},
		{"a huge node", Key("three"), edit(func(_ *Keyspace, s *Shard) { s.Leaving = []Node{{ID: 1 << 48}} }), ErrInvalid, "can be none"},
		{"no voters", Key("three"), edit(func(_ *Keyspace, s *Shard) { s.Nodes = nil }), ErrInvalid, "not whole"},
		{"another keyspace's", Key("one"), string(k.Encode()), ErrInvalid, `"three"`},
		{"the shard of another one", Key("new"), edit(func(k *Keyspace, _ *Shard) { k.Name = "new" }), ErrInvalid, "shard 17"},
	} {
		if _, err := four(t).Put([]byte(x.key), []byte(x.value), 1); !errors.Is(err, x.want) || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s: %v; want %v that says %q", x.what, err, x.want, x.says)
		}
	}
}
