package consensustest

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
)

var leases = []scenario{
	{"answer at once, as long as they last", leasesAnswer},
	{"end before another leads", leasesEnd},
	{"run from when the round began", leasesRunFromTheRound},
	{"bind who restarts", leasesBindRestarted},
	{"bind who hears of another epoch", leasesBindAcrossEpochs},
	{"end with a transfer", leasesEndWithTransfer},
	{"rest while the membership changes", leasesRestInChanges},
	{"need a clock", leasesNeedClock},
	{"in a storm", leasesInStorms},
}

// leased makes a world with clocks and a group of three that host 1 leads, with something
// decided.
func (s *suite) leased(seed uint64) (*World, *Host) {
	w := NewWorld(s.engine, s.opts, seed)
	w.Trace = s.trace
	w.time = newClocks(w.Rand)
	w.populate(3)
	l := w.Elect(1)
	w.write("a")
	w.awaitCaughtUp()
	if w.Leader() != l {
		w.fault("host 1 does not lead on")
	}
	return w, l
}

// lease renews the lease of a leader, or gives it the first one.
func (w *World) lease(l *Host) {
	p := w.read(l)
	w.Stabilize()
	w.must(p.Outcome == Answered, "%v", p)
}

// answers reports whether a leader answers a read by itself.
func (w *World) answers(l *Host) bool {
	if !l.leads() {
		return false
	}
	p, err := w.Read(l)
	return err == nil && p.Outcome == Answered
}

// others ticks everybody but one host, and stabilizes: to that host no time passes but on
// its clock, as if its process were stopped.
func (w *World) others(stopped *Host) {
	for _, h := range w.hosts {
		if h != stopped {
			w.Tick(h)
		}
	}
	w.Stabilize()
}

// usurp lets the others elect while a leader hears nobody, and decides something there as
// soon as another one leads. In between the deposed one is asked again and again; the world
// checks its answers. It returns how many there were.
func (w *World) usurp(old *Host) (answered int) {
	w.Isolate(old.ID)
	for range patience {
		if w.answers(old) {
			answered++
		}
		w.others(old)
		if l := w.Leader(); l != nil && l != old {
			if _, err := w.Propose(l, w.fresh("usurped")); err == nil {
				w.Stabilize()
				w.answers(old)
				return answered
			}
		}
	}
	w.fault("nobody takes over%s", w.describe())
	return 0
}

// Goal: with a lease a read is answered without a message; half-way through the lease
// it is renewed in passing, so that reads that keep coming never wait again.
func leasesAnswer(s *suite) {
	w, l := s.leased(1)
	w.must(!w.answers(l), "a read is answered before anybody has confirmed a round")
	w.Stabilize()
	w.must(w.answers(l) && len(w.net) == 0, "a leader with a lease asks others")
	for range 100 {
		w.Settle(1)
		w.must(w.answers(l), "reads that keep coming wait")
	}
	w.Settle(20)
	w.must(!w.answers(l), "a lease outlasts its time")
	w.finish()
}

// Goal: a leader that is cut off, or whose process stops and goes on, answers nothing that
// another leader may have overtaken; but until then it does answer.
func leasesEnd(s *suite) {
	w, l := s.leased(1)
	w.lease(l)
	w.must(w.usurp(l) > 5, "a lease that lasts an election timeout ends at once")
	w.Heal()
	w.finish()
}

// Goal: a lease does not begin when a round is confirmed, which may be long after the
// others have heard the leader for the last time.
// Method: a round is confirmed, and the word of it is late; later ones are lost.
func leasesRunFromTheRound(s *suite) {
	for seed := range uint64(10) {
		s.lateAnswers(seed)
	}
}

func (s *suite) lateAnswers(seed uint64) {
	w, l := s.leased(seed)
	p := w.read(l)
	for len(w.net) > 0 && w.net[0].From == l.ID { // the others hear the round
		w.deliverInOrder(0)
	}
	late := w.net
	w.net = nil
	for range 8 {
		w.others(l)
		w.dropAll()
	}
	_, _ = w.Read(l)
	w.dropAll()
	w.net = late
	w.deliverHeld(l)
	w.must(p.Outcome == Answered, "%v", p)
	w.usurp(l)
	w.Heal()
	w.finish()
}

