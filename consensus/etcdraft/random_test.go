package etcdraft

import (
	"errors"
	"flag"
	"fmt"
	"strconv"
	"testing"

	"github.com/quorate/quorate/consensus"
)

var (
	seeds = flag.Int("etcdraft.seeds", 100, "random clusters to run")
	seed1 = flag.Uint64("etcdraft.seed", 0, "run only this random cluster")
)

// TestRandomCluster runs groups under loss, duplication, reordering, partitions,
// slow disks, crashes that lose what was not synced, released logs, membership
// changes, transfers and reads, checks every property of Raft Figure 3 on the way,
// and demands progress after healing. A failure prints the seed.
func TestRandomCluster(t *testing.T) {
	first, n := uint64(1), max(1, *seeds/slow)
	if *seed1 != 0 {
		first, n = *seed1, 1
	}
	for seed := first; seed < first+uint64(n); seed++ {
		if err := runRandom(seed); err != nil {
			t.Fatalf("-etcdraft.seed %d: %v", seed, err)
		}
	}
}

// chaos is a world in which everything that can happen does, in an order drawn
// from the seed, as often as weights drawn from the seed say: one seed is mostly
// elections, another mostly traffic.
type chaos struct {
	*world
	weights []int // of actions
	total   int
	loss    int // messages lost of 100
	hasty   int // unsynced hard states lost to a crash, of 100
	members bool
	next    consensus.ProposalID
	// waiting are the read barriers, with what was decided when they started;
	// open are the proposals of each host that have no end yet.
	waiting map[consensus.ProposalID]consensus.Index
	open    map[consensus.ReplicaID]map[consensus.ProposalID]bool
}

// actions are what chaos does; the number is the largest weight drawn.
var actions = []struct {
	do  func(*chaos, *host)
	max int
}{
	{(*chaos).network, 800},
	{(*chaos).disk, 300},
	{func(c *chaos, h *host) { c.apply(h, 1+c.rng.IntN(5)) }, 100},
	{(*chaos).client, 200},
	{func(_ *chaos, h *host) { h.m.Tick() }, 300},
	{(*chaos).kill, 8},
	{(*chaos).cutOne, 4},
	{(*chaos).isolate, 4},
	{func(c *chaos, _ *host) { clear(c.cut) }, 12},
	{(*chaos).forget, 12},
	{(*chaos).reconfigure, 4},
	{func(_ *chaos, h *host) { _ = h.transfer(0) }, 4},
	{(*chaos).report, 4},
}

// runRandom returns what a check or an assertion found.
func runRandom(seed uint64) (err error) {
	c := newChaos(seed)
	step := 0
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("step %d: %v", step, r)
		}
	}()
	for ; step < 10000; step++ {
		c.act()
		for _, h := range c.hosts {
			c.pump(h)
			c.answers(h)
		}
		if step%64 == 0 {
			c.checkAll()
		}
	}
	c.heal()
	return nil
}

func newChaos(seed uint64) *chaos {
	c := &chaos{world: newWorld(seed), waiting: map[consensus.ProposalID]consensus.Index{},
		open: map[consensus.ReplicaID]map[consensus.ProposalID]bool{}}
	trouble := 1 + c.rng.IntN(4)*c.rng.IntN(3)
	for _, a := range actions {
		weight := 1 + a.max/2 + c.rng.IntN(a.max/2+1)
		if a.max < 20 {
			weight = c.rng.IntN(trouble*a.max + 1)
		}
		c.weights = append(c.weights, weight)
		c.total += weight
	}
	c.loss, c.hasty, c.members = c.rng.IntN(12), c.rng.IntN(2)*c.rng.IntN(60), c.rng.IntN(2) == 0
	electionTicks, messageBytes := 3+c.rng.IntN(8), 20+c.rng.IntN(2)*c.rng.IntN(300)
	c.config = func(cfg *consensus.Config) {
		cfg.ElectionTicks, cfg.HeartbeatTicks, cfg.MessageBytes = electionTicks, max(1, electionTicks/3), messageBytes
	}
	var ids []consensus.ReplicaID
	size := 1 + c.rng.IntN(5)
	for i := range size {
		ids = append(ids, consensus.ReplicaID(i+1))
	}
	for _, id := range ids {
		c.add(id, voters(ids...))
	}
	return c
}

// act does one random thing.
func (c *chaos) act() {
	h := c.hosts[c.rng.IntN(len(c.hosts))]
	if h.m == nil {
		if c.rng.IntN(8) == 0 {
			c.start(h)
		}
		return
	}
	p := c.rng.IntN(c.total)
	for k, weight := range c.weights {
		if p < weight {
			actions[k].do(c, h)
			return
		}
		p -= weight
	}
}

func (c *chaos) network(*host) {
	if len(c.net) == 0 {
		return
	}
	k := 0
	if c.rng.IntN(4) == 0 {
		k = c.rng.IntN(len(c.net))
	}
	if c.net[k].Kind == KindSnapshot && c.rng.IntN(20) > 0 {
		k = c.rng.IntN(len(c.net)) // states take their time
	}
	switch p := c.rng.IntN(100); {
	case p < c.loss:
		c.drop(k)
	case p < c.loss+5:
		c.net = append(c.net, c.net[k]) // duplicate
	default:
		if err := c.deliver(k); err != nil && !errors.Is(err, consensus.ErrNotMember) {
			c.fault("refused: %v", err)
		}
	}
	for len(c.net) > 200 {
		c.drop(0)
	}
}

