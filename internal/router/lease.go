package router

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/store"
)

// LeaseAnswer ends a lease call: the granted TTL and what remains of it, in
// seconds, or store.ErrLeaseNotFound or an error of this package.
type LeaseAnswer func(ttl, remaining int64, err error)

// callTable holds this node's lease calls, which the leader's lessor answers.
type callTable struct {
	next uint64
	byID map[uint64]*call
}

type call struct {
	id     uint64
	shard  shard.ID
	lease  int64
	renew  bool
	asked  bool // under way
	repeat time.Duration
	answer LeaseAnswer
}

func newCallTable(first uint64) callTable {
	return callTable{next: first, byID: make(map[uint64]*call)}
}

// end answers a call, if it still waits.
func (t *callTable) end(id uint64, ttl, remaining int64, err error) bool {
	c, ok := t.byID[id]
	delete(t.byID, id)
	if ok {
		c.answer(ttl, remaining, err)
	}
	return ok
}

// of returns a shard's calls in order.
func (t *callTable) of(id shard.ID) []*call {
	var list []*call
	for _, c := range t.byID {
		if c.shard == id {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *call) int { return cmp.Compare(a.id, b.id) })
	return list
}

// repeat lets a shard's calls be asked again.
func (t *callTable) repeat(id shard.ID) {
	for _, c := range t.of(id) {
		c.asked = false
	}
}

// Lease asks the shard's leader for a lease's remaining time, after renewing it
// if renew is set.
func (r *Router) Lease(id shard.ID, lease int64, renew bool, answer LeaseAnswer) {
	switch {
	case r.routes[id] == nil:
		answer(0, 0, ErrUnknownKeyspace)
		return
	case len(r.calls.byID) >= r.cfg.Limits.Waiting:
		r.counters.Refused++
		answer(0, 0, ErrTooManyRequests)
		return
	}
	r.calls.next++
	c := &call{id: r.calls.next, shard: id, lease: lease, renew: renew, answer: answer}
	r.calls.byID[c.id] = c
	r.deadlines.add(deadline{at: r.now + r.cfg.Limits.Timeout, kind: deadlineCall, shard: id, id: c.id})
	r.ask(c)
}

// ask sends a call to the leader, here or elsewhere.
func (r *Router) ask(c *call) {
	x := r.routes[c.shard]
	if x.state.Leader == 0 {
		return
	}
	c.asked, c.repeat = true, r.now+r.cfg.Limits.RoundTimeout
	if x.state.Leads {
		r.leaseHere(c.shard, c.lease, c.renew, func(ttl, remaining int64, err error) {
			r.settle(c.id, ttl, remaining, err)
		})
		return
	}
	c.asked = r.forward(shard.NodeOf(x.state.Leader),
		&packet{Kind: packetLease, Shard: c.shard, ID: c.id, Lease: c.lease, Renew: c.renew})
}

// settle ends a call, or leaves it to be asked again when the leadership is in doubt.
func (r *Router) settle(id uint64, ttl, remaining int64, err error) {
	if err == nil || errors.Is(err, store.ErrLeaseNotFound) {
		r.calls.end(id, ttl, remaining, err)
	}
}

// leaseHere consults this node's lessor once a barrier has confirmed its
// leadership (P4).
func (r *Router) leaseHere(id shard.ID, lease int64, renew bool, answer LeaseAnswer) {
	if renew && mutant.On(mutant.RouterRenewUnconfirmed) {
		ttl, err := r.host.RenewLease(id, lease)
		answer(ttl, ttl, err)
		return
	}
	r.Barrier(id, func(err error) {
		if err != nil {
			answer(0, 0, err)
			return
		}
		if renew {
			ttl, err := r.host.RenewLease(id, lease)
			answer(ttl, ttl, err)
			return
		}
		answer(r.host.RemainingLease(id, lease))
	})
}

// serveLease answers another node's call.
func (r *Router) serveLease(from shard.NodeID, p *packet) {
	reply := packet{Kind: packetLeaseDone, Shard: p.Shard, ID: p.ID}
	if !r.State(p.Shard).Leads {
		reply.Code = codeNotLeader
		r.forward(from, &reply)
		return
	}
	r.leaseHere(p.Shard, p.Lease, p.Renew, func(ttl, remaining int64, err error) {
		reply.TTL, reply.Remaining = ttl, remaining
		switch {
		case errors.Is(err, store.ErrLeaseNotFound):
			reply.Code = codeNotFound
		case err != nil:
			reply.Code = codeNotLeader
		}
		r.forward(from, &reply)
	})
}

func (r *Router) leaseDone(p *packet) {
	switch p.Code {
	case codeOK:
		r.settle(p.ID, p.TTL, p.Remaining, nil)
	case codeNotFound:
		r.settle(p.ID, 0, 0, store.ErrLeaseNotFound)
	default:
		r.settle(p.ID, 0, 0, consensus.ErrNotLeader)
	}
}

// retryCalls asks again what was not asked, or not answered in time.
func (r *Router) retryCalls() {
	if len(r.calls.byID) == 0 {
		return
	}
	var due []*call
	for _, c := range r.calls.byID {
		if !c.asked || c.repeat <= r.now {
			due = append(due, c)
		}
	}
	slices.SortFunc(due, func(a, b *call) int { return cmp.Compare(a.id, b.id) })
	for _, c := range due {
		r.ask(c)
	}
}
