package placement

import (
	"fmt"
	"testing"
)

// BenchmarkPlan is a plan for 10,000 keyspaces on 12 nodes of which one has died.
func BenchmarkPlan(b *testing.B) {
	for _, dead := range []bool{false, true} {
		b.Run(fmt.Sprintf("dead=%v", dead), func(b *testing.B) {
			c := NewCatalog()
			for i := range 12 {
				c.Found(Member{ID: uint64(i + 1), Name: fmt.Sprint(i), Incarnation: 1, Disk: 1, Zone: fmt.Sprint("z", i%3)})
			}
			for i := range 10000 {
				k := Keyspace{Format: 1, Name: fmt.Sprint("k", i), Epoch: 1, State: Active, Replicas: 3}
				nodes := []Node{{ID: uint64(i%12 + 1), Incarnation: 1}, {ID: uint64((i+1)%12 + 1), Incarnation: 1}, {ID: uint64((i+2)%12 + 1), Incarnation: 1}}
				k.Shards = []Shard{{ID: uint64(FirstShard + i), Engine: "raft", First: nodes, Nodes: nodes}}
				c.add(k)
			}
			p := Planning{Seed: 1}
			if dead {
				p.Dead = map[uint64]bool{3: true}
				p.Silent = p.Dead
			}
			for b.Loop() {
				if _, err := c.Plan(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
