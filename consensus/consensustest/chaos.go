package consensustest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/quorate/quorate/consensus"
)

// chaosSteps is the length of a random run: long enough for a few hundred proposals
// and a handful of elections.
const chaosSteps = 10000

// Random runs random clusters, each from a seed of its own, until one fails.
func Random(t *testing.T, engine consensus.Engine, opts Options) {
	first, n := uint64(1), opts.Seeds
	if n == 0 {
		n = max(1, 30/slow)
	}
	if *seedCount != 0 {
		n = *seedCount
	}
	if *seedOnly != 0 {
		first, n = *seedOnly, 1
	}
	var sum tally
	for seed := first; seed < first+uint64(n); seed++ {
		if err := chaosRun(engine, opts, seed, tracer(t), &sum); err != nil {
			t.Fatalf("%v\nreplay: go test -run '^%s$' . -consensustest.seed %d -consensustest.trace -v", err, t.Name(), seed)
		}
	}
	if opts.Leases && n > 1 && sum.leased == 0 {
		t.Errorf("no read was answered by a lease")
	}
	t.Logf("%d clusters: %v", n, &sum)
}

// Chaos runs one random cluster under loss, duplication, reordering, partitions,
// slow disks, crashes that lose what was not synced, released logs, membership
// changes, transfers and reads. It then heals everything and demands progress. The
// error is what a check found.
func Chaos(engine consensus.Engine, opts Options, seed uint64) error {
	return chaosRun(engine, opts, seed, nil, &tally{})
}

func chaosRun(engine consensus.Engine, opts Options, seed uint64, trace func(string), sum *tally) error {
	var c *chaos
	step := 0
	err := caught(func() {
		w := NewWorld(engine, opts, seed)
		w.Trace = trace
		c = newChaos(w)
		c.populate(c.size)
		for ; step < chaosSteps; step++ {
			c.act()
		}
		c.finish()
	})
	if err != nil {
		return fmt.Errorf("seed %d, step %d: %w", seed, step, err)
	}
	sum.add(c.World)
	return nil
}

// tally is what happened in random runs: a suite in which nothing happens finds
// nothing.
type tally struct {
	commands, skipped, reigns, starts, installs, changes int
	leased                                               int
	outcomes                                             [len(outcomeNames)]int
}

func (s *tally) add(w *World) {
	s.leased += w.time.answered()
	for k := range w.decided {
		d := &w.decided[k]
		switch {
		case d.Skipped:
			s.skipped++
		case d.Kind == consensus.EntryCommand:
			s.commands++
		case d.Kind == consensus.EntryMembership && !d.State.Configuration.Joint():
			s.changes++
		}
	}
	for _, h := range w.hosts {
		s.starts += h.life
		s.installs += h.installs
	}
	for _, p := range w.client.all {
		s.outcomes[p.Outcome]++
	}
	s.reigns += len(w.leaders)
}

// String sums up for a log.
func (s *tally) String() string {
	text := fmt.Sprintf("%d commands decided, %d entries skipped, %d leaderships, %d starts, %d installs, %d changes; proposals:",
		s.commands, s.skipped, s.reigns, s.starts, s.installs, s.changes)
	if s.leased > 0 {
		text += fmt.Sprintf(" %d reads by lease,", s.leased)
	}
	for k, n := range s.outcomes {
		text += fmt.Sprintf(" %d %v", n, Outcome(k))
	}
	return text
}

// chaos is a world in which everything that can happen does, in an order drawn
// from the seed, as often as weights drawn from the seed say: one seed is mostly
// elections, another mostly traffic.
type chaos struct {
	*World
	size    int
	weights []int // of actions
	total   int
	loss    int // messages lost of 100
	hasty   int // unsynced hard states lost to a crash, of 100
	members bool
	rots    bool // disks may lose what was durable, one at a time
	serial  int
}

// actions are what chaos does; the number is the largest weight drawn.
var actions = []struct {
	do  func(*chaos, *Host)
	max int
}{
	{(*chaos).network, 800},
	{(*chaos).disk, 300},
	{func(c *chaos, h *Host) { c.Apply(h, 1+c.Rand.IntN(5)) }, 100},
	{(*chaos).clients, 200},
	{(*chaos).tick, 300},
	{(*chaos).kill, 8},
	{(*chaos).cutOne, 4},
	{(*chaos).isolate, 4},
	{func(c *chaos, _ *Host) { c.Heal() }, 12},
	{(*chaos).forget, 18},
	{(*chaos).reconfigure, 8},
	{(*chaos).transfer, 4},
	{(*chaos).report, 4},
}

