//go:build mutants

package raft_test

import (
	"flag"
	"strings"
	"testing"

	"github.com/quorate/quorate/consensus/consensustest"
	"github.com/quorate/quorate/consensus/mutant"
	"github.com/quorate/quorate/consensus/raft"
)

var conformanceSeeds = flag.Int("raft.conformanceseeds", 0,
	"random clusters of the conformance suite for each mutant; 0: 200, for those that are known to show in them")

// byChance are the mutants that chance finds in the conformance suite within 200
// seeds. Staged situations show all of them.
var byChance = map[mutant.Name]bool{
	mutant.RaftEpochBeforeDurable: true,
	mutant.RaftAckBeforeDurable:   true,
	mutant.RaftCountSelfEarly:     true,
	mutant.RaftReadBeforeBarrier:  true,
	mutant.RaftCountLearner:       true,
	mutant.RaftJointAsUnion:       true,
	mutant.RaftAppendUnchecked:    true,
	mutant.RaftSnapshotOverNewer:  true,
	mutant.RaftTruncateAlways:     true,
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// Goal: the conformance suite can fail.
// Method: run its staged situations and its random clusters with each seeded bug of
// this package, and the seed that shows it once more without.
func TestConformanceCatchesMutants(t *testing.T) {
	opts := consensustest.Options{Doubt: true}
	for _, mut := range mutant.Table {
		if !strings.HasPrefix(string(mut.Name), "raft-") {
			continue
		}
		t.Run(string(mut.Name), func(t *testing.T) {
			defer func() { _ = mutant.Select() }()
			if err := mutant.Select(mut.Name); err != nil {
				t.Fatal(err)
			}
			if err := consensustest.Staged(raft.Engine, opts); err != nil {
				t.Logf("staged: %s", firstLine(err))
			} else {
				t.Errorf("no staged situation shows it: %s", mut.Bug)
			}
			seeds := *conformanceSeeds
			if seeds == 0 && byChance[mut.Name] {
				seeds = 200
			}
			for seed := uint64(1); seed <= uint64(seeds); seed++ {
				if err := mutant.Select(mut.Name); err != nil {
					t.Fatal(err)
				}
				err := consensustest.Chaos(raft.Engine, opts, seed)
				if err == nil {
					continue
				}
				_ = mutant.Select()
				if clean := consensustest.Chaos(raft.Engine, opts, seed); clean != nil {
					t.Fatalf("seed %d fails without the mutant: %v", seed, clean)
				}
				t.Logf("by chance: %s", firstLine(err))
				return
			}
			if byChance[mut.Name] {
				t.Errorf("not caught in %d seeds: %s", seeds, mut.Bug)
			}
		})
	}
}
