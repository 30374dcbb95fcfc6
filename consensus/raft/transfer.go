package raft

import (
	"fmt"
	"slices"

	"github.com/quorate/quorate/consensus"
)

// proposeTransfer hands leadership to a voter (thesis §3.10): proposals stop, the
// voter catches up, timeout-now makes it campaign at once.
func (m *Machine) proposeTransfer(to consensus.ReplicaID) error {
	if m.lead.transferee != 0 {
		return fmt.Errorf("%w: to %v", consensus.ErrTransferring, m.lead.transferee)
	}
	if to == 0 {
		to = m.successor()
	}
	p := m.find(to)
	if p == nil || p.learner || to == m.id {
		return fmt.Errorf("%w: %v is not another voter", consensus.ErrInvalid, to)
	}
	if p.doubt != 0 {
		return fmt.Errorf("%w: the log of %v is still being repaired", consensus.ErrInvalid, to)
	}
	m.transfer(p)
	return nil
}

// successor is the voter of the target with the most of the log, zero if there is
// none. Those heard from lately come first, then low ids. One in doubt would not
// campaign (R10).
func (m *Machine) successor() consensus.ReplicaID {
	var best *peer
	for i := range m.peers {
		p := &m.peers[i]
		if p.id == m.id || p.doubt != 0 || !slices.Contains(m.inForce().Voters, p.id) {
			continue
		}
		if best == nil || p.active && !best.active || p.active == best.active && p.match > best.match {
			best = p
		}
	}
	if best == nil {
		return 0
	}
	return best.id
}

func (m *Machine) transfer(p *peer) {
	m.lead.transferee, m.lead.sent = p.id, false
	m.lead.deadline = m.limit.electionTicks
	m.queue.changed = true
	p.waiting = false
	m.transferIfReady()
}

// transferIfReady sends timeout-now once the transferee has the whole log.
func (m *Machine) transferIfReady() {
	if m.lead.transferee == 0 || m.lead.sent {
		return
	}
	p := m.find(m.lead.transferee)
	if p == nil || p.match < m.log.last {
		return
	}
	m.lead.sent = true
	m.read.lease.Forfeit()
	m.send(consensus.Message{Kind: KindTimeoutNow, To: p.id})
	if m.lead.leaving {
		m.becomeFollower(m.hard.Epoch, 0)
	}
}

// tickTransfer gives a transfer up after an election timeout.
func (m *Machine) tickTransfer() {
	if m.lead.transferee == 0 {
		return
	}
	if m.lead.deadline--; m.lead.deadline > 0 {
		return
	}
	m.lead.transferee, m.lead.sent = 0, false
	m.queue.changed = true
	if m.lead.leaving {
		m.becomeFollower(m.hard.Epoch, 0)
	}
}

// leave gives the lead to the best successor, or up if nobody takes over. Without
// any other voter it leads on.
func (m *Machine) leave() {
	p := m.find(m.successor())
	switch {
	case p == nil:
		if !votes(&m.inForce().Configuration, m.id) {
			m.becomeFollower(m.hard.Epoch, 0)
		}
		return
	case m.lead.transferee == 0:
		m.lead.leaving = true
		m.transfer(p)
	default: // under way already: let it finish
		m.lead.leaving = true
		m.transferIfReady()
	}
}

// onTimeoutNow campaigns at once: the leader itself asks for it, so the trial
// round is skipped and stickiness does not apply (thesis §3.10).
func (m *Machine) onTimeoutNow(msg *consensus.Message) error {
	m.heard(msg.From)
	if m.electable() {
		m.bound.Release(m.hard.Epoch + 1)
		m.becomeCandidate(true)
	}
	return nil
}
