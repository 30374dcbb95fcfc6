package consensustest

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
)

var membership = []scenario{
	{"add one", addOne},
	{"remove one", removeOne},
	{"replace several at once", replaceSeveral},
	{"remove the leader", removeLeader},
	{"to one and back", toOneAndBack},
	{"learners receive and do not count", learnersDoNotCount},
	{"promote a learner", promoteLearner},
	{"one change at a time", oneChangeAtATime},
	{"impossible targets", impossibleTargets},
	{"the leader dies in the middle", leaderDiesInChange},
	{"a newcomer does not vote alone", newcomersWait},
}

// members is a target of these voters.
func members(voters ...consensus.ReplicaID) consensus.Membership {
	return consensus.Membership{Voters: voters}
}

// newcomers adds hosts that know nothing yet.
func (w *World) newcomers(ids ...consensus.ReplicaID) {
	for _, id := range ids {
		w.Add(id, consensus.Configuration{})
	}
}

// reconfigure changes the membership wherever the leader is and settles until the
// target is in force, and known to its members.
func (w *World) reconfigure(target consensus.Membership) {
	p, err := w.Change(w.AwaitLeader(), target)
	w.must(err == nil, "%v is refused: %v", target, err)
	w.awaitTarget(target)
	w.must(p.Outcome == Decided, "%v", p)
}

func (w *World) awaitTarget(target consensus.Membership) {
	w.must(w.SettleUntil(patience, func() bool { return w.inForce(target) }), "%v does not come into force", target)
	w.awaitMembers()
}

func (w *World) inForce(target consensus.Membership) bool {
	c := w.Configuration()
	return c.Equal(&target) && !c.Joint()
}

// Goal: a replica that starts with nothing becomes a voter, gets everything, and
// counts: with it, the group survives the loss of others.
func addOne(s *suite) {
	w := s.group(3)
	w.write("a")
	w.newcomers(4)
	w.Settle(30)
	w.must(w.Host(4).applied == 0, "a stranger is sent something")
	w.reconfigure(members(1, 2, 3, 4))
	w.write("b")
	w.awaitCaughtUp()
	l := w.Elect(4)
	w.must(l.status.Configuration.Contains(4), "the leader does not know that it is a member")
	w.Crash(w.Host(1), 0, -1)
	w.write("c")
	w.finish()
}

// Goal: a removed replica counts no more and is not needed. It does not disturb the
// others, dead or alive.
func removeOne(s *suite) {
	for _, dead := range []bool{false, true} {
		w := s.group(4)
		w.Elect(1)
		w.reconfigure(members(1, 2, 3))
		if dead {
			w.Crash(w.Host(4), 0, -1)
		}
		reignUnchanged(w, w.Leader(), func() { w.Settle(100) })
		w.Crash(w.Host(3), 0, -1)
		w.write("a")
		w.Crash(w.Host(2), 0, -1)
		p := w.put(w.Host(1), "b")
		w.Settle(5)
		w.must(p.times == 0, "one of three voters decides")
		w.finish()
	}
}

// Goal: the target is a set, not a step: two leave and three come in one change, with
// writes under way.
func replaceSeveral(s *suite) {
	w := s.group(3)
	w.Elect(1)
	w.write("a")
	w.newcomers(4, 5, 6)
	target := members(1, 4, 5, 6)
	_, err := w.Change(w.Leader(), target)
	w.must(err == nil, "refused: %v", err)
	for k := range 10 {
		if l := w.Leader(); l != nil {
			_, _ = w.Propose(l, fmt.Sprint(k))
		}
		w.Settle(1)
	}
	w.awaitTarget(target)
	w.Crash(w.Host(2), 0, -1)
	w.Crash(w.Host(3), 0, -1)
	w.write("b")
	w.finish()
}

// Goal: a leader can remove itself. Then somebody of the target leads, and decides.
func removeLeader(s *suite) {
	for _, target := range []consensus.Membership{members(2, 3), members(3), members(2, 3, 4)} {
		w := s.group(3)
		w.newcomers(4)
		w.Elect(1)
		w.write("a")
		_, err := w.Change(w.Host(1), target)
		w.must(err == nil, "refused: %v", err)
		w.awaitTarget(target)
		w.must(w.SettleUntil(patience, func() bool { l := w.Leader(); return l != nil && l.ID != 1 }), "nobody of the target leads")
		w.Crash(w.Host(1), 0, -1)
		w.write("b")
		w.awaitMembers()
		w.finish()
	}
}

