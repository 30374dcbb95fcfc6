package shard

import (
	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
)

// Durably tells a replica that the engine cannot lose the effects of entries up
// to index, and releases the log as far as H4 allows. The owner calls it now and
// then, after the engine has flushed.
func (h *Host) Durably(id ID, flushed consensus.Index) {
	r, ok := h.replicas[id]
	if !ok || r.stalled != nil {
		return
	}
	if mutant.On(mutant.ShardReleaseUnflushed) {
		flushed = r.applied
	}
	to := min(flushed, r.wantedAbove())
	if to <= r.released {
		return
	}
	fence, ok := r.fenceAt(to)
	if !ok {
		return
	}
	h.logBatch().Release(Group(id), to, fence)
	r.released, r.fence = to, fence
	r.machine.Done(consensus.Done{Released: to})
	r.cache.evict(min(to, r.evictable()), 0)
	r.sizes.released(to)
	h.touch(r)
}

// wantedAbove is the highest index that nobody here or at a follower within the
// granted lag still needs.
func (r *Replica) wantedAbove() consensus.Index {
	lag := consensus.Index(r.host.cfg.Limits.LagEntries)
	to := max(r.applied-min(r.applied, lag), r.sizes.behind(r.host.cfg.Limits.LagBytes))
	s := r.machine.Status()
	if s.Role == consensus.Leader {
		slowest := r.applied
		for _, p := range s.Peers {
			slowest = min(slowest, p.Match)
		}
		to = max(to, slowest)
	}
	for _, held := range r.holders {
		to = min(to, held)
	}
	return min(to, r.evictable(), r.applied)
}

// fenceAt is the highest first epoch up to an index above released. Without holes it never
// falls, so it is that of the entry there.
func (r *Replica) fenceAt(i consensus.Index) (consensus.Epoch, bool) {
	span := consensus.Span{Lo: i, Hi: i + 1}
	if r.sparse {
		span.Lo = r.released + 1
	}
	fence, ok := r.host.ports.Log.HighestOrig(Group(r.id), span)
	return max(fence, r.fence), ok
}

// logSizes knows roughly how many bytes of entries lie behind an index: it marks
// the log about every logSizesStep bytes.
type logSizes struct {
	total uint64 // bytes appended since the start
	marks []sizeMark
}

type sizeMark struct {
	index consensus.Index
	total uint64 // when it was appended
}

const logSizesStep = 1 << 20

func (l *logSizes) appended(index consensus.Index, bytes int) {
	l.total += uint64(bytes)
	if n := len(l.marks); n == 0 || l.total-l.marks[n-1].total >= logSizesStep {
		l.marks = append(l.marks, sizeMark{index: index, total: l.total})
	}
}

// behind is the highest marked index with more than the given bytes appended
// behind it; zero: there is none.
func (l *logSizes) behind(bytes int) consensus.Index {
	for i := len(l.marks) - 1; i >= 0; i-- {
		if l.total-l.marks[i].total > uint64(bytes) {
			return l.marks[i].index
		}
	}
	return 0
}

func (l *logSizes) released(to consensus.Index) {
	n := 0
	for n < len(l.marks) && l.marks[n].index <= to {
		n++
	}
	l.marks = append(l.marks[:0], l.marks[n:]...)
}

// truncated forgets marks of entries that are gone.
func (l *logSizes) truncated(from consensus.Index) {
	for len(l.marks) > 0 && l.marks[len(l.marks)-1].index >= from {
		l.marks = l.marks[:len(l.marks)-1]
	}
}
