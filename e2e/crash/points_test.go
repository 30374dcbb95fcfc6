package crash

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// aRun is a run as they are: few operations of many kinds, and a file filled with zeros.
func aRun() []Operation {
	ops := []Operation{{"mkdirat", "."}, {"openat", "LOCK"}, {"openat", "member.tmp"}, {"write", "member.tmp"},
		{"fsync", "member.tmp"}, {"renameat", "member.tmp member"}}
	for range 1000 {
		ops = append(ops, Operation{"pwrite64", "wal/1.tmp"})
	}
	for i := range 100 {
		ops = append(ops, Operation{"openat", fmt.Sprint(i)}, Operation{"fdatasync", fmt.Sprint(i)})
	}
	return ops
}

// Goal: a choice has the first and last operations and every class, is not drowned by
// what repeats, and is the same again for the same seed (I6).
func TestChoose(t *testing.T) {
	ops := aRun()
	for seed := range uint64(50) {
		points := size{count: 40}.choose(ops, seed)
		if !slices.Equal(points, size{count: 40}.choose(ops, seed)) {
			t.Fatalf("seed %d: another choice the second time", seed)
		}
		if len(points) != 40 || !slices.IsSorted(points) || len(slices.Compact(slices.Clone(points))) != 40 {
			t.Fatalf("seed %d: points %v", seed, points)
		}
		classes, zeros := make(map[Class]int), 0
		for _, n := range points {
			classes[ops[n-1].Class()]++
			if ops[n-1].Kind == "pwrite64" {
				zeros++
			}
		}
		for _, class := range requiredClasses {
			if classes[class] == 0 {
				t.Errorf("seed %d: nothing of class %s", seed, class)
			}
		}
		if zeros > 20 {
			t.Errorf("seed %d: %d of 40 points in the zeros", seed, zeros)
		}
		for i := range edgePoints {
			if points[i] != i+1 || points[len(points)-1-i] != len(ops)-i {
				t.Errorf("seed %d: not the first and last %d: %v", seed, edgePoints, points)
			}
		}
	}
}

// Goal: there is more to kill at when a class is lacking: all of it, once, and nothing
// that was a point already (I6).
func TestReserve(t *testing.T) {
	ops := aRun()
	points := size{count: 40}.choose(ops, 1)
	seen := make(map[int]bool)
	for _, n := range append(reserve(ops, points, 1), points...) {
		if seen[n] {
			t.Errorf("operation %d comes twice", n)
		}
		seen[n] = true
	}
	for n, op := range ops {
		if !seen[n+1] && slices.Contains(requiredClasses, op.Class()) {
			t.Errorf("operation %d, %v, is left out", n+1, op)
		}
	}
}

// Goal: parts of all operations are all of them, each once, and nonsense is refused.
func TestSizes(t *testing.T) {
	ops := aRun()
	seen := make(map[int]int)
	for part := 1; part <= 3; part++ {
		s, err := parseSize(fmt.Sprintf("%d/3", part))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range s.choose(ops, 1) {
			seen[n]++
		}
	}
	for n := 1; n <= len(ops); n++ {
		if seen[n] != 1 {
			t.Fatalf("operation %d is in %d parts", n, seen[n])
		}
	}
	for _, text := range []string{"all", "0"} {
		if s, err := parseSize(text); err != nil || len(s.choose(ops, 1)) != len(ops) {
			t.Errorf("points %s: %v, %v", text, s, err)
		}
	}
	if points := (size{count: 10}).choose(ops, 1); len(points) != 10 {
		t.Errorf("10 points are %v", points)
	}
	if points := (size{count: 5000}).choose(ops, 1); len(points) != len(ops) {
		t.Errorf("more points than operations: %d", len(points))
	}
	for _, text := range []string{"", "-1", "al", "0/3", "4/3", "1/0", "x/3", "1/3/5"} {
		if s, err := parseSize(text); err == nil {
			t.Errorf("points %q are accepted: %v", text, s)
		}
	}
}

// Goal: a test fails if the kills did not happen, or not where they matter (I1, I6).
func TestTally(t *testing.T) {
	ended := func(ops []Operation, killed bool) *Tracer {
		tracer := NewTracer("/", len(ops))
		tracer.ops, tracer.killed = ops, killed
		close(tracer.ended)
		return tracer
	}
	y, ops := newTally(), aRun()
	if err := y.add(ended(ops, false), len(ops)); err == nil {
		t.Error("a process that lives through its operation is accepted")
	}
	if err := y.add(ended(ops, false), len(ops)+1); err != nil {
		t.Errorf("a run that was shorter: %v", err)
	}
	y = newTally()
	for n := range enough {
		if err := y.add(ended(ops[:n%5+1], true), n%5+1); err != nil { // never the rename
			t.Fatal(err)
		}
	}
	if err := y.judge(); err == nil || !strings.Contains(err.Error(), string(classRename)) {
		t.Errorf("no rename in %d points: %v", enough, err)
	}
	if err := y.add(ended(ops[:6], true), 6); err != nil {
		t.Fatal(err)
	}
	if err := y.judge(); err != nil {
		t.Errorf("a good test: %v", err)
	}
	y.recoveries, y.recovered = 5, 5
	if err := y.judge(); err == nil {
		t.Error("recoveries that were never killed are accepted")
	}
	y.recovered = 4
	if err := y.judge(); err != nil {
		t.Errorf("a good test: %v", err)
	}
	for range enough {
		_ = y.add(ended(ops, false), len(ops)+1)
	}
	if err := y.judge(); err == nil {
		t.Error("half of the points behind the end are accepted")
	}
}
