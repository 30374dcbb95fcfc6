package consensustest

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
)

var reads = []scenario{
	{"follow what was decided", readsFollow},
	{"without anything to decide", idleReads},
	{"of a leader that is cut off", cutOffReads},
	{"of a new leader", newLeaderReads},
	{"in flight are bounded", boundedReads},
	{"end with the leadership", readsEnd},
}

// read asks for a barrier at a host, which must take it.
func (w *World) read(h *Host) *Proposal {
	p, err := w.Read(h)
	w.must(err == nil, "%v does not take a read: %v", h.ID, err)
	return p
}

// Goal: a barrier is answered at or above every index decided before it (C9), while
// writes go on. The world checks the index of every answer.
func readsFollow(s *suite) {
	for _, size := range []int{1, 2, 3, 5} {
		w := s.group(size)
		l := w.AwaitLeader()
		for k := range 20 {
			w.put(l, fmt.Sprint(k))
			p := w.read(l)
			w.Stabilize()
			q := w.read(l)
			w.put(l, fmt.Sprint(k, "b"))
			w.Stabilize()
			w.must(p.Outcome == Answered && q.Outcome == Answered, "%v, %v", p, q)
			w.must(q.Index <= w.top(), "a read of %d, decided is %d", q.Index, w.top())
		}
		w.finish()
	}
}

// Goal: a read needs nothing to be decided, and decides nothing.
func idleReads(s *suite) {
	w := s.group(3)
	w.write("a")
	w.awaitCaughtUp()
	l, top := w.Leader(), w.top()
	for range 10 {
		p := w.read(l)
		w.Settle(2)
		w.must(p.Outcome == Answered, "%v", p)
	}
	w.must(w.top() == top, "reads decided %d entries", w.top()-top)
	w.finish()
}

// Goal: a leader that nobody hears answers no read: another may lead and decide. The
// barrier ends when it learns of that, and not with an answer.
func cutOffReads(s *suite) {
	w := s.group(5)
	old := w.Elect(1)
	w.write("a")
	w.Isolate(1)
	p := w.read(old)
	w.must(w.SettleUntil(patience, func() bool { l := w.Leader(); return l != nil && l != old }), "nobody takes over")
	w.write("b")
	w.must(p.Outcome != Answered, "a leader without followers answers a read: %v", p)
	if old.leads() {
		q := w.read(old)
		w.Settle(5)
		w.must(q.Outcome != Answered, "a deposed leader answers a read: %v", q)
	}
	w.Heal()
	w.finish()
	w.must(p.Outcome != Open && p.Outcome != Answered, "%v", p)
}

// Goal: a new leader does not answer a read before it knows all that was decided
// before its time.
// Method: the old leader decides and dies before it can tell the others; a read is
// handed to the new one in the moment in which it leads. The world checks the index.
func newLeaderReads(s *suite) {
	for _, size := range []int{3, 5} {
		w := s.group(size)
		old := w.Elect(1)
		w.put(old, "a")
		// Everything arrives until the old leader has learned of the decision.
		for n := 0; len(w.commands()) == 0; n++ {
			w.must(n < 1000, "not decided")
			for _, h := range w.hosts {
				w.pump(h)
				w.Sync(h, 1)
			}
			if len(w.net) > 0 && len(w.commands()) == 0 {
				w.deliverInOrder(0)
			}
		}
		w.dropAll()
		w.Crash(old, 0, -1)
		var p *Proposal
		for n := 0; p == nil; n++ {
			w.must(n < patience*size, "nobody leads")
			w.tickOne(n)
			if l := w.Leader(); l != nil {
				p = w.read(l)
			}
		}
		w.SettleUntil(patience, func() bool { return p.Outcome != Open })
		w.must(p.Outcome == Answered && p.Index >= p.floor, "%v", p)
		w.finish()
	}
}

// tickOne ticks one host after the other, with everything delivered and durable in
// small steps, so that a test sees each state on the way.
func (w *World) tickOne(n int) {
	h := w.hosts[n%len(w.hosts)]
	w.Tick(h)
	for k := 0; k < 50 && w.Leader() == nil; k++ {
		for _, o := range w.hosts {
			if o.m != nil {
				w.Sync(o, 1)
			}
		}
		if len(w.net) == 0 {
			return
		}
		w.deliverInOrder(0)
	}
}

// Goal: only so many barriers wait at a time, and all of them are answered.
func boundedReads(s *suite) {
	w := s.group(3)
	l := w.AwaitLeader()
	w.Stabilize()
	var taken []*Proposal
	for {
		p, err := w.Read(l)
		if err != nil {
			w.mustFail(err, consensus.ErrBusy, "too many reads")
			break
		}
		taken = append(taken, p)
		w.must(len(taken) <= l.cfg.ReadRounds, "%d reads under way, the limit is %d", len(taken), l.cfg.ReadRounds)
	}
	w.Stabilize()
	for _, p := range taken {
		w.must(p.Outcome == Answered, "%v", p)
	}
	w.read(l)
	w.Settle(2)
	w.finish()
}

// Goal: reads that wait when the leadership ends have an end too.
func readsEnd(s *suite) {
	w := s.group(3)
	old := w.Elect(1)
	w.Isolate(1)
	var waiting []*Proposal
	for range 5 {
		waiting = append(waiting, w.read(old))
		w.pump(old)
	}
	w.Settle(60)
	w.Heal()
	w.finish()
	for _, p := range waiting {
		w.must(p.Outcome == Dropped, "%v", p)
	}
}
