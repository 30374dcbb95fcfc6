package consensustest

import (
	"slices"

	"github.com/quorate/quorate/consensus"
)

var snapshots = []scenario{
	{"a follower behind the release", behindRelease},
	{"a stream that is lost", lostStream},
	{"installed while others go on", installWhileServing},
	{"a state that is not ahead", staleState},
	{"a crash during the install", crashInInstall},
	{"a newcomer", newcomerBehindRelease},
	{"a restart behind the release", restartBehindRelease},
	{"a state that is ahead of its log", stateAhead},
	{"holds the configuration", stateHoldsConfiguration},
}

// releaseAll releases everything that the hosts may.
func (w *World) releaseAll() {
	for _, h := range w.hosts {
		if h.m != nil {
			w.Release(h, h.applied)
		}
	}
}

// leaveBehind makes a follower miss what the others then release.
func (w *World) leaveBehind(id consensus.ReplicaID) {
	w.Isolate(id)
	for _, data := range text("missed ", 20, 20) {
		w.write(data)
	}
	w.releaseAll()
}

// states counts the snapshots that are sent from now on.
func (w *World) states() *int {
	n := 0
	w.sent = func(msg consensus.Message) {
		if msg.Kind == consensus.KindSnapshot {
			n++
		}
	}
	return &n
}

// Goal: who needs what the log no longer has gets a state, and the rest as entries.
func behindRelease(s *suite) {
	w := s.group(3)
	w.Elect(1)
	w.leaveBehind(3)
	n := w.states()
	w.Heal()
	w.write("a")
	w.awaitCaughtUp()
	w.must(*n > 0, "%v catches up without the released entries", 3)
	w.must(w.Host(3).Status().Released > 0, "the log does not begin behind the state")
	w.Elect(3)
	w.write("b")
	w.finish()
}

// Goal: a stream that fails is asked for again.
func lostStream(s *suite) {
	w := s.group(3)
	w.Elect(1)
	w.leaveBehind(3)
	n := w.states()
	w.Heal()
	for range 60 {
		for _, h := range w.hosts {
			w.Tick(h)
			w.work(h)
		}
		for len(w.net) > 0 {
			if w.net[0].Kind == consensus.KindSnapshot && *n <= 3 {
				w.Drop(0)
				continue
			}
			w.deliverInOrder(0)
		}
	}
	w.must(*n > 3, "%d streams", *n)
	w.awaitCaughtUp()
	w.finish()
}

// Goal: a slow install holds nobody up, and what arrives meanwhile is not mixed up
// with the old log.
func installWhileServing(s *suite) {
	w := s.group(3)
	w.Elect(1)
	w.leaveBehind(3)
	slow := w.Host(3)
	slow.Stuck = true
	w.Heal()
	w.must(w.SettleUntil(patience, slow.installing), "no install begins")
	for _, data := range text("meanwhile ", 20, 20) {
		w.write(data)
	}
	w.must(slow.applied < w.top(), "applied during the install")
	w.releaseAll()
	slow.Stuck = false
	w.awaitCaughtUp()
	w.finish()
}

// Goal: a state that arrives late, or twice, changes nothing.
// Method: keep a copy of the stream, and hand it in after the follower has gone on.
// The world faults an install that goes back.
func staleState(s *suite) {
	w := s.group(3)
	w.Elect(1)
	w.leaveBehind(3)
	var copies []consensus.Message
	w.sent = func(msg consensus.Message) {
		if msg.Kind == consensus.KindSnapshot {
			copies = append(copies, msg)
		}
	}
	w.Heal()
	w.awaitCaughtUp()
	w.must(len(copies) > 0, "no state is sent")
	for range 3 {
		w.write(w.fresh("after"))
		commit := w.Host(3).Status().Commit
		for _, msg := range copies {
			for _, h := range w.hosts {
				msg.To = h.ID
				if h.ID != msg.From {
					_ = w.arrive(packet{Message: msg}, true)
				}
			}
		}
		w.must(!w.Host(3).installing() && w.Host(3).Status().Commit >= commit, "a stale state is installed")
		w.Settle(2)
	}
	w.Elect(2)
	_ = w.arrive(packet{Message: copies[0]}, true) // now from one who leads no more
	w.finish()
}

