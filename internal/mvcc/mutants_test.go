//go:build mutants

package mvcc

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/quorate/quorate/consensus/mutant"
)

// mutantEnv names the mutant that a child process of this test runs with.
const mutantEnv = "QUORATE_TEST_MUTANT"

func TestMain(m *testing.M) {
	if name := os.Getenv(mutantEnv); name != "" {
		if err := mutant.Select(mutant.Name(name)); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// Goal: the watcher and count properties notice every bug seeded into this package.
// Method: run them in a process of their own with one mutant on.
func TestMutantsAreCaught(t *testing.T) {
	if os.Getenv(mutantEnv) != "" {
		t.Skip("a child")
	}
	for _, m := range mutant.Table {
		if !strings.HasPrefix(string(m.Name), "mvcc-") {
			continue
		}
		t.Run(string(m.Name), func(t *testing.T) {
			child := exec.Command(os.Args[0], "-test.run=Watchers|Counts|Cache", "-rapid.nofailfile", "-rapid.checks=2000", "-rapid.shrinktime=1ms")
			child.Env = append(os.Environ(), mutantEnv+"="+string(m.Name))
			out, err := child.CombinedOutput()
			if err == nil {
				t.Fatalf("not caught: %s", m.Bug)
			}
			for _, line := range strings.Split(string(out), "\n") {
				if strings.HasPrefix(line, "--- FAIL") {
					t.Logf("caught by %s", line)
				}
			}
		})
	}
}
