// Package quorum is the arithmetic of decisions: which value has a quorum
// acknowledged, and how does a vote stand. It knows no protocol.
//
// # Invariants
//
//	Q1  Two quorums of one Joint have a voter in common, in its Incoming set and, if
//	    it has one, in its Outgoing set.
//	Q2  A quorum of a Joint contains a majority of each of its sets, so it meets every
//	    majority of the membership before the change and of the one after it.
//	Q3  A set without voters decides nothing and elects nobody.
package quorum

import "github.com/quorate/quorate/consensus"

// Majority is a set of voters of which more than half form a quorum. The ids are
// in ascending order without duplicates.
type Majority []consensus.ReplicaID

// Joint is the voters in force. Outgoing is empty except while the membership
// changes; then decisions need a majority of both (Raft §6).
type Joint struct {
	Incoming, Outgoing Majority
}

// Vote is one voter's answer.
type Vote uint8

const (
	// Missing means that no answer has arrived.
	Missing Vote = iota
	// Granted is a yes.
	Granted
	// Refused is a no.
	Refused
)

// Result is the state of an election.
type Result uint8

const (
	// Pending means that missing answers still matter.
	Pending Result = iota
	// Won means that a quorum has granted.
	Won
	// Lost means that a quorum can no longer grant.
	Lost
)

// String names the result for tests and traces.
func (r Result) String() string { return [...]string{"pending", "won", "lost"}[r] }

// stackVoters is the size of set up to which Committed needs no heap.
const stackVoters = 9

// Committed returns the highest value that a quorum has reached, where acked
// tells how far each voter is. It is zero if there are no voters (Q3).
func Committed[T ~uint64](j Joint, acked func(consensus.ReplicaID) T) T {
	c := committed(j.Incoming, acked)
	if len(j.Outgoing) > 0 {
		c = min(c, committed(j.Outgoing, acked))
	}
	return c
}

func committed[T ~uint64](m Majority, acked func(consensus.ReplicaID) T) T {
	if len(m) == 0 {
		return 0
	}
	var stack [stackVoters]T
	sorted := stack[:0]
	for _, id := range m { // insertion sort: sets are small and nearly equal
		v := acked(id)
		sorted = append(sorted, v)
		k := len(sorted) - 1
		for ; k > 0 && sorted[k-1] > v; k-- {
			sorted[k] = sorted[k-1]
		}
		sorted[k] = v
	}
	return sorted[(len(m)-1)/2] // this voter and all above it are more than half
}

// Tally returns how an election stands, where vote tells each voter's answer.
func Tally(j Joint, vote func(consensus.ReplicaID) Vote) Result {
	in := tally(j.Incoming, vote)
	if len(j.Outgoing) == 0 {
		return in
	}
	out := tally(j.Outgoing, vote)
	switch {
	case in == Lost || out == Lost:
		return Lost
	case in == Won && out == Won:
		return Won
	}
	return Pending
}

func tally(m Majority, vote func(consensus.ReplicaID) Vote) Result {
	need := len(m)/2 + 1
	granted, missing := 0, 0
	for _, id := range m {
		switch vote(id) {
		case Granted:
			granted++
		case Missing:
			missing++
		}
	}
	switch {
	case granted >= need:
		return Won
	case granted+missing < need:
		return Lost
	}
	return Pending
}
