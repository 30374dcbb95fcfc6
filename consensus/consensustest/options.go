package consensustest

import (
	"errors"
	"flag"
	"fmt"
	"runtime/debug"
	"slices"
	"testing"

	"github.com/quorate/quorate/consensus"
)

var (
	seedCount = flag.Int("consensustest.seeds", 0, "random clusters to run; 0: as Options say")
	seedOnly  = flag.Uint64("consensustest.seed", 0, "run only this random cluster")
	traced    = flag.Bool("consensustest.trace", false, "print everything that happens")
)

// Options say what kind of engine is tested. The zero value asks for everything
// that the contract makes a duty.
type Options struct {
	// Seeds is how many random clusters to run; zero: 30. The flag
	// -consensustest.seeds overrides it.
	Seeds int
	// Leases makes the random clusters have clocks, and leases on them (C12). Run asks for
	// both kinds of an engine that has them.
	Leases bool
	// Doubt engines take part with a damaged log, as C10 says.
	Doubt bool
	// Enough says whether a decision is durable with enough replicas, for engines
	// whose configurations come into force in another way than at append. Nil: Majority.
	Enough func(Holding) bool
	// Like names an engine whose remarks in the transcripts hold for this one too.
	Like string
}

// Holding is who has what is being learned for the first time.
type Holding struct {
	Index   consensus.Index
	Learner consensus.Status // of the replica that learns it
	// At is the configuration that the decided entries up to an index bring.
	At func(consensus.Index) consensus.Configuration
	// Holds reports whether a replica has the entry durably.
	Holds func(consensus.ReplicaID) bool
}

// Majority asks for a majority of the voters in force at the learner, or for as many
// as the write quorum says, and of the outgoing voters too.
func Majority(h Holding) bool {
	count := func(ids []consensus.ReplicaID) (n int) {
		for _, id := range ids {
			if h.Holds(id) {
				n++
			}
		}
		return n
	}
	c := &h.Learner.Configuration
	need := len(c.Voters)/2 + 1
	if c.WriteQuorum != 0 {
		need = c.WriteQuorum
	}
	return count(c.Voters) >= need && (!c.Joint() || count(c.Outgoing) >= len(c.Outgoing)/2+1)
}

// suite is one engine under test.
type suite struct {
	engine consensus.Engine
	opts   Options
	trace  func(string)
}

// Run runs the whole suite, each part as a subtest.
func Run(t *testing.T, engine consensus.Engine, opts Options) {
	for _, p := range parts {
		if p.asked(engine, opts) {
			t.Run(p.name, func(t *testing.T) { p.run(t, engine, opts) })
		}
	}
	t.Run("transcripts", func(t *testing.T) { Transcripts(t, engine, opts) })
	t.Run("random", func(t *testing.T) { Random(t, engine, opts) })
	if engine.Leases {
		opts.Leases = true
		t.Run("random with leases", func(t *testing.T) { Random(t, engine, opts) })
	}
}

// Staged plays all staged situations outside of a test and returns the first fault.
func Staged(engine consensus.Engine, opts Options) error {
	s := &suite{engine: engine, opts: opts}
	for _, p := range parts {
		for _, sc := range p.scenarios {
			if !p.asked(engine, opts) {
				continue
			}
			if err := caught(func() { sc.play(s) }); err != nil {
				return fmt.Errorf("%s, %s: %w", p.name, sc.name, err)
			}
		}
	}
	return nil
}

// part is a group of scenarios.
type part struct {
	name      string
	scenarios []scenario
}

// asked reports whether a part is asked of an engine.
func (p *part) asked(engine consensus.Engine, opts Options) bool {
	return (p.name != "doubt" || opts.Doubt) && (p.name != "leases" || engine.Leases)
}

func (p *part) run(t *testing.T, engine consensus.Engine, opts Options) {
	for _, sc := range p.scenarios {
		t.Run(sc.name, func(t *testing.T) {
			s := &suite{engine: engine, opts: opts, trace: tracer(t)}
			if err := caught(func() { sc.play(s) }); err != nil {
				t.Fatalf("%v\nreplay: go test -run '^%s$' . -consensustest.trace -v", err, t.Name())
			}
		})
	}
}

// tracer is where a world tells what happens; nil: nobody asked.
func tracer(t *testing.T) func(string) {
	if !*traced {
		return nil
	}
	return func(what string) { t.Log(what) }
}

// parts are what Run runs, beside transcripts and random clusters.
var parts = []part{
	{"elections", elections},
	{"replication", replication},
	{"reads", reads},
	{"leases", leases},
	{"membership", membership},
	{"transfer", transfers},
	{"snapshot", snapshots},
	{"network", network},
	{"crash", crashes},
	{"liveness", liveness},
	{"bad input", badInput},
	{"doubt", doubts},
}

// scenario is one staged situation. play panics with a fault.
type scenario struct {
	name string
	play func(*suite)
}

// caught turns a fault or an engine's panic into an error.
func caught(play func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case fault:
			err = errors.New(r.what)
		default:
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	play()
	return nil
}

// group makes a world of n voters for a scenario.
func (s *suite) group(n int) *World {
	w := s.world()
	w.populate(n)
	return w
}

func (s *suite) world() *World {
	w := NewWorld(s.engine, s.opts, 1)
	w.Trace = s.trace
	return w
}

// must is a fault of the world unless a condition holds.
func (w *World) must(holds bool, format string, args ...any) {
	if !holds {
		w.fault("%s%s", fmt.Sprintf(format, args...), w.describe())
	}
}

// mustFail asks for a certain error.
func (w *World) mustFail(err, want error, what string) {
	w.must(errors.Is(err, want), "%s: want %v, got %v", what, want, err)
}

// fresh makes data that this world has not seen.
func (w *World) fresh(prefix string) string {
	return fmt.Sprintf("%s %d", prefix, len(w.client.all))
}

// put proposes one command at a host, which must take it.
func (w *World) put(h *Host, data string) *Proposal {
	p, err := w.Propose(h, data)
	w.must(err == nil, "%v does not take %q: %v", h.ID, data, err)
	return p[0]
}

// write proposes one command wherever the leader is and settles until it is decided.
func (w *World) write(data string) *Proposal {
	p := w.put(w.AwaitLeader(), data)
	w.SettleUntil(patience, func() bool { return p.Outcome != Open })
	w.must(p.Outcome == Decided, "%v", p)
	return p
}

// caughtUp reports whether all of these, or everybody, have applied everything.
func (w *World) caughtUp(ids ...consensus.ReplicaID) bool {
	return !slices.ContainsFunc(w.hosts, func(h *Host) bool {
		chosen := len(ids) == 0 || slices.Contains(ids, h.ID)
		return chosen && (h.m == nil || h.applied != w.top())
	})
}

// awaitCaughtUp settles until they have.
func (w *World) awaitCaughtUp(ids ...consensus.ReplicaID) {
	w.must(w.SettleUntil(patience, func() bool { return w.caughtUp(ids...) }), "not everybody catches up: %v", ids)
}