// Goal: a group shrinks to one voter and grows again, and never decides with fewer
// than it should.
func toOneAndBack(s *suite) {
	w := s.group(3)
	w.Elect(1)
	w.reconfigure(members(1))
	w.Crash(w.Host(2), 0, -1)
	w.Crash(w.Host(3), 0, -1)
	w.write("a")
	w.Start(w.Host(2))
	w.Start(w.Host(3))
	w.reconfigure(members(1, 2, 3))
	w.Crash(w.Host(1), 0, -1)
	w.write("b")
	w.finish()
}

// Goal: learners receive everything, and neither decide nor elect.
func learnersDoNotCount(s *suite) {
	w := s.group(3)
	w.Elect(1)
	w.newcomers(4, 5)
	w.reconfigure(consensus.Membership{Voters: []consensus.ReplicaID{1, 2, 3}, Learners: []consensus.ReplicaID{4, 5}})
	w.write("a")
	w.awaitCaughtUp(4, 5)
	w.Isolate(2)
	w.Isolate(3)
	p, r := w.put(w.Host(1), "b"), w.read(w.Host(1))
	w.Settle(3)
	w.must(p.times == 0, "decided with learners: %v", p)
	w.must(r.Outcome != Answered, "confirmed by learners: %v", r)
	w.Crash(w.Host(1), 0, -1)
	w.Settle(100)
	w.must(w.Leader() == nil, "learners elect")
	w.Start(w.Host(1))
	w.finish()
}

// Goal: a learner becomes a voter and then counts, in elections and decisions.
func promoteLearner(s *suite) {
	w := s.group(2)
	w.newcomers(3)
	w.Elect(1)
	w.reconfigure(consensus.Membership{Voters: []consensus.ReplicaID{1, 2}, Learners: []consensus.ReplicaID{3}})
	w.write("a")
	w.awaitCaughtUp(3)
	w.reconfigure(members(1, 2, 3))
	w.Crash(w.Host(1), 0, -1)
	w.write("b")
	w.finish()
}

// Goal: a second change is refused while one is under way, and taken afterwards.
func oneChangeAtATime(s *suite) {
	w := s.group(4)
	l := w.Elect(1)
	_, err := w.Change(l, members(1, 2, 3))
	w.must(err == nil, "refused: %v", err)
	_, err = w.Change(l, members(1, 2))
	w.mustFail(err, consensus.ErrMembershipPending, "a second change")
	w.awaitTarget(members(1, 2, 3))
	w.reconfigure(members(1, 2))
	w.finish()
}

// Goal: a target that can never be is refused as such, and nothing has changed.
func impossibleTargets(s *suite) {
	w := s.group(3)
	l := w.Elect(1)
	for _, target := range []consensus.Membership{
		{},
		members(0, 1, 2),
		members(2, 1),
		members(1, 1, 2),
		{Voters: []consensus.ReplicaID{1, 2}, Learners: []consensus.ReplicaID{2}},
		{Voters: []consensus.ReplicaID{1, 2}, Learners: []consensus.ReplicaID{4, 3}},
		{Voters: []consensus.ReplicaID{1, 2, 3}, WriteQuorum: 3},
		{Voters: []consensus.ReplicaID{1, 2, 3}, WriteQuorum: -1},
	} {
		before := fmt.Sprint(l.Status())
		_, err := w.Change(l, target)
		w.mustFail(err, consensus.ErrInvalid, fmt.Sprintf("target %+v", target))
		w.must(fmt.Sprint(l.Status()) == before, "%v is refused and has changed something", target)
	}
	w.finish()
}

// Goal: a change that its leader does not live to see is made or not made, wholly.
// Method: kill the leader after each number of delivered messages.
func leaderDiesInChange(s *suite) {
	target := members(3, 4, 5)
	for after := range 24 {
		w := s.group(3)
		w.newcomers(4, 5)
		l := w.Elect(1)
		w.write("a")
		_, err := w.Change(l, target)
		w.must(err == nil, "refused: %v", err)
		w.pump(l)
		for range after {
			if len(w.net) > 0 {
				w.deliverInOrder(0)
			}
			for _, h := range w.hosts {
				w.Sync(h, 1)
			}
		}
		w.Crash(l, 0, -1)
		w.write("b")
		w.Start(l)
		w.finish()
		c := w.Configuration()
		w.must(w.inForce(target) || c.Equal(&w.first.Membership), "in force is %s", ShowConfiguration(&c))
	}
}

// Goal: replicas without a configuration wait to be told, for ever if need be.
func newcomersWait(s *suite) {
	w := s.world()
	w.newcomers(1, 2, 3)
	w.Settle(200)
	w.must(w.Leader() == nil, "strangers elect each other")
	w.must(w.top() == 0, "strangers decide")
}
