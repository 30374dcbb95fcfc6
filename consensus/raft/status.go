package raft

import "github.com/quorate/quorate/consensus"

// Status implements consensus.Machine.
func (m *Machine) Status() consensus.Status {
	s := consensus.Status{
		Group: m.group, ID: m.id, Role: m.role, Leader: m.leader, HardState: m.hard,
		Released: m.log.released, LastIndex: m.log.last, LastEpoch: m.log.lastEpoch(),
		Durable: m.disk.index, Commit: m.commit, Applied: m.applied,
		InDoubt:       m.doubt.name != 0,
		Configuration: m.inForce().Clone(),
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
		inflight := p.shipments.Len()
		if p.waiting {
			inflight = 1
		}
		s.Peers = append(s.Peers, consensus.PeerStatus{
			ID: p.id, Match: p.match, Next: p.next, State: p.flow.String(),
			Active: p.active, Learner: p.learner, Inflight: inflight, InDoubt: p.doubt != 0,
		})
	}
	return s
}
