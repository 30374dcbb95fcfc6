package paxos

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/internal/ring"
)

// entryOverhead is what an entry costs in every window beyond its data, in bytes.
// It stands for framing and bookkeeping, and keeps windows finite when data is empty.
const entryOverhead = 16

// slot is what an acceptor keeps of one accepted entry; without one all is zero. The
// entry itself is the driver's (doc.go of consensus).
type slot struct {
	epoch consensus.Epoch // the epoch in which it was accepted last; zero: a hole
	orig  consensus.Epoch
	size  uint32
	kind  consensus.EntryKind
}

func (s *slot) cost() uint64 { return cost(int(s.size)) }

// cost is what an entry with so many bytes of data counts in windows.
func cost(size int) uint64 { return uint64(size) + entryOverhead }

// slots is the acceptor's log: slot by slot what it has accepted, in any order, with
// holes. An accepted value is only ever replaced by one of a higher epoch (P2).
type slots struct {
	// released is the last slot that is gone, fence the highest Orig up to there.
	released      consensus.Index
	releasedFence consensus.Epoch
	// known holds the slots (released, last]. Invariant: the last one is no hole.
	known ring.Ring[slot]
	// memberships has the data of the membership entries among them, also of those
	// that are skipped when their turn comes.
	memberships map[consensus.Index][]byte
}

// last is the last slot that was ever accepted, or released.
func (l *slots) last() consensus.Index { return l.released + consensus.Index(l.known.Len()) }

// hole is what every slot is in which nothing was accepted. It is only read.
var hole slot

// at returns the slot at i, to be read, a hole beyond the last. REQUIRES: released < i.
func (l *slots) at(i consensus.Index) *slot {
	if k := int(i - l.released - 1); k >= 0 && k < l.known.Len() {
		return l.known.At(k)
	}
	if i <= l.released {
		panic(fmt.Sprintf("paxos: slot %d asked, released up to %d", i, l.released))
	}
	return &hole
}

// put accepts an entry in an epoch. REQUIRES: released < e.Index.
func (l *slots) put(e *consensus.Entry) {
	for e.Index > l.last() {
		l.known.Push(slot{})
	}
	s := l.known.At(int(e.Index - l.released - 1))
	if s.epoch > e.Epoch {
		panic(fmt.Sprintf("paxos: slot %d accepted in epoch %d after %d", e.Index, e.Epoch, s.epoch))
	}
	*s = slot{epoch: e.Epoch, orig: e.Orig, size: uint32(len(e.Data)), kind: e.Kind}
	switch {
	case e.Kind == consensus.EntryMembership:
		if l.memberships == nil {
			l.memberships = make(map[consensus.Index][]byte)
		}
		l.memberships[e.Index] = e.Data
	case l.memberships != nil:
		delete(l.memberships, e.Index)
	}
}

// release forgets every slot at or below upTo; fence is the highest Orig up to there.
// What is above stays: an acceptor may not forget it.
func (l *slots) release(upTo consensus.Index, fence consensus.Epoch) {
	if upTo <= l.released {
		return
	}
	l.known.PopFront(min(int(upTo-l.released), l.known.Len()))
	l.released, l.releasedFence = upTo, fence
	for i := range l.memberships {
		if i <= upTo {
			delete(l.memberships, i)
		}
	}
}

// fit returns the span of accepted slots that starts at lo, ends before hi or before a
// hole, and costs at most budget; it holds at least one slot, whatever that costs.
// REQUIRES: released < lo < hi, and lo is no hole.
func (l *slots) fit(lo, hi consensus.Index, budget uint64) (span consensus.Span, size uint64) {
	span = consensus.Span{Lo: lo, Hi: lo}
	for span.Hi < hi && span.Hi <= l.last() {
		s := l.known.At(int(span.Hi - l.released - 1))
		if s.epoch == 0 || size+s.cost() > budget && !span.Empty() {
			break
		}
		size += s.cost()
		span.Hi++
	}
	return span, size
}

// next returns the first slot from i on that is no hole, or last+1.
// REQUIRES: released < i.
func (l *slots) next(i consensus.Index) consensus.Index {
	for i <= l.last() && l.at(i).epoch == 0 {
		i++
	}
	return i
}
