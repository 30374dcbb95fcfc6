package placement

import (
	"slices"
	"testing"
)

// Goal: a node opens what the catalog names, and erases only what no later start of it could open
// again (L10).
func TestDuties(t *testing.T) {
	c := NewCatalog()
	for i, n := range []Node{{ID: 1, Incarnation: 1}, {ID: 1, Incarnation: 4}, {ID: 2, Incarnation: 1}, {ID: 1, Incarnation: 2, Life: 2}} {
		c.add(Keyspace{Name: string(rune('a' + i)), Shards: []Shard{{ID: FirstShard + uint64(i), Nodes: []Node{n}}}})
	}
	have := map[uint64]uint16{systemShard: 1, FirstShard: 1, FirstShard + 1: 3, FirstShard + 2: 1, FirstShard + 9: 1}
	for _, at := range []struct{ confirmed, durable bool }{{false, false}, {false, true}, {true, false}, {true, true}} {
		open, drop := c.Duties(1, 1, have, at.confirmed, at.durable)
		if want := []Duty{{FirstShard, 1}}; !slices.Equal(open, want) {
			t.Errorf("%+v: it opens %v, not %v", at, open, want)
		}
		var want []uint64
		if at.confirmed && at.durable {
			want = []uint64{FirstShard + 1, FirstShard + 2, FirstShard + 9}
		}
		if !slices.Equal(drop, want) {
			t.Errorf("%+v: it drops %v, not %v", at, drop, want)
		}
	}
	delete(have, FirstShard+1)
	if open, _ := c.Duties(1, 1, have, true, true); !slices.Contains(open, Duty{FirstShard + 1, 4}) {
		t.Error("a replica is not opened when the one before it is gone")
	}
}
