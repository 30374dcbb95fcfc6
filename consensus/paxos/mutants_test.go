//go:build mutants

package paxos

import (
	"flag"
	"strings"
	"testing"

	"github.com/quorate/quorate/consensus/mutant"
)

var mutantSeeds = flag.Int("paxos.mutantseeds", 4000, "random clusters in which a mutant must be caught")

// courses are directed, for what chance hardly ever comes upon.
var courses = map[string]func() error{
	"a value below the promise": belowPromise, "a read during a handover": readDuringHandover,
	"a report overtaken by a state": reportOvertakenByState,
}

// Goal: every seeded bug of this package shows in the random cluster within a bounded
// number of seeds, and the same seeds are clean without it.
func TestMutantsAreCaught(t *testing.T) {
	for _, mut := range mutant.Table {
		if !strings.HasPrefix(string(mut.Name), "paxos-") {
			continue
		}
		t.Run(string(mut.Name), func(t *testing.T) {
			if err := mutant.Select(mut.Name); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = mutant.Select() }()
			for name, run := range courses {
				if err := course(run); err != nil {
					t.Logf("caught by %s: %v", name, err)
					return
				}
			}
			for seed := uint64(1); seed <= uint64(*mutantSeeds); seed++ {
				err := runRandom(seed)
				if err == nil {
					continue
				}
				_ = mutant.Select()
				if clean := runRandom(seed); clean != nil {
					t.Fatalf("seed %d fails without the mutant: %v", seed, clean)
				}
				text, _, _ := strings.Cut(err.Error(), "\n")
				t.Logf("caught in seed %d: %s", seed, text)
				return
			}
			t.Errorf("not caught in %d seeds: %s", *mutantSeeds, mut.Bug)
		})
	}
}
