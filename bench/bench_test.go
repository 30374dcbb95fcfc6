package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/bench/internal/report"
)

// asBenchmark makes this test binary behave as the benchmark itself.
const asBenchmark = "benchmark"

// TestMain lets the test binary be a member, as the benchmark's binary is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && serveMember(os.Args[1], os.Args[2:]) {
		return
	}
	if len(os.Args) > 1 && os.Args[1] == asBenchmark {
		os.Args = os.Args[1:]
		main()
		return
	}
	os.Exit(m.Run())
}

// TestSmoke runs every workload once against etcd and the floor, with tiny
// sizes: it keeps the benchmark compiling and running, and measures nothing.
func TestSmoke(t *testing.T) {
	dir := t.TempDir()
	var out strings.Builder
	args := []string{
		"-ours=etcd", "-peer=none", "-floor", "-turns=1", "-rounds=1", "-duration=200ms",
		"-clients=4", "-keys=1000", "-watchers=5", "-o=json", "-dir=" + dir,
	}
	if err := run(t.Context(), args, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	var got report.Report
	if err := json.Unmarshal([]byte(out.String()), &got); err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]int)
	for _, row := range got.Rows {
		rows[row.Workload]++
		figures := row.Figures[builtInEtcd]
		if figures[report.Throughput].Median+figures[report.FirstAck].Median+figures[report.Resident].Median <= 0 {
			t.Errorf("%s: nothing measured: %v", row.Workload, figures)
		}
		if errs := figures[report.ErrorsPerMille]; errs.Hi > 0 {
			t.Errorf("%s: %v errors per mille", row.Workload, errs.Hi)
		}
	}
	for _, name := range workloadNames() {
		if rows[name] == 0 {
			t.Errorf("no row for workload %s", name)
		}
	}
	if left := membersUnder(t, dir); len(left) > 0 {
		t.Errorf("processes left behind: %v", left)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left in the data directory: %v, %v", entries, err)
	}
}

// TestKilledBenchmarkLeavesNoMember kills a benchmark in the middle of a turn
// with a signal that it cannot handle: the kernel must end its members (C2).
func TestKilledBenchmarkLeavesNoMember(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	benchmark := exec.Command(self, asBenchmark, "-ours=etcd", "-peer=none", "-only=put", "-duration=30s", "-dir="+dir)
	if err := benchmark.Start(); err != nil {
		t.Fatal(err)
	}
	started := eventually(t, func() bool { return len(membersUnder(t, dir)) == 3 })
	if err := benchmark.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = benchmark.Wait() // it was killed
	if !started {
		t.Fatal("members did not start")
	}
	if !eventually(t, func() bool { return len(membersUnder(t, dir)) == 0 }) {
		t.Errorf("members outlive the benchmark: %v", membersUnder(t, dir))
	}
}

// TestFailedWorkloadIsReported starts a system that ends at once: the run must
// say so with the end of its log and return an error.
func TestFailedWorkloadIsReported(t *testing.T) {
	var out strings.Builder
	err := run(t.Context(), []string{"-ours=ls", "-peer=none", "-only=put", "-dir=" + t.TempDir()}, &out)
	if err == nil {
		t.Error("no error")
	}
	if !strings.Contains(out.String(), "ended by itself") {
		t.Errorf("the report does not say why:\n%s", out.String())
	}
}

// TestCancelledRunEnds gives a run a context that has ended.
func TestCancelledRunEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := run(ctx, []string{"-ours=etcd", "-peer=none", "-dir=" + t.TempDir()}, &strings.Builder{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestOptionsAreBounded(t *testing.T) {
	for _, args := range []string{
		"-turns=0", "-turns=101", "-rounds=0", "-keys=5000001", "-duration=61s", "-duration=0s",
		"-compare=raft", "-compare=raft,", "-compare=raft,paxos,etcdraft",
		"-clients=0", "-clients=5001", "-clients=x", "-only=nothing", "-o=xml", "-watchers=0", "extra",
	} {
		if _, err := parseOptions([]string{args}); err == nil {
			t.Errorf("%s: accepted", args)
		}
	}
}

// Goal: -engine and -compare reach our members, in the order that the ratio is taken in, and
// nobody else. Method: the command lines of the systems.
func TestEnginesReachOurMembers(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"-ours=/x/quorate -peer=none", "quorate: /x/quorate"},
		{"-ours=/x/quorate -peer=/y/other", "quorate: /x/quorate; other: /y/other"},
		{"-ours=/x/quorate -engine=paxos -peer=/y/quorate", "quorate-paxos: /x/quorate --engine=paxos; quorate: /y/quorate"},
		{"-ours=/x/quorate -compare=paxos,raft", "paxos: /x/quorate --engine=paxos; raft: /x/quorate --engine=raft"},
		{"-ours=/x/quorate -compare=raft,raft", "raft: /x/quorate --engine=raft; raft-2: /x/quorate --engine=raft"},
	} {
		opts, err := parseOptions(strings.Fields(c.args))
		if err != nil {
			t.Errorf("%s: %v", c.args, err)
			continue
		}
		systems, err := opts.systems(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range systems {
			got = append(got, s.Name+": "+strings.Join(s.Command, " "))
		}
		if strings.Join(got, "; ") != c.want {
			t.Errorf("%s: %q, want %q", c.args, got, c.want)
		}
	}
	for _, args := range []string{"-compare=paxos,raft -peer=etcd", "-compare=paxos,raft -engine=raft", "-ours=etcd -engine=paxos", "-ours=etcd -compare=paxos,raft"} {
		if _, err := parseOptions(strings.Fields(args)); err == nil {
			t.Errorf("%s: accepted", args)
		}
	}
}

// membersUnder lists the processes whose command line names a path in dir,
// except the benchmark.
func membersUnder(t *testing.T, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, path := range paths {
		cmdline, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(cmdline), "--data-dir="+dir) {
			found = append(found, filepath.Dir(path))
		}
	}
	return found
}

// eventually asks for up to twenty seconds: process ends cannot be awaited in a
// process that is not their parent.
func eventually(t *testing.T, condition func() bool) bool {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if condition() {
			return true
		}
		time.Sleep(20 * time.Millisecond)
	}
	return false
}
