package sim

import (
	"fmt"
	"time"

	"github.com/quorate/quorate/internal/store"
)

// leaseHolders is the number of clients that do nothing but hold leases.
const leaseHolders = 6

// holder grants a lease, attaches a key to it, renews it for a while, and revokes
// or abandons it.
type holder struct {
	*client
	lease  *heldLease
	renews int // still to do
}

func (h *holder) act() {
	switch {
	case h.lease == nil:
		h.grant()
	case h.renews > 0:
		h.renews--
		h.renew()
	case h.rng.IntN(3) == 0:
		h.revoke()
	default:
		h.abandon()
		h.think(h.s.between(0, time.Second))
	}
}

// rest is the time between two renewals: a third of the TTL, more or less.
func (h *holder) rest() time.Duration {
	ttl := time.Duration(h.s.opts.swarm.leaseTTL) * time.Second
	return h.s.between(ttl/12, ttl*5/12)
}

func (h *holder) abandon() {
	h.lease.abandoned = true
	h.lease = nil
}

// grant begins a lease; an unknown outcome leaves one that nobody renews.
func (h *holder) grant() {
	id := h.s.clientShard(h.rng)
	h.counter++
	lease := h.s.check.leases.hold(leaseKey{id, int64(h.number+1)<<32 + int64(h.counter)})
	op := h.begin(id, "lease grant")
	op.done = func(op *operation, a *answer) {
		if a.result == nil || a.result.Err != nil {
			lease.abandoned = true
			return
		}
		lease.renewedAt(h.s, op.sent, a.result.Response.(*store.LeaseGrantResponse).TTLSeconds)
		h.lease, h.renews = lease, 1+h.rng.IntN(8)
		h.s.after(h.s.between(0, 50*time.Millisecond), h.attach)
	}
	r := store.LeaseGrantRequest{ID: lease.key.id, TTLSeconds: h.s.opts.swarm.leaseTTL}
	h.command(op, store.KindLeaseGrant, r.AppendTo(nil))
}

// attach puts a key under the lease, beside whatever else the holder does.
func (h *holder) attach() {
	lease := h.lease
	if lease == nil || h.op != nil || h.stopped {
		return
	}
	op := h.begin(lease.key.shard, "lease attach")
	op.done = ignore
	r := store.PutRequest{Key: fmt.Appendf(nil, "lease-%s", h.name), Value: fmt.Appendf(nil, "%d", lease.key.id), Lease: lease.key.id}
	h.command(op, store.KindPut, r.AppendTo(nil))
}

// renew asks the leader, through whatever node the holder talks to.
func (h *holder) renew() {
	lease := h.lease
	op := h.begin(lease.key.shard, "lease keepalive")
	op.done = func(op *operation, a *answer) {
		if a.err == nil {
			lease.renewedAt(h.s, op.sent, a.ttl)
			return
		}
		if a.err == store.ErrLeaseNotFound { //nolint:errorlint // answered unwrapped
			h.abandon()
		}
	}
	h.s.trace.client(h.s.now, h.name, op.shard, "call", "%s of %d at %s", op.kind, lease.key.id, op.node.name())
	h.send(op, func(n *simNode) {
		n.router.Lease(op.shard, lease.key.id, true, func(ttl, _ int64, err error) {
			h.end(op, &answer{ttl: ttl, err: err})
		})
	})
}

func (h *holder) revoke() {
	lease := h.lease
	lease.revoked = true
	op := h.begin(lease.key.shard, "lease revoke")
	op.done = func(*operation, *answer) { h.abandon() }
	r := store.LeaseRevokeRequest{ID: lease.key.id}
	h.command(op, store.KindLeaseRevoke, r.AppendTo(nil))
}
