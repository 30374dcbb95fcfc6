//go:build mutants

package consensus_test

import (
	"strings"
	"testing"

	"github.com/quorate/quorate/consensus/consensustest"
	"github.com/quorate/quorate/consensus/mutant"
)

// leaseStorms is how many storms may find a mutant that chance is known to find.
const leaseStorms = 20

// Goal: every planted bug of leases shows in every engine in a staged situation, and what
// can show by chance does. Without them the suite passes (conformance).
func TestLeaseMutantsAreCaught(t *testing.T) {
	for _, e := range engines {
		for _, mut := range mutant.Table {
			if !strings.HasPrefix(string(mut.Name), "lease-") {
				continue
			}
			t.Run(e.engine.Name+"/"+string(mut.Name), func(t *testing.T) {
				defer func() { _ = mutant.Select() }()
				if err := mutant.Select(mut.Name); err != nil {
					t.Fatal(err)
				}
				opts := e.opts
				opts.Leases = true
				err := consensustest.Staged(e.engine, opts)
				if err == nil {
					t.Fatalf("no staged situation shows it: %s", mut.Bug)
				}
				t.Logf("%s", firstLine(err))
				err = consensustest.Storms(e.engine, opts, leaseStorms)
				if err == nil && mut.Name == mutant.LeaseUnconfirmed {
					t.Errorf("no storm shows it: %s", mut.Bug)
				}
			})
		}
	}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
