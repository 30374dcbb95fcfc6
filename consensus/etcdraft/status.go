package etcdraft

import (
	"slices"

	etcd "go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"

	"github.com/quorate/quorate/consensus"
)

// roleOf has the contract's roles by etcd's.
var roleOf = [...]consensus.Role{
	etcd.StateFollower:     consensus.Follower,
	etcd.StatePreCandidate: consensus.Trial,
	etcd.StateCandidate:    consensus.Candidate,
	etcd.StateLeader:       consensus.Leader,
}

var flowNames = [...]string{
	tracker.StateProbe:     "probe",
	tracker.StateReplicate: "replicate",
	tracker.StateSnapshot:  "snapshot",
}

// Status implements consensus.Machine. Configuration is that of the log's last
// membership entry; raft works with it from when that is applied (E3).
func (m *Machine) Status() consensus.Status {
	s := consensus.Status{
		Group: m.group, ID: m.id, Role: m.role, Leader: m.leader, HardState: m.hard,
		Released: m.log.released, LastIndex: m.log.last(), LastEpoch: m.log.lastEpoch(),
		Durable: m.disk.index, Commit: m.commit, Applied: m.log.applied,
		Configuration: m.log.newest().Clone(),
	}
	if m.role != consensus.Leader {
		return s
	}
	full := m.node.Status()
	s.Transferee = consensus.ReplicaID(full.LeadTransferee)
	for id, p := range full.Progress {
		if id == uint64(m.id) {
			continue
		}
		s.Peers = append(s.Peers, consensus.PeerStatus{
			ID: consensus.ReplicaID(id), Match: consensus.Index(p.Match), Next: consensus.Index(p.Next),
			State: flowNames[p.State], Active: p.RecentActive, Learner: p.IsLearner, Inflight: p.Inflights.Count(),
		})
	}
	slices.SortFunc(s.Peers, func(a, b consensus.PeerStatus) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return s
}
