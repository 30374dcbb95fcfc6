package raft

import (
	"errors"
	"fmt"
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

// Goal: a vote that was given before the loss elects nobody who lacks what was decided
// afterwards (R10). Method: 3 has the votes of itself and of 2, which forgets it while the
// reply is under way. Of three replicas, the leader decides nothing with 2 alone, so 3 may
// win. Of five, 2 is repaired, and the third voter that 3 still needs knows the witness and
// refuses. That a quorum confirms the leader would not do: 4 and 5 have confirmed it, and
// would vote for 3 all the same.
func TestDoubtForgottenVote(t *testing.T) {
	for _, size := range []int{3, 5} {
		if err := forgottenVote(size); err != nil {
			t.Errorf("%d replicas: %v", size, err)
		}
	}
}

func forgottenVote(size int) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	w := group(size, 1)
	l, two, three := w.elect(1), w.host(2), w.host(3)
	w.settle(2)
	w.cutOff(3)
	votes, err := w.lateVote(two, three)
	if err != nil {
		return err
	}
	two = w.damaged(2, int(two.durable.last()))
	if err := l.propose(1, "x"); err != nil {
		return err
	}
	w.settle(5)
	repaired := !two.m.Status().InDoubt
	clear(w.cut)
	for _, o := range w.hosts {
		o.m.clock.silent = o.m.limit.electionTicks
	}
	w.net = append(votes, w.net...)
	if size == 5 {
		w.net = append(w.net, consensus.Message{Kind: KindVote, Group: 1, From: 3, To: 4, Epoch: 2, Index: 1, IndexEpoch: 1})
	}
	w.stabilize()
	if leads := three.m.role == consensus.Leader; leads != (size == 3) {
		return fmt.Errorf("3 leads: %v, in epoch %d", leads, three.m.hard.Epoch)
	}
	w.settle(60)
	w.checkAll()
	if repaired != (size == 5) {
		return fmt.Errorf("2 was repaired before 3 came back: %v", repaired)
	}
	return nil
}

// lateVote has one host vote for another in epoch 2, and returns the reply, which is
// still under way.
func (w *world) lateVote(voter, candidate *host) ([]consensus.Message, error) {
	voter.m.clock.silent = voter.m.limit.electionTicks
	candidate.m.becomeCandidate(false)
	w.pump(candidate)
	w.sync(candidate, len(candidate.writes))
	for len(w.net) > 0 {
		msg := w.net[0]
		w.net = w.net[1:]
		if msg.Kind == KindVote && msg.To == voter.id {
			if err := voter.m.Step(msg); err != nil {
				return nil, err
			}
		}
	}
	w.pump(voter)
	w.sync(voter, len(voter.writes))
	votes := w.net
	w.net = nil
	if voter.durable.hard.Vote != candidate.id || len(votes) != 1 {
		return nil, fmt.Errorf("no vote: %+v, %d messages", voter.durable.hard, len(votes))
	}
	return votes, nil
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

// Goal: leadership is not handed to a voter in doubt, which would not campaign: not by
// choice of the leader, and not on request.
func TestNoTransferToDoubt(t *testing.T) {
	w := group(3, 1)
	l := w.elect(1)
	w.settle(2)
	w.damaged(2, 0)
	w.cutOff(3) // or the doubt ends at once
	w.settle(2)
	if !l.m.find(2).active || l.m.find(2).doubt == 0 {
		t.Fatalf("the leader does not know of the doubt: %+v", l.m.find(2))
	}
	if to := l.m.successor(); to != 3 {
		t.Errorf("the successor is %v", to)
	}
	if err := l.transfer(2); !errors.Is(err, consensus.ErrInvalid) {
		t.Errorf("transfer to a voter in doubt: %v", err)
	}
}

// Goal: a transfer to a voter that falls into doubt meanwhile ends at once, so that
// proposals are taken again, and not after an election timeout.
func TestTransferEndsWithDoubt(t *testing.T) {
	w := group(3, 1)
	l := w.elect(1)
	w.settle(2)
	w.cutOff(2)
	if err := l.propose(1, "x"); err != nil {
		t.Fatal(err)
	}
	w.settle(2)
	if err := l.transfer(2); err != nil {
		t.Fatal(err)
	}
	w.damaged(2, 0)
	clear(w.cut)
	w.cutOff(3) // or the doubt ends at once
	w.settle(3)
	if s := l.m.Status(); s.Transferee != 0 || s.Role != consensus.Leader {
		t.Fatalf("still under way: %+v", s)
	}
	if err := l.propose(2, "y"); err != nil {
		t.Error(err)
	}
}
