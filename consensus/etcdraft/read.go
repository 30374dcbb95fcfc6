package etcdraft

import (
	"encoding/binary"
	"fmt"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/internal/lease"
	"github.com/quorate/quorate/consensus/mutant"
)

// read is one read barrier under way.
type read struct {
	id    consensus.ProposalID
	round uint64 // zero: raft does not know of it yet
	now   consensus.Instant
}

// reads are a leader's read barriers. All that arrive between two Readys share one
// request to raft, their round. Raft answers a request before its leadership's first
// entry is decided if the group has one voter, and with a commit index from before
// the restart; that would miss decisions (C9), so requests wait for that here.
type reads struct {
	queue []read // ascending by round, those without a round last
	fresh int    // how many have no round yet
	// round is the latest one opened. It never starts anew, so that what an earlier
	// leadership left in raft is not taken for an answer.
	round uint64
	// beat is the latest position in raft's queue of requests that a heartbeat of this
	// leadership asked to confirm; a reply cannot confirm more.
	beat uint64
	// answered is the highest index that was answered; the driver relies on it that
	// they never fall.
	answered consensus.Index
	lease    lease.Holder
}

// proposeRead answers a read barrier from the lease (C12), or queues it.
func (m *Machine) proposeRead(id consensus.ProposalID, now consensus.Instant) error {
	r := &m.read
	if n := max(len(r.queue), len(m.queue.reads)); n >= m.limit.readRounds {
		return fmt.Errorf("%w: %d read barriers in flight", consensus.ErrBusy, n)
	}
	if r.lease.Holds(now) {
		m.answer(id, m.commit)
		if !r.lease.Due(now) {
			return nil
		}
		id = 0 // nobody waits for the round that renews the lease
	}
	r.queue = append(r.queue, read{id: id, now: now})
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

// openRound asks raft about the barriers that wait for it.
func (m *Machine) openRound() {
	r := &m.read
	if m.role != consensus.Leader || len(r.queue) == 0 || m.commit < m.lead.start && !mutant.On(mutant.EtcdraftReadBeforeBarrier) {
		return
	}
	if m.soleVoter() {
		// Nobody else can have decided anything. Raft knows, but not if the last
		// other voter has just left.
		m.settle(len(r.queue), m.commit)
		return
	}
	if r.fresh == 0 {
		return
	}
	r.round++
	began := consensus.Instant(0)
	for k := len(r.queue) - r.fresh; k < len(r.queue); k++ {
		r.queue[k].round = r.round
		began = max(began, r.queue[k].now)
	}
	r.fresh = 0
	if m.unchanging() || mutant.On(mutant.LeaseThroughChange) {
		r.lease.Open(r.round, began)
	}
	m.node.ReadIndex(binary.LittleEndian.AppendUint64(nil, r.round))
	m.collect()
}

// confirmed takes an answer of raft's: it holds for its round and all before.
func (m *Machine) confirmed(context []byte, index consensus.Index) {
	upTo, n := round(context), 0
	m.read.lease.Confirm(upTo)
	for n < len(m.read.queue) && m.read.queue[n].round != 0 && m.read.queue[n].round <= upTo {
		n++
	}
	m.settle(n, index)
}

// settle answers the first n barriers.
func (m *Machine) settle(n int, index consensus.Index) {
	r := &m.read
	for _, w := range r.queue[:n] {
		m.answer(w.id, index)
	}
	r.queue = r.queue[n:]
	r.fresh = min(r.fresh, len(r.queue))
}

// drop ends all barriers without an answer: they never entered a log (C8).
func (r *reads) drop(dropped *[]consensus.ProposalID) {
	for _, w := range r.queue {
		if w.id != 0 {
			*dropped = append(*dropped, w.id)
		}
	}
	r.queue, r.fresh, r.beat, r.answered = nil, 0, 0, 0
	r.lease.Begin()
}
