package shard

import (
	"container/heap"
	"fmt"
	"math"
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
	"github.com/quorate/quorate/internal/store"
)

// lessor keeps the deadlines of a shard's leases while this replica leads it.
// The leases themselves are replicated; deadlines are not. A new leader starts
// every lease's time anew when its barrier is applied, so that no holder loses
// a lease before the TTL it last saw (H8).
type lessor struct {
	leases  map[int64]*lease
	expiry  expiryHeap // ordered by deadline; only while primary
	primary bool
	epoch   consensus.Epoch // of the leadership, while primary
}

type lease struct {
	id       int64
	ttl      int64 // seconds, as granted
	deadline time.Duration
	expiring bool // a LeaseExpire has been proposed
	position int  // in expiry; -1: not in it
}

// load replaces the table by what the store holds.
func (l *lessor) load(s *store.Store) {
	l.leases = make(map[int64]*lease)
	l.demote()
	s.Leases(func(x store.Lease) { l.leases[x.ID] = &lease{id: x.ID, ttl: x.TTLSeconds, position: -1} })
}

// observe follows what applied commands did to leases.
func (l *lessor) observe(changes []LeaseChange, now time.Duration) {
	for _, c := range changes {
		old := l.leases[c.ID]
		if old != nil && old.position >= 0 {
			heap.Remove(&l.expiry, old.position)
		}
		if c.Revoked {
			delete(l.leases, c.ID)
			continue
		}
		x := &lease{id: c.ID, ttl: c.TTL, position: -1}
		l.leases[c.ID] = x
		if l.primary {
			l.extend(x, now)
		}
	}
}

// promote starts every lease's time anew.
func (l *lessor) promote(epoch consensus.Epoch, now time.Duration) {
	l.demote()
	l.primary, l.epoch = true, epoch
	for _, x := range l.leases {
		x.expiring = false
		x.deadline = deadline(now, x.ttl)
		x.position = len(l.expiry)
		l.expiry = append(l.expiry, x)
	}
	heap.Init(&l.expiry)
}

// demote forgets all deadlines.
func (l *lessor) demote() {
	for _, x := range l.expiry {
		x.position = -1
	}
	clear(l.expiry)
	l.expiry = l.expiry[:0]
	l.primary = false
}

func (l *lessor) extend(x *lease, now time.Duration) {
	x.deadline, x.expiring = deadline(now, x.ttl), false
	if x.position >= 0 {
		heap.Fix(&l.expiry, x.position)
		return
	}
	heap.Push(&l.expiry, x)
}

func deadline(now time.Duration, ttl int64) time.Duration {
	if ttl > int64((math.MaxInt64-now)/time.Second) {
		return math.MaxInt64
	}
	return now + time.Duration(ttl)*time.Second
}

// expired takes up to limit leases whose deadline has passed.
func (l *lessor) expired(now time.Duration, limit int) []int64 {
	var ids []int64
	for len(ids) < limit && len(l.expiry) > 0 && l.expiry[0].deadline <= now {
		x := heap.Pop(&l.expiry).(*lease)
		x.expiring = true
		ids = append(ids, x.id)
	}
	return ids
}

// retry puts a lease back whose expiry could not be proposed.
func (l *lessor) retry(id int64) {
	if x := l.leases[id]; x != nil && l.primary && x.position < 0 {
		x.expiring = false
		heap.Push(&l.expiry, x)
	}
}

// promoteLessor makes the lessor primary once an entry of this leader's own, its barrier or
// one before, is applied: nothing of an earlier epoch has effects behind it (C11).
func (r *Replica) promoteLessor(applied consensus.Epoch) {
	if !r.state.Leads || r.lessor.primary && r.lessor.epoch == r.state.Epoch {
		return
	}
	if r.lessor.primary && mutant.On(mutant.ShardLeaseKeepDeadline) {
		r.lessor.epoch = r.state.Epoch
		return
	}
	if applied == r.state.Epoch {
		r.lessor.promote(r.state.Epoch, r.host.now)
	}
}

// expireLeases proposes the end of leases whose time has passed. A proposal that
// is refused is repeated on a later tick; one that is lost with the leadership
// is the next leader's business.
func (r *Replica) expireLeases(now time.Duration) {
	if !r.lessor.primary || !r.state.Leads {
		return
	}
	for _, id := range r.lessor.expired(now, r.host.cfg.Limits.ExpiryBatch) {
		request := store.LeaseExpireRequest{ID: id, Epoch: uint64(r.lessor.epoch)}
		body := request.AppendTo(nil)
		envelope := store.AppendEnvelope(nil, &store.Envelope{Kind: store.KindLeaseExpire, Shard: r.id, Body: body})
		epoch := r.lessor.epoch
		if mutant.On(mutant.StoreExpireAlways) {
			epoch = r.state.Epoch
		}
		if err := r.host.Propose(r.id, epoch, consensus.Command{Data: envelope}); err != nil {
			r.lessor.retry(id)
		}
	}
}

// ErrNotPrimary is returned by RenewLease and RemainingLease on a replica that
// does not keep the shard's lease deadlines.
var ErrNotPrimary = fmt.Errorf("lease deadlines are the leader's: %w", consensus.ErrNotLeader)

// RenewLease starts a lease's time anew and returns its TTL in seconds. The
// caller has confirmed this leadership by a read barrier asked for after the
// holder's request arrived; else a deposed leader would promise time that the
// new leader does not know of. It returns store.ErrLeaseNotFound or ErrNotPrimary.
func (h *Host) RenewLease(id ID, leaseID int64) (ttl int64, err error) {
	r, ok := h.replicas[id]
	if !ok || !r.lessor.primary {
		return 0, ErrNotPrimary
	}
	x := r.lessor.leases[leaseID]
	if x == nil || x.expiring {
		return 0, store.ErrLeaseNotFound
	}
	r.lessor.extend(x, h.now)
	return x.ttl, nil
}

// RemainingLease returns a lease's granted TTL and what remains of it, both in
// seconds. It returns store.ErrLeaseNotFound or ErrNotPrimary.
func (h *Host) RemainingLease(id ID, leaseID int64) (ttl, remaining int64, err error) {
	r, ok := h.replicas[id]
	if !ok || !r.lessor.primary {
		return 0, 0, ErrNotPrimary
	}
	x := r.lessor.leases[leaseID]
	if x == nil {
		return 0, 0, store.ErrLeaseNotFound
	}
	left := x.deadline - h.now
	if x.expiring || left < 0 {
		left = 0
	}
	return x.ttl, int64(left / time.Second), nil
}

// expiryHeap implements heap.Interface; ties go by id, so that runs repeat.
type expiryHeap []*lease

func (h expiryHeap) Len() int { return len(h) }
func (h expiryHeap) Less(i, j int) bool {
	return h[i].deadline < h[j].deadline || h[i].deadline == h[j].deadline && h[i].id < h[j].id
}
func (h expiryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].position, h[j].position = i, j
}
func (h *expiryHeap) Push(x any) {
	l := x.(*lease)
	l.position = len(*h)
	*h = append(*h, l)
}
func (h *expiryHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	l.position = -1
	return l
}
