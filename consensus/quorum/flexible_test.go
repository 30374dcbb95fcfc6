package quorum

import (
	"math/bits"
	"testing"

	"github.com/quorate/quorate/consensus"
)

// voters is a set of n ids from the first on.
func voters(first, n int) (m Majority) {
	for k := range n {
		m = append(m, consensus.ReplicaID(first+k))
	}
	return m
}

// Goal: two electing quorums have a voter in common, and so have an electing and a deciding
// one (Flexible Paxos, theorem 1). Method: all subsets of up to seven voters, with every
// write quorum.
func TestFlexibleQuorumsIntersect(t *testing.T) {
	for n := 1; n <= 7; n++ {
		for write := 0; write <= n/2+1; write++ {
			if write == 1 && n > 1 {
				continue // refused by engines: a decision would be on one disk
			}
			f := Flexible{Voters: voters(1, n), Write: write}
			decides, elects := subsets(&f, n)
			for _, e := range elects {
				for _, o := range append(decides, elects...) {
					if e&o == 0 {
						t.Fatalf("%d voters, write %d: %b elects and has nobody of %b", n, write, e, o)
					}
				}
			}
			if write != 0 && minimum(decides) != write {
				t.Errorf("%d voters, write %d: %d decide", n, write, minimum(decides))
			}
		}
	}
}

// subsets returns the sets of the first n ids that decide, and that elect.
func subsets(f *Flexible, n int) (decides, elects []uint) {
	for set := uint(0); set < 1<<n; set++ {
		in := func(id consensus.ReplicaID) bool { return set&(1<<(id-1)) != 0 }
		if Decided(f, func(id consensus.ReplicaID) uint64 {
			if in(id) {
				return 1
			}
			return 0
		}) == 1 {
			decides = append(decides, set)
		}
		if Elected(f, func(id consensus.ReplicaID) Vote {
			if in(id) {
				return Granted
			}
			return Refused
		}) == Won {
			elects = append(elects, set)
		}
	}
	return decides, elects
}

func minimum(sets []uint) int {
	least := 99
	for _, s := range sets {
		least = min(least, bits.OnesCount(s))
	}
	return least
}

// Goal: a set without voters decides nothing and elects nobody (Q3).
func TestNobody(t *testing.T) {
	f := Flexible{}
	if d := Decided(&f, func(consensus.ReplicaID) uint64 { return 1 }); d != 0 {
		t.Errorf("nobody decides %d", d)
	}
	if r := Elected(&f, func(consensus.ReplicaID) Vote { return Granted }); r != Lost {
		t.Errorf("an election among nobody is %v", r)
	}
	if f.Contains(1) {
		t.Error("nobody contains 1")
	}
}
