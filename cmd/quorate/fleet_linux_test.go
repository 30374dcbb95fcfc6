package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// testFleet is a fleet of fake nodes: the real program and supervisor around a node that
// does nothing.
type testFleet struct {
	*fleet
	stop  context.CancelFunc
	ready chan struct{}
	done  chan error

	mu      sync.Mutex
	reports []string
}

func newTestFleet(t *testing.T, nodes int, change func(*fleetConfig)) *testFleet {
	t.Helper()
	f := &testFleet{ready: make(chan struct{}), done: make(chan error, 1)}
	base := freePorts(t)
	config := fleetConfig{
		Command:      fakeCommand,
		RestartDelay: 50 * time.Millisecond,
		StartTimeout: 10 * time.Second,
		StopTimeout:  5 * time.Second,
		Report: func(format string, args ...any) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.reports = append(f.reports, fmt.Sprintf(format, args...))
		},
	}
	dir := t.TempDir()
	for i := range nodes {
		name := fmt.Sprintf("node%d", i+1)
		config.Nodes = append(config.Nodes, &devNode{
			Name:      name,
			ClientURL: fmt.Sprintf("http://127.0.0.1:%d", base+2*i),
			PeerURL:   fmt.Sprintf("http://127.0.0.1:%d", base+2*i+1),
			DataDir:   filepath.Join(dir, name),
			Log:       filepath.Join(dir, name+".log"),
		})
	}
	if change != nil {
		change(&config)
	}
	f.fleet = newFleet(config)
	return f
}

func fakeCommand(n *devNode) *exec.Cmd {
	return exec.Command("quorate", "serve", "--name", n.Name, "--data-dir", n.DataDir, "--log-format", "console",
		"--listen-client-urls", n.ClientURL, "--advertise-client-urls", n.ClientURL,
		"--listen-peer-urls", n.PeerURL, "--initial-advertise-peer-urls", n.PeerURL, "--supervised")
}

func (f *testFleet) start(t *testing.T) {
	t.Helper()
	stop, cancel := context.WithCancel(context.Background())
	f.stop = cancel
	go func() { f.done <- f.run(stop, func() { close(f.ready) }) }()
	select {
	case <-f.ready:
	case err := <-f.done:
		t.Fatal(err)
	}
}

// waitReport waits for a report that contains text.
func (f *testFleet) waitReport(t *testing.T, text string) {
	t.Helper()
	for range 1000 {
		f.mu.Lock()
		all := strings.Join(f.reports, "\n")
		f.mu.Unlock()
		if strings.Contains(all, text) {
			return
		}
		time.Sleep(10 * time.Millisecond) // other processes have to live and die
	}
	t.Fatalf("no report of %q in %q", text, f.reports)
}

// running reports whether a process exists and is no zombie.
func running(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(raw), ") ")
	return !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}

func waitGone(t *testing.T, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		for i := 0; running(pid); i++ {
			if i == 500 {
				t.Fatalf("process %d still runs", pid)
			}
			time.Sleep(10 * time.Millisecond) // the kernel ends it
		}
	}
}

// Goal: a killed node is reported and comes back with another pid; stopping leaves no
// process. Method: SIGKILL.
func TestFleetRestartsADeadNode(t *testing.T) {
	t.Parallel()
	f := newTestFleet(t, 2, nil)
	f.start(t)
	first, other := f.Nodes[0].PID, f.Nodes[1].PID
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	f.waitReport(t, fmt.Sprintf("node1 (pid %d) died, ended by signal: killed; it starts again in 50ms", first))
	f.waitReport(t, "node1 is back, pid ")
	if !running(other) {
		t.Error("the other node is gone too")
	}
	f.stop()
	if err := <-f.done; err != nil {
		t.Error(err)
	}
	if again := f.Nodes[0].PID; again == first || running(again) || running(other) {
		t.Errorf("pids %d, then %d, %d: some still run", first, again, other)
	}
}

// Goal: a node that dies before it serves is started more and more rarely. Method: after
// the first start the command fails twice.
func TestFleetBacksOff(t *testing.T) {
	t.Parallel()
	var starts atomic.Int32
	f := newTestFleet(t, 1, func(c *fleetConfig) {
		c.Command = func(n *devNode) *exec.Cmd {
			if i := starts.Add(1); i == 2 || i == 3 {
				return exec.Command("quorate", "serve", "--name=")
			}
			return fakeCommand(n)
		}
	})
	f.start(t)
	if err := syscall.Kill(f.Nodes[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	f.waitReport(t, "died, exit code 1: --name is empty: give this member a name; it starts again in 100ms")
	f.waitReport(t, "it starts again in 200ms")
	f.waitReport(t, "node1 is back")
	f.stop()
	if err := <-f.done; err != nil {
		t.Error(err)
	}
}

// Goal: a node that does not stop in order is killed. Method: SIGSTOP, so that it cannot.
func TestFleetKillsTheStuck(t *testing.T) {
	t.Parallel()
	f := newTestFleet(t, 1, func(c *fleetConfig) { c.StopTimeout = 100 * time.Millisecond })
	f.start(t)
	pid := f.Nodes[0].PID
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	f.stop()
	if err := <-f.done; err != nil || running(pid) {
		t.Error(err, running(pid))
	}
	f.waitReport(t, "node1 does not stop and is killed")
}

// Goal: nodes that never serve are an error that names their logs, and are stopped.
func TestFleetIsLate(t *testing.T) {
	t.Parallel()
	f := newTestFleet(t, 2, func(c *fleetConfig) {
		c.StartTimeout = time.Second
		c.Command = func(n *devNode) *exec.Cmd {
			cmd := fakeCommand(n)
			if n.Name == "node2" {
				cmd.Env = append(os.Environ(), "FAKE_NEVER_READY=1")
			}
			return cmd
		}
	})
	err := f.run(t.Context(), nil)
	if want := "after 1s these nodes are not ready, see their logs: node2 (" + f.Nodes[1].Log + ")"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	for _, n := range f.Nodes {
		if running(n.PID) {
			t.Errorf("%s still runs", n.Name)
		}
	}
}

// Goal: all nodes end with dev, however dev ends, also those that are stopped. Method:
// SIGSTOP for one node, SIGKILL for dev.
func TestChildrenEndWithTheParent(t *testing.T) {
	t.Parallel()
	dev := exec.Command("quorate", "dev", "-o", "json", "--port", fmt.Sprint(freePorts(t)), "--data-dir", filepath.Join(t.TempDir(), "d"))
	stdout, err := dev.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := dev.Start(); err != nil {
		t.Fatal(err)
	}
	var said struct{ Nodes []devNode }
	if err := json.NewDecoder(stdout).Decode(&said); err != nil || len(said.Nodes) != 3 {
		t.Fatal(said, err)
	}
	var pids []int
	for _, n := range said.Nodes {
		pids = append(pids, n.PID)
	}
	if err := syscall.Kill(pids[1], syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := dev.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = dev.Wait() // it was killed
	waitGone(t, pids...)
}

// Goal: where the kernel does not help, the end of standard input ends a node. Method: a
// node whose standard input is closed.
func TestNodeEndsWithStdin(t *testing.T) {
	t.Parallel()
	base := freePorts(t)
	n := &devNode{Name: "a", DataDir: t.TempDir(),
		ClientURL: fmt.Sprintf("http://127.0.0.1:%d", base), PeerURL: fmt.Sprintf("http://127.0.0.1:%d", base+1)}
	cmd := fakeCommand(n)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != readyLine+"\n" {
		t.Errorf("%q, %v", line, err)
	}
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
