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
	epoch, ok := r.epochAt(to)
	if !ok {
		return
	}
	h.logBatch().Release(Group(id), to, epoch)
	r.released = to
	r.machine.Done(consensus.Done{Released: to})
	r.cache.evict(min(to, r.evictable()), 0)
	h.touch(r)
}

// wantedAbove is the highest index that nobody here or at a follower within the
// granted lag still needs.
func (r *Replica) wantedAbove() consensus.Index {
	lag := consensus.Index(r.host.cfg.Limits.LagEntries)
	to := r.applied - min(r.applied, lag)
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

// epochAt is the epoch of an applied entry.
func (r *Replica) epochAt(i consensus.Index) (consensus.Epoch, bool) {
	if entries, ok := r.cache.span(consensus.Span{Lo: i, Hi: i + 1}); ok {
		return entries[0].Epoch, true
	}
	return r.host.ports.Log.EpochAt(Group(r.id), i)
}
