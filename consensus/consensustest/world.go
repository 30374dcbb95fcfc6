package consensustest

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/quorate/quorate/consensus"
)

// fault is what a check found, or an engine's panic. It unwinds the run.
type fault struct{ what string }

func (f fault) String() string { return f.what }

// packet is a message under way. For a snapshot, life is the incarnation of the
// sender that waits for the outcome; zero: nobody does.
type packet struct {
	consensus.Message
	life int
}

// link is one direction between two replicas.
type link struct{ from, to consensus.ReplicaID }

// Decision is one decided position, as every replica must see it.
type Decision struct {
	consensus.Entry
	// Skipped says that the entry has no effect (T6).
	Skipped bool
	// State is the state that has applied everything up to here.
	State consensus.Snapshot
}

// World is a group of hosts and their network, stepped by a test. Whatever breaks the
// contract panics with a value that prints as a sentence: the run is over, and its seed
// repeats it.
type World struct {
	// Rand is the run's only source of chance; the machines share it.
	Rand *rand.Rand
	// Configure changes the configuration of every machine started from now on.
	Configure func(*consensus.Config)
	// Trace, when set, hears of everything that happens.
	Trace func(string)

	engine consensus.Engine
	opts   Options
	hosts  []*Host // ascending by id
	net    []packet
	cut    map[link]bool
	first  consensus.Configuration

	decided []Decision // by index-1: what anybody has learned
	leaders map[consensus.Epoch]consensus.ReplicaID
	client  clients
	rotten  bool // a disk has lost what was durable: what was counted may be gone
	// busy is a host whose driver takes more input before it asks for work; nil: none.
	busy *Host
	// lazy worlds ask no machine for work because something came in, only when they are told
	// to: what comes in before that is answered together.
	lazy bool
	// time, when set, passes with ticks, and machines lease it (C12).
	time *clocks
	// sent, when set, sees every message as it leaves, ready every piece of work.
	sent  func(consensus.Message)
	ready func(*Host, *consensus.Ready)
}

// NewWorld makes an empty world.
func NewWorld(engine consensus.Engine, opts Options, seed uint64) *World {
	return &World{
		Rand:    rand.New(rand.NewPCG(seed, seed)),
		engine:  engine,
		opts:    opts,
		cut:     map[link]bool{},
		leaders: map[consensus.Epoch]consensus.ReplicaID{},
		client:  newClients(),
	}
}

// NewGroup makes a world of n hosts 1..n that are all voters.
func NewGroup(engine consensus.Engine, opts Options, n int, seed uint64) *World {
	w := NewWorld(engine, opts, seed)
	w.populate(n)
	return w
}

func (w *World) populate(n int) {
	var c consensus.Configuration
	for i := range n {
		c.Voters = append(c.Voters, consensus.ReplicaID(i+1))
	}
	for _, id := range c.Voters {
		w.Add(id, c)
	}
}

func (w *World) fault(format string, args ...any) {
	panic(fault{fmt.Sprintf(format, args...)})
}

func (w *World) tracef(format string, args ...any) {
	if w.Trace != nil {
		w.Trace(fmt.Sprintf(format, args...))
	}
}

// Host returns the host of a replica, or nil.
func (w *World) Host(id consensus.ReplicaID) *Host {
	for _, h := range w.hosts {
		if h.ID == id {
			return h
		}
	}
	return nil
}

// Hosts lists all hosts, ascending by id.
func (w *World) Hosts() []*Host { return w.hosts }

// Decided is what has been decided so far, as far as any replica knows.
func (w *World) Decided() []Decision { return w.decided }

// top is the last index decided.
func (w *World) top() consensus.Index { return consensus.Index(len(w.decided)) }

// at is the state that has applied everything up to i.
func (w *World) at(i consensus.Index) consensus.Snapshot {
	if i == 0 {
		return consensus.Snapshot{Configuration: w.first.Clone()}
	}
	s := w.decided[i-1].State
	s.Configuration = s.Configuration.Clone()
	return s
}

// Configuration is the last one decided.
func (w *World) Configuration() consensus.Configuration { return w.at(w.top()).Configuration }

// defaults are small windows, so that tests meet their edges.
func (w *World) defaults(id consensus.ReplicaID) consensus.Config {
	c := consensus.Config{
		Group: 1, ID: id, Rand: w.Rand,
		ElectionTicks: 10, HeartbeatTicks: 1,
		MessageBytes: 256, InflightMessages: 4, InflightBytes: 1024,
		UncommittedBytes: 4096, ReadRounds: 16,
	}
	if w.Configure != nil {
		w.Configure(&c)
	}
	if w.time != nil {
		c.LeaseNanos = leaseNanos(c.ElectionTicks)
	}
	return c
}

