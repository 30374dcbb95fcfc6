package contest

import (
	"fmt"
	"testing"
)

// Goal: the plain implementations are what they are called, so that the comparison is
// fair. Method: the properties that their papers prove.
func TestRivalsAreWhatTheyAreCalled(t *testing.T) {
	made := map[string]Rival{}
	for _, r := range Rivals {
		made[r.Name] = r
	}
	// All are functions of nodes and keys, and use every node.
	for _, r := range Rivals {
		nodes := Nodes(12)
		a, b := r.Make(nodes, nil), r.Make(nodes, nil)
		if n := Moved(a, b); n != 0 {
			t.Errorf("%s: %d keys differ from one time to the next", r.Name, n)
		}
		if s := SpreadOf(nodes, a); s.Least == 0 {
			t.Errorf("%s: a node has nothing", r.Name)
		}
	}
	// Where the paper says so, keys move to a newcomer only.
	for _, name := range []string{"ring: owner", "Karger, 1 token", "Karger, 128 tokens", "jump", "rendezvous"} {
		before, after := made[name].Make(Nodes(12), nil), made[name].Make(Nodes(13), nil)
		for k := range Keys {
			if was, is := before(&Keys[k]), after(&Keys[k]); was != is && is != 13 {
				t.Fatalf("%s: key %d moves from %d to %d, and 13 is new", name, k, was, is)
			}
		}
	}
	// Maglev moves few others: "minimal disruption" is what it gives up.
	before, after := made["Maglev, 65537 places"].Make(Nodes(12), nil), made["Maglev, 65537 places"].Make(Nodes(13), nil)
	if n := Moved(before, after); n < KeyCount/13 || n > KeyCount/8 {
		t.Errorf("Maglev moves %d keys", n)
	}
	// The values of jump hash for small inputs are checked by hand: one bucket takes all, and a
	// key that is in bucket b of n is there with every size from b+1 to n.
	for k := range Keys[:100] {
		last := uint64(1)
		for n := 1; n <= 50; n++ {
			is := jump(Nodes(n), nil)(&Keys[k])
			if is != last && is != uint64(n) {
				t.Fatalf("jump: key %d is in %d of %d, before in %d", k, is, n, last)
			}
			last = is
		}
	}
}

// Goal: what the document says of ring's placement holds: caps, and no more moves than
// needed.
func TestPlacementHolds(t *testing.T) {
	for _, load := range loads {
		for _, x := range placementRuns(load) {
			what := fmt.Sprintf("%s at %d %%", x.event, load)
			if x.copies > x.needed || x.detours != 0 {
				t.Errorf("%s: %d copies, %d are needed, %d detours", what, x.copies, x.needed, x.detours)
			}
			if x.most > float64(load)+0.5 || x.leads > float64(load)+0.5 {
				t.Errorf("%s: the fullest has %.1f %% of replicas and %.1f %% of leaders", what, x.most, x.leads)
			}
		}
	}
}
