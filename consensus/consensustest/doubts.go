package consensustest

import (
	"slices"

	"github.com/quorate/quorate/consensus"
)

var doubts = []scenario{
	{"ends", doubtEnds},
	{"counts for nothing", doubtCountsForNothing},
	{"outlives a crash", doubtOutlivesCrash},
	{"of a sole voter", doubtOfSoleVoter},
	{"does not lead", doubtDoesNotLead},
	{"forgets a vote", doubtForgetsVote},
}

// damaged crashes a host and takes everything behind keep and its hard state from it.
func (w *World) damaged(id consensus.ReplicaID, keep consensus.Index) *Host {
	h := w.Host(id)
	w.Crash(h, len(h.writes), -1)
	h.flushed = min(h.flushed, keep)
	w.Rot(h, keep, consensus.HardState{})
	w.Start(h)
	return h
}

// Goal: a replica in doubt is repaired without its own help, knows then all that was
// decided, and counts again.
func doubtEnds(s *suite) {
	w := s.group(3)
	w.Elect(1)
	w.write("a")
	w.awaitCaughtUp()
	h := w.damaged(2, 0)
	w.must(h.Status().InDoubt, "the loss is not noticed")
	w.Settle(10)
	w.must(!h.Status().InDoubt && !h.durable.doubt, "not repaired")
	w.must(h.applied == w.top(), "repaired and behind")
	w.Isolate(1)
	w.must(w.SettleUntil(patience, func() bool { l := w.Leader(); return l != nil && l.ID != 1 }), "it does not vote")
	w.put(w.Leader(), "b")
	w.Settle(5)
	w.must(len(w.commands()) == 2, "nothing is decided")
	w.Heal()
	w.finish()
}

// Goal: nothing that a replica in doubt accepts or confirms counts.
func doubtCountsForNothing(s *suite) {
	w := s.group(3)
	l := w.Elect(1)
	w.write("a")
	h := w.damaged(2, 0)
	w.Isolate(3)
	p, r := w.put(l, "b"), w.read(l)
	w.Settle(5)
	w.must(p.times == 0, "decided with a replica in doubt: %v", p)
	w.must(r.Outcome != Answered, "confirmed by a replica in doubt: %v", r)
	w.must(h.Status().InDoubt, "repaired by one of three")
	w.Heal()
	w.finish()
	w.must(!h.Status().InDoubt, "not repaired after healing")
}

// Goal: the doubt lasts until its end is durable, over any number of restarts.
// Method: stop the disk, let the group repair the replica, crash it.
func doubtOutlivesCrash(s *suite) {
	w := s.group(3)
	w.Elect(1)
	w.write("a")
	h := w.damaged(2, 0)
	for range 5 {
		h.Stuck = true
		w.Settle(20)
		w.must(h.durable.doubt, "the disk stands still and the doubt is over")
		w.Crash(h, 0, -1)
		w.Start(h)
		w.must(h.Status().InDoubt, "the doubt is forgotten")
		h.Stuck = false
		w.Stabilize()
	}
	w.finish()
	w.must(!h.Status().InDoubt, "not repaired")
}

// Goal: nobody can repair a sole voter: it does not lead.
func doubtOfSoleVoter(s *suite) {
	w := s.group(1)
	w.AwaitLeader()
	h := w.damaged(1, 0)
	w.Settle(100)
	w.must(w.Leader() == nil && h.Status().InDoubt, "leads in doubt")
}

// Goal: a replica in doubt does not lead, not even when it is asked to.
func doubtDoesNotLead(s *suite) {
	w := s.group(3)
	l := w.Elect(1)
	w.Settle(2)
	h := w.damaged(2, 0)
	w.Isolate(3) // or the doubt ends at once
	w.Settle(2)
	_ = w.Transfer(l, 2)
	for range 100 {
		w.Settle(1)
		w.must(!h.leads(), "leads in doubt")
	}
	w.Heal()
	w.finish()
}

// Goal: a vote that was given before the loss elects nobody who lacks what was decided
// afterwards.
// Method: a candidate has a vote that the voter forgets while the answer is under way.
// The others repair the voter and decide. Then everything that was said in that
// election arrives.
func doubtForgetsVote(s *suite) {
	for _, size := range []int{3, 5} {
		w := s.group(size)
		w.Elect(1)
		w.write("a")
		w.awaitCaughtUp()
		some := w.hosts[1 : 2+size/2] // a majority of the trial, with the leader's silence
		w.Partition(ids(some)...)
		voter, candidate, late := w.lateVote(some)
		w.Heal()
		w.Isolate(candidate.ID)
		w.damaged(voter.ID, voter.durable.end())
		if l := w.Leader(); l != nil {
			_, _ = w.Propose(l, "b")
		}
		w.Settle(5)
		w.Heal()
		for _, msg := range late {
			w.acceptable(w.arrive(packet{Message: msg}, true))
			for _, h := range w.hosts {
				w.Sync(h, len(h.writes))
			}
		}
		w.finish()
	}
}

// lateVote lets some hosts, who hear nobody else, hold an election until the vote of
// one for another is durable. It returns the two, and all that was said; the answer is
// among it and has not arrived.
func (w *World) lateVote(some []*Host) (voter, candidate *Host, said []consensus.Message) {
	w.sent = func(msg consensus.Message) { said = append(said, msg) }
	voted := func() bool {
		for _, v := range some {
			c := w.Host(v.durable.hard.Vote)
			if slices.Contains(some, c) && c != v && v.durable.hard.Epoch == c.epoch() && !c.leads() {
				voter, candidate = v, c
			}
		}
		return voter != nil
	}
	for n := 0; !voted(); n++ {
		w.must(n < patience, "nobody votes for another")
		for _, h := range some {
			w.Tick(h)
		}
		for len(w.net) > 0 && !voted() {
			w.deliverInOrder(0)
			for _, h := range some {
				w.Sync(h, 1)
			}
		}
	}
	w.dropAll()
	w.sent = nil
	return voter, candidate, said
}

func ids(hosts []*Host) []consensus.ReplicaID {
	var all []consensus.ReplicaID
	for _, h := range hosts {
		all = append(all, h.ID)
	}
	return all
}
