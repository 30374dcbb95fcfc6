package consensustest

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
)

var network = []scenario{
	{"slow", func(s *suite) { s.badNetwork(weather{slow: 70}) }},
	{"lost", func(s *suite) { s.badNetwork(weather{loss: 30}) }},
	{"duplicated", func(s *suite) { s.badNetwork(weather{double: 40}) }},
	{"reordered", func(s *suite) { s.badNetwork(weather{shuffle: true}) }},
	{"all of it", func(s *suite) {
		s.badNetwork(weather{slow: 20, loss: 10, double: 20, shuffle: true})
	}},
	{"old messages come back", oldMessages},
	{"one way", oneWay},
}

// weather is what a network does to messages, of 100.
type weather struct {
	slow, loss, double int
	shuffle            bool
}

// blow moves the network once.
func (w *World) blow(by weather) {
	for range len(w.net) {
		if len(w.net) == 0 || w.Rand.IntN(100) < by.slow {
			return
		}
		k := 0
		if by.shuffle {
			k = w.Rand.IntN(len(w.net))
		}
		p := w.Rand.IntN(100)
		switch {
		case p < by.loss:
			w.Drop(k)
		case p < by.loss+by.double && len(w.net) < 300:
			w.Double(k)
		default:
			w.acceptable(w.Deliver(k))
		}
	}
}

// Goal: whatever the network does to messages, what is decided is decided once and in
// order, and traffic goes on as soon as messages arrive again.
func (s *suite) badNetwork(by weather) {
	for size := 2; size <= 5; size++ {
		w := s.group(size)
		for k := range 300 {
			for _, h := range w.hosts {
				w.Tick(h)
			}
			for range 3 {
				for _, h := range w.hosts {
					w.work(h)
				}
				w.blow(by)
			}
			if l := w.Leader(); l != nil {
				_, _ = w.Propose(l, fmt.Sprint(k))
				_, _ = w.Read(l)
			}
		}
		w.finish()
	}
}

// Goal: a message may arrive as late as it likes: after elections, after the sender's
// death, twice.
// Method: keep everything that is said under several leaders, and say it all again
// later, in another order.
func oldMessages(s *suite) {
	w := s.group(3)
	var old []consensus.Message
	w.sent = func(msg consensus.Message) { old = append(old, msg) }
	for k := range 6 {
		l := w.Elect(consensus.ReplicaID(1 + k%3))
		w.write(fmt.Sprint(k))
		if k%2 == 1 {
			w.Crash(l, 0, -1)
			w.write(fmt.Sprint(k, "b"))
			w.Start(l)
		}
	}
	w.sent = nil
	for n := range old {
		msg := old[w.Rand.IntN(len(old))]
		w.acceptable(w.arrive(packet{Message: msg}, true))
		if n%10 == 0 {
			w.Stabilize()
		}
	}
	w.finish()
}

// Goal: connections that work in one direction only do no lasting harm.
func oneWay(s *suite) {
	for from := consensus.ReplicaID(1); from <= 3; from++ {
		for to := consensus.ReplicaID(1); to <= 3; to++ {
			if from == to {
				continue
			}
			w := s.group(3)
			w.Elect(1)
			w.CutOneWay(from, to)
			for k := range 40 {
				if l := w.Leader(); l != nil {
					_, _ = w.Propose(l, fmt.Sprint(k))
				}
				w.Settle(2)
			}
			w.finish()
		}
	}
}

var liveness = []scenario{
	{"a minority is down", minorityDown},
	{"a majority is down", majorityDown},
	{"leaders that come and go", flapping},
	{"the disk of a follower stands still", followerDiskStuck},
	{"the disk of the leader stands still", leaderDiskStuck},
	{"all disks stand still", allDisksStuck},
	{"acknowledgements come in one", bulkAcknowledgement},
}

