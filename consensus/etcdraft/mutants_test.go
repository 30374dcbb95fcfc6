//go:build mutants

package etcdraft

import (
	"flag"
	"strings"
	"testing"

	"github.com/quorate/quorate/consensus/mutant"
)

var mutantSeeds = flag.Int("etcdraft.mutantseeds", 4000, "random clusters in which a mutant must be caught")

// TestMutantsAreCaught: every seeded bug of this package shows in the random
// cluster within a bounded number of seeds, and the same seeds are
// clean without it.
func TestMutantsAreCaught(t *testing.T) {
	for _, mut := range mutant.Table {
		if !strings.HasPrefix(string(mut.Name), "etcdraft-") {
			continue
		}
		t.Run(string(mut.Name), func(t *testing.T) {
			if err := mutant.Select(mut.Name); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = mutant.Select() }()
			for seed := uint64(1); seed <= uint64(*mutantSeeds); seed++ {
				if err := runRandom(seed); err != nil {
					_ = mutant.Select()
					if clean := runRandom(seed); clean != nil {
						t.Fatalf("seed %d fails without the mutant: %v", seed, clean)
					}
					text, _, _ := strings.Cut(err.Error(), "\n")
					t.Logf("caught in seed %d: %s", seed, text)
					return
				}
			}
			t.Errorf("not caught in %d seeds: %s", *mutantSeeds, mut.Bug)
		})
	}
}