// newChaos draws the kind of trouble that a seed makes.
func newChaos(w *World) *chaos {
	c := &chaos{World: w}
	if w.opts.Leases {
		w.time = newClocks(w.Rand)
	}
	trouble := 1 + c.Rand.IntN(4)*c.Rand.IntN(3)
	for _, a := range actions {
		weight := 1 + a.max/2 + c.Rand.IntN(a.max/2+1)
		if a.max < 20 {
			weight = c.Rand.IntN(trouble*a.max + 1)
		}
		c.weights = append(c.weights, weight)
		c.total += weight
	}
	c.loss, c.hasty, c.members = c.Rand.IntN(12), c.Rand.IntN(2)*c.Rand.IntN(60), c.Rand.IntN(2) == 0
	c.size = 1 + c.Rand.IntN(5)
	c.rots = w.opts.Doubt && !c.members && c.Rand.IntN(2) == 0 && c.size >= 3
	electionTicks, messageBytes := 3+c.Rand.IntN(8), 20+c.Rand.IntN(2)*c.Rand.IntN(300)
	c.Configure = func(cfg *consensus.Config) {
		cfg.ElectionTicks, cfg.HeartbeatTicks, cfg.MessageBytes = electionTicks, max(1, electionTicks/3), messageBytes
	}
	return c
}

// act does one random thing.
func (c *chaos) act() {
	h := c.hosts[c.Rand.IntN(len(c.hosts))]
	if c.time != nil {
		c.time.now += consensus.Instant(c.Rand.Uint64N(c.time.pace))
	}
	if h.m == nil {
		if c.Rand.IntN(8) == 0 {
			c.Start(h)
		}
		return
	}
	p := c.Rand.IntN(c.total)
	for k, weight := range c.weights {
		if p < weight {
			actions[k].do(c, h)
			break
		}
		p -= weight
	}
	c.pump(h)
}

// tick ticks a host. With clocks, a host whose tick is not due gets none.
func (c *chaos) tick(h *Host) {
	if c.time == nil || c.time.now >= h.due {
		c.Tick(h)
	}
}

// network moves a few messages.
func (c *chaos) network(*Host) {
	if len(c.net) > 0 && c.Rand.IntN(8) == 0 {
		c.burst(c.Host(c.net[c.Rand.IntN(len(c.net))].To))
	}
	for range min(len(c.net), 1+c.Rand.IntN(3)) {
		if len(c.net) > 0 {
			c.move()
		}
	}
	for len(c.net) > 200 {
		c.Drop(0)
	}
}

// burst delivers some of the messages to a host before its machine says anything.
func (c *chaos) burst(h *Host) {
	c.busy = h
	for range 2 + c.Rand.IntN(3) {
		first := c.Rand.IntN(len(c.net) + 1)
		for n := range len(c.net) {
			if k := (first + n) % len(c.net); h != nil && c.net[k].To == h.ID {
				c.acceptable(c.Deliver(k))
				break
			}
		}
	}
	if h != nil {
		c.pump(h)
	}
	c.busy = nil
}

// move delivers, loses or doubles a message, mostly the oldest.
func (c *chaos) move() {
	k := 0
	if c.Rand.IntN(4) == 0 {
		k = c.Rand.IntN(len(c.net))
	}
	if c.net[k].Kind == consensus.KindSnapshot && c.Rand.IntN(20) > 0 {
		k = c.Rand.IntN(len(c.net)) // states take their time
	}
	switch p := c.Rand.IntN(100); {
	case p < c.loss:
		c.Drop(k)
	case p < c.loss+5:
		c.Double(k)
	default:
		c.acceptable(c.Deliver(k))
	}
}

func (c *chaos) disk(h *Host) {
	if len(h.writes) > 0 && h.writes[0].hard != nil && c.Rand.IntN(100) < c.hasty {
		c.Crash(h, 0, -1)
		return
	}
	if c.Rand.IntN(8) == 0 {
		c.SyncAtOnce(h)
		return
	}
	c.Sync(h, 1+c.Rand.IntN(3))
}

// chief is mostly the leader, otherwise perhaps one that is deposed and does not know.
func (c *chaos) chief(h *Host) *Host {
	if l := c.Leader(); l != nil && c.Rand.IntN(4) > 0 {
		return l
	}
	return h
}

func (c *chaos) clients(h *Host) {
	h = c.chief(h)
	if c.Rand.IntN(4) == 0 {
		_, _ = c.Read(h)
		return
	}
	batch := make([]string, 1+c.Rand.IntN(3)*c.Rand.IntN(2))
	for k := range batch {
		c.serial++
		batch[k] = fmt.Sprintf("%0*d", 1+c.Rand.IntN(80), c.serial)
		if c.client.byData[batch[k]] != nil {
			batch[k] = fmt.Sprintf("%d.", c.serial)
		}
	}
	_, _ = c.Propose(h, batch...)
	c.pump(h)
}

