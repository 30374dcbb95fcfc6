package quorum

import (
	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
)

// Flexible is a set of voters in which fewer than a majority may decide, if more have to
// elect (Howard, Malkhi and Spiegelman, "Flexible Paxos", 2016). Write is how many decide;
// zero means a majority.
type Flexible struct {
	Voters Majority
	Write  int
}

// Sizes returns how many of n voters decide, and how many elect, if write of them are asked
// to decide; zero means a majority. Two electing quorums have a voter in common, and so have
// an electing and a deciding one.
func Sizes(n, write int) (decide, elect int) {
	majority := n/2 + 1
	if write == 0 {
		write = majority
	}
	if mutant.On(mutant.PaxosElectShort) && n > 1 {
		return write, max(majority, n+1-write) - 1
	}
	return write, max(majority, n+1-write)
}

// Contains reports whether a replica votes in it.
func (f *Flexible) Contains(id consensus.ReplicaID) bool {
	for _, v := range f.Voters {
		if v == id {
			return true
		}
	}
	return false
}

// Decided returns the highest value that a deciding quorum has reached, where acked
// tells how far each voter is. It is zero if there are no voters (Q3).
func Decided[T ~uint64](f *Flexible, acked func(consensus.ReplicaID) T) T {
	decide, _ := Sizes(len(f.Voters), f.Write)
	return reached(f.Voters, decide, acked)
}

// reached returns the highest value that so many of the voters have reached.
func reached[T ~uint64](m Majority, count int, acked func(consensus.ReplicaID) T) T {
	if count == 0 || count > len(m) {
		return 0
	}
	var stack [stackVoters]T
	sorted := stack[:0]
	for _, id := range m {
		v := acked(id)
		sorted = append(sorted, v)
		k := len(sorted) - 1
		for ; k > 0 && sorted[k-1] < v; k-- {
			sorted[k] = sorted[k-1]
		}
		sorted[k] = v
	}
	return sorted[count-1]
}

// Elected returns how an election stands, where vote tells each voter's answer.
func Elected(f *Flexible, vote func(consensus.ReplicaID) Vote) Result {
	_, elect := Sizes(len(f.Voters), f.Write)
	return elected(f.Voters, elect, vote)
}

func elected(m Majority, need int, vote func(consensus.ReplicaID) Vote) Result {
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
	case len(m) == 0 || granted+missing < need:
		return Lost
	case granted >= need:
		return Won
	}
	return Pending
}
