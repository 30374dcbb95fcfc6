package raft

import (
	"fmt"
	"sort"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/internal/ring"
)

// entryOverhead is what an entry costs in every window beyond its data, in bytes.
// It stands for framing and bookkeeping, and keeps windows finite when data is empty.
const entryOverhead = 16

// epochRun says that the entries from first up to the next run have this epoch.
type epochRun struct {
	first consensus.Index
	epoch consensus.Epoch
}

// entryLog describes the log without holding an entry. What the protocol asks of
// a log is: which epoch has the entry at i, and how many bytes lie between i and
// j? Epochs change rarely and never fall along a log, so runs of equal epoch
// answer the first in a few words; running totals of cost answer the second
// without a loop. Entries themselves are the driver's (doc.go of consensus).
type entryLog struct {
	// released is the last index that is gone, releasedEpoch its epoch.
	released      consensus.Index
	releasedEpoch consensus.Epoch
	// last is the last index. Invariant: released <= last.
	last consensus.Index
	// runs cover (released, last]. Invariant: ascending in both fields;
	// runs[0].first == released+1 unless the log is empty.
	runs []epochRun
	// totals holds at position k the cost of all entries up to released+k.
	// Invariant: totals.Len() == last-released+1.
	totals ring.Ring[uint64]
}

func newEntryLog(released consensus.Index, epoch consensus.Epoch) entryLog {
	l := entryLog{}
	l.reset(released, epoch)
	return l
}

// reset makes the log empty behind a snapshot.
func (l *entryLog) reset(released consensus.Index, epoch consensus.Epoch) {
	l.released, l.releasedEpoch, l.last = released, epoch, released
	l.runs = l.runs[:0]
	l.totals.Clear()
	l.totals.Push(0)
}

func (l *entryLog) lastEpoch() consensus.Epoch {
	if len(l.runs) == 0 {
		return l.releasedEpoch
	}
	return l.runs[len(l.runs)-1].epoch
}

// epochAt returns the epoch of the entry at i. REQUIRES: released <= i <= last.
func (l *entryLog) epochAt(i consensus.Index) consensus.Epoch {
	if i < l.released || i > l.last {
		panic(fmt.Sprintf("raft: epoch of index %d asked, log has [%d,%d]", i, l.released, l.last))
	}
	for k := len(l.runs) - 1; k >= 0; k-- { // the newest run is asked for most
		if l.runs[k].first <= i {
			return l.runs[k].epoch
		}
	}
	return l.releasedEpoch
}

// matches reports whether the log has an entry of this epoch at i.
func (l *entryLog) matches(i consensus.Index, e consensus.Epoch) bool {
	return i >= l.released && i <= l.last && l.epochAt(i) == e
}

// upToDate reports whether a log that ends with this entry holds at least as much
// as ours (Raft §5.4.1).
func (l *entryLog) upToDate(i consensus.Index, e consensus.Epoch) bool {
	mine := l.lastEpoch()
	return e > mine || e == mine && i >= l.last
}

// backOff returns the highest index <= i whose epoch is <= e, and one below
// released if there is none (or zero).
func (l *entryLog) backOff(i consensus.Index, e consensus.Epoch) consensus.Index {
	i = min(i, l.last)
	if i < l.released {
		return i
	}
	for k := len(l.runs) - 1; k >= 0; k-- {
		if l.runs[k].first > i {
			continue
		}
		if l.runs[k].epoch <= e {
			return i
		}
		i = l.runs[k].first - 1
	}
	if l.releasedEpoch <= e {
		return i
	}
	return l.released - 1 // an entry of an epoch > e >= 0 is not the zeroth
}

// append adds one entry behind last.
func (l *entryLog) append(e consensus.Epoch, size int) {
	if e < l.lastEpoch() {
		panic(fmt.Sprintf("raft: epoch %d appended behind epoch %d", e, l.lastEpoch()))
	}
	if len(l.runs) == 0 || l.runs[len(l.runs)-1].epoch != e {
		l.runs = append(l.runs, epochRun{l.last + 1, e})
	}
	l.totals.Push(l.total(l.last) + cost(size))
	l.last++
}

// truncate removes every entry at or above from. REQUIRES: released < from.
func (l *entryLog) truncate(from consensus.Index) {
	if from <= l.released {
		panic(fmt.Sprintf("raft: truncation at %d of a log released up to %d", from, l.released))
	}
	if from > l.last {
		return
	}
	l.totals.PopBack(int(l.last - from + 1))
	l.last = from - 1
	n := len(l.runs)
	for n > 0 && l.runs[n-1].first >= from {
		n--
	}
	l.runs = l.runs[:n]
}

// release forgets every entry at or below upTo. REQUIRES: upTo <= last.
func (l *entryLog) release(upTo consensus.Index) {
	if upTo <= l.released {
		return
	}
	l.releasedEpoch = l.epochAt(upTo)
	l.totals.PopFront(int(upTo - l.released))
	l.released = upTo
	k := 0
	for k < len(l.runs) && l.end(k) <= upTo {
		k++
	}
	l.runs = append(l.runs[:0], l.runs[k:]...)
	if len(l.runs) > 0 {
		l.runs[0].first = max(l.runs[0].first, upTo+1)
	}
}

// end is the last index of run k.
func (l *entryLog) end(k int) consensus.Index {
	if k+1 < len(l.runs) {
		return l.runs[k+1].first - 1
	}
	return l.last
}

// cost is what an entry with so many bytes of data counts in windows.
func cost(size int) uint64 { return uint64(size) + entryOverhead }

// total is the cost of all entries up to i. REQUIRES: released <= i <= last.
func (l *entryLog) total(i consensus.Index) uint64 { return *l.totals.At(int(i - l.released)) }

// costOf is the cost of the entries in (after, upTo].
func (l *entryLog) costOf(after, upTo consensus.Index) uint64 {
	return l.total(upTo) - l.total(after)
}

// fit returns the span that starts at lo and costs at most budget. It holds at
// least one entry, whatever that costs. REQUIRES: released < lo <= last.
func (l *entryLog) fit(lo consensus.Index, budget uint64) consensus.Span {
	limit := l.total(lo-1) + budget
	if l.total(l.last) <= limit {
		return consensus.Span{Lo: lo, Hi: l.last + 1}
	}
	more := sort.Search(int(l.last-lo), func(k int) bool { return l.total(lo+1+consensus.Index(k)) > limit })
	return consensus.Span{Lo: lo, Hi: lo + 1 + consensus.Index(more)}
}