func (c *chaos) disk(h *host) {
	if len(h.writes) > 0 && h.writes[0].hard != nil && c.rng.IntN(100) < c.hasty {
		c.crash(h, 0, 0)
		clear(c.open[h.id])
		return
	}
	c.sync(h, 1+c.rng.IntN(3))
}

func (c *chaos) client(h *host) {
	c.next++
	if l := c.leader(); l != nil && c.rng.IntN(4) > 0 {
		h = l // otherwise perhaps one that is deposed and does not know it
	}
	var err error
	if c.rng.IntN(4) > 0 {
		err = h.propose(c.next, fmt.Sprintf("%0*d", 1+c.rng.IntN(80), c.next))
	} else {
		err = h.read(c.next)
		c.waiting[c.next] = consensus.Index(len(c.decided))
	}
	if err == nil {
		if c.open[h.id] == nil {
			c.open[h.id] = map[consensus.ProposalID]bool{}
		}
		c.open[h.id][c.next] = true
	}
}

// kill crashes a host; sometimes its applied state is durable before its log is.
func (c *chaos) kill(h *host) {
	if c.rng.IntN(2) == 0 && !c.installing(h) {
		h.flushed = h.state
	}
	c.crash(h, c.rng.IntN(len(h.writes)+1), c.rng.IntN(3))
	clear(c.open[h.id])
}

// cutOne cuts one direction between two hosts.
func (c *chaos) cutOne(h *host) {
	c.cut[[2]consensus.ReplicaID{h.id, c.hosts[c.rng.IntN(len(c.hosts))].id}] = true
}

// isolate cuts a host off, often the leader.
func (c *chaos) isolate(h *host) {
	if l := c.leader(); l != nil && c.rng.IntN(2) == 0 {
		h = l
	}
	for _, o := range c.hosts {
		c.cut[[2]consensus.ReplicaID{h.id, o.id}] = true
		c.cut[[2]consensus.ReplicaID{o.id, h.id}] = true
	}
}

func (c *chaos) forget(h *host) {
	c.release(h, h.state.Index-min(h.state.Index, consensus.Index(c.rng.IntN(4))))
}

func (c *chaos) report(h *host) {
	o := c.hosts[c.rng.IntN(len(c.hosts))]
	h.m.Done(consensus.Done{Peer: o.id, State: consensus.PeerState(1 + c.rng.IntN(2))})
}

// reconfigure draws a membership from hosts 1..6; new hosts start empty.
func (c *chaos) reconfigure(h *host) {
	if !c.members {
		return
	}
	var target consensus.Membership
	for id := consensus.ReplicaID(1); id <= 6; id++ {
		switch c.rng.IntN(4) {
		case 0, 1:
			target.Voters = append(target.Voters, id)
		case 2:
			target.Learners = append(target.Learners, id)
		}
		if c.host(id) == nil {
			c.add(id, consensus.Configuration{})
		}
	}
	_ = h.change(0, target)
}

// answers checks that a read barrier covers what was decided before it (C9).
func (c *chaos) answers(h *host) {
	for _, r := range h.reads {
		if r.Index < c.waiting[r.ID] {
			c.fault("read %d answered at %d, decided before it: %d", r.ID, r.Index, c.waiting[r.ID])
		}
	}
	c.ends(h)
	h.reads, h.dropped, h.unknown = nil, nil, nil
}

// ends checks that what is dropped was never decided, and takes note of ends (C8).
func (c *chaos) ends(h *host) {
	end := func(id consensus.ProposalID) {
		if !c.open[h.id][id] {
			c.fault("host %v ends proposal %d, which is not open there", h.id, id)
		}
		delete(c.open[h.id], id)
	}
	for _, r := range h.reads {
		end(r.ID)
	}
	for _, id := range h.unknown {
		end(id)
	}
	for _, id := range h.dropped {
		end(id)
		if c.waiting[id] == 0 && c.wasDecided(id) {
			c.fault("host %v dropped %d, which is decided", h.id, id)
		}
	}
}

func (c *chaos) wasDecided(id consensus.ProposalID) bool {
	for _, e := range c.decided {
		if n, err := strconv.Atoi(string(e.Data)); err == nil && consensus.ProposalID(n) == id {
			return true
		}
	}
	return false
}

// checkEnds: every proposal was decided or has had another end (C8).
func (c *chaos) checkEnds() {
	for _, h := range c.hosts {
		for id := range c.open[h.id] {
			if !c.wasDecided(id) {
				c.fault("proposal %d at host %v never ended", id, h.id)
			}
		}
	}
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
		if l == nil || round < 60 || l.propose(1<<40, "last") != nil {
			continue
		}
		c.settle(30)
		if string(c.decided[len(c.decided)-1].Data) != "last" {
			continue
		}
		c.checkAll()
		c.checkCaughtUp()
		for _, h := range c.hosts {
			c.answers(h)
		}
		c.checkEnds()
		c.restartIdle(l)
		return
	}
	c.fault("no progress after healing: %s", c.describe())
}

// restartIdle restarts everybody but the leader, with nothing more to decide: they
// learn all of it again.
func (c *chaos) restartIdle(l *host) {
	for _, h := range c.hosts {
		if h != l {
			c.crash(h, len(h.writes), 0)
			c.start(h)
		}
	}
	c.settle(40)
	if c.leader() != nil {
		c.checkCaughtUp()
	}
}

// checkCaughtUp: every member of the final configuration has everything.
func (c *chaos) checkCaughtUp() {
	l := c.leader()
	for _, p := range l.m.Status().Peers {
		if h := c.host(p.ID); h.learned != consensus.Index(len(c.decided)) {
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
