package cluster

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Goal: a cluster starts, elects, survives SIGKILL and SIGSTOP of a member
// and keeps its data over a restart. Method: three members of the server
// under test and the official client.
func TestLifecycle(t *testing.T) {
	c := Start(t, Options{Binary: ServerUnderTest(t), Members: 3})
	cli := Client(t, c.Endpoints()...)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	if _, err := cli.Put(ctx, "k", "v"); err != nil {
		t.Fatal(err)
	}
	leader, err := c.WaitLeader(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("leader %s, killing it", leader.Name)
	leader.Kill()
	if !leader.Exited() {
		t.Fatalf("%s runs after Kill", leader.Name)
	}
	if _, err := c.WaitLeader(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	c.Members[0].Pause()
	c.Members[0].Resume()
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	got, err := cli.Get(ctx, "k", clientv3.WithSerializable())
	if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "v" {
		t.Fatalf("after restart: %v, %v", got, err)
	}
}

// Goal: no process is left when the test binary dies without cleaning up
// (I1). Method: this test runs itself as a child that starts a sleeper and
// kills itself.
func TestChildrenDieWithTheTest(t *testing.T) {
	if file := os.Getenv("E2E_ORPHAN_FILE"); file != "" {
		sleeper := exec.Command("sleep", "600")
		if err := StartProcess(sleeper); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(strconv.Itoa(sleeper.Process.Pid)), 0o644); err != nil {
			t.Fatal(err)
		}
		self, _ := os.FindProcess(os.Getpid())
		_ = self.Kill()
		select {}
	}
	file := t.TempDir() + "/pid"
	child := exec.Command(os.Args[0], "-test.run=^TestChildrenDieWithTheTest$")
	child.Env = append(os.Environ(), "E2E_ORPHAN_FILE="+file)
	_ = child.Run()
	pid, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for running(string(pid)) {
		if time.Now().After(deadline) {
			t.Fatalf("process %s outlives its parent", pid)
		}
		time.Sleep(pollInterval)
	}
}

// running reports whether a process exists and is not merely waiting to be
// collected by its new parent.
func running(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}
