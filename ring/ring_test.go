package ring

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// even is n nodes of weight 1, in zones by turns; 0 zones: without domains.
func even(n, zones int) (nodes []Node) {
	for id := 1; id <= n; id++ {
		x := Node{ID: NodeID(id), Weight: 1}
		if zones > 0 {
			x.Domains = []string{fmt.Sprint("zone", id%zones)}
		}
		nodes = append(nodes, x)
	}
	return nodes
}

// coarse is a hash with 32 positions: tokens of different nodes are often equal.
type coarse struct{ XX }

func (coarse) Token(seed uint64, node NodeID, i int) Token {
	return XX{}.Token(seed, node, i) >> 59 << 59
}

// naiveOrder walks all tokens from a position on and lists nodes as they come.
func naiveOrder(nodes []Node, o Options, at Token) (order []NodeID) {
	type token struct {
		distance uint64 // clockwise from the position; tokens at it come first
		node     NodeID
	}
	var all []token
	for _, n := range nodes {
		for i := range n.Weight * o.TokensPerUnit {
			all = append(all, token{uint64(o.Hash.Token(o.Seed, n.ID, i) - at), n.ID})
		}
	}
	slices.SortFunc(all, func(a, b token) int {
		if a.distance != b.distance {
			return compare(Token(a.distance), Token(b.distance))
		}
		return compare(a.node, b.node)
	})
	for _, t := range all {
		if !slices.Contains(order, t.node) {
			order = append(order, t.node)
		}
	}
	return order
}

// naiveCandidates picks by the words of R2, from the order that the circle has.
func naiveCandidates(nodes []Node, order []NodeID, n int) (list []NodeID) {
	byID := map[NodeID]Node{}
	for _, x := range nodes {
		byID[x.ID] = x
	}
	// path is the domain of a node down to a level; nodes without domains share none.
	path := func(id NodeID, level int) string {
		d := byID[id].Domains
		if len(d) == 0 {
			return fmt.Sprint(id)
		}
		if level > len(d) {
			return fmt.Sprintf("%q %v", d, id)
		}
		return fmt.Sprintf("%q", d[:level])
	}
	for range n {
		best, least := NodeID(0), []int(nil)
		for _, id := range order {
			if slices.Contains(list, id) {
				continue
			}
			var crowd []int
			for level := 1; level <= 3; level++ {
				together := 0
				for _, x := range list {
					if path(x, level) == path(id, level) {
						together++
					}
				}
				crowd = append(crowd, together)
			}
			if best == 0 || slices.Compare(crowd, least) < 0 {
				best, least = id, crowd
			}
		}
		if best != 0 {
			list = append(list, best)
		}
	}
	return list
}

// Goal: owners and candidates are as R2 says. Method: random rings against a naive walk of
// all tokens, at random positions and at those of tokens and beside them.
func TestCandidatesAgainstNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := cluster(t)
		o := Options{Seed: rapid.Uint64().Draw(t, "seed"), TokensPerUnit: rapid.IntRange(1, 6).Draw(t, "tokens")}
		o.Hash = rapid.SampledFrom([]Hash{XX{}, coarse{}}).Draw(t, "hash")
		r := mustNew(t, nodes, o)
		places := []Token{0, ^Token(0), Token(rapid.Uint64().Draw(t, "position"))}
		if len(r.at) > 0 {
			at := rapid.SampledFrom(r.at).Draw(t, "token")
			places = append(places, at-1, at, at+1)
		}
		for _, at := range places {
			order := naiveOrder(nodes, o, at)
			owner := NodeID(0)
			if len(order) > 0 {
				owner = order[0]
			}
			if got := r.Owner(at); got != owner {
				t.Fatalf("the owner of %x is %v, not %v", at, owner, got)
			}
			want := naiveCandidates(nodes, order, len(nodes))
			for _, n := range []int{1, 3, 5, len(nodes)} {
				if got := r.Candidates(at, n, nil); !slices.Equal(got, want[:min(n, len(want))]) {
					t.Fatalf("the first %d candidates of %x are %v, not %v", n, at, want[:min(n, len(want))], got)
				}
			}
			var seen []NodeID
			r.order(at, make([]bool, len(nodes)), func(i int32) bool {
				seen = append(seen, r.nodes[i].ID)
				return true
			})
			if !slices.Equal(seen, order) {
				t.Fatalf("the order of %x is %v, not %v", at, order, seen)
			}
		}
	})
}

// Goal: tokens follow weights. Method: nodes of weight 1 to 4 own tenths of a million
// positions.
func TestOwnersByWeight(t *testing.T) {
	var nodes []Node
	for w := 1; w <= 4; w++ {
		nodes = append(nodes, Node{ID: NodeID(w), Weight: w})
	}
	r := mustNew(t, nodes, Options{TokensPerUnit: 4096})
	owned := map[NodeID]int{}
	rng := rand.New(rand.NewPCG(1, 2))
	const draws = 1_000_000
	for range draws {
		owned[r.Owner(Token(rng.Uint64()))]++
	}
	for w := 1; w <= 4; w++ {
		if got, want := owned[NodeID(w)], draws*w/10; got < want*95/100 || got > want*105/100 {
			t.Errorf("weight %d owns %d of %d positions, %d would be fair", w, got, draws, want)
		}
	}
}

