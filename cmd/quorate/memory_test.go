package main

import "testing"

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
