package ring

import (
	"fmt"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// count is what R7 speaks of.
type count struct {
	missing, crowded, above int // D, B, X
}

// need counts from the definitions what is wrong with a placement of one class.
func need(r *Ring, p *Placement, policy Policy) (c count) {
	loads, err := r.Loads(p, policy)
	if err != nil {
		panic(err)
	}
	for _, l := range loads {
		c.above += max(0, l.Replicas-l.Cap)
	}
	for _, s := range p.Shards {
		live, zones := 0, map[int32]int{}
		for _, id := range s.Replicas {
			if i := r.find(id); i >= 0 {
				live++
				if r.nodes[i].Weight > 0 {
					zones[r.zoneOf[i]]++
				}
			}
		}
		c.missing += max(0, min(s.Want, r.usable)-live)
		for _, n := range zones {
			c.crowded += max(0, n-r.most(s.Want))
		}
	}
	return c
}

// copies counts the Adds of a plan, and those of them that are detours.
func copies(moves []Move) (adds, detours int) {
	for _, m := range moves {
		if m.Kind == Add {
			adds++
			if m.Reason == Detour {
				detours++
			}
		}
	}
	return adds, detours
}

// uniform draws shards that want as many replicas, and as many nodes at least.
func uniform(t *rapid.T) ([]Node, *Placement) {
	nodes := cluster(t)
	usable := 0
	for k := range nodes {
		nodes[k].Weight = max(1, nodes[k].Weight)
		usable++
	}
	want := rapid.SampledFrom([]int{1, 3, 5, 7}).Filter(func(n int) bool { return n <= usable }).Draw(t, "want")
	p := &Placement{}
	for id := range rapid.IntRange(1, 80).Draw(t, "shards") {
		p.Shards = append(p.Shards, Shard{ID: ShardID(id + 1), Want: want})
	}
	return nodes, p
}

// change lets one node join, leave or change its weight. It returns which.
func change(t *rapid.T, nodes []Node) ([]Node, string) {
	nodes = slices.Clone(nodes)
	k := rapid.IntRange(0, len(nodes)-1).Draw(t, "which")
	switch what := rapid.SampledFrom([]string{"joins", "leaves", "reweighs", "drains"}).Draw(t, "what"); what {
	case "joins":
		n := nodes[k] // beside another one, or in a zone of its own
		n.ID, n.Weight = 100, rapid.IntRange(1, 8).Draw(t, "weight")
		if rapid.Bool().Draw(t, "new zone") {
			n.Domains = []string{"new"}
		}
		return append(nodes, n), what
	case "leaves":
		return slices.Delete(nodes, k, k+1), what
	case "drains":
		nodes[k].Weight = 0
		return nodes, what
	default:
		nodes[k].Weight = rapid.IntRange(1, 8).Draw(t, "weight")
		return nodes, what
	}
}

// wide tells whether no R-1 zones have 1 - 1/c of the shares together.
func wide(r *Ring, p *Placement, policy Policy) bool {
	want := p.Shards[0].Want
	if r.most(want) != 1 || r.usable < want {
		return false
	}
	zones := zeros(len(r.size))
	for i, x := range r.share(want, len(p.Shards)) {
		zones[r.zoneOf[i]].Add(zones[r.zoneOf[i]], x)
	}
	slices.SortFunc(zones, func(a, b *big.Rat) int { return b.Cmp(a) })
	sum := new(big.Rat)
	for _, x := range zones[:want-1] {
		sum.Add(sum, x)
	}
	whole := big.NewRat(int64(want*len(p.Shards)), 1)
	return sum.Cmp(whole.Mul(whole, big.NewRat(int64(policy.ReplicaLoad-100), int64(policy.ReplicaLoad)))) < 0
}

// tally is how often what was seen, over all runs of a test.
type tally map[string]int

// Goal: R7, and each consequence of it that doc.go draws for one node that joins, leaves or
// changes its weight. Method: random clusters are placed, one node changes, and the plan
// is held against what the definitions say is needed.
func TestMovementIsBounded(t *testing.T) {
	seen := tally{}
	all := []string{"joins", "leaves", "reweighs", "drains", "wide", "R zones", "detours"}
	missed := func() int { return slices.IndexFunc(all, func(what string) bool { return seen[what] == 0 }) }
	for round := 0; round == 0 || missed() >= 0 && round < 30; round++ {
		movements(t, seen)
	}
	if k := missed(); k >= 0 {
		t.Errorf("no run saw this: %s", all[k])
	}
	t.Logf("%v", seen)
}

func movements(t *testing.T, seen tally) {
	rapid.Check(t, func(t *rapid.T) {
		nodes, p := uniform(t)
		policy := Policy{ReplicaLoad: rapid.SampledFrom([]int{100, 105, 125, 200}).Draw(t, "load")}
		before := mustNew(t, nodes, Options{TokensPerUnit: 16})
		carryOut(t, before, p, policy)
		after, what := change(t, nodes)
		r := mustNew(t, after, Options{TokensPerUnit: 16})
		want := p.Shards[0].Want
		if r.usable < want {
			return // then nothing is to be gained
		}
		was := before.most(want)
		start, c := p.Clone(), need(r, p, policy)
		adds, detours := copies(carryOut(t, r, p, policy))
		told := fmt.Sprintf("%s: %+v, %d adds, %d of them detours", what, c, adds, detours)
		if adds > c.missing+c.crowded+c.above+detours || adds < c.missing+max(c.crowded, c.above) {
			t.Fatalf("%s: outside of R7", told)
		}
		seen["runs"]++
		if detours > 0 {
			seen["detours"]++
		}
		if wide(r, p, policy) {
			seen["wide"]++
			if detours > 0 {
				t.Fatalf("%s: the zones are wide", told)
			}
		}
		if r.zones == want && before.zones == want && r.most(want) == 1 {
			seen["R zones"]++
			if detours > 0 {
				t.Fatalf("%s: there are R zones", told)
			}
		}
		if r.most(want) == was {
			consequences(t, told, what, before, r, start, policy, c)
			seen[what]++
		}
	})
}

// consequences checks what R7 comes to for one node.
func consequences(t *rapid.T, told, what string, before, after *Ring, p *Placement, policy Policy, c count) {
	want, shards := p.Shards[0].Want, len(p.Shards)
	if c.crowded != 0 {
		t.Fatalf("%s: zones are crowded, though M is what it was", told)
	}
	was, is := before.share(want, shards), after.share(want, shards)
	grown, fell := new(big.Rat), int64(0)
	for i, n := range after.nodes {
		old := new(big.Rat)
		if k := before.find(n.ID); k >= 0 {
			old = was[k]
		}
		switch is[i].Cmp(old) {
		case 1:
			grown.Add(grown, new(big.Rat).Sub(is[i], old))
		case -1:
			fell++
			if what == "leaves" || what == "drains" && n.Weight > 0 {
				t.Fatalf("%s: the share of %v falls from %v to %v", told, n.ID, old, is[i])
			}
		}
	}
	switch what {
	case "leaves":
		if c.above != 0 {
			t.Fatalf("%s: nodes are above their caps", told)
		}
	case "joins":
		limit := grown.Mul(grown, big.NewRat(int64(policy.ReplicaLoad), 100))
		if limit.Add(limit, big.NewRat(fell, 1)); c.above > 0 && big.NewRat(int64(c.above), 1).Cmp(limit) >= 0 {
			t.Fatalf("%s: not below c·f + n = %v", told, limit)
		}
	}
}
