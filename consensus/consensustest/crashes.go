package consensustest

import (
	"fmt"
	"slices"

	"github.com/quorate/quorate/consensus"
)

var crashes = []scenario{
	{"at every point", crashEverywhere},
	{"of everybody at every point", crashAllEverywhere},
	{"again and again", crashLoop},
	{"of a leader that nobody heard", crashOfLonelyLeader},
	{"of everybody who knows of a decision", crashOfWitnesses},
}

// damage is what a crash leaves of the writes that are under way.
type damage struct{ survive, torn int }

var damages = []damage{{0, -1}, {0, 0}, {0, 1}, {1, -1}, {1, 1}, {100, -1}}

// course is a fixed scenario in small steps: an election, commands in batches, a
// membership change, a transfer. Before each step it calls point; a crash there
// changes what follows, but not the steps.
func course(w *World, point func(step int)) {
	step := 0
	next := func() {
		point(step)
		step++
	}
	for k := range 110 {
		for _, h := range w.hosts {
			if h.m != nil && k%3 == 0 {
				next()
				w.Tick(h)
			}
		}
		for _, h := range w.hosts {
			if h.m != nil && len(h.writes) > 0 {
				next()
				w.Sync(h, 1)
			}
			w.Apply(h, 2)
		}
		for range min(3, len(w.net)) {
			next()
			if len(w.net) > 0 {
				w.deliverInOrder(0)
			}
		}
		w.courseWork(k)
	}
}

// courseWork is what clients and operators want on the way.
func (w *World) courseWork(k int) {
	l := w.Leader()
	if l == nil {
		return
	}
	switch {
	case k%20 == 7:
		_, _ = w.Change(l, members(1, 2, 3, 4))
	case k%40 == 31:
		_ = w.Transfer(l, 0)
	case k%4 == 0:
		_, _ = w.Propose(l, text(fmt.Sprintf("%d-", k), 3, 10)...)
	case k%4 == 2:
		_, _ = w.Read(l)
	}
	w.pump(l)
}

// courseWorld is the group of a course: three voters and one that is to join.
func (s *suite) courseWorld() *World {
	w := s.world()
	w.Configure = func(c *consensus.Config) { c.ElectionTicks = 4 }
	w.populate(3)
	w.newcomers(4)
	return w
}

// Goal: a crash may come at any moment and take whatever was not durable.
// Method: count the steps of a course, then run it once for each: a host dies there, in
// one way or another, and comes back a little later.
func crashEverywhere(s *suite) {
	s.crashAt(func(w *World, step int, d damage) []*Host {
		return []*Host{w.hosts[step%len(w.hosts)], w.hosts[(step/7)%3]}[step%2 : step%2+1]
	})
}

// Goal: the same with all hosts at once, as when the power fails.
func crashAllEverywhere(s *suite) {
	s.crashAt(func(w *World, _ int, _ damage) []*Host { return w.hosts })
}

// crashAt runs a course once for every step of it, with a crash there. The ways to die
// take turns.
func (s *suite) crashAt(victims func(*World, int, damage) []*Host) {
	total := 0
	course(s.courseWorld(), func(step int) { total = step })
	for n, d := range damages {
		for at := n; at <= total; at += len(damages) * slow {
			err := caught(func() {
				w := s.courseWorld()
				course(w, func(step int) {
					switch step {
					case at:
						for _, h := range victims(w, at, d) {
							w.Crash(h, d.survive, d.torn)
						}
					case at + 5:
						w.startAll()
					}
				})
				w.settleDown()
			})
			if err != nil {
				panic(fault{fmt.Sprintf("crash at step %d of %d that leaves %+v: %v", at, total, d, err)})
			}
		}
	}
}

// startAll starts everybody who is down.
func (w *World) startAll() {
	for _, h := range w.hosts {
		if h.m == nil {
			w.Start(h)
		}
	}
}

// settleDown is finish for those who have many runs to finish.
func (w *World) settleDown() {
	w.startAll()
	w.Settle(8)
	w.mustDecideLast()
	w.awaitMembers()
	w.checkOpen()
}

