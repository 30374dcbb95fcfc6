package ring

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// cluster draws nodes: without zones, or in zones and racks of any sizes and weights.
func cluster(t *rapid.T) []Node {
	zones := rapid.IntRange(0, 6).Draw(t, "zones")
	var nodes []Node
	for id := range rapid.IntRange(1, 14).Draw(t, "nodes") {
		n := Node{ID: NodeID(id + 1), Weight: rapid.SampledFrom([]int{1, 1, 1, 1, 2, 3, 8, 0}).Draw(t, "weight")}
		if zones > 0 {
			n.Domains = []string{fmt.Sprint("z", rapid.IntRange(1, zones).Draw(t, "zone"))}
			if rapid.Bool().Draw(t, "in a rack") {
				n.Domains = append(n.Domains, fmt.Sprint("r", rapid.IntRange(1, 3).Draw(t, "rack")))
			}
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// wanted draws shards without replicas.
func wanted(t *rapid.T) *Placement {
	p := &Placement{}
	mixed := rapid.Bool().Draw(t, "mixed")
	want := rapid.SampledFrom([]int{1, 3, 5, 7}).Draw(t, "want")
	for id := range rapid.IntRange(0, 60).Draw(t, "shards") {
		if mixed {
			want = rapid.SampledFrom([]int{1, 2, 3, 4, 5, 7}).Draw(t, "want of one")
		}
		p.Shards = append(p.Shards, Shard{ID: ShardID(3*id + 1), Want: want})
	}
	return p
}

// anywhere draws replicas for the shards, on nodes of the ring and on others.
func anywhere(t *rapid.T, p *Placement, nodes int) {
	for k := range p.Shards {
		list := rapid.SliceOfNDistinct(rapid.IntRange(1, nodes+2), 0, min(nodes+2, 8), rapid.ID[int]).Draw(t, "replicas")
		for _, id := range list {
			p.Shards[k].Replicas = append(p.Shards[k].Replicas, NodeID(id))
		}
	}
}

func policies(t *rapid.T) Policy {
	p := Policy{ReplicaLoad: rapid.SampledFrom([]int{0, 100, 110, 125, 200}).Draw(t, "replica load")}
	if rapid.Bool().Draw(t, "own leader load") {
		p.LeaderLoad = max(p.ReplicaLoad, loadDefault)
	}
	return p
}

func mustNew(t interface{ Fatal(...any) }, nodes []Node, o Options) *Ring {
	r, err := New(nodes, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// carryOut plans and makes all moves; it returns them.
func carryOut(t interface{ Fatal(...any) }, r *Ring, p *Placement, policy Policy) []Move {
	moves, err := r.Plan(p, policy)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range moves {
		if err := p.Apply(m); err != nil {
			t.Fatal(err)
		}
	}
	return moves
}

// faults judges a placement from the definitions, with nothing of what plans compute but
// fair shares. What cannot be kept is no fault.
func faults(r *Ring, p *Placement, policy Policy) (list []string) {
	bad := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	loads, err := r.Loads(p, policy)
	if err != nil {
		return []string{err.Error()}
	}
	short := false // some shard wants more nodes than there are
	for _, s := range p.Shards {
		goal := min(s.Want, r.usable)
		short = short || s.Want > r.usable
		live, zones := 0, map[int32]int{}
		for _, id := range s.Replicas {
			if i := r.find(id); i >= 0 {
				if r.nodes[i].Weight > 0 {
					live++
					zones[r.zoneOf[i]]++
				}
			}
		}
		if live < goal || live > s.Want {
			bad("shard %v has %d of %d replicas: %v", s.ID, live, goal, s.Replicas)
		}
		if s.Want <= r.usable && len(s.Replicas) != s.Want {
			bad("shard %v wants %d replicas and has %v", s.ID, s.Want, s.Replicas)
		}
		for z, n := range zones {
			if n > r.most(s.Want) {
				bad("shard %v has %d replicas in zone %d: %v", s.ID, n, z, s.Replicas)
			}
		}
	}
	for _, l := range loads {
		if r.nodes[r.find(l.Node)].Weight == 0 && short {
			continue
		}
		if l.Replicas > l.Cap {
			bad("node %v has %d replicas, the cap is %d", l.Node, l.Replicas, l.Cap)
		}
		if l.Leaders > l.LeadersCap && !short {
			bad("node %v leads %d, the cap is %d", l.Node, l.Leaders, l.LeadersCap)
		}
	}
	return list
}

// Goal: one plan without a limit, from wherever replicas are, ends with every shard having
// its replicas, no node above a cap, no zone crowded (R1, R3, R4), and the next plan is empty (R5).
// Method: random clusters and placements, judged by definition.
func TestPlanReachesTheGoal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes, p, policy := cluster(t), wanted(t), policies(t)
		if rapid.Bool().Draw(t, "placed") {
			anywhere(t, p, len(nodes))
		}
		r := mustNew(t, nodes, Options{TokensPerUnit: 16})
		before := p.Clone()
		moves := carryOut(t, r, p, policy)
		if f := faults(r, p, policy); f != nil {
			t.Fatalf("%v\nbefore %v\nafter  %v\nmoves %v", f, before.Shards, p.Shards, moves)
		}
		if again := carryOut(t, r, p, policy); again != nil {
			t.Fatalf("the second plan is not empty: %v", again)
		}
		if p.Epoch != uint64(len(moves)) {
			t.Fatalf("epoch %d after %d moves", p.Epoch, len(moves))
		}
		slices.Reverse(nodes)
		if other, err := mustNew(t, nodes, Options{TokensPerUnit: 16}).Plan(before, policy); err != nil || !slices.Equal(other, moves) {
			t.Fatalf("nodes in another order: %v, not %v (%v)", other, moves, err)
		}
	})
}
