package raft

import (
	"errors"
	"testing"

	"github.com/quorate/quorate/consensus"
)

func isNotMember(err error) bool { return errors.Is(err, consensus.ErrNotMember) }

func TestSmoke(t *testing.T) {
	w := group(3, 1)
	w.elect(1)
	for i := range 10 {
		if err := w.host(1).propose(consensus.ProposalID(i+1), "x"); err != nil {
			t.Fatal(err)
		}
	}
	w.stabilize()
	for _, h := range w.hosts {
		if h.learned != 11 {
			t.Errorf("host %v learned %d", h.id, h.learned)
		}
	}
	w.checkAll()
}