// deliverHeld hands a host what is on the network for it, and drops what it says to it.
func (w *World) deliverHeld(to *Host) {
	held := w.net
	w.net = nil
	for _, p := range held {
		w.net = []packet{p}
		w.deliverInOrder(0)
	}
	w.dropAll()
	w.pump(to)
}

// Goal: who has confirmed a leader and forgotten it in a crash helps nobody else meanwhile.
// Method: 3 keeps 1's lease alive and restarts all the time; 2 hears 3 only, and wants to
// lead.
func leasesBindRestarted(s *suite) {
	w, l := s.leased(1)
	w.Cut(1, 2)
	for range 60 {
		w.lease(l)
		h := w.Host(3)
		w.Crash(h, len(h.writes), -1)
		w.Start(h)
		w.Isolate(1)
		w.Tick(w.Host(2))
		w.Stabilize()
		if now := w.Leader(); now != nil && now != l {
			w.put(now, w.fresh("usurped"))
			w.Stabilize()
		}
		w.answers(l)
		w.Heal()
		w.Cut(1, 2)
		w.Tick(l)
		w.Stabilize()
		if !l.leads() {
			w.fault("1 is deposed by a voter that is bound to it")
		}
	}
	w.Heal()
	w.finish()
}

// Goal: a later epoch, of which a voter hears from somebody who does not lead it, does not
// end its duty to the leader that it has confirmed.
// Method: 2 and 3 miss 1 and ask each other; 2 opens an epoch, and its requests are under
// way while 3 hears 1 again and confirms a round. Then 3 hears of 2's epoch, from all that 2
// and 3 have said to each other.
func leasesBindAcrossEpochs(s *suite) {
	for _, order := range []int{0, 1} {
		w, l := s.leased(1)
		w.Isolate(1)
		opened := func() bool { return w.Host(2).epoch() > l.epoch() || w.Host(3).epoch() > l.epoch() }
		for n := 0; !opened(); n++ {
			w.must(n < patience, "2 and 3 do not miss their leader")
			w.Tick(w.Host(2))
			w.Tick(w.Host(3))
			for k := 0; k < 50 && len(w.net) > 0 && !opened(); k++ {
				w.deliverInOrder(0)
			}
		}
		candidate, voter := w.Host(2), w.Host(3)
		if w.Host(3).epoch() > l.epoch() {
			candidate, voter = voter, candidate
		}
		w.Sync(candidate, len(candidate.writes))
		w.pump(candidate)
		w.Tick(voter)
		held := w.net
		w.net = nil
		w.Heal()
		w.Cut(1, candidate.ID)
		w.lease(l)
		w.Isolate(1)
		if order == 1 {
			w.net = append(w.net, held...)
		} else {
			for k := len(held) - 1; k >= 0; k-- {
				w.net = append(w.net, held[k])
			}
		}
		for k := 0; k < 50 && len(w.net) > 0; k++ {
			_ = w.Deliver(0)
			for _, h := range []*Host{candidate, voter} {
				w.Sync(h, len(h.writes))
				w.pump(h)
			}
		}
		if candidate.leads() {
			w.put(candidate, w.fresh("usurped"))
			w.Stabilize()
		}
		w.answers(l)
		w.usurp(l)
		w.Heal()
		w.finish()
	}
}

// Goal: who has sent another one to be elected at once has no lease any more, also when it
// hears nothing of what comes of that.
func leasesEndWithTransfer(s *suite) {
	w, l := s.leased(1)
	w.lease(l)
	w.must(w.answers(l), "no lease to end")
	w.CutOneWay(2, 1)
	w.CutOneWay(3, 1)
	w.must(w.Transfer(l, 2) == nil, "a transfer is refused")
	w.Stabilize()
	h := w.Host(2)
	w.must(h.leads(), "2 does not lead")
	w.put(h, "b")
	w.Stabilize()
	w.must(w.top() > l.learned, "1 knows what 2 has decided")
	w.must(!w.answers(l), "a lease outlasts a transfer")
	w.Heal()
	w.finish()
}

