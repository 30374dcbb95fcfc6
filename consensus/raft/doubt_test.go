package raft

import (
	"testing"

	"github.com/quorate/quorate/consensus"
)

// damaged crashes a host and takes everything behind keep and its hard state from it.
func (w *world) damaged(id, keep int) *host {
	h := w.host(consensus.ReplicaID(id))
	w.crash(h, len(h.writes), 0)
	w.rot(h, consensus.Index(keep), consensus.HardState{})
	w.start(h)
	return h
}

func (w *world) cutOff(id consensus.ReplicaID) {
	for _, o := range w.hosts {
		w.cut[[2]consensus.ReplicaID{id, o.id}] = true
		w.cut[[2]consensus.ReplicaID{o.id, id}] = true
	}
}

// Goal: a replica in doubt is repaired by a leader that decides without it, votes from
// then on, and knows all that was decided.
func TestDoubtEnds(t *testing.T) {
	w := group(3, 1)
	l := w.elect(1)
	for k := range 5 {
		if err := l.propose(consensus.ProposalID(k+1), "x"); err != nil {
			t.Fatal(err)
		}
	}
	w.settle(2)
	h := w.damaged(2, 0)
	if s := h.m.Status(); !s.InDoubt || h.m.electable() {
		t.Fatalf("after the loss: %+v", s)
	}
	w.settle(5)
	if s := h.m.Status(); s.InDoubt || h.durable.doubt || s.LastIndex != l.m.log.last || s.HardState.Vote != 1 {
		t.Fatalf("not repaired: %+v, on disk %v", s, h.durable.doubt)
	}
	if l.m.Status().Peers[0].InDoubt {
		t.Error("the leader does not know that the doubt is over")
	}
	w.cutOff(1)
	w.settle(60)
	if now := w.leader(); now == l || now == nil {
		t.Errorf("2 and 3 elect nobody: %v", now)
	}
}

// Goal: nothing that a replica in doubt acknowledges or confirms counts, and a leader
// that only such a replica answers steps down.
func TestDoubtCountsForNothing(t *testing.T) {
	w := group(3, 1)
	l := w.elect(1)
	w.settle(2)
	h := w.damaged(2, 0)
	w.cutOff(3)
	decided := len(w.decided)
	if err := l.propose(9, "x"); err != nil {
		t.Fatal(err)
	}
	if err := l.read(10); err != nil {
		t.Fatal(err)
	}
	w.settle(5)
	if len(w.decided) != decided || len(l.reads) > 0 {
		t.Fatalf("decided %v, reads %v with a quorum that is in doubt", w.decided[decided:], l.reads)
	}
	if !h.m.Status().InDoubt || h.m.log.last != l.m.log.last {
		t.Errorf("the replica in doubt is sent nothing: %+v", h.m.Status())
	}
	w.settle(60)
	if w.leader() != nil {
		t.Errorf("somebody leads: %+v", w.leader().m.Status())
	}
	clear(w.cut)
	w.settle(60)
	if w.leader() == nil || h.m.Status().InDoubt {
		t.Errorf("not repaired after healing: %+v", h.m.Status())
	}
}

// Goal: a vote that was given before the loss elects nobody afterwards (R10). 3 has the
// votes of itself and of 2, which forgets it. When 2 is repaired, the third voter that 3
// still needs knows the witness and refuses. That the leader 1 is confirmed by a quorum
// would not do: 4 and 5 had confirmed it, and would vote for 3 afterwards.
func TestDoubtForgottenVote(t *testing.T) {
	w := group(5, 1)
	l := w.elect(1)
	w.settle(2)
	for _, o := range []consensus.ReplicaID{1, 4, 5} { // 3 hears only 2
		w.cut[[2]consensus.ReplicaID{o, 3}] = true
		w.cut[[2]consensus.ReplicaID{3, o}] = true
	}
	three, two := w.host(3), w.host(2)
	two.m.clock.silent = two.m.limit.electionTicks
	three.m.becomeCandidate(false)
	w.pump(three)
	w.sync(three, len(three.writes))
	for k := 0; k < len(w.net); {
		if w.net[k].Kind == KindVote && w.net[k].To == 2 {
			if err := w.deliver(k); err != nil {
				t.Fatal(err)
			}
			continue
		}
		w.drop(k)
	}
	w.pump(two)
	w.sync(two, len(two.writes))
	if two.durable.hard.Vote != 3 || len(w.net) != 1 {
		t.Fatalf("2 has not voted: %+v, %d messages", two.durable.hard, len(w.net))
	}
	votes := w.net
	w.net = nil

	two = w.damaged(2, int(two.durable.last()))
	w.cut[[2]consensus.ReplicaID{2, 3}], w.cut[[2]consensus.ReplicaID{3, 2}] = true, true
	w.settle(5)
	if two.m.Status().InDoubt || l.m.role != consensus.Leader {
		t.Fatalf("not repaired: %+v", two.m.Status())
	}
	clear(w.cut)
	w.net = append(votes, w.net...)
	for _, o := range w.hosts {
		o.m.clock.silent = o.m.limit.electionTicks
	}
	w.net = append(w.net, consensus.Message{Kind: KindVote, Group: 1, From: 3, To: 4, Epoch: 2, Index: 1, IndexEpoch: 1})
	if three.m.role != consensus.Candidate || three.m.hard.Epoch != 2 {
		t.Fatalf("3 does not wait for votes: %+v", three.m.Status())
	}
	w.stabilize()
	if three.m.role == consensus.Leader {
		t.Errorf("3 leads epoch %d with a vote that its voter forgot", three.m.hard.Epoch)
	}
}

// Goal: the doubt outlives a crash that comes before its end is durable.
func TestDoubtSurvivesCrash(t *testing.T) {
	w := group(3, 1)
	w.elect(1)
	w.settle(2)
	h := w.damaged(2, 0)
	for range 400 { // run until the end of the doubt is on its way to the disk
		if len(h.writes) > 0 && h.writes[len(h.writes)-1].repaired {
			break
		}
		for _, o := range w.hosts {
			w.pump(o)
			if o != h || !h.m.doubt.repaired {
				w.sync(o, len(o.writes))
			}
		}
		for len(w.net) > 0 {
			if err := w.deliver(0); err != nil {
				t.Fatal(err)
			}
		}
		w.tick()
	}
	if !h.m.Status().InDoubt || !h.m.doubt.repaired {
		t.Fatalf("the end is not on its way: %+v", h.m.Status())
	}
	w.crash(h, 0, 0)
	w.start(h)
	if !h.m.Status().InDoubt {
		t.Fatal("the doubt is forgotten")
	}
	w.settle(5)
	if h.m.Status().InDoubt {
		t.Errorf("not repaired: %+v", h.m.Status())
	}
}

// Goal: a replica that is the only voter, or alone in doubt with nobody to ask, does not
// campaign.
func TestDoubtOfSoleVoter(t *testing.T) {
	w := newWorld(1)
	h := w.add(1, voters(1))
	w.settle(5)
	w.crash(h, len(h.writes), 0)
	w.rot(h, 0, consensus.HardState{})
	w.start(h)
	w.settle(100)
	if w.leader() != nil || !h.m.Status().InDoubt {
		t.Errorf("leads in doubt: %+v", h.m.Status())
	}
}
