package arch

import (
	"go/ast"
	"go/token"
	"slices"
	"testing"
)

// pure packages are stepped by an owner, so that the simulator runs the production
// code in one goroutine and any run can be repeated from its seed.
var pure = []string{
	"consensus", "consensus/internal/ring", "consensus/quorum", "consensus/raft", "consensus/paxos", "consensus/etcdraft",
	"internal/store", "internal/shard", "internal/router", "ring",
}

// passive packages are called from many goroutines and may lock, but start none of
// their own and know no time: the simulator runs them too. The conformance suite is
// among them because a failure must repeat from its seed (T1 of that package).
var passive = []string{"consensus/consensustest", "internal/engine", "internal/mvcc"}

// mayLock are the files of pure packages that share state with another goroutine.
var mayLock = map[string]string{
	"internal/shard/waiters.go": "the apply worker and the owner share it; its comment says so",
}

// impure are the imports a pure package must not have, each with what to do instead.
var impure = map[string]string{
	"context":      "give the request a deadline in ticks or monotonic time",
	"crypto/rand":  "take a source in Config",
	"io/ioutil":    "effects leave through Ports",
	"log":          "count it, or report it through Ports",
	"log/slog":     "count it, or report it through Ports",
	"math/rand":    "take a source in Config",
	"math/rand/v2": "take a source in Config",
	"net":          "effects leave through Ports",
	"os":           "effects leave through Ports",
	"runtime":      "the owner decides how work is spread",
	"sync":         "one owner steps the object; hand it over instead of sharing it",
	"sync/atomic":  "one owner steps the object; hand it over instead of sharing it",
	"unsafe":       "write it plainly",
}

// timeValues are what stepped code may use of package time: units, no clock.
var timeValues = []string{"Duration", "Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour"}

const purityReason = "the simulator steps this package in one goroutine from one seed"

// TestPurity: no goroutine, channel, lock, clock, global chance or I/O in pure packages.
func TestPurity(t *testing.T) {
	tr := load(t)
	for _, f := range tr.production() {
		if !slices.Contains(pure, f.pkg) {
			continue
		}
		f.imports(func(spec *ast.ImportSpec, target string) {
			instead, bad := impure[target]
			if bad && !(target == "sync" && mayLock[f.path] != "") {
				t.Errorf("%s: %s imports %s: %s. Instead: %s", tr.at(f, spec), f.pkg, target, purityReason, instead)
			}
		})
		checkStepped(t, tr, f)
	}
}

// TestPassive: no goroutine, channel or clock where locks are allowed.
func TestPassive(t *testing.T) {
	tr := load(t)
	for _, f := range tr.production() {
		if slices.Contains(passive, f.pkg) {
			checkStepped(t, tr, f)
		}
	}
}

// TestMayLock: an exception whose file is gone or needs no lock is no exception.
func TestMayLock(t *testing.T) {
	tr := load(t)
	for name := range mayLock {
		i := slices.IndexFunc(tr.files, func(f *file) bool { return f.path == name })
		if i < 0 || tr.files[i].localName("sync") == "" {
			t.Errorf("mayLock allows %s, which does not lock: remove it", name)
		}
	}
}

// checkStepped reports goroutines, channels and clocks.
func checkStepped(t *testing.T, tr *tree, f *file) {
	t.Helper()
	bad := func(n ast.Node, what, instead string) {
		t.Errorf("%s: %s in %s: %s. Instead: %s", tr.at(f, n), what, f.pkg, purityReason, instead)
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			bad(n, "go statement", "let the owner start goroutines (internal/node)")
		case *ast.ChanType, *ast.SendStmt, *ast.SelectStmt:
			bad(n, "channel", "return the work, or call the owner back")
		case *ast.UnaryExpr:
			if n.Op == token.ARROW {
				bad(n, "channel", "return the work, or call the owner back")
			}
		}
		return true
	})
	f.uses("time", func(at ast.Node, name string) {
		if !slices.Contains(timeValues, name) {
			bad(at, "time."+name, "take ticks, or the time as an argument (SetNow)")
		}
	})
}
