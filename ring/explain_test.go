package ring

import (
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Goal: Explain says of every node why it has or lacks a replica of a shard. Method: a
// shard of three zones, with one node of each kind.
func TestExplainInWords(t *testing.T) {
	nodes := []Node{
		{ID: 1, Weight: 1, Domains: []string{"a"}}, {ID: 2, Weight: 1, Domains: []string{"a"}},
		{ID: 3, Weight: 1, Domains: []string{"b"}}, {ID: 4, Weight: 1, Domains: []string{"b"}},
		{ID: 5, Weight: 1, Domains: []string{"c"}}, {ID: 6, Weight: 1, Domains: []string{"c"}}, {ID: 7, Weight: 0, Domains: []string{"c"}},
	}
	r := mustNew(t, nodes, Options{})
	p := &Placement{}
	for id := ShardID(1); id <= 8; id++ {
		p.Shards = append(p.Shards, Shard{ID: id, Want: 2, Replicas: []NodeID{1, 3}})
	}
	p.Shards[7].Replicas = []NodeID{5, 99}
	// Eight shards want 16 replicas on six nodes: the share is 2.67, the cap 4.
	var text []string
	for _, node := range []NodeID{5, 6, 2, 1, 7, 99} {
		e, err := r.Explain(p, Policy{}, 8, node)
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(e.String(), "\n")
		text = append(text, first[:strings.IndexAny(first+";", ";")])
		if len(e.Before) != max(0, e.Rank) {
			t.Errorf("node %v has rank %d behind %v", node, e.Rank, e.Before)
		}
	}
	got, want := strings.Join(text, "\n"), `shard 8, node 5: has a replica and leads
shard 8, node 6: is in a zone that has its part
shard 8, node 2: has room, but a replica moves only if it must
shard 8, node 1: is at its cap
shard 8, node 7: is to be emptied
shard 8, node 63: is not on the ring`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if _, err := r.Explain(p, Policy{}, 9, 1); !errors.Is(err, ErrUnknown) {
		t.Errorf("shard 9: %v", err)
	}
}

// TestExplanationIsWhole: what String prints of a node far down the order.
func TestExplanationIsWhole(t *testing.T) {
	e := Explanation{
		Shard: 8, Candidate: Candidate{Node: 6, Verdict: Holds}, Leads: true, Rank: 2, Load: Load{Replicas: 7, Cap: 9},
		Before: []Candidate{{Node: 1, Verdict: AtCap}, {Node: 2, Verdict: ZoneTaken, Beside: 3}},
	}
	want := `shard 8, node 6: has a replica and leads; rank 2, 7 of at most 9 replicas
  rank 0, node 1: is at its cap
  rank 1, node 2: is in a zone that has its part (node 3)`
	if got := e.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Goal: an explanation agrees with what a plan would do. Method: of random placements take
// a shard that lacks one replica; a plan puts it on the first node that Explain calls free,
// where every zone has one place; with two zones only verdicts are looked at.
func TestExplainAgreesWithPlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(4, 12).Draw(t, "nodes")
		r := mustNew(t, even(n, rapid.IntRange(2, 5).Draw(t, "zones")), Options{})
		p := &Placement{}
		for id := range rapid.IntRange(1, 40).Draw(t, "shards") {
			p.Shards = append(p.Shards, Shard{ID: ShardID(id), Want: 3})
		}
		carryOut(t, r, p, Policy{})
		k := rapid.IntRange(0, len(p.Shards)-1).Draw(t, "which")
		p.Shards[k].Replicas = p.Shards[k].Replicas[1:]
		moves, err := r.Plan(p, Policy{})
		if err != nil {
			t.Fatal(err)
		}
		e, err := r.Explain(p, Policy{}, p.Shards[k].ID, moves[0].Node)
		if err != nil {
			t.Fatal(err)
		}
		if e.Verdict != Free && moves[0].Reason != Detour {
			t.Fatalf("%v goes to %v", moves[0], e)
		}
		for _, c := range e.Before {
			if (c.Beside != 0) != (c.Verdict == ZoneTaken) || c.Beside == c.Node {
				t.Fatalf("%+v", c)
			}
			if c.Verdict == Free && r.zones >= 3 && moves[0].Reason != Detour {
				t.Fatalf("%v goes to %v", moves[0], e)
			}
		}
	})
}

// Goal: Loads adds up, and a share is what zones allow. Method: three zones of which one
// has a single node: it must carry a replica of every shard.
func TestShareKnowsZones(t *testing.T) {
	nodes := []Node{{ID: 1, Weight: 1, Domains: []string{"a"}}}
	for id := NodeID(2); id <= 5; id++ {
		nodes = append(nodes, Node{ID: id, Weight: int(id) - 1, Domains: []string{"b"}}, Node{ID: 10 + id, Weight: 1, Domains: []string{"c"}})
	}
	r := mustNew(t, nodes, Options{})
	p := &Placement{}
	for id := range ShardID(100) {
		p.Shards = append(p.Shards, Shard{ID: id, Want: 3})
	}
	carryOut(t, r, p, Policy{})
	loads, err := r.Loads(p, Policy{})
	if err != nil {
		t.Fatal(err)
	}
	replicas, leaders := 0, 0
	for _, l := range loads {
		want := 25.0
		switch {
		case l.Node == 1:
			want = 100
		case l.Node <= 5:
			want = 10 * float64(l.Node-1)
		}
		if math.Abs(l.Share-want) > 1e-9 || l.Cap != int(math.Ceil(want*1.25)) || l.LeadersCap != int(math.Ceil(want*1.25/3)) {
			t.Errorf("share %v, caps %d and %d of node %v, whose share should be %v", l.Share, l.Cap, l.LeadersCap, l.Node, want)
		}
		replicas, leaders = replicas+l.Replicas, leaders+l.Leaders
	}
	if replicas != 300 || leaders != 100 {
		t.Errorf("%d replicas and %d leaders", replicas, leaders)
	}
}
