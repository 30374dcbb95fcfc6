package consensustest

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
)

var elections = []scenario{
	{"first", firstElection},
	{"after a death", leaderDies},
	{"none while a leader lives", noElectionUnderALeader},
	{"a replica that was away disturbs nobody", returningReplica},
	{"half a partition deposes nobody", halfPartition},
	{"a broken connection deposes nobody", brokenConnection},
	{"a fast clock deposes nobody", fastClock},
	{"the majority goes on without the leader", majorityGoesOn},
}

// Goal: a new group of any size finds a leader, everybody agrees who it is, and it
// can decide.
func firstElection(s *suite) {
	for size := 1; size <= 5; size++ {
		w := s.group(size)
		w.write("a")
		w.awaitCaughtUp()
		w.Settle(2)
		l := w.Leader()
		for _, h := range w.hosts {
			w.must(h.status.Leader == l.ID && h.epoch() == l.epoch(), "%v does not know that %v leads", h.ID, l.ID)
		}
		w.finish()
	}
}

// Goal: when a leader dies another one takes over, with everything that was decided;
// the dead one comes back as a follower.
func leaderDies(s *suite) {
	for _, size := range []int{3, 4, 5} {
		w := s.group(size)
		w.write("a")
		old := w.Leader()
		w.Crash(old, 0, -1)
		w.write("b")
		l := w.Leader()
		w.must(l != old, "the dead lead")
		w.Start(old)
		w.write("c")
		w.awaitCaughtUp()
		w.must(w.Leader() == l, "the one that comes back takes over")
		w.finish()
	}
}

// reignUnchanged runs something under a leader and demands that it leads on, in the
// same epoch, and that nobody has led another one.
func reignUnchanged(w *World, l *Host, run func()) {
	epoch, reigns := l.epoch(), len(w.leaders)
	run()
	w.must(w.Leader() == l && l.epoch() == epoch && len(w.leaders) == reigns,
		"%v led epoch %d, and is deposed", l.ID, epoch)
}

// Goal: as long as a leader lives and is heard, the epoch stays, with and without
// something to do.
func noElectionUnderALeader(s *suite) {
	w := s.group(5)
	reignUnchanged(w, w.AwaitLeader(), func() {
		w.Settle(200)
		for k := range 20 {
			w.write(fmt.Sprint(k))
			w.Settle(3)
		}
	})
	w.finish()
}

// Goal: a replica that heard nothing for a long time, and has tried to be elected
// meanwhile, does not depose a leader that the others hear.
// Method: isolate a follower for many election timeouts and let it come back.
func returningReplica(s *suite) {
	w := s.group(3)
	l := w.Elect(1)
	w.write("a")
	reignUnchanged(w, l, func() {
		w.Isolate(3)
		w.Settle(100)
		w.write("b")
		w.Heal()
		w.Settle(60)
		w.awaitCaughtUp()
		w.write("c")
	})
	w.finish()
}

// Goal: replicas that hear their leader are sticky. A follower that is cut off from
// the leader alone finds nobody who would elect it, however good its log is.
// Method: first nothing is written, so that the follower misses nothing; then much is;
// then the follower is back, and has not opened an epoch meanwhile.
func halfPartition(s *suite) {
	for _, cut := range []func(*World){
		func(w *World) { w.Cut(1, 3) },
		func(w *World) { w.CutOneWay(1, 3) },
	} {
		w := s.group(3)
		l := w.Elect(1)
		w.write("a")
		w.awaitCaughtUp()
		reignUnchanged(w, l, func() {
			cut(w)
			w.Settle(100)
			for k := range 20 {
				w.write(fmt.Sprint(k))
				w.Settle(5)
			}
			w.Heal()
			w.Settle(60)
		})
		w.finish()
	}
}

// Goal: that the connection to its leader broke lets a follower try, and no more:
// the others still hear the leader.
func brokenConnection(s *suite) {
	w := s.group(3)
	l := w.Elect(1)
	reignUnchanged(w, l, func() {
		for k := range 10 {
			w.Peer(w.Host(3), 1, consensus.PeerReset)
			w.Peer(l, consensus.ReplicaID(2+k%2), consensus.PeerUnreachable)
			w.Settle(7)
		}
	})
	w.finish()
}

// Goal: a follower whose clock runs three times as fast waits for its leader all the
// same: heartbeats come more often than that.
func fastClock(s *suite) {
	w := s.group(3)
	l := w.Elect(1)
	reignUnchanged(w, l, func() {
		for range 100 {
			w.Tick(w.Host(2))
			w.Tick(w.Host(2))
			w.Settle(1)
		}
	})
	w.finish()
}

// Goal: a majority that lost its leader to a partition elects another. The old one
// decides nothing more, and follows after the partition.
func majorityGoesOn(s *suite) {
	w := s.group(5)
	old := w.Elect(1)
	w.write("a")
	w.Partition(1, 2)
	lost := w.put(old, "lost")
	var l *Host
	w.must(w.SettleUntil(patience, func() bool {
		l = w.Leader()
		return l != nil && l != old && l != w.Host(2)
	}), "the majority elects nobody")
	w.put(l, "b")
	w.Settle(5)
	w.must(lost.times == 0, "a minority decides: %v", lost)
	w.Heal()
	w.write("c")
	w.awaitCaughtUp()
	w.must(!old.leads() || w.Leader() == old, "%v still leads", old.ID)
	w.finish()
}
