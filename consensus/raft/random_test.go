package raft

import (
	"flag"
	"fmt"
	"testing"

	"github.com/quorate/quorate/consensus"
)

var (
	seeds = flag.Int("raft.seeds", 100, "random clusters to run")
	seed1 = flag.Uint64("raft.seed", 0, "run only this random cluster")
)

// TestRandomCluster runs groups under loss, duplication, reordering, partitions,
// slow disks, crashes that lose what was not synced, released logs, membership
// changes, transfers and reads, checks every property of Raft Figure 3 on the way,
// and demands progress after healing. A failure prints the seed.
func TestRandomCluster(t *testing.T) {
	if *seed1 != 0 {
		runRandom(t, *seed1)
		return
	}
	for s := range *seeds {
		runRandom(t, uint64(s+1))
	}
}

type chaos struct {
	*world
	next     consensus.ProposalID
	waiting  map[consensus.ProposalID]consensus.Index // read barriers: what was decided when they started
	accepted int
	loss     int // messages lost of 100
	grief    int // steps of 1000 that are trouble
}

func runRandom(t *testing.T, seed uint64) {
	t.Helper()
	w := newWorld(seed)
	size := 1 + w.rng.IntN(5)
	var ids []consensus.ReplicaID
	for i := range size {
		ids = append(ids, consensus.ReplicaID(i+1))
	}
	for _, id := range ids {
		w.add(id, voters(ids...))
	}
	c := &chaos{
		world: w, waiting: map[consensus.ProposalID]consensus.Index{},
		loss: w.rng.IntN(10), grief: 1 + w.rng.IntN(10),
	}
	step := 0
	defer func() {
		if r := recover(); r != nil {
			t.Fatalf("-raft.seed %d: step %d: %v", seed, step, r)
		}
	}()
	for ; step < 10000; step++ {
		c.act()
		for _, h := range w.hosts {
			w.pump(h)
			c.answers(h)
		}
		if step%64 == 0 {
			w.checkAll()
		}
	}
	c.heal()
}

// act does one random thing.
func (c *chaos) act() {
	h := c.hosts[c.rng.IntN(len(c.hosts))]
	if h.m == nil {
		if c.rng.IntN(20) == 0 {
			c.start(h)
		}
		return
	}
	switch p := c.rng.IntN(1000); {
	case p < 600:
		c.network()
	case p < 780:
		c.sync(h, 1+c.rng.IntN(3))
	case p < 850:
		c.apply(h, 1+c.rng.IntN(5))
	case p < 960:
		c.client(h)
	case p < 1000-c.grief:
		h.m.Tick()
	default:
		c.trouble(h)
	}
}

func (c *chaos) network() {
	if len(c.net) == 0 {
		return
	}
	k := 0
	if c.rng.IntN(4) == 0 {
		k = c.rng.IntN(len(c.net))
	}
	switch p := c.rng.IntN(100); {
	case p < c.loss:
		c.drop(k)
	case p < c.loss+5 && c.net[k].Kind != KindSnapshot:
		c.net = append(c.net, c.net[k]) // duplicate
	default:
		if err := c.deliver(k); err != nil && !isNotMember(err) {
			c.fault("refused: %v", err)
		}
	}
	for len(c.net) > 200 {
		c.drop(0)
	}
}

func (c *chaos) client(h *host) {
	c.next++
	if l := c.leader(); l != nil && c.rng.IntN(4) > 0 {
		h = l // otherwise perhaps one that is deposed and does not know it
	}
	switch c.rng.IntN(4) {
	case 0:
		if h.read(c.next) == nil {
			c.waiting[c.next] = consensus.Index(len(c.decided))
		}
	default:
		if h.propose(c.next, fmt.Sprintf("%0*d", 1+c.rng.IntN(80), c.next)) == nil {
			c.accepted++
		}
	}
}

func (c *chaos) trouble(h *host) {
	switch c.rng.IntN(8) {
	case 0, 1:
		survive := c.rng.IntN(len(h.writes) + 1)
		if c.rng.IntN(2) == 0 {
			c.flushSome(h)
		}
		c.crash(h, survive, c.rng.IntN(3))
	case 2:
		o := c.hosts[c.rng.IntN(len(c.hosts))]
		c.cut[[2]consensus.ReplicaID{h.id, o.id}] = true
		if c.rng.IntN(2) == 0 {
			clear(c.cut)
		}
	case 3:
		clear(c.cut)
	case 4:
		c.release(h, h.state.Index-min(h.state.Index, consensus.Index(c.rng.IntN(4))))
	case 5:
		_ = h.change(0, c.target())
	case 6:
		_ = h.transfer(0)
	case 7:
		o := c.hosts[c.rng.IntN(len(c.hosts))]
		h.m.Done(consensus.Done{Peer: o.id, State: consensus.PeerState(1 + c.rng.IntN(2))})
	}
}

// flushSome makes the applied state durable before the log is.
func (c *chaos) flushSome(h *host) {
	if !c.installing(h) {
		h.flushed = h.state
	}
}

// target draws a membership from hosts 1..6; new hosts start empty.
func (c *chaos) target() consensus.Membership {
	var m consensus.Membership
	for id := consensus.ReplicaID(1); id <= 6; id++ {
		switch c.rng.IntN(4) {
		case 0, 1:
			m.Voters = append(m.Voters, id)
		case 2:
			m.Learners = append(m.Learners, id)
		}
		if c.host(id) == nil {
			c.add(id, consensus.Configuration{})
		}
	}
	return m
}

// answers checks that a read barrier covers what was decided before it (C9).
func (c *chaos) answers(h *host) {
	for _, r := range h.reads {
		if r.Index < c.waiting[r.ID] {
			c.fault("read %d answered at %d, decided before it: %d", r.ID, r.Index, c.waiting[r.ID])
		}
	}
	h.reads, h.dropped, h.unknown = nil, nil, nil
}

// heal restarts everybody, lets messages through and demands a decision.
func (c *chaos) heal() {
	clear(c.cut)
	for len(c.net) > 0 {
		c.drop(0)
	}
	for _, h := range c.hosts {
		if h.m == nil {
			c.start(h)
		}
	}
	for round := range 300 {
		c.settle(1)
		l := c.leader()
		if l == nil || round < 60 {
			continue
		}
		if l.propose(1<<40, "last") != nil {
			continue
		}
		c.settle(30)
		if string(c.decided[len(c.decided)-1].Data) != "last" {
			continue
		}
		c.checkAll()
		c.checkCaughtUp()
		return
	}
	c.fault("no progress after healing: %s", c.describe())
}

// checkCaughtUp: every member of the final configuration has everything.
func (c *chaos) checkCaughtUp() {
	l := c.leader()
	for _, p := range l.m.peers {
		if h := c.host(p.id); h.learned != consensus.Index(len(c.decided)) {
			c.fault("host %v learned %d of %d: %s", h.id, h.learned, len(c.decided), c.describe())
		}
	}
}

func (c *chaos) describe() string {
	s := ""
	for _, h := range c.hosts {
		s += fmt.Sprintf("\n%+v", h.m.Status())
	}
	return s
}