// Goal: while the membership changes every read is confirmed by a round of its own; then
// there are leases again, of the new members.
func leasesRestInChanges(s *suite) {
	w, l := s.leased(1)
	w.newcomers(4, 5)
	w.lease(l)
	w.must(w.answers(l), "no lease to end")
	target := members(1, 4, 5)
	_, err := w.Change(l, target)
	w.must(err == nil, "the change is refused: %v", err)
	w.pump(l)
	w.must(!w.answers(l), "a lease outlasts the beginning of a change")
	w.awaitTarget(target)
	w.Settle(5)
	for k := range 5 {
		w.write(fmt.Sprint("after ", k))
	}
	w.lease(l)
	w.must(w.answers(l), "no lease after the change")
	w.usurp(l)
	w.Heal()
	w.finish()
}

// Goal: a read that nobody has timed is answered by a round, and begins no lease.
func leasesNeedClock(s *suite) {
	w, l := s.leased(1)
	clocks := w.time
	w.time = nil
	w.lease(l)
	w.time = clocks
	w.must(!w.answers(l), "a round without a time begins a lease")
	w.Stabilize()
	w.must(w.answers(l), "no lease")
	w.time = nil
	p := w.read(l)
	w.pump(l)
	w.must(p.Outcome == Open, "a read without a time is answered by the lease: %v", p)
	w.Stabilize()
	w.must(p.Outcome == Answered, "%v", p)
	w.time = clocks
	w.finish()
}

// Goal: whatever comes together, nobody answers what another leader has overtaken.
// Method: links fail, hosts stop, restart and go on, leaders hand over and members change,
// while everybody who believes to lead is asked all the time. Messages that can arrive do.
func leasesInStorms(s *suite) {
	for seed := range uint64(max(1, 20/slow)) {
		w := NewWorld(s.engine, s.opts, seed)
		w.Trace = s.trace
		w.storm(1000)
		w.finish()
		w.must(w.time.leased > 100, "only %d reads were answered by a lease", w.time.leased)
	}
}

// storm lets so many ticks pass over a group of three or five.
func (w *World) storm(ticks int) {
	w.time = newClocks(w.Rand)
	w.populate(3 + 2*w.Rand.IntN(2))
	stopped := map[*Host]int{} // until which tick
	for n := range ticks {
		h := w.hosts[w.Rand.IntN(len(w.hosts))]
		switch w.Rand.IntN(40) {
		case 0:
			w.Cut(h.ID, w.hosts[w.Rand.IntN(len(w.hosts))].ID)
		case 1:
			w.CutOneWay(h.ID, w.hosts[w.Rand.IntN(len(w.hosts))].ID)
		case 2, 3, 4:
			w.Crash(h, len(h.writes), -1)
			w.Start(h)
		case 5:
			if l := w.Leader(); l != nil {
				w.Isolate(l.ID)
				stopped[l] = n + w.Rand.IntN(3*l.cfg.ElectionTicks)
			}
		case 6:
			if l := w.Leader(); l != nil {
				_ = w.Transfer(l, 0)
			}
		case 7:
			if l := w.Leader(); l != nil && w.Rand.IntN(3) == 0 {
				_, _ = w.Change(l, w.someMembers())
			}
		case 8, 9:
			if w.Rand.IntN(4) == 0 {
				w.Heal()
			}
		}
		for _, h := range w.hosts {
			if stopped[h] <= n {
				w.Tick(h)
			}
		}
		w.Stabilize()
		if l := w.Leader(); l != nil {
			_, _ = w.Propose(l, w.fresh("storm"))
			w.Stabilize()
		}
		for _, h := range w.hosts {
			w.answers(h)
		}
	}
}

// someMembers draws at least two of the hosts 1 to 6; those that are not there yet start
// empty.
func (w *World) someMembers() consensus.Membership {
	var target consensus.Membership
	for id := consensus.ReplicaID(1); id <= 6; id++ {
		if w.Rand.IntN(2) == 0 || id == 6 && len(target.Voters) < 2 {
			target.Voters = append(target.Voters, id)
			if w.Host(id) == nil {
				w.newcomers(id)
			}
		}
	}
	return target
}

// Storms plays so many of them outside of a test and returns the first fault.
func Storms(engine consensus.Engine, opts Options, seeds int) error {
	for seed := range uint64(seeds) {
		if err := caught(func() { NewWorld(engine, opts, seed).storm(1000) }); err != nil {
			return fmt.Errorf("storm %d: %w", seed, err)
		}
	}
	return nil
}
