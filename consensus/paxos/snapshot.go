package paxos

import (
	"slices"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
)

// streamsMax bounds the streams asked for at once; who has to wait asks again.
const streamsMax = 16

// needSnapshot asks the driver to stream the state to a replica whose next slot is
// released here, unless that is under way, and reports whether it is now. A replica that a
// change has left out may ask as well: it does not know of the change, and may not get on
// without.
func (m *Machine) needSnapshot(to consensus.ReplicaID) bool {
	if slices.Contains(m.streams, to) {
		return true
	}
	if m.duty.installing != 0 || len(m.streams) >= streamsMax {
		return false
	}
	m.streams = append(m.streams, to)
	m.queue.needSnapshot = append(m.queue.needSnapshot, to)
	return true
}

// doneSnapshotSent goes on behind the state, or asks where the peer is: not at once, so
// that what was refused is not offered again in a loop.
func (m *Machine) doneSnapshotSent(s consensus.SnapshotSent) {
	m.streams = slices.DeleteFunc(m.streams, func(id consensus.ReplicaID) bool { return id == s.To })
	if p := m.find(s.To); p != nil && m.role == consensus.Leader && p.flow == snapshot {
		p.toProbe()
		p.beat = false
	}
}

// onSnapshot takes a state whose transfer is complete.
func (m *Machine) onSnapshot(msg *consensus.Message) error {
	if m.role == consensus.Follower && m.leader == msg.From {
		m.heard(msg.From)
	}
	m.takeSnapshot(msg.Snapshot)
	m.duty.ack = true
	return nil
}

// onLeaderSnapshot: a leader needs no state, except one from voters of a configuration
// that it has only just found, and who have decided more than it knows.
func (m *Machine) onLeaderSnapshot(msg *consensus.Message) error {
	if msg.Snapshot.Index > m.lead.last {
		m.becomeFollower(m.hard.Epoch, 0)
		m.takeSnapshot(msg.Snapshot)
	}
	return nil
}

// takeSnapshot puts the decided prefix forward to a state's. A state that is not ahead is
// ignored. What was accepted above it stays: an acceptor may not forget that (P2).
func (m *Machine) takeSnapshot(s *consensus.Snapshot) {
	if m.duty.installing != 0 || s.Index <= m.commit {
		return
	}
	if m.role == consensus.Trial {
		m.becomeFollower(m.hard.Epoch, 0) // a candidate waits for the install
	}
	m.queue.dropUpTo(s.Index)
	m.log.release(s.Index, s.Epoch)
	if mutant.On(mutant.PaxosSnapshotForgets) {
		m.log.known.Clear()
		m.queue.entries = nil
	}
	for i := range m.prop.found {
		if i <= s.Index {
			delete(m.prop.found, i)
		}
	}
	m.confs = append(m.confs[:0], since(s.Index, &s.Configuration))
	m.commit, m.learned, m.fence = s.Index, s.Index, s.Epoch
	m.prop.reconfigured, m.prop.record = true, s.Index
	m.decided()
	m.duty.run = max(m.duty.run, m.commit)
	m.extendRun()
	m.duty.installing = s.Index
	installed := *s
	installed.Configuration = s.Configuration.Clone()
	m.queue.install = &installed
}