// Goal: plain consistent hashing: what a newcomer does not own stays where it was.
func TestOwnersMoveToTheNewcomerOnly(t *testing.T) {
	before, after := mustNew(t, even(10, 0), Options{}), mustNew(t, even(11, 0), Options{})
	moved := 0
	for key := range uint64(100_000) {
		was, is := before.Owner(before.Number(key)), after.Owner(after.Number(key))
		if was != is {
			moved++
			if is != 11 {
				t.Fatalf("key %d moves from %v to %v, though 11 is new", key, was, is)
			}
		}
	}
	if moved < 7000 || moved > 11500 {
		t.Errorf("%d keys of 100000 moved, about 9091 should", moved)
	}
}

// TestRefusedNodes: New says what is wrong with its nodes.
func TestRefusedNodes(t *testing.T) {
	deep := Node{ID: 1, Weight: 1, Domains: make([]string, DomainsMax+1)}
	for _, c := range []struct {
		nodes []Node
		o     Options
		err   error
	}{
		{[]Node{{ID: 0, Weight: 1}}, Options{}, ErrNode},
		{[]Node{{ID: 1, Weight: 1}, {ID: 1, Weight: 1}}, Options{}, ErrNode},
		{[]Node{{ID: 1, Weight: -1}}, Options{}, ErrNode},
		{[]Node{{ID: 1, Weight: WeightMax + 1}}, Options{}, ErrNode},
		{[]Node{deep}, Options{}, ErrNode},
		{[]Node{{ID: 1, Weight: WeightMax}}, Options{}, ErrTooLarge},
		{[]Node{{ID: 1, Weight: 1}}, Options{TokensPerUnit: -1}, ErrTooLarge},
		{[]Node{{ID: 1, Weight: 1}}, Options{TokensPerUnit: TokensMax + 1}, ErrTooLarge},
	} {
		if _, err := New(c.nodes, c.o); !errors.Is(err, c.err) {
			t.Errorf("%v: %v, not %v", c.nodes, err, c.err)
		}
	}
}

// TestRingKeepsItsNodes: what the caller does with its slices afterwards changes nothing.
func TestRingKeepsItsNodes(t *testing.T) {
	nodes := even(3, 3)
	r := mustNew(t, nodes, Options{})
	nodes[0].ID, nodes[1].Domains[0] = 9, "elsewhere"
	if r.nodes[0].ID != 1 || r.nodes[1].Domains[0] != "zone2" {
		t.Errorf("the ring's nodes changed: %v", r.nodes)
	}
}

// Goal: equal names of racks in two zones are two racks, and a node without domains shares
// a zone with nobody, whatever zones are called.
func TestDomainsAreDistinct(t *testing.T) {
	r := mustNew(t, []Node{
		{ID: 1, Weight: 1}, {ID: 2, Weight: 1, Domains: []string{"1"}}, {ID: 3, Weight: 1, Domains: []string{"node 1"}},
		{ID: 4, Weight: 1, Domains: []string{"a", "r"}}, {ID: 5, Weight: 1, Domains: []string{"b", "r"}}, {ID: 6, Weight: 1, Domains: []string{"a r"}},
	}, Options{})
	if r.zones != 6 {
		t.Errorf("%d zones, not 6", r.zones)
	}
	if r.path[3][1] == r.path[4][1] {
		t.Error("racks of two zones are one")
	}
}

// TestLookupsAllocateNothing: they may run for every request.
func TestLookupsAllocateNothing(t *testing.T) {
	key, dst := []byte("a key of bytes"), make([]NodeID, 0, 8)
	for name, h := range map[string]Hash{"xx": XX{}, "sha1": SHA1{}} {
		r := mustNew(t, even(12, 3), Options{Seed: 7, Hash: h})
		if n := testing.AllocsPerRun(100, func() {
			r.Owner(r.Key(key))
			dst = r.Candidates(r.Number(12), 7, dst[:0])
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// BenchmarkOwner and BenchmarkCandidates look up keys that are numbers.
func BenchmarkOwner(b *testing.B) {
	for _, n := range []int{3, 12, 100, 1000} {
		b.Run(fmt.Sprint("nodes=", n), func(b *testing.B) {
			r := mustNew(b, even(n, 0), Options{})
			k := uint64(0)
			for b.Loop() {
				k++
				r.Owner(r.Number(k))
			}
		})
	}
}

func BenchmarkCandidates(b *testing.B) {
	for _, n := range []int{3, 12, 100, 1000} {
		b.Run(fmt.Sprint("nodes=", n), func(b *testing.B) {
			r := mustNew(b, even(n, 3), Options{})
			dst := make([]NodeID, 0, 3)
			k := uint64(0)
			for b.Loop() {
				k++
				dst = r.Candidates(r.Number(k), 3, dst[:0])
			}
		})
	}
}