// Add makes a new host that starts with a configuration. It is empty for one that
// joins a group that is there already.
func (w *World) Add(id consensus.ReplicaID, first consensus.Configuration) *Host {
	if len(w.first.Voters) == 0 {
		w.first = first.Clone()
	}
	h := &Host{ID: id}
	h.durable.sparse = w.engine.Sparse
	h.durable.released.Configuration = first.Clone()
	w.hosts = append(w.hosts, h)
	slices.SortFunc(w.hosts, func(a, b *Host) int { return int(a.ID) - int(b.ID) })
	w.Start(h)
	return h
}

// Tick ticks one host.
func (w *World) Tick(h *Host) {
	if h.m != nil {
		w.time.ticks(h)
		h.m.Tick()
		w.touched(h)
	}
}

// Stabilize syncs, applies and delivers until nothing is left to do.
func (w *World) Stabilize() {
	for range 10000 {
		busy := false
		for _, h := range w.hosts {
			busy = w.work(h) || busy
		}
		busy = busy || len(w.net) > 0
		for range len(w.net) {
			w.deliverInOrder(0)
		}
		if !busy {
			return
		}
	}
	w.fault("the group does not come to rest")
}

// work does everything that one host can do by itself, and reports whether that
// was anything.
func (w *World) work(h *Host) bool {
	if h.m == nil {
		return false
	}
	w.pump(h)
	busy := len(h.writes) > 0 && !h.Stuck || h.applied < h.learned && !h.installing()
	if !h.Stuck {
		w.Sync(h, len(h.writes))
	}
	w.Apply(h, int(h.learned-h.applied))
	w.pump(h)
	return busy
}

// deliverInOrder delivers a message of a network that reorders nothing; there, no
// correct replica says what another has to refuse.
func (w *World) deliverInOrder(k int) {
	w.acceptable(w.Deliver(k))
}

// Settle ticks everybody and stabilizes, n times.
func (w *World) Settle(n int) {
	for range n {
		for _, h := range w.hosts {
			w.Tick(h)
		}
		w.Stabilize()
	}
}

// SettleUntil settles until a condition holds, at most n times, and reports whether
// it does.
func (w *World) SettleUntil(n int, holds func() bool) bool {
	for range n {
		if holds() {
			return true
		}
		w.Settle(1)
	}
	return holds()
}

// Leader returns the host that leads the highest epoch, or nil.
func (w *World) Leader() *Host {
	var best *Host
	for _, h := range w.hosts {
		if h.m != nil && h.status.Role == consensus.Leader && (best == nil || h.epoch() > best.epoch()) {
			best = h
		}
	}
	return best
}

// AwaitLeader settles until somebody leads and has opened its epoch. It takes at
// most patience ticks; nobody then is a fault.
func (w *World) AwaitLeader() *Host {
	if !w.SettleUntil(patience, func() bool { return w.Leader() != nil }) {
		w.fault("nobody leads after %d ticks%s", patience, w.describe())
	}
	w.Settle(1)
	if l := w.Leader(); l != nil {
		return l
	}
	return w.AwaitLeader()
}

// patience is how many ticks a healthy group may take for anything: dozens of
// election timeouts, so that a few split votes do no harm.
const patience = 400

// Elect makes a certain host the leader, by transfer from whoever leads.
func (w *World) Elect(id consensus.ReplicaID) *Host {
	for range 20 {
		l := w.AwaitLeader()
		if l.ID == id {
			return l
		}
		if err := w.Transfer(l, id); err != nil {
			w.tracef("%v does not hand over to %v: %v", l.ID, id, err)
		}
		w.Settle(2)
	}
	w.fault("leadership cannot be handed to %v%s", id, w.describe())
	return nil
}

// describe lists the status of everybody.
func (w *World) describe() string {
	s := fmt.Sprintf("; decided %d", w.top())
	for _, h := range w.hosts {
		if h.m == nil {
			s += fmt.Sprintf("\n%v: down", h.ID)
			continue
		}
		s += fmt.Sprintf("\n%v: learned %d applied %d, %d writes under way, %+v",
			h.ID, h.learned, h.applied, len(h.writes), h.m.Status())
	}
	return s
}
