package paxos

import "github.com/quorate/quorate/consensus"

// Status implements consensus.Machine.
func (m *Machine) Status() consensus.Status {
	last := m.log.last()
	s := consensus.Status{
		Group: m.group, ID: m.id, Role: m.role, Leader: m.leader, HardState: m.hard,
		Released: m.log.released, LastIndex: last, LastEpoch: m.log.releasedFence,
		Durable: max(m.log.released, min(m.duty.run, m.disk.runIn(m.hard.Epoch))), Commit: m.commit, Applied: m.applied,
		Configuration: m.latest().Clone(),
	}
	if last > m.log.released {
		s.LastEpoch = m.log.at(last).epoch
	}
	if m.role != consensus.Leader {
		return s
	}
	s.Transferee = m.lead.transferee
	for i := range m.peers {
		p := &m.peers[i]
		if p.id == m.id {
			continue
		}
		s.Peers = append(s.Peers, consensus.PeerStatus{
			ID: p.id, Match: p.match, Next: p.next, State: p.flow.String(),
			Active: p.active, Learner: p.learner, Inflight: p.shipments.Len(),
		})
	}
	return s
}
