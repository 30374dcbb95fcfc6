package sim

import (
	"time"

	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/store"
)

// skewMax is how much faster or slower a node's clock may run than the others'.
const skewMax = 0.05

// leaseFacts judge expiry: never before the TTL, counted from when the last renewal
// that was acknowledged had been sent, as the holder's own clock would say; and,
// once the cluster is whole, not long after it.
type leaseFacts struct {
	s     *Sim
	held  map[leaseKey]*heldLease
	jumps []jump
}

type jump struct{ at, by time.Duration }

type leaseKey struct {
	shard shard.ID
	id    int64
}

type heldLease struct {
	key       leaseKey
	ttl       time.Duration
	renewed   time.Duration // when the last acknowledged grant or keepalive was sent
	granted   bool          // as the holder knows
	revoked   bool          // the holder asked for it
	abandoned bool          // the holder renews no more
	goneAt    time.Duration
}

func (f *leaseFacts) hold(key leaseKey) *heldLease {
	l := &heldLease{key: key, goneAt: never}
	f.held[key] = l
	return l
}

// renewedAt notes an acknowledged grant or keepalive that was sent at that time.
func (l *heldLease) renewedAt(s *Sim, sent time.Duration, ttl int64) {
	promised := sent + time.Duration(float64(ttl)*float64(time.Second)*(1-s.check.leases.skew())) - s.check.leases.jumpedSince(sent)
	if l.goneAt < promised && !l.revoked {
		s.violate("lease-renewal", "shard %d lease %d was renewed for %d s by a request sent at %v, it ended at %v", l.key.shard, l.key.id, ttl, sent, l.goneAt)
	}
	l.ttl, l.renewed, l.granted = time.Duration(ttl)*time.Second, max(l.renewed, sent), true
}

// jumped notes that some node's clock went ahead by d.
func (f *leaseFacts) jumped(d time.Duration) { f.jumps = append(f.jumps, jump{f.s.now, d}) }

// jumpedSince is by how much clocks went ahead since a time.
func (f *leaseFacts) jumpedSince(at time.Duration) (d time.Duration) {
	for i := len(f.jumps) - 1; i >= 0 && f.jumps[i].at >= at; i-- {
		d += f.jumps[i].by
	}
	return d
}

// skew is by how much a leader's clock may have run ahead in this run.
func (f *leaseFacts) skew() float64 {
	if f.s.opts.swarm.weights[faultClockSkew] == 0 {
		return 0
	}
	return skewMax
}

// expired is called when a lease's expiry is decided.
func (f *leaseFacts) expired(id shard.ID, lease int64) {
	l := f.held[leaseKey{id, lease}]
	if l == nil || !l.granted {
		return
	}
	l.goneAt = f.s.now
	earliest := l.renewed + time.Duration(float64(l.ttl)*(1-f.skew())) - f.jumpedSince(l.renewed)
	if f.s.now < earliest {
		f.s.violate("lease-early", "shard %d lease %d of %v, renewed at %v, is expired at %v", id, lease, l.ttl, l.renewed, f.s.now)
	}
}

// revoked is called when a lease's revocation is decided.
func (f *leaseFacts) revoked(id shard.ID, lease int64) {
	l := f.held[leaseKey{id, lease}]
	if l == nil {
		return
	}
	l.goneAt = f.s.now
	if !l.revoked {
		f.s.violate("lease-early", "shard %d lease %d was revoked, its holder did not ask for it", id, lease)
	}
}

// overdue names a lease that should have ended long ago in a cluster that has been
// whole since the given time; nil: none.
func (f *leaseFacts) overdue(since time.Duration) (worst *store.Lease, deadline time.Duration) {
	w := &f.s.opts.swarm
	grace := 2*time.Duration(2*w.electionTicks)*w.tick + 500*time.Millisecond
	for _, id := range f.s.shardIDs() {
		facts := f.s.check.shard(id)
		facts.oracle.store.Leases(func(l store.Lease) {
			start := max(since, facts.led)
			if held := f.held[leaseKey{id, l.ID}]; held != nil {
				start = max(start, held.renewed)
			}
			end := start + time.Duration(float64(l.TTLSeconds)*float64(time.Second)*(1+skewMax)) + grace
			if worst == nil || end > deadline {
				worst, deadline = &l, end
			}
		})
	}
	return worst, deadline
}
