package scenarios

import (
	"fmt"
	"slices"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/consensustest"
)

// load is clients at whoever leads. What an earlier leader still owes them holds nobody
// back; it counts when it is decided.
type load struct {
	w *consensustest.Timed
	// open commands at one leader are never more than this.
	width int
	// A command is handed in every so many ticks, whether or not earlier ones have ended;
	// zero: always as many as width allows.
	every int

	asked    int
	requests []request // not ended yet
	sample
}

// request is one command under way.
type request struct {
	*consensustest.Proposal
	at int // the tick in which it was handed in
}

// sample is what was decided in some time.
type sample struct {
	ticks     int
	latencies []int // from handed in until decided and known where it was handed in
	decidedAt []int // the tick of that, ascending
	messages  int   // between replicas
}

// attach lets a load act in every step from now on.
func (l *load) attach() *load {
	l.w.Clients = l.step
	return l
}

func (l *load) step() {
	l.collect()
	h := l.w.Leader()
	if h == nil {
		return
	}
	if l.every > 0 {
		if l.w.Now%l.every == 0 {
			l.ask(h)
		}
		return
	}
	s := h.Status()
	open := 0
	for _, r := range l.requests {
		if r.Host == s.ID && r.Epoch == s.HardState.Epoch {
			open++
		}
	}
	for open < l.width && l.ask(h) {
		open++
	}
}

// ask hands in a command, and reports whether it was taken.
func (l *load) ask(h *consensustest.Host) bool {
	l.asked++
	p, err := l.w.Propose(h, fmt.Sprint(l.asked))
	if err != nil {
		return false
	}
	l.requests = append(l.requests, request{p[0], l.w.Now})
	return true
}

// collect takes note of what has ended in the step before.
func (l *load) collect() {
	l.requests = slices.DeleteFunc(l.requests, func(r request) bool {
		if r.Outcome == consensustest.Decided {
			l.latencies = append(l.latencies, l.w.Now-1-r.at)
			l.decidedAt = append(l.decidedAt, l.w.Now-1)
		}
		return r.Outcome != consensustest.Open
	})
}

// warmUp is how long a load runs before anything is measured.
const warmUp = electionTicks

// measure lets a load warm up and then says what is decided in so many ticks. What happens
// meanwhile is up to during, which lets that time pass.
func (l *load) measure(ticks int, during func()) sample {
	l.w.Run(warmUp)
	l.sample, l.w.Messages = sample{}, 0
	begin := l.w.Now
	during()
	if got := l.w.Now - begin; got != ticks {
		panic(fmt.Sprintf("measured were %d ticks, not %d", got, ticks))
	}
	s := l.sample // of the ticks from begin on: the last step's is not collected yet
	s.ticks, s.messages = ticks, l.w.Messages
	for k := range s.decidedAt {
		s.decidedAt[k] -= begin
	}
	return s
}

// pool adds a sample of another run.
func (s *sample) pool(o sample) {
	s.ticks += o.ticks
	s.messages += o.messages
	s.latencies = append(s.latencies, o.latencies...)
	s.decidedAt = nil // of runs side by side there is no order
}

// rate is commands decided in 1,000 ticks.
func (s *sample) rate() int { return len(s.latencies) * 1000 / s.ticks }

// cost is messages for a decided command.
func (s *sample) cost() float64 { return float64(s.messages) / float64(len(s.latencies)) }

// latency is what so many of a thousand commands do not exceed, in ticks.
func (s *sample) latency(perMille int) int {
	sorted := slices.Sorted(slices.Values(s.latencies))
	return sorted[(len(sorted)-1)*perMille/1000]
}

// leaderOf names who leads, or zero.
func leaderOf(w *consensustest.World) consensus.ReplicaID {
	if l := w.Leader(); l != nil {
		return l.ID
	}
	return 0
}
