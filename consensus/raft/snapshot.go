package raft

import (
	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
)

// needSnapshot asks the driver to stream the state to a peer whose next entry is
// released here (§7), once the peer has shown that it is there.
func (m *Machine) needSnapshot(p *peer) {
	if !p.active {
		return
	}
	p.toSnapshot()
	m.queue.needSnapshot = append(m.queue.needSnapshot, p.id)
}

// doneSnapshotSent goes on behind the state, or where the peer was before.
func (m *Machine) doneSnapshotSent(s consensus.SnapshotSent) {
	if m.role != consensus.Leader {
		return
	}
	p := m.find(s.To)
	if p == nil || p.flow != snapshot {
		return
	}
	if s.OK {
		p.toProbe(min(s.Index, m.log.last) + 1)
		return
	}
	p.toProbe(p.next)
	p.waiting = true // not at once again: with the next heartbeat reply
}

// onSnapshot takes a state whose transfer is complete (§7).
func (m *Machine) onSnapshot(msg *consensus.Message) error {
	m.heard(msg.From)
	m.takeSnapshot(msg.Snapshot)
	m.duty.ack = true
	return nil
}

// onOlderSnapshot takes a state that an earlier leader sent. What is decided stays
// decided, so the epoch does not matter, and a long transfer is not wasted. A
// leader has every decided entry and needs none (R7).
func (m *Machine) onOlderSnapshot(msg *consensus.Message) error {
	if m.role != consensus.Leader {
		m.takeSnapshot(msg.Snapshot)
	}
	return m.onOlderLeader(msg)
}

// takeSnapshot replaces the log, unless that would lose something: a state that is
// not ahead is ignored, and if the log has the snapshot's entry then everything
// before it is decided and what follows stays (§7).
func (m *Machine) takeSnapshot(s *consensus.Snapshot) {
	if m.duty.installing != 0 {
		return
	}
	newer := s.Index <= m.commit || m.log.matches(s.Index, s.Epoch)
	if mutant.On(mutant.RaftSnapshotOverNewer) {
		newer = false
	}
	if newer {
		m.commit = max(m.commit, s.Index)
		m.duty.verified = max(m.duty.verified, m.commit)
		return
	}
	if m.role != consensus.Follower {
		m.becomeFollower(m.hard.Epoch, 0)
	}
	m.log.reset(s.Index, s.Epoch)
	m.disk.truncate(1) // nothing of the new log is durable before the install is
	m.queue.forgetEntries(s.Index)
	m.confs = append(m.confs[:0], configurationAt{s.Index, s.Configuration.Clone()})
	m.configure()
	m.commit, m.learned = s.Index, s.Index
	m.duty.verified = s.Index
	m.duty.installing = s.Index
	installed := *s
	installed.Configuration = s.Configuration.Clone()
	m.queue.install = &installed
}

// finishInstall runs when the driver has the snapshot installed and recorded in
// its log: from here on the replica has durably what the state contains.
func (m *Machine) finishInstall(at consensus.Index) {
	m.duty.installing = 0
	m.disk.index = at
	m.duty.ack = true
}
