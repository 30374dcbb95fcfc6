package ring_test

import (
	"fmt"

	"github.com/quorate/quorate/ring"
)

// Five nodes in three zones carry two shards. One dies: its replicas move, nothing else.
func Example() {
	nodes := []ring.Node{
		{ID: 1, Weight: 1, Domains: []string{"east"}}, {ID: 2, Weight: 1, Domains: []string{"east"}},
		{ID: 3, Weight: 1, Domains: []string{"north"}}, {ID: 4, Weight: 1, Domains: []string{"north"}},
		{ID: 5, Weight: 2, Domains: []string{"west"}},
	}
	placement := &ring.Placement{Shards: []ring.Shard{{ID: 1, Want: 3}, {ID: 2, Want: 3}}}

	carryOut := func(nodes []ring.Node) {
		r, err := ring.New(nodes, ring.Options{Seed: 1})
		if err != nil {
			panic(err)
		}
		moves, err := r.Plan(placement, ring.Policy{Copies: 10})
		if err != nil {
			panic(err)
		}
		for _, m := range moves {
			fmt.Println(m)
			if err := placement.Apply(m); err != nil {
				panic(err)
			}
		}
		fmt.Println(placement.Shards)
	}
	carryOut(nodes)
	carryOut(nodes[1:]) // node 1 is dead
	// Output:
	// shard 1: add 5: a replica is missing
	// shard 2: add 5: a replica is missing
	// shard 1: add 2: a replica is missing
	// shard 2: add 1: a replica is missing
	// shard 1: add 3: a replica is missing
	// shard 2: add 3: a replica is missing
	// shard 1: lead 2 instead of 5: the leader's node leads too many
	// [{1 3 [2 5 3]} {2 3 [5 1 3]}]
	// shard 2: add 2 for 1: its node is gone
	// shard 2: remove 1 replaced by 2: its node is gone
	// [{1 3 [2 5 3]} {2 3 [5 3 2]}]
}
