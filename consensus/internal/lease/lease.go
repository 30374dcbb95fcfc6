// Package lease has what the engines keep for leases on a clock (C12): what a leader may
// answer alone, and whom a voter may help meanwhile. Sources: Gray and Cheriton, "Leases"
// (1989); Ongaro's dissertation §6.4.1; Lampson, "How to Build a Highly Available System
// Using Consensus" (1996), §5.
package lease

import (
	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/internal/ring"
	"github.com/quorate/quorate/consensus/mutant"
)

// Holder is a leader's side. Rounds are those of its read barriers: whoever confirms one
// has heard the leader after the round began, and helps nobody else for a while. The zero
// value holds nothing, ever.
type Holder struct {
	nanos   uint64            // how long a lease is; zero: there are none
	rounds  ring.Ring[round]  // under way, ascending; bounded by the read barriers in flight
	started consensus.Instant // when the latest round began
	until   consensus.Instant // the lease holds for readings below
	barred  bool              // until this leadership ends
}

type round struct {
	number uint64
	began  consensus.Instant
}

// NewHolder makes the leader's side of leases that last so many nanoseconds; zero: none.
func NewHolder(nanos uint64) Holder { return Holder{nanos: nanos} }

// Begin starts a leadership, without a lease.
func (h *Holder) Begin() {
	h.end()
	h.started, h.barred = 0, false
}

func (h *Holder) end() {
	h.rounds.Clear()
	h.until = 0
}

// Open notes a round that is about to be sent. began is a reading of the clock from before
// that; zero, if nobody has looked, makes a round that gives no lease.
func (h *Holder) Open(number uint64, began consensus.Instant) {
	if h.nanos == 0 || h.barred || began == 0 {
		return
	}
	h.started = max(h.started, began)
	h.rounds.Push(round{number, began})
	if mutant.On(mutant.LeaseUnconfirmed) {
		h.Confirm(number)
	}
}

// Confirm says that a quorum has confirmed every round up to this one. The lease runs from
// when the round began: nobody can have confirmed it before.
func (h *Holder) Confirm(upTo uint64) {
	for h.rounds.Len() > 0 && h.rounds.At(0).number <= upTo {
		began := h.rounds.At(0).began
		if mutant.On(mutant.LeaseFromAnswer) {
			began = h.started
		}
		h.until = max(h.until, began+consensus.Instant(h.nanos))
		h.rounds.PopFront(1)
	}
}

// Holds reports whether nobody else can have led at the moment of a reading.
func (h *Holder) Holds(now consensus.Instant) bool { return now != 0 && now < h.until }

// Due reports whether a lease that holds should be renewed: half of it is over since a
// round began.
func (h *Holder) Due(now consensus.Instant) bool {
	return now > h.started && uint64(now-h.started) > h.nanos/2
}

// Suspend ends the lease when a change of membership begins, and what is under way gives
// none: the quorums behind the change need not meet those that have confirmed it.
func (h *Holder) Suspend() {
	if !mutant.On(mutant.LeaseThroughChange) {
		h.end()
	}
}

// Forfeit ends the lease for the rest of this leadership: a transfer is under way, whose
// candidate is helped by voters that are bound to this leader. It may arrive late.
func (h *Holder) Forfeit() {
	if mutant.On(mutant.LeaseAfterTransfer) {
		return
	}
	h.end()
	h.barred = true
}

// Voter is a voter's side: while it is bound to a leader it neither elects another one nor
// seeks to be one. The zero value is never bound.
type Voter struct {
	ticks   int // how long it is bound; zero: there are no leases
	bound   int // ticks left to the leader that it heard last, of epoch
	earlier int // ticks left to those before
	epoch   consensus.Epoch
	leader  consensus.ReplicaID
}

// NewVoter makes a voter that is bound for so many ticks to whom it has heard; zero: never.
// It has just been started in an epoch, and may have forgotten whom it heard in that or an
// earlier one.
func NewVoter(ticks int, epoch consensus.Epoch) Voter {
	v := Voter{ticks: ticks, earlier: ticks, epoch: epoch}
	if mutant.On(mutant.LeaseRestartForgets) {
		v.earlier = 0
	}
	return v
}

// On reports whether there are leases.
func (v *Voter) On() bool { return v.ticks > 0 }

// Heard binds the voter to a leader, from now on.
func (v *Voter) Heard(leader consensus.ReplicaID, epoch consensus.Epoch) {
	if v.ticks == 0 {
		return
	}
	if leader != v.leader || epoch != v.epoch {
		v.earlier = max(v.earlier, v.bound)
		v.leader, v.epoch = leader, epoch
	}
	v.bound = v.ticks
}

// Tick lets time pass.
func (v *Voter) Tick() {
	v.bound, v.earlier = max(0, v.bound-1), max(0, v.earlier-1)
}

// Free reports whether this voter may help anybody.
func (v *Voter) Free() bool { return v.bound == 0 && v.earlier == 0 }

// FreeFor reports whether it may help a replica in an epoch: also the leader that it is
// bound to.
func (v *Voter) FreeFor(id consensus.ReplicaID, epoch consensus.Epoch) bool {
	return v.earlier == 0 && (v.bound == 0 || v.leader == id && v.epoch == epoch)
}

// Release frees it for a candidate of an epoch that was sent by its leader: that one has
// forfeited its lease, and those before it had none left when it was elected. Leaders of
// this epoch or later ones know nothing of the transfer.
func (v *Voter) Release(epoch consensus.Epoch) {
	if v.epoch < epoch {
		v.bound, v.earlier = 0, 0
	}
}
