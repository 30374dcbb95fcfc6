package raft

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/internal/lease"
	"github.com/quorate/quorate/consensus/internal/ring"
	"github.com/quorate/quorate/consensus/mutant"
	"github.com/quorate/quorate/consensus/quorum"
)

// read is one read barrier under way.
type read struct {
	id    consensus.ProposalID
	index consensus.Index // set with round
	round uint64          // zero: no round opened for it yet
	now   consensus.Instant
}

// reads are a leader's read barriers (thesis §6.4). All barriers that arrive
// between two Readys share a round: a heartbeat that carries the round's number,
// sent after they arrived. A quorum that answers with that number or a later one
// had no later leader, so the commit index of that moment covers every decision
// made before they arrived. Several rounds may be under way; a later one confirms
// the earlier ones.
type reads struct {
	queue ring.Ring[read] // ascending by round, those without a round last
	fresh int             // how many have no round yet
	round uint64          // the latest round opened in this epoch
	// answered is the highest index that was answered; the driver relies on it that
	// they never fall.
	answered consensus.Index
	lease    lease.Holder
}

// proposeRead answers a read barrier from the lease (C12), or queues it.
func (m *Machine) proposeRead(id consensus.ProposalID, now consensus.Instant) error {
	r := &m.read
	if n := max(r.queue.Len(), len(m.queue.reads)); n >= m.limit.readRounds {
		return fmt.Errorf("%w: %d read barriers in flight", consensus.ErrBusy, n)
	}
	if r.lease.Holds(now) {
		m.answer(id, m.commit)
		if !r.lease.Due(now) {
			return nil
		}
		id = 0 // nobody waits for the round that renews the lease
	}
	r.queue.Push(read{id: id, now: now})
	r.fresh++
	return nil
}

// answer answers one barrier.
func (m *Machine) answer(id consensus.ProposalID, at consensus.Index) {
	r := &m.read
	if r.answered = max(r.answered, at); id != 0 {
		m.queue.reads = append(m.queue.reads, consensus.Read{ID: id, Index: r.answered})
	}
}

// openRound starts a round for the barriers that wait for one. Before the epoch's
// first entry is decided the commit index may lag behind decisions of earlier
// epochs (thesis §6.4 step 1), so they wait for that.
func (m *Machine) openRound() {
	r := &m.read
	if r.fresh == 0 || m.commit < m.lead.start && !mutant.On(mutant.RaftReadBeforeBarrier) {
		return
	}
	r.round++
	began := consensus.Instant(0)
	for k := r.queue.Len() - r.fresh; k < r.queue.Len(); k++ {
		w := r.queue.At(k)
		w.index, w.round = m.commit, r.round
		began = max(began, w.now)
	}
	r.fresh = 0
	if m.unchanging() || mutant.On(mutant.LeaseThroughChange) {
		r.lease.Open(r.round, began)
	}
	for i := range m.peers {
		if !m.peers[i].learner {
			m.peers[i].beat = true
		}
	}
}

// settleReads answers the barriers of every round that a quorum confirmed.
func (m *Machine) settleReads() {
	r := &m.read
	if r.queue.Len() == r.fresh {
		return
	}
	confirmed := quorum.Committed(m.quorum, func(id consensus.ReplicaID) uint64 {
		if id == m.id {
			return r.round
		}
		return m.find(id).round
	})
	r.lease.Confirm(confirmed)
	for r.queue.Len() > 0 {
		w := r.queue.At(0)
		if w.round == 0 || w.round > confirmed {
			return
		}
		m.answer(w.id, w.index)
		r.queue.PopFront(1)
	}
}

// drop ends all barriers without an answer: they never entered a log (C8).
func (r *reads) drop(dropped *[]consensus.ProposalID) {
	for k := range r.queue.Len() {
		if id := r.queue.At(k).id; id != 0 {
			*dropped = append(*dropped, id)
		}
	}
	r.clear()
}

func (r *reads) clear() {
	r.queue.Clear()
	r.fresh, r.round, r.answered = 0, 0, 0
	r.lease.Begin()
}