// Goal: a group makes progress with a majority, whoever is missing.
func minorityDown(s *suite) {
	for first := range 5 {
		w := s.group(5)
		w.write("a")
		a, b := w.hosts[first], w.hosts[(first+2)%5]
		w.Crash(a, 0, -1)
		w.Crash(b, 0, -1)
		w.write("b")
		r := w.read(w.AwaitLeader())
		w.Settle(3)
		w.must(r.Outcome == Answered, "%v", r)
		w.Start(a)
		w.Start(b)
		w.awaitCaughtUp()
		w.finish()
	}
}

// Goal: without a majority nothing is decided; with it, everything goes on.
func majorityDown(s *suite) {
	w := s.group(5)
	l := w.Elect(1)
	w.write("a")
	for _, id := range []consensus.ReplicaID{2, 3, 4} {
		w.Crash(w.Host(id), 0, -1)
	}
	p, r := w.put(l, "b"), w.read(l)
	w.Settle(100)
	w.must(p.times == 0 && r.Outcome != Answered, "two of five decide or answer: %v, %v", p, r)
	w.Start(w.Host(3))
	w.write("c")
	w.finish()
}

// Goal: a group in which each leader is cut off soon after its election heals as well
// as any.
func flapping(s *suite) {
	w := s.group(5)
	for k := range 30 {
		if l := w.Leader(); l != nil {
			_, _ = w.Propose(l, fmt.Sprint(k))
			w.Settle(1 + k%3)
			w.Heal()
			w.Isolate(l.ID)
		}
		w.Settle(5 + k%11)
	}
	w.finish()
	w.must(len(w.commands()) > 1, "nothing was decided on the way")
}

// Goal: a follower whose disk stands still for long holds nobody up, does not count,
// and catches up.
func followerDiskStuck(s *suite) {
	w := s.group(3)
	w.Elect(1)
	h := w.Host(3)
	h.Stuck = true
	for _, data := range text("a", 20, 20) {
		w.write(data)
		w.Settle(2)
	}
	w.Crash(w.Host(2), 0, -1)
	p := w.put(w.AwaitLeader(), "b")
	w.Settle(3)
	w.must(p.times == 0, "decided by one disk of three: %v", p)
	h.Stuck = false
	w.finish()
}

// Goal: a leader whose disk stands still promises nothing that only it holds, and the
// group goes on when the disk does.
func leaderDiskStuck(s *suite) {
	for _, ticks := range []int{5, 60} {
		w := s.group(3)
		l := w.Elect(1)
		w.write("a")
		l.Stuck = true
		w.Isolate(3)
		p := w.put(l, "b")
		w.Settle(ticks)
		w.must(p.times == 0, "decided by one disk of three: %v", p)
		w.Heal()
		w.Settle(ticks)
		w.Crash(l, 0, -1)
		l.Stuck = false
		w.write("c")
		w.finish()
	}
}

// Goal: what no disk has is not decided.
func allDisksStuck(s *suite) {
	w := s.group(3)
	l := w.Elect(1)
	w.Settle(2)
	for _, h := range w.hosts {
		h.Stuck = true
	}
	p := w.put(l, "a")
	w.Settle(5)
	w.must(p.times == 0, "decided: %v", p)
	for _, h := range w.hosts {
		h.Stuck = false
	}
	w.finish()
}

// Goal: one acknowledgement stands for all appends before it.
// Method: disks write much at a time, and tell of the last append only.
func bulkAcknowledgement(s *suite) {
	w := s.group(3)
	w.AwaitLeader()
	for k := range 30 {
		for _, h := range w.hosts {
			h.Stuck = true
		}
		if l := w.Leader(); l != nil {
			for j := range 5 {
				_, _ = w.Propose(l, fmt.Sprintf("%d-%d", k, j))
				w.pump(l)
			}
		}
		w.Settle(2)
		for _, h := range w.hosts {
			h.Stuck = false
			w.SyncAtOnce(h)
		}
		w.Stabilize()
	}
	w.must(len(w.commands()) > 100, "decided %d of 150", len(w.commands()))
	w.finish()
}
