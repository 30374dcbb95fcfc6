package ring

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// Goal: larger clusters than those of the other tests keep all rules through a life of
// changes. Method: up to 64 nodes, uneven zones and racks, shards that want 1 to 7
// replicas; nodes join, leave and change weight, and leaders change places. After each,
// one plan reaches the goal, judged by definition, and the next is empty.
func TestLives(t *testing.T) {
	adds, detours := 0, 0
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		c := newLife(rng)
		for step := range 6 {
			r := mustNew(t, c.nodes, Options{TokensPerUnit: 8})
			a, d := copies(carryOut(t, r, c.p, c.policy))
			adds, detours = adds+a, detours+d
			if f := faults(r, c.p, c.policy); f != nil {
				t.Fatalf("seed %d, step %d: %v", seed, step, f)
			}
			if again := carryOut(t, r, c.p, c.policy); again != nil {
				t.Fatalf("seed %d, step %d: the second plan is not empty: %v", seed, step, again)
			}
			c.change(rng)
		}
	}
	if t.Logf("%d copies, %d of them detours", adds, detours); detours == 0 {
		t.Error("there was no detour")
	}
}

// life is a cluster that changes.
type life struct {
	nodes  []Node
	p      *Placement
	policy Policy
	last   NodeID
}

func newLife(rng *rand.Rand) *life {
	c := &life{p: &Placement{}, policy: Policy{ReplicaLoad: []int{100, 101, 110, 125}[rng.IntN(4)]}}
	zones := rng.IntN(9)
	for range 5 + rng.IntN(60) {
		c.last++
		n := Node{ID: c.last, Weight: 1}
		if rng.IntN(3) == 0 {
			n.Weight = rng.IntN(9)
		}
		if zones > 0 {
			zone := rng.IntN(zones) * rng.IntN(2) // half of all are in zone 0
			n.Domains = []string{fmt.Sprint(zone), fmt.Sprint(rng.IntN(4))}
		}
		c.nodes = append(c.nodes, n)
	}
	for id := range 50 + rng.IntN(500) {
		c.p.Shards = append(c.p.Shards, Shard{ID: ShardID(id), Want: 1 + 2*rng.IntN(4)})
	}
	return c
}

func (c *life) change(rng *rand.Rand) {
	switch k := rng.IntN(len(c.nodes)); rng.IntN(4) {
	case 0:
		c.nodes = append(c.nodes[:k:k], c.nodes[k+1:]...)
	case 1:
		c.nodes[k].Weight = rng.IntN(9)
	case 2:
		n := c.nodes[k]
		c.last++
		n.ID = c.last
		c.nodes = append(c.nodes, n)
	case 3: // elections have put others first
		for _, s := range c.p.Shards {
			rng.Shuffle(len(s.Replicas), func(i, j int) { s.Replicas[i], s.Replicas[j] = s.Replicas[j], s.Replicas[i] })
		}
	}
}
