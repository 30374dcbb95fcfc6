package sim

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/quorate/quorate/internal/shard"
)

// Sim is one run. Nothing in it is safe for concurrent use: there is one goroutine.
type Sim struct {
	opts  Options
	rng   *rand.Rand
	now   time.Duration
	queue eventQueue
	order uint64 // of scheduling, to break ties

	nodes    []*simNode
	links    *network
	clients  []*client
	watches  []*watch
	check    *checkers
	operator *operator
	coverage coverage
	trace    *tracer
	report   Report

	moves  *moves     // nil: replicas stay where they are
	shards []shard.ID // that there are, ascending

	healing bool // no more faults: everything must come back
}

// event is something that happens at a virtual time.
type event struct {
	at    time.Duration
	order uint64
	do    func()
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*q = old[:len(old)-1]
	return e
}

// after schedules do.
func (s *Sim) after(d time.Duration, do func()) {
	s.order++
	heap.Push(&s.queue, event{at: s.now + max(d, 0), order: s.order, do: do})
}

// between draws a duration from [lo, hi).
func (s *Sim) between(lo, hi time.Duration) time.Duration {
	if hi <= lo {
		return lo
	}
	return lo + time.Duration(s.rng.Int64N(int64(hi-lo)))
}

// chance is true with probability p.
func (s *Sim) chance(p float64) bool { return p > 0 && s.rng.Float64() < p }

// A seed counts only if so much happened in it.
const (
	OperationsMin = 1000
	FaultsMin     = 20
)

// Run plays one seed to its end and reports what happened. Report.Failure is set
// when a checker failed or production code panicked.
func Run(opts Options) (report Report) {
	opts.setDefaults()
	s := &Sim{opts: opts, rng: rand.New(rand.NewPCG(opts.Seed, 0x71756f72617465))}
	s.report.Seed, s.report.Engine, s.report.Mix, s.report.moving = opts.Seed, opts.Engine, opts.String(), opts.Moves
	start := time.Now()
	defer func() {
		if p := recover(); p != nil {
			s.fail(failureOf(p))
		}
		s.countCells()
		s.trace.flush()
		s.report.SimTime, s.report.CoreTime = s.now, time.Since(start)
		report = s.report
	}()
	s.trace = newTracer(opts.Trace, s.kindName)
	s.check = newCheckers(s)
	s.links = newNetwork(s)
	for i := range opts.Nodes {
		s.nodes = append(s.nodes, newSimNode(s, i))
	}
	if s.operator = (&operator{s}); opts.Moves {
		s.found()
	} else {
		for i := range opts.Shards {
			s.shards = append(s.shards, shard.ID(i+1))
		}
		s.operator.work()
	}
	for _, n := range s.nodes {
		n.start()
	}
	s.startClients()
	if s.moves != nil {
		s.moves.begin()
	}
	startNemesis(s)
	s.phase(opts.Duration)
	for i := 0; i < 3 && !opts.Calm && (s.report.Operations < OperationsMin || s.report.Faults < FaultsMin); i++ {
		s.phase(opts.Duration) // little came of it: go on
	}
	s.heal()
	s.check.atEnd()
	return s.report
}

// phase runs events for a span of virtual time.
func (s *Sim) phase(d time.Duration) {
	end := s.now + d
	for len(s.queue) > 0 && s.queue[0].at <= end {
		s.step()
	}
	s.now = end
}

// until runs events until done holds, at most for d; it reports whether it did.
func (s *Sim) until(d time.Duration, done func() bool) bool {
	end := s.now + d
	for len(s.queue) > 0 && s.queue[0].at <= end {
		if done() {
			return true
		}
		s.step()
	}
	return done()
}

func (s *Sim) step() {
	e := heap.Pop(&s.queue).(event)
	s.now = e.at
	e.do()
	s.report.Events++
}

// violation is the panic value of a checker.
type violation struct {
	checker string
	text    string
}

// violate ends the run: a checker has failed.
func (s *Sim) violate(checker, format string, args ...any) {
	panic(violation{checker: checker, text: fmt.Sprintf(format, args...)})
}

func failureOf(p any) *Failure {
	if v, ok := p.(violation); ok {
		return &Failure{Checker: v.checker, Text: v.text}
	}
	return &Failure{Checker: "panic", Text: fmt.Sprintf("%v\n%s", p, debug.Stack())}
}

func (s *Sim) fail(f *Failure) {
	f.At = s.now
	s.report.Failure = f
	s.trace.line(s.now, "sim", "FAIL", "%s: %s", f.Checker, f.Text)
}

// countCells adds the handler table's coverage to the report.
func (s *Sim) countCells() {
	if s.report.Counts == nil {
		s.report.Counts = make(map[string]int)
	}
	for _, c := range cells(s.opts.Engine, &s.coverage) {
		s.report.Counts[c.name] += int(c.count)
	}
}

// shardIDs are the shards of the run, ascending: 1..Shards, if they do not move.
func (s *Sim) shardIDs() []shard.ID { return s.shards }

// anyShard draws one.
func (s *Sim) anyShard(rng *rand.Rand) shard.ID { return s.shards[rng.IntN(len(s.shards))] }

// clientShard draws one for a client: where the catalog is only nodes write.
func (s *Sim) clientShard(rng *rand.Rand) shard.ID {
	ids := s.shards
	if s.moves != nil {
		ids = ids[1:]
	}
	return ids[rng.IntN(len(ids))]
}