// kill crashes a host; sometimes its applied state is durable before its log is.
func (c *chaos) kill(h *Host) {
	if c.Rand.IntN(2) == 0 {
		c.Flush(h)
	}
	c.Crash(h, c.Rand.IntN(len(h.writes)+1), c.Rand.IntN(4)-1)
	if c.rots && c.Rand.IntN(2) == 0 && !slices.ContainsFunc(c.hosts, func(h *Host) bool { return h.durable.doubt }) {
		c.damage(h)
	}
}

// damage takes entries from a crashed host's log, and perhaps its vote or epoch. A
// group survives one such loss at a time.
func (c *chaos) damage(h *Host) {
	hard := h.durable.hard
	switch c.Rand.IntN(3) {
	case 0:
		hard = consensus.HardState{}
	case 1:
		hard.Vote = 0
	}
	c.Rot(h, h.durable.end()-min(h.durable.end(), consensus.Index(c.Rand.IntN(8))), hard)
}

func (c *chaos) cutOne(h *Host) {
	c.CutOneWay(h.ID, c.hosts[c.Rand.IntN(len(c.hosts))].ID)
}

// isolate cuts a host off, often the leader.
func (c *chaos) isolate(h *Host) {
	if l := c.Leader(); l != nil && c.Rand.IntN(2) == 0 {
		h = l
	}
	c.Isolate(h.ID)
}

func (c *chaos) forget(h *Host) {
	c.Release(h, h.applied-min(h.applied, consensus.Index(c.Rand.IntN(4))))
}

func (c *chaos) report(h *Host) {
	if o := c.hosts[c.Rand.IntN(len(c.hosts))]; o != h {
		c.Peer(h, o.ID, consensus.PeerState(1+c.Rand.IntN(2)))
	}
}

// reconfigure draws a membership from hosts 1..6; new hosts start empty.
func (c *chaos) reconfigure(h *Host) {
	if !c.members {
		return
	}
	var target consensus.Membership
	for id := consensus.ReplicaID(1); id <= 6; id++ {
		switch c.Rand.IntN(4) {
		case 0, 1:
			target.Voters = append(target.Voters, id)
		case 2:
			target.Learners = append(target.Learners, id)
		}
		if c.Host(id) == nil {
			c.Add(id, consensus.Configuration{})
		}
	}
	h = c.chief(h)
	_, _ = c.Change(h, target)
	c.pump(h)
}

// transfer hands leadership to anybody, or to a host that may be unfit.
func (c *chaos) transfer(h *Host) {
	var to consensus.ReplicaID
	if c.Rand.IntN(3) == 0 {
		to = h.ID
	}
	h = c.chief(h)
	_ = c.Transfer(h, to)
	c.pump(h)
}

// finish heals everything, demands a decision that everybody gets, and an end to
// every proposal. Then all but the leader restart, with nothing more to decide: they
// learn all of it again.
func (w *World) finish() {
	w.Heal()
	w.dropAll()
	for _, h := range w.hosts {
		h.Stuck = false
		if h.m == nil {
			w.Start(h)
		}
	}
	w.Settle(60) // what the trouble has left under way comes to its end
	w.mustDecideLast()
	w.awaitMembers()
	w.checkOpen()
	l := w.Leader()
	for _, h := range w.hosts {
		if h != l {
			w.Crash(h, len(h.writes), -1)
			w.Start(h)
		}
	}
	w.Settle(40)
	w.awaitMembers()
}

// mustDecideLast proposes until a command is decided.
func (w *World) mustDecideLast() {
	for n := range patience {
		w.Settle(1)
		l := w.Leader()
		if l == nil {
			continue
		}
		p, err := w.Propose(l, fmt.Sprintf("last %d", n))
		if err != nil {
			continue
		}
		r, _ := w.Read(l)
		w.SettleUntil(30, func() bool { return p[0].Outcome != Open })
		if p[0].Outcome == Decided {
			w.Settle(5)
			w.must(r.Outcome == Answered || !l.leads(), "a read of a leader that decides is %v", r.Outcome)
			return
		}
	}
	w.fault("no progress after healing%s", w.describe())
}

// awaitMembers: every member of the final configuration gets everything.
func (w *World) awaitMembers() {
	all := func() bool {
		c := w.Configuration()
		for _, h := range w.hosts {
			if c.Contains(h.ID) && (h.m == nil || h.applied != w.top()) {
				return false
			}
		}
		return !c.Joint()
	}
	w.must(w.SettleUntil(patience, all), "the members are not equal after healing")
}

// checkOpen: every proposal has had an end (C8), and what clients were told is in
// the decided sequence.
func (w *World) checkOpen() {
	c := w.Configuration()
	for _, p := range w.client.all {
		decided := p.times > 0
		if p.Outcome == Open && (c.Contains(p.Host) || !decided) {
			w.fault("never ended: %v%s", p, w.describe())
		}
		if p.Outcome == Decided && p.Kind == consensus.ProposeCommands && !decided {
			w.fault("acknowledged and not decided: %v", p)
		}
	}
}
