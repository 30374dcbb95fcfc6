package node

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/internal/env"
)

// Goal: a broken invariant in a turn ends the process, also when the turn was taken by a
// handler whose server recovers from panics. Method: this test again as a child, in which
// an HTTP handler takes such a turn.
func TestPanicInATurnEndsTheProcess(t *testing.T) {
	const variable = "QUORATE_TEST_PANIC"
	if os.Getenv(variable) != "" {
		takeBrokenTurn()
		return
	}
	child := exec.Command(os.Args[0], "-test.run=^TestPanicInATurnEndsTheProcess$")
	child.Env = append(os.Environ(), variable+"=1")
	out, err := child.CombinedOutput()
	if err == nil {
		t.Fatalf("the process lives on:\n%s", out)
	}
	for _, want := range []string{"invariant broken, in a turn of the node", "brokenClock", "loop.go"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("its last words lack %q:\n%s", want, out)
		}
	}
}

type brokenClock struct{ env.Clock }

func (brokenClock) Monotonic() time.Duration { panic("invariant broken") }

func takeBrokenTurn() {
	n := &Node{cfg: Config{Clock: brokenClock{}}}
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { n.tryTurn() }))
	if r, err := http.Get(s.URL); err == nil {
		_, _ = io.Copy(io.Discard, r.Body)
	}
}
