package paxos

import (
	"errors"
	"testing"

	"github.com/quorate/quorate/consensus"
)

func isNotMember(err error) bool { return errors.Is(err, consensus.ErrNotMember) }

// Goal: three machines elect, decide and read. Method: a quiet world.
func TestSmoke(t *testing.T) {
	w := group(3, 1)
	l := w.elect(1)
	for k := range 20 {
		if err := l.propose(consensus.ProposalID(k+1), "x"); err != nil {
			w.stabilize()
		}
	}
	if err := l.read(100); err != nil {
		t.Fatal(err)
	}
	w.settle(3)
	if len(w.decided) < 10 || len(l.reads) != 1 {
		t.Fatalf("%d decided, reads %v", len(w.decided), l.reads)
	}
	for _, h := range w.hosts {
		if h.learned != consensus.Index(len(w.decided)) {
			t.Errorf("host %v learned %d of %d", h.id, h.learned, len(w.decided))
		}
	}
}
