package raft

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/quorate/quorate/consensus"
)

// naiveLog is the obvious log: a slice of everything.
type naiveLog struct {
	released consensus.Index
	epochs   []consensus.Epoch // of released, released+1, …
	sizes    []int
}

func (l *naiveLog) last() consensus.Index { return l.released + consensus.Index(len(l.epochs)) - 1 }

func (l *naiveLog) cost(after, upTo consensus.Index) (c uint64) {
	for i := after + 1; i <= upTo; i++ {
		c += cost(l.sizes[i-l.released])
	}
	return c
}

// TestLogAgainstNaive drives the log and the obvious log with the same operations.
func TestLogAgainstNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := consensus.Index(rapid.IntRange(0, 3).Draw(t, "released"))
		l, n := newEntryLog(start, consensus.Epoch(start)), &naiveLog{start, []consensus.Epoch{consensus.Epoch(start)}, []int{0}}
		index := func(lo, hi consensus.Index) consensus.Index {
			return consensus.Index(rapid.Uint64Range(uint64(lo), uint64(hi)).Draw(t, "index"))
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				e := l.lastEpoch() + consensus.Epoch(rapid.IntRange(0, 1).Draw(t, "newer"))
				size := rapid.IntRange(0, 100).Draw(t, "size")
				l.append(e, size)
				n.epochs, n.sizes = append(n.epochs, e), append(n.sizes, size)
			},
			"truncate": func(*rapid.T) {
				from := index(n.released+1, n.last()+1)
				l.truncate(from)
				n.epochs, n.sizes = n.epochs[:from-n.released], n.sizes[:from-n.released]
			},
			"release": func(*rapid.T) {
				upTo := index(n.released, n.last())
				l.release(upTo)
				n.epochs, n.sizes, n.released = slices.Clone(n.epochs[upTo-n.released:]), slices.Clone(n.sizes[upTo-n.released:]), upTo
			},
			"": func(t *rapid.T) { compareLogs(t, &l, n) },
		})
	})
}

func compareLogs(t *rapid.T, l *entryLog, n *naiveLog) {
	if l.released != n.released || l.last != n.last() || l.lastEpoch() != n.epochs[len(n.epochs)-1] {
		t.Fatalf("log (%d,%d] epoch %d, want (%d,%d]", l.released, l.last, l.lastEpoch(), n.released, n.last())
	}
	for i := n.released; i <= n.last(); i++ {
		if l.epochAt(i) != n.epochs[i-n.released] {
			t.Fatalf("epoch %d at %d, want %d", l.epochAt(i), i, n.epochs[i-n.released])
		}
		if got, want := l.costOf(n.released, i), n.cost(n.released, i); got != want {
			t.Fatalf("cost %d up to %d, want %d", got, i, want)
		}
		for e := consensus.Epoch(0); e <= l.lastEpoch()+1; e++ {
			if got, want := l.backOff(i, e), naiveBackOff(n, i, e); got != want {
				t.Fatalf("back off from %d to epoch %d: %d, want %d", i, e, got, want)
			}
		}
	}
	for lo := n.released + 1; lo <= n.last(); lo++ {
		for _, budget := range []uint64{0, 40, 200} {
			hi := lo + 1
			for hi <= n.last() && n.cost(lo-1, hi) <= budget {
				hi++
			}
			if got := l.fit(lo, budget); got != (consensus.Span{Lo: lo, Hi: hi}) {
				t.Fatalf("fit %v from %d in %d, want end %d", got, lo, budget, hi)
			}
		}
	}
}

func naiveBackOff(n *naiveLog, i consensus.Index, e consensus.Epoch) consensus.Index {
	for ; i >= n.released; i-- {
		if n.epochs[i-n.released] <= e {
			return i
		}
		if i == 0 {
			break
		}
	}
	return n.released - 1
}
