package consensus

import "fmt"

// Role is a replica's part in its epoch.
type Role uint8

const (
	// Follower accepts from a leader, or waits for one.
	Follower Role = iota
	// Trial asks whether an election could succeed (Raft: PreVote, Paxos: PrePrepare).
	Trial
	// Candidate asks for votes or promises.
	Candidate
	// Leader proposes.
	Leader
)

// String names the role for traces.
func (r Role) String() string {
	switch r {
	case Follower:
		return "follower"
	case Trial:
		return "trial"
	case Candidate:
		return "candidate"
	case Leader:
		return "leader"
	}
	return fmt.Sprintf("role-%d", uint8(r))
}

// Status describes a replica at one moment. It shares no memory with the machine.
type Status struct {
	Group     GroupID
	ID        ReplicaID
	Role      Role
	Leader    ReplicaID // zero: unknown
	HardState HardState

	Released  Index // last index no longer in the log
	LastIndex Index // last index accepted
	LastEpoch Epoch
	Durable   Index // last index durable here
	Commit    Index // last index known decided
	Applied   Index // last index the driver reported applied
	InDoubt   bool  // the log has lost something and is being repaired (C10)

	Configuration Configuration // in force at LastIndex
	Transferee    ReplicaID     // zero: no transfer under way
	Peers         []PeerStatus  // a leader's view of the others, ordered by id
}

// PeerStatus is a leader's view of one replica.
type PeerStatus struct {
	ID       ReplicaID
	Match    Index  // last index known durable there
	Next     Index  // next index to send
	State    string // the engine's word: probe, replicate, snapshot
	Active   bool   // heard from within the last election timeout
	Learner  bool
	Inflight int // messages sent and not acknowledged
	InDoubt  bool
}
