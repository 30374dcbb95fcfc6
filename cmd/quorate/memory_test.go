package main

import (
	"runtime"
	"testing"
)

// Goal: whoever says how often the collector runs is obeyed.
func TestCollectorIsLeftAloneWhenTold(t *testing.T) {
	defer func() { heapBallast = nil }()
	for _, c := range []struct {
		environ []string
		ballast int
	}{
		{nil, heapBallastBytes},
		{[]string{"HOME=/", "GOGCX=1"}, heapBallastBytes},
		{[]string{"GOGC=100"}, 0},
		{[]string{"A=b", "GOMEMLIMIT=1GiB"}, 0},
	} {
		heapBallast = nil
		quietenCollector(c.environ)
		if len(heapBallast) != c.ballast {
			t.Errorf("%q: ballast of %d bytes, want %d", c.environ, len(heapBallast), c.ballast)
		}
	}
}

// Goal: a node that has fallen quiet gives memory back once, and again after its next work.
func TestQuietHeapGivesBackOnce(t *testing.T) {
	var heap quietHeap
	look := func(want bool) {
		t.Helper()
		if got := heap.look(); got != want {
			t.Errorf("gave memory back: %v, want %v", got, want)
		}
	}
	runtime.GC()
	look(false) // it has just run
	look(true)
	look(false)
	runtime.GC()
	look(false)
	look(true)
}
