//go:build mutants

package shard

import (
	"testing"

	"github.com/quorate/quorate/consensus/mutant"
)

// Goal: the bugs of this package that no run of the simulator shows are caught by its tests.
func TestMutantsAreCaught(t *testing.T) {
	t.Run(string(mutant.ShardReadBackStale), func(t *testing.T) {
		if err := mutant.Select(mutant.ShardReadBackStale); err != nil {
			t.Fatal(err)
		}
		x := readBackOvertaken(t)
		if err := mutant.Select(); err != nil {
			t.Fatal(err)
		}
		if x == nil {
			t.Fatal("not caught")
		}
		t.Logf("caught: %+v leaves in a message of epoch 5", *x)
		if readBackOvertaken(t) != nil {
			t.Error("fails without the mutant")
		}
	})
}
