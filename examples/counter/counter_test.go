package main

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// childEnv makes the test's own binary the program: no build, and the race detector is in it.
const childEnv = "COUNTER_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		go func() { // the pipe breaks when the test dies, however that happens
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(1)
		}()
		main()
		return
	}
	os.Exit(m.Run())
}

// Goal: whatever is killed, the counter is the sum of what was acknowledged and of some of
// what ended as unknown. Method: three processes; clients add different numbers all the
// time, so that no lost or doubled one can hide behind another; a leader is put
// to sleep, a leader, another replica and in the end all are killed and started again.
func TestKilledReplicas(t *testing.T) {
	for name := range engines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, name)
			for id := range c.replicas {
				c.start(id)
			}
			stop := c.clients(4)
			c.awaitAdds(50)

			// A leader that sleeps does not know that it was replaced, and its clients wait.
			sleeper := c.leader()
			c.signal(sleeper, syscall.SIGSTOP)
			stopOthers := c.clients(2)
			c.awaitAdds(50)
			c.signal(sleeper, syscall.SIGCONT)
			stopOthers()

			dead := c.leader()
			c.kill(dead)
			c.awaitAdds(50)

			// The one that was away is needed now: it has to catch up.
			c.start(dead)
			c.awaitUp(dead)
			c.kill((dead + 1) % len(c.replicas))
			c.awaitAdds(50)
			for id := range c.replicas {
				c.kill(id)
			}
			stop()

			for id := range c.replicas {
				c.start(id)
			}
			c.check()
			c.eventually("one more", func(id int) bool { return c.add(id, 1<<50) })
			c.check()
		})
	}
}

// cluster is three processes and what their clients know.
type cluster struct {
	t        *testing.T
	engine   string
	peers    string
	replicas []*replica

	mu struct {
		sync.Mutex
		acknowledged int64
		adds         int     // acknowledged
		unknown      []int64 // numbers that may have been added
	}
}

type replica struct {
	cmd  *exec.Cmd // nil: not running
	dir  string
	web  string
	logs strings.Builder
	// asleep replicas are asked nothing: their clients would wait.
	asleep atomic.Bool
}

func newCluster(t *testing.T, engine string) *cluster {
	c := &cluster{t: t, engine: engine}
	var peers []string
	for id := range 3 {
		c.replicas = append(c.replicas, &replica{dir: t.TempDir(), web: freeAddr(t)})
		peers = append(peers, fmt.Sprintf("%d=%s", id+1, freeAddr(t)))
	}
	c.peers = strings.Join(peers, ",")
	t.Cleanup(func() {
		for id, r := range c.replicas {
			c.kill(id)
			if t.Failed() {
				t.Logf("replica %d said:\n%s", id+1, r.logs.String())
			}
		}
	})
	return c
}

// freeAddr is below the ports that systems give to outgoing connections: those could take
// the address of a replica that is down.
func freeAddr(t *testing.T) string {
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 15000+rand.IntN(15000)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no free port")
	return ""
}