// Goal: a replica that dies at once after each restart forgets nothing and does no
// harm; the group goes on between.
func crashLoop(s *suite) {
	w := s.group(3)
	for k := range 40 {
		h := w.hosts[k%3]
		w.write(fmt.Sprint(k))
		for n := range 3 {
			w.Crash(h, n, n-1)
			w.Start(h)
			for range 2 * n {
				w.Tick(h)
				w.work(h)
				if len(w.net) > 0 {
					w.deliverInOrder(0)
				}
			}
		}
	}
	w.finish()
}

// Goal: entries that only their leader has may vanish with it, and never come back
// over what was decided meanwhile (C1). Their proposals were never acknowledged.
// Method: a leader writes what it cannot send, dies, misses a few epochs and returns.
func crashOfLonelyLeader(s *suite) {
	for _, survive := range []int{0, 2, 100} {
		w := s.group(3)
		old := w.Elect(1)
		w.write("a")
		w.Isolate(1)
		for _, data := range text("lonely ", 5, 10) {
			w.put(old, data)
			w.pump(old)
		}
		w.Crash(old, survive, 1)
		w.Heal()
		w.write("b")
		w.Elect(2)
		w.write("c")
		w.Elect(3)
		w.write("d")
		w.Start(old)
		w.write("e")
		w.awaitCaughtUp()
		w.Elect(1)
		w.write("f")
		w.finish()
		for k := range 5 {
			p := w.client.byData[text("lonely ", 5, 10)[k]]
			w.must(p.Outcome == Lost, "%v", p)
		}
	}
}

// Goal: once anybody has learned an entry, no later leader puts another in its place,
// whoever dies (figure 8 of the Raft paper; a Paxos leader that trusts the first answer
// falls for it too).
// Method: 1 gets x to one other disk of four and dies. A successor writes at the same
// place, reaches nobody, and dies. x is found again and spreads, in messages of one
// entry; at the very moment in which somebody learns it all who live lose their power.
// Then the successor and those that it may win over come back first.
func crashOfWitnesses(s *suite) {
	w := s.world()
	w.Configure = func(c *consensus.Config) { c.MessageBytes = 1 }
	w.populate(5)
	old := w.Elect(1)
	w.write("a")
	w.awaitCaughtUp()
	w.Settle(2)
	w.Partition(1, 2)
	w.put(old, "x")
	w.Stabilize()
	w.Crash(old, 0, -1)
	w.Heal()
	w.Isolate(2)

	second := w.lonelyLeader(w.hosts[2:])
	_, _ = w.Propose(second, "y")
	w.pump(second)
	w.Crash(second, len(second.writes), -1)
	w.dropAll()
	w.Heal()
	w.Start(old)

	known := w.top()
	for n := 0; w.top() == known && n < 40*patience; n++ {
		w.creep(n)
	}
	for _, h := range w.hosts {
		w.Crash(h, 0, -1)
	}
	w.dropAll()
	for _, h := range w.hosts[2:] {
		w.Start(h)
	}
	w.Settle(100)
	w.finish()
}

// lonelyLeader lets some hosts elect one of them, and cuts it off before anybody hears
// what it has to say.
func (w *World) lonelyLeader(some []*Host) *Host {
	for n := range 40 * patience {
		w.creep(n)
		if l := w.Leader(); l != nil && slices.Contains(some, l) {
			w.Isolate(l.ID)
			return l
		}
	}
	w.fault("nobody leads%s", w.describe())
	return nil
}

// creep does one small thing for everybody: a message, a write, and now and then, when
// nothing is under way, a tick.
func (w *World) creep(n int) {
	if len(w.net) > 0 {
		w.deliverInOrder(0)
	} else {
		w.Tick(w.hosts[n%len(w.hosts)])
	}
	for _, h := range w.hosts {
		w.Sync(h, 1)
		w.Apply(h, 1)
	}
}
