package router

import (
	"errors"
	"slices"
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/store"
)

// Network carries forwarded packets to other nodes' routers. A packet is
// delivered at most once: P1 rests on it.
type Network interface {
	// Forward sends the packet at once or loses it; it reports which.
	Forward(to shard.NodeID, body []byte) bool
}

// Config is a router's environment.
type Config struct {
	Node    shard.NodeID
	Host    *shard.Host
	Network Network
	// FirstSeq is above every request number that this node has ever used: the
	// owner derives it from the boot time.
	FirstSeq uint64
	Limits   Limits
}

// Limits bound what one router holds. The zero value of a field means its default.
type Limits struct {
	Timeout        time.Duration // a request's deadline; default 7 s, as etcd's 5 s + 2 election timeouts
	RoundTimeout   time.Duration // until a forwarded barrier round is asked again; default 500 ms
	Waiting        int           // requests and barriers per shard; default 50000
	Rounds         int           // barrier rounds under way per shard; default 4
	CommandBytes   int           // one command; default 2 MiB
	RetryEachTicks int           // ticks between attempts of what found no leader; default 2
}

func (l *Limits) setDefaults() {
	if l.Timeout == 0 {
		l.Timeout = 7 * time.Second
	}
	if l.RoundTimeout == 0 {
		l.RoundTimeout = 500 * time.Millisecond
	}
	for _, d := range []struct {
		field *int
		value int
	}{{&l.Waiting, 50000}, {&l.Rounds, 4}, {&l.CommandBytes, 2 << 20}, {&l.RetryEachTicks, 2}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
}

// Router is one node's router. It is not safe for concurrent use: the owner of
// the host steps it. It is the host's shard.Outcome.
type Router struct {
	cfg       Config
	host      *shard.Host
	now       time.Duration
	wall      int64 // nanoseconds since the epoch
	routes    map[shard.ID]*route
	busy      []*route // those with something that waits, in the order in which it came
	nodes     []shard.NodeID
	nodeIndex map[shard.NodeID]int
	nextSeq   uint64
	nextRead  uint64
	calls     callTable
	deadlines deadlineQueue
	noSpace   bool
	ticks     int
	scratch   []byte
	counters  Counters
}

// Counters count what the node exposes as metrics. They only grow.
type Counters struct {
	Forwarded, Retried, TimedOut, Refused uint64
}

// route is what a router knows and holds of one shard.
type route struct {
	id          shard.ID
	waiters     *shard.Waiters
	state       shard.LeaderState
	changed     time.Duration // when the leader or epoch last changed
	applied     consensus.Index
	parked      []uint64 // requests that found no leader, in order
	retry       bool     // parked requests may have found one
	listed      bool     // in Router.busy
	overtakenBy consensus.Epoch
	reads       barriers
}

// New returns a router. The host may get it as its Outcome before it has replicas.
func New(cfg Config) *Router {
	cfg.Limits.setDefaults()
	// Rounds and calls are numbered like requests: what was asked before a restart
	// may be answered after it, and must not answer something else.
	return &Router{
		cfg: cfg, host: cfg.Host, routes: make(map[shard.ID]*route),
		nodes: []shard.NodeID{cfg.Node}, nodeIndex: map[shard.NodeID]int{cfg.Node: 0},
		nextSeq: cfg.FirstSeq, nextRead: cfg.FirstSeq, calls: newCallTable(cfg.FirstSeq),
	}
}

// SetHost completes the knot between a host and its Outcome.
func (r *Router) SetHost(h *shard.Host) { r.host = h }

// AddShard makes a shard of this node known, with the table in which its
// replica's applied results are looked up.
func (r *Router) AddShard(id shard.ID, waiters *shard.Waiters, applied consensus.Index) {
	r.routes[id] = &route{id: id, waiters: waiters, applied: applied}
}

// list sees to it that a shard for which something waits is looked at.
func (r *Router) list(x *route) {
	if !x.listed {
		x.listed = true
		r.busy = append(r.busy, x)
	}
}

// idle reports whether nothing waits for a shard but its own entries.
func (x *route) idle() bool { return !x.retry && len(x.parked) == 0 && x.reads.empty() }

// unlist forgets the shards for which nothing waits any more.
func (r *Router) unlist() {
	r.busy = slices.DeleteFunc(r.busy, func(x *route) bool {
		x.listed = !x.idle()
		return !x.listed
	})
}

// park keeps a request until its shard has a leader, or another one.
func (r *Router) park(x *route, seqs ...uint64) {
	x.parked = append(x.parked, seqs...)
	r.list(x)
}

// RemoveShard forgets a shard and answers everything that waits for it. What was handed in may
// be applied elsewhere (P2).
func (r *Router) RemoveShard(id shard.ID) {
	x, ok := r.routes[id]
	if !ok {
		return
	}
	delete(r.routes, id)
	r.busy = slices.DeleteFunc(r.busy, func(o *route) bool { return o == x })
	for _, seq := range x.waiters.Handed(^consensus.Epoch(0)) {
		x.waiters.End(seq, nil, ErrUnknownOutcome) // P2
	}
	for _, seq := range x.waiters.All() {
		x.waiters.End(seq, nil, ErrUnknownKeyspace)
	}
	x.reads.fail(ErrUnknownKeyspace)
	for _, c := range r.calls.of(id) {
		r.calls.end(c.id, 0, 0, ErrUnknownKeyspace)
	}
}

// Counters returns the router's counters.
func (r *Router) Counters() *Counters { return &r.counters }

// SetNow moves the router's clock, monotonic since the node's start.
func (r *Router) SetNow(now time.Duration) { r.now = max(r.now, now) }

// SetWall sets the wall clock, in nanoseconds since the epoch, that the leader
// stamps commands with.
func (r *Router) SetWall(nanos int64) { r.wall = nanos }

// SetNoSpace says whether this node's disk is nearly full: commands that need
// space are then refused, those that free it are not.
func (r *Router) SetNoSpace(full bool) { r.noSpace = full }

// State is who leads a shard, as this node sees it.
func (r *Router) State(id shard.ID) shard.LeaderState {
	if x, ok := r.routes[id]; ok {
		return x.state
	}
	return shard.LeaderState{}
}

// frees reports whether a command gives space back or at least needs none.
func frees(k store.Kind) bool {
	switch k {
	case store.KindDeleteRange, store.KindCompact, store.KindLeaseRevoke, store.KindLeaseExpire:
		return true
	}
	return false
}

// Submit routes a command to its shard's leader and answers when it is applied
// here, or with an error of this package. The body is not copied.
func (r *Router) Submit(id shard.ID, kind store.Kind, body []byte, answer shard.Answer) {
	r.nextSeq++
	seq := r.nextSeq
	x, ok := r.routes[id]
	switch {
	case !ok:
		answer(nil, ErrUnknownKeyspace)
	case r.noSpace && !frees(kind):
		answer(nil, ErrNoSpace)
	case len(body) > r.cfg.Limits.CommandBytes:
		answer(nil, ErrRequestTooLarge)
	case x.waiters.Len() >= r.cfg.Limits.Waiting:
		r.counters.Refused++
		answer(nil, ErrTooManyRequests)
	default:
		x.waiters.Add(seq, kind, body, answer)
		r.deadlines.add(deadline{at: r.now + r.cfg.Limits.Timeout, kind: deadlineRequest, shard: id, id: seq})
		r.offer(x, seq)
	}
}

// envelopeOverhead is what an envelope takes beside its body, at most.
const envelopeOverhead = 64

// offer hands a request to the leader, or parks it until there is one.
func (r *Router) offer(x *route, seq uint64) {
	if x.state.Leader == 0 {
		r.park(x, seq)
		return
	}
	kind, body, ok := x.waiters.Hand(seq, x.state.Epoch)
	if !ok {
		return
	}
	// Encoded anew for each attempt: the bytes of an earlier one may still be in a log.
	data := store.AppendEnvelope(make([]byte, 0, len(body)+envelopeOverhead), &store.Envelope{
		Kind: kind, Shard: x.id, Body: body, TimeNanos: r.wall,
		Request: store.RequestID{Node: uint64(r.cfg.Node), Seq: seq},
	})
	if !x.state.Leads {
		p := packet{Kind: packetPropose, Shard: x.id, ID: seq, Epoch: x.state.Epoch, Data: data}
		if r.forward(shard.NodeOf(x.state.Leader), &p) {
			r.counters.Forwarded++
			return
		}
	} else {
		err := r.host.Propose(x.id, x.state.Epoch, consensus.Command{ID: proposal(0, seq), Data: data})
		if err == nil {
			return
		}
		if errors.Is(err, shard.ErrQueueFull) {
			r.counters.Refused++
			x.waiters.End(seq, nil, ErrTooManyRequests)
			return
		}
	}
	x.waiters.TakeBack(seq, x.state.Epoch)
	r.park(x, seq)
}

func (r *Router) forward(to shard.NodeID, p *packet) bool {
	r.scratch = appendPacket(r.scratch[:0], p)
	return r.cfg.Network.Forward(to, r.scratch)
}

// Tick is called with every tick of the host.
func (r *Router) Tick() {
	r.expire()
	r.ticks++
	if r.ticks%r.cfg.Limits.RetryEachTicks != 0 {
		return
	}
	for _, x := range r.busy {
		x.reads.pause = false
		x.retry = x.retry || len(x.parked) > 0
		r.repeatRounds(x)
	}
	r.retryCalls()
}

// Flush does what became possible since the last Flush: the owner calls it
// before Host.Process and again while it reports work.
func (r *Router) Flush() bool {
	worked := false
	for i := 0; i < len(r.busy); i++ { // answers may bring further ones
		x := r.busy[i]
		if x.retry {
			x.retry = false
			worked = r.offerParked(x) || worked
		}
		worked = r.askRounds(x) || worked
	}
	r.unlist()
	return worked
}

func (r *Router) offerParked(x *route) bool {
	parked := x.parked
	x.parked = nil
	for _, seq := range parked {
		if x.waiters.Waiting(seq) {
			r.counters.Retried++
			r.offer(x, seq)
		}
	}
	return len(x.parked) < len(parked)
}

// Stop answers everything that waits with ErrStopped.
func (r *Router) Stop() {
	for _, d := range r.deadlines.all() {
		r.end(d, ErrStopped)
	}
	for _, x := range r.busy {
		x.reads.fail(ErrStopped)
	}
}