func (c *cluster) start(id int) {
	c.t.Helper()
	r := c.replicas[id]
	r.cmd = exec.Command(os.Args[0], "-id", strconv.Itoa(id+1), "-peers", c.peers, "-engine", c.engine, "-dir", r.dir, "-http", r.web)
	r.cmd.Env = append(os.Environ(), childEnv+"=1")
	r.cmd.Stderr = &r.logs
	if _, err := r.cmd.StdinPipe(); err != nil { // Wait closes it
		c.t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
}

// kill is SIGKILL; the process gets no chance to say or write anything.
func (c *cluster) kill(id int) {
	r := c.replicas[id]
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
	if s := r.cmd.ProcessState.Sys().(syscall.WaitStatus); !s.Signaled() {
		c.t.Errorf("replica %d ended by itself: %v", id+1, r.cmd.ProcessState)
	}
	r.cmd = nil
}

// signal puts a replica to sleep (SIGSTOP) or wakes it (SIGCONT).
func (c *cluster) signal(id int, s syscall.Signal) {
	c.t.Helper()
	c.replicas[id].asleep.Store(s == syscall.SIGSTOP)
	if err := c.replicas[id].cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

// client reuses no connection: a request that fails on an old one would be hard to judge.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}

// ask sends one request; sent says whether the replica can have got it.
func (c *cluster) ask(id int, method, path string) (status int, text string, sent bool) {
	if c.replicas[id].asleep.Load() {
		return 0, "", false
	}
	req, err := http.NewRequest(method, "http://"+c.replicas[id].web+path, nil)
	if err != nil {
		c.t.Error(err)
		return 0, "", false
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", !strings.Contains(err.Error(), "connection refused")
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, "", true
	}
	return resp.StatusCode, strings.TrimSpace(string(body)), true
}

// eventually repeats f, on one replica after another, until it is done.
func (c *cluster) eventually(what string, f func(id int) bool) {
	c.t.Helper()
	for deadline, id := time.Now().Add(30*time.Second), 0; time.Now().Before(deadline); id++ {
		if f(id % len(c.replicas)) {
			return
		}
		pause()
	}
	c.t.Fatalf("%s: not within 30 s", what)
}

// pause lets the replicas have the processor between attempts.
func pause() { time.Sleep(2 * time.Millisecond) }

// add asks one replica to add a number and takes down what comes of it. It reports false
// if the replica refuses.
func (c *cluster) add(id int, n int64) bool {
	status, text, sent := c.ask(id, http.MethodPost, fmt.Sprintf("/add?n=%d", n))
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case status == http.StatusOK:
		if total, err := strconv.ParseInt(text, 10, 64); err != nil || total < n {
			c.t.Errorf("add %d: %q", n, text)
		}
		c.mu.acknowledged += n
		c.mu.adds++
	case status == http.StatusMisdirectedRequest, status == http.StatusServiceUnavailable, !sent:
		return false
	case status == http.StatusGatewayTimeout, status == 0:
		c.mu.unknown = append(c.mu.unknown, n)
	default:
		c.t.Errorf("add %d: %d %s", n, status, text)
	}
	return true
}

// read asks one replica for the total, which must have in it whatever was acknowledged
// before. It reports false if the replica does not answer.
func (c *cluster) read(id int) (total int64, ok bool) {
	c.mu.Lock()
	least := c.mu.acknowledged
	c.mu.Unlock()
	status, text, _ := c.ask(id, http.MethodGet, "/")
	if status != http.StatusOK {
		return 0, false
	}
	total, err := strconv.ParseInt(text, 10, 64)
	if err != nil || total < least {
		c.t.Errorf("read %q, %v; %d was acknowledged before", text, err, least)
	}
	return total, true
}

// clients add and read until they are told to stop; they stay with a replica that answers.
func (c *cluster) clients(n int) (stop func()) {
	var running sync.WaitGroup
	done := make(chan struct{})
	for id := range n {
		running.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, ok := c.read(id % len(c.replicas)); !ok || !c.add(id%len(c.replicas), 1+rand.Int64N(1<<40)) {
					id++
					pause()
				}
			}
		})
	}
	return func() {
		close(done)
		running.Wait()
	}
}

// awaitAdds waits for n more acknowledged numbers.
func (c *cluster) awaitAdds(n int) {
	c.t.Helper()
	adds := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.mu.adds
	}
	enough := adds() + n
	c.eventually(fmt.Sprintf("%d adds", n), func(int) bool { return adds() >= enough })
}

// leader waits for a replica that answers reads.
func (c *cluster) leader() (leader int) {
	c.t.Helper()
	c.eventually("a leader", func(id int) (ok bool) {
		leader = id
		_, ok = c.read(id)
		return ok
	})
	return leader
}

// awaitUp waits until a replica answers, be it with a refusal.
func (c *cluster) awaitUp(id int) {
	c.t.Helper()
	c.eventually("a replica that was started", func(int) bool {
		status, _, _ := c.ask(id, http.MethodGet, "/")
		return status != 0
	})
}

// check compares the total with the sum of the acknowledged numbers and any of the unknown.
func (c *cluster) check() {
	c.t.Helper()
	if len(c.mu.unknown) > 20 {
		c.t.Fatalf("%d adds are unknown: too many to try all their sums", len(c.mu.unknown))
	}
	sums := map[int64]bool{c.mu.acknowledged: true}
	for _, n := range c.mu.unknown {
		for sum := range maps.Clone(sums) {
			sums[sum+n] = true
		}
	}
	total, ok := c.read(c.leader())
	if !ok || !sums[total] {
		c.t.Errorf("total %d (answered: %v), acknowledged %d, unknown %d", total, ok, c.mu.acknowledged, c.mu.unknown)
	}
	c.t.Logf("%d adds acknowledged, %d unknown", c.mu.adds, len(c.mu.unknown))
}