// Goal: a crash during the install leaves the old replica or the new one.
func crashInInstall(s *suite) {
	for survive := range 4 {
		w := s.group(3)
		w.Elect(1)
		w.leaveBehind(3)
		h := w.Host(3)
		h.Stuck = true
		w.Heal()
		w.must(w.SettleUntil(patience, h.installing), "no install begins")
		w.Settle(2)
		at := slices.IndexFunc(h.writes, func(wr write) bool { return wr.install != nil })
		w.Crash(h, at+survive-1, -1)
		h.Stuck = false
		w.write("a")
		w.Start(h)
		w.awaitCaughtUp()
		w.finish()
	}
}

// Goal: a new member gets a state when the group's log does not begin at the start.
func newcomerBehindRelease(s *suite) {
	w := s.group(3)
	w.Elect(1)
	for _, data := range text("a", 10, 10) {
		w.write(data)
	}
	w.awaitCaughtUp()
	w.releaseAll()
	w.newcomers(4)
	n := w.states()
	w.reconfigure(members(1, 2, 3, 4))
	w.must(*n > 0, "4 catches up without the released entries")
	w.Elect(4)
	w.write("b")
	w.finish()
}

// Goal: replicas restart from a log whose beginning is gone, all at once.
func restartBehindRelease(s *suite) {
	w := s.group(3)
	for range 3 {
		w.write(w.fresh("a"))
		w.awaitCaughtUp()
		w.releaseAll()
		w.write(w.fresh("b"))
		for _, h := range w.hosts {
			w.Crash(h, len(h.writes), -1)
		}
		for _, h := range w.hosts {
			w.Start(h)
		}
		w.write(w.fresh("c"))
	}
	w.finish()
}

// Goal: a replica whose state is durable and whose log has lost what the state
// contains goes on behind the state.
// Method: stop the follower's disk, apply all the same, flush the state and crash with
// every write lost, or with some of them. An engine that learns nothing before it is
// durable cannot get there; it is only restarted.
func stateAhead(s *suite) {
	for survive := range 3 {
		w := s.group(3)
		w.Elect(1)
		w.write("a")
		w.awaitCaughtUp()
		h := w.Host(3)
		h.Stuck = true
		for _, data := range text("b", 5, 10) {
			w.write(data)
		}
		w.Settle(2)
		w.Flush(h)
		w.Crash(h, survive, -1)
		h.Stuck = false
		w.Start(h)
		w.must(h.Status().Applied == h.flushed, "the state is forgotten")
		w.write("c")
		w.awaitCaughtUp()
		w.Elect(3)
		w.write("d")
		w.finish()
	}
}

// Goal: who gets a state gets the configuration with it.
func stateHoldsConfiguration(s *suite) {
	w := s.group(4)
	w.Elect(1)
	w.Isolate(4)
	w.reconfigureWithout(4, members(1, 2, 4))
	w.releaseAll()
	w.Heal()
	w.awaitMembers()
	c := w.Host(4).Status().Configuration
	w.must(slices.Equal(c.Voters, []consensus.ReplicaID{1, 2, 4}) && !c.Joint(), "4 believes in %s", ShowConfiguration(&c))
	w.Crash(w.Host(2), 0, -1)
	w.write("a")
	w.Elect(4)
	w.finish()
}

// reconfigureWithout changes the membership while a member is away.
func (w *World) reconfigureWithout(away consensus.ReplicaID, target consensus.Membership) {
	_, err := w.Change(w.AwaitLeader(), target)
	w.must(err == nil, "refused: %v", err)
	w.must(w.SettleUntil(patience, func() bool { return w.inForce(target) }), "%v does not come into force without %v", target, away)
}
