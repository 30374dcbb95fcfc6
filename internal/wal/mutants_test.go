//go:build mutants

package wal

import (
	"flag"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/quorate/quorate/consensus/mutant"
)

var mutantName = flag.String("wal.mutant", "", "the seeded bug to switch on in all tests")

func TestMain(m *testing.M) {
	flag.Parse()
	if *mutantName != "" {
		if err := mutant.Select(mutant.Name(*mutantName)); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// Goal: every seeded bug of this package is caught by its tests, and without a bug
// they pass. Method: run them in a process of their own.
func TestMutantsAreCaught(t *testing.T) {
	if *mutantName != "" {
		return
	}
	for _, mut := range mutant.Table {
		if !strings.HasPrefix(string(mut.Name), "wal-") {
			continue
		}
		t.Run(string(mut.Name), func(t *testing.T) {
			t.Parallel()
			out, err := exec.Command(os.Args[0], "-test.skip", "TestMutants", "-wal.mutant", string(mut.Name)).CombinedOutput()
			if err == nil {
				t.Fatalf("not caught: %s", mut.Bug)
			}
			var by []string
			for _, line := range strings.Split(string(out), "\n") {
				if name, ok := strings.CutPrefix(line, "--- FAIL: "); ok {
					by = append(by, strings.Fields(name)[0])
				}
			}
			if len(by) == 0 {
				t.Fatalf("died without a failing test:\n%s", out)
			}
			t.Logf("caught by %s", strings.Join(by, ", "))
		})
	}
}
