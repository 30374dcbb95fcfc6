package etcdctl

import (
	"bufio"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/quorate/quorate/e2e/cluster"
)

// lineTime bounds the wait for a line that a watch has to print.
const lineTime = 30 * time.Second

// watching is an etcdctl that goes on printing.
type watching struct {
	t       *testing.T
	cmd     *exec.Cmd
	printed chan string // closed when it has ended
	stderr  strings.Builder
	// wait returns how it ended. stderr may be read behind it.
	wait func() error
}

// watch starts `etcdctl watch`, until the test ends.
func (c *ctl) watch(args ...string) *watching {
	c.t.Helper()
	w := &watching{t: c.t, printed: make(chan string), cmd: c.command(c.t.Context(), append([]string{"watch"}, args...)...)}
	w.wait = sync.OnceValue(w.cmd.Wait)
	w.cmd.Stderr = &w.stderr
	stdout, err := w.cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cluster.StartProcess(w.cmd); err != nil {
		c.t.Fatal(err)
	}
	quit := make(chan struct{})
	c.t.Cleanup(func() {
		close(quit)
		_ = syscall.Kill(-w.cmd.Process.Pid, syscall.SIGKILL)
		_ = w.wait()
	})
	go func() {
		defer close(w.printed)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			select {
			case w.printed <- s.Text():
			case <-quit:
				return
			}
		}
	}()
	return w
}

// expect fails the test unless these lines come next.
func (w *watching) expect(want ...string) {
	w.t.Helper()
	for _, line := range want {
		got, err := w.next()
		if err != nil {
			w.t.Fatalf("%v, want %q of %q", err, line, want)
		}
		if got != line {
			w.t.Fatalf("the watch prints %q, want %q of %q", got, line, want)
		}
	}
}

// next returns the next line. An etcdctl that has ended prints nothing more, so its own
// words come at once instead of a complaint about silence.
func (w *watching) next() (string, error) {
	select {
	case line, ok := <-w.printed:
		if ok {
			return line, nil
		}
		err := w.wait()
		return "", fmt.Errorf("etcdctl watch ended by itself (%v) and said %q", err, w.stderr.String())
	case <-time.After(lineTime):
		return "", fmt.Errorf("the watch prints nothing for %v", lineTime)
	}
}

// Goal: a watch that ends by itself is reported at once and with its own words. Method: one
// that cannot start.
func TestWatchThatEndsIsReported(t *testing.T) {
	w := newCtl(t).watch("--no-such-flag")
	began := time.Now()
	line, err := w.next()
	if err == nil {
		t.Fatalf("the watch prints %q", line)
	}
	for _, want := range []string{"ended by itself", "exit status", "no-such-flag"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
	if took := time.Since(began); took > lineTime/2 {
		t.Errorf("reported after %v", took)
	}
}
