package paxos

import (
	"testing"

	"github.com/quorate/quorate/consensus"
)

// Goal: however much a peer complains, the leader sends a gap again once between two
// heartbeats. Simulator seed 1108: what was sent again was acknowledged out of order, each
// acknowledgement was a complaint, and messages multiplied without end. Method: thousands
// of acknowledgements of the last slot alone.
func TestComplaintsDoNotBreed(t *testing.T) {
	w := group(3, 1)
	l := w.elect(1)
	w.settle(2)
	for k := range 6 {
		if err := l.propose(consensus.ProposalID(k+1), string(rune('a'+k))); err != nil {
			t.Fatal(err)
		}
		w.pump(l)
	}
	last := l.m.lead.last
	w.net = nil
	for range 2000 {
		msg := consensus.Message{Kind: KindAcceptedApart, Group: 1, From: 2, To: 1, Epoch: l.m.hard.Epoch, Index: last - 1, Hint: last}
		if err := l.m.Step(msg); err != nil {
			t.Fatal(err)
		}
		w.pump(l)
	}
	sent := 0
	for _, msg := range w.net {
		if msg.Kind == KindAccept && msg.To == 2 {
			sent++
		}
	}
	if limit := l.m.limit.inflightMessages; sent == 0 || sent > limit {
		t.Errorf("sent %d accepts again, want one window: 1 to %d", sent, limit)
	}
}
