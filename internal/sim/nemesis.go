package sim

import (
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/shard"
)

// faultKind is something that the nemesis does.
type faultKind int

const (
	faultCrashOne faultKind = iota
	faultCrashMinority
	faultCrashMajority
	faultCrashAll
	faultCrashMidWrite
	faultCrashInRestart
	faultSyncError
	faultDiskFull
	faultDiskSlow
	faultPauseLeader
	faultPauseAny
	faultPauseAll
	faultClockSkew
	faultClockJump
	faultWallJump
	faultPartition
	faultOneWay
	faultPartial
	faultFlap
	faultIsolateLeader
	faultLinkSlow
	faultRestart
	faultTransfer
	faultWipe
	faultMembership
	faultRot
	// Of runs with moves only:
	faultDie
	faultAbsent
	faultJoin
	faultDrain
	faultUndrain
	faultRemove
	faultWeigh
	faultZone
	faultKinds
)

// belongs reports whether a run has faults of this kind.
func (k faultKind) belongs(moves bool) bool {
	switch k {
	case faultMembership, faultRot:
		return !moves // memberships are the catalog's business, and a rotten disk may be one too many
	}
	return moves || k < faultDie
}

// fault is what a kind is called and does.
type fault struct {
	name string
	do   func(*nemesis) bool // false: it made no sense now
}

var faults = [faultKinds]fault{
	faultCrashOne:       {"crash one", func(x *nemesis) bool { return x.crash(1) }},
	faultCrashMinority:  {"crash minority", func(x *nemesis) bool { return x.crash((len(x.s.nodes) - 1) / 2) }},
	faultCrashMajority:  {"crash majority", func(x *nemesis) bool { return x.crash(len(x.s.nodes)/2 + 1) }},
	faultCrashAll:       {"crash all", func(x *nemesis) bool { return x.crash(len(x.s.nodes)) }},
	faultCrashMidWrite:  {"crash mid write", (*nemesis).crashMidWrite},
	faultCrashInRestart: {"crash in restart", (*nemesis).crashInRestart},
	faultSyncError:      {"sync error", (*nemesis).syncError},
	faultDiskFull:       {"disk full", (*nemesis).diskFull},
	faultDiskSlow:       {"disk slow", (*nemesis).diskSlow},
	faultPauseLeader:    {"pause leader", func(x *nemesis) bool { return x.pause(x.leader()) }},
	faultPauseAny:       {"pause any", func(x *nemesis) bool { return x.pause(x.any()) }},
	faultPauseAll:       {"pause all", func(x *nemesis) bool { return x.pause(x.s.nodes...) }},
	faultClockSkew:      {"clock skew", (*nemesis).clockSkew},
	faultClockJump:      {"clock jump", (*nemesis).clockJump},
	faultWallJump:       {"wall clock jump", (*nemesis).wallJump},
	faultPartition:      {"partition", (*nemesis).partition},
	faultOneWay:         {"partition one way", (*nemesis).oneWay},
	faultPartial:        {"partition partial", (*nemesis).partial},
	faultFlap:           {"flapping link", (*nemesis).flap},
	faultIsolateLeader:  {"isolate leader", (*nemesis).isolateLeader},
	faultLinkSlow:       {"slow link", (*nemesis).slowLink},
	faultRestart:        {"restart", (*nemesis).restart},
	faultTransfer:       {"transfer", (*nemesis).transfer},
	faultWipe:           {"wiped disk", (*nemesis).wipe},
	faultMembership:     {"membership change", (*nemesis).membership},
	faultRot:            {"bit rot", (*nemesis).rot},
	faultDie:            {"node death", (*nemesis).die},
	faultAbsent:         {"node absent", (*nemesis).absent},
	faultJoin:           {"node join", (*nemesis).joins},
	faultDrain:          {"node drain", (*nemesis).drain},
	faultUndrain:        {"node undrain", (*nemesis).undrain},
	faultRemove:         {"node remove", (*nemesis).remove},
	faultWeigh:          {"node weight", (*nemesis).weigh},
	faultZone:           {"zone loss", (*nemesis).zone},
}

// FaultNames lists the faults that Options.Only can name.
func FaultNames() string {
	names := make([]string, 0, faultKinds)
	for _, f := range faults {
		names = append(names, f.name)
	}
	return strings.Join(names, ", ")
}

// KnowsFaults reports whether there are faults of all these names, which commas part.
func KnowsFaults(list string) bool {
	for name := range strings.SplitSeq(list, ",") {
		if !slices.ContainsFunc(faults[:], func(f fault) bool { return f.name == name }) {
			return false
		}
	}
	return true
}

// nemesis draws faults, as often and of the kinds that the run's swarm says.
type nemesis struct {
	s     *Sim
	total int // of the weights
}

func startNemesis(s *Sim) *nemesis {
	x := &nemesis{s: s}
	for _, w := range s.opts.swarm.weights {
		x.total += w
	}
	if x.total > 0 {
		x.later()
	}
	return x
}

func (x *nemesis) later() {
	every := x.s.opts.swarm.faultEvery
	x.s.after(x.s.between(every/4, every*7/4), func() {
		if x.s.healing {
			return
		}
		x.strike()
		x.later()
	})
}

// strike draws one fault.
func (x *nemesis) strike() {
	at := x.s.rng.IntN(x.total)
	for kind, w := range x.s.opts.swarm.weights {
		if at -= w; at >= 0 {
			continue
		}
		if faults[kind].do(x) {
			x.s.fault(faults[kind].name)
		}
		return
	}
}

// fault counts one that was done.
func (s *Sim) fault(name string) {
	s.report.Faults++
	s.report.count("fault " + name)
}

func (x *nemesis) trace(n *simNode, what, format string, args ...any) {
	who := "net"
	if n != nil {
		who = n.name()
	}
	x.s.trace.line(x.s.now, who, what, format, args...)
}

// span draws how long a fault lasts: most are short, some outlast elections.
func (x *nemesis) span() time.Duration {
	if x.s.chance(0.7) {
		return x.s.between(20*time.Millisecond, 400*time.Millisecond)
	}
	return x.s.between(400*time.Millisecond, 2500*time.Millisecond)
}

// any draws a node that runs.
func (x *nemesis) any() *simNode {
	n := x.s.nodes[x.s.rng.IntN(len(x.s.nodes))]
	if !n.up || n.paused {
		return nil
	}
	return n
}

// leader draws a shard's leader.
func (x *nemesis) leader() *simNode {
	return x.s.leaderOf(x.s.anyShard(x.s.rng))
}

// leaderOf is the running leader of a shard's latest epoch; nil: none.
func (s *Sim) leaderOf(id shard.ID) *simNode {
	var leader *simNode
	var epoch consensus.Epoch
	for _, n := range s.nodes {
		if r, ok := n.replica(id); ok && n.up && !n.paused && r.State().Leads && r.State().Epoch > epoch {
			leader, epoch = n, r.State().Epoch
		}
	}
	return leader
}

// crash ends some processes at one moment, as a power failure does.
func (x *nemesis) crash(count int) bool {
	keep := []float64{0, 0.5, 1}[x.s.rng.IntN(3)]
	some := x.s.rng.Perm(len(x.s.nodes))[:count]
	done := false
	for _, i := range some {
		if n := x.s.nodes[i]; n.up {
			n.crash(keep)
			n.restartLater(x.span())
			done = true
		}
	}
	return done
}

// crashMidWrite ends a process at one of its next operations on the disk.
func (x *nemesis) crashMidWrite() bool {
	n := x.any()
	if n == nil {
		return false
	}
	n.disk.dieAfter(1 + x.s.rng.IntN(6))
	return true
}

// crashInRestart ends a process while it recovers.
func (x *nemesis) crashInRestart() bool {
	n := x.any()
	if n == nil {
		return false
	}
	n.crash(0.5)
	n.doomed = 1 + x.s.rng.IntN(12)
	n.restartLater(x.s.between(0, 100*time.Millisecond))
	return true
}

func (x *nemesis) syncError() bool {
	n := x.any()
	if n == nil {
		return false
	}
	n.disk.badSync = true
	return true
}

func (x *nemesis) diskFull() bool {
	n := x.any()
	if n == nil {
		return false
	}
	n.disk.full = true
	x.trace(n, "fault", "disk full")
	x.s.after(x.span(), func() { n.disk.full = false })
	return true
}

func (x *nemesis) diskSlow() bool {
	n := x.any()
	if n == nil {
		return false
	}
	n.extraSync = x.s.between(5*time.Millisecond, 400*time.Millisecond)
	x.trace(n, "fault", "disk slower by %v", n.extraSync)
	x.s.after(x.span(), func() { n.extraSync = 0 })
	return true
}

// pause stops processes without their knowing it.
func (x *nemesis) pause(nodes ...*simNode) bool {
	span, done := x.span(), false
	for _, n := range nodes {
		if n == nil || !n.up || n.paused {
			continue
		}
		n.paused, done = true, true
		x.trace(n, "pause", "for %v", span)
		life := n.boots
		x.s.after(span, func() {
			if n.boots == life {
				n.resume()
			}
		})
	}
	return done
}

// clockSkew makes a clock run faster or slower.
func (x *nemesis) clockSkew() bool {
	n := x.s.nodes[x.s.rng.IntN(len(x.s.nodes))]
	n.setSkew(1 + skewMax*(2*x.s.rng.Float64()-1))
	x.trace(n, "fault", "clock runs at %.3f", n.skew)
	x.s.after(x.span(), func() { n.setSkew(1) })
	return true
}

// clockJump moves a clock ahead, as when a virtual machine was suspended.
func (x *nemesis) clockJump() bool {
	n := x.s.nodes[x.s.rng.IntN(len(x.s.nodes))]
	d := x.s.between(time.Millisecond, 3*time.Second)
	n.jump += d
	x.s.check.leases.jumped(d)
	x.trace(n, "fault", "clock jumps by %v", d)
	return true
}

// wallJump sets a wall clock to anything, as an operator or a time server does.
func (x *nemesis) wallJump() bool {
	n := x.s.nodes[x.s.rng.IntN(len(x.s.nodes))]
	n.wallJump = x.s.between(-time.Hour, time.Hour)
	x.trace(n, "fault", "wall clock is off by %v", n.wallJump)
	return true
}

// block cuts directed links for a while.
func (x *nemesis) block(links [][2]int, span time.Duration) {
	for _, l := range links {
		x.s.links.cut(l)
	}
	x.s.after(span, func() {
		for _, l := range links {
			x.s.links.mend(l)
		}
	})
}

// between two groups of nodes, all links in one or both directions.
func linksBetween(a, b []int, both bool) (links [][2]int) {
	for _, i := range a {
		for _, j := range b {
			links = append(links, [2]int{i, j})
			if both {
				links = append(links, [2]int{j, i})
			}
		}
	}
	return links
}

func (x *nemesis) split() (a, b []int) {
	order := x.s.rng.Perm(len(x.s.nodes))
	at := 1 + x.s.rng.IntN(len(order)-1)
	return order[:at], order[at:]
}

func (x *nemesis) partition() bool {
	a, b := x.split()
	x.trace(nil, "cut", "%v from %v", a, b)
	x.block(linksBetween(a, b, true), x.span())
	return true
}

func (x *nemesis) oneWay() bool {
	a, b := x.split()
	x.trace(nil, "cut", "%v to %v", a, b)
	x.block(linksBetween(a, b, false), x.span())
	return true
}

// partial cuts one pair; both still see the others.
func (x *nemesis) partial() bool {
	order := x.s.rng.Perm(len(x.s.nodes))
	x.trace(nil, "cut", "%d from %d", order[0], order[1])
	x.block(linksBetween(order[:1], order[1:2], true), x.span())
	return true
}

// flap cuts and mends one link again and again.
func (x *nemesis) flap() bool {
	order := x.s.rng.Perm(len(x.s.nodes))
	link := linksBetween(order[:1], order[1:2], x.s.chance(0.5))
	period := x.s.between(20*time.Millisecond, 300*time.Millisecond)
	x.trace(nil, "flap", "%v every %v", link, period)
	for i := range 8 {
		x.s.after(time.Duration(i)*period, func() {
			if !x.s.healing {
				x.block(link, period/2)
			}
		})
	}
	return true
}

func (x *nemesis) isolateLeader() bool {
	n := x.leader()
	if n == nil {
		return false
	}
	var others []int
	for i := range x.s.nodes {
		if i != n.index {
			others = append(others, i)
		}
	}
	x.trace(n, "cut", "from all")
	x.block(linksBetween([]int{n.index}, others, x.s.chance(0.7)), x.span())
	return true
}

func (x *nemesis) slowLink() bool {
	order := x.s.rng.Perm(len(x.s.nodes))
	link := [2]int{order[0], order[1]}
	x.s.links.slow[link] = x.s.between(5*time.Millisecond, 500*time.Millisecond)
	x.trace(nil, "slow", "%v by %v", link, x.s.links.slow[link])
	x.s.after(x.span(), func() { delete(x.s.links.slow, link) })
	return true
}

// restart stops a process in good order.
func (x *nemesis) restart() bool {
	n := x.any()
	if n == nil {
		return false
	}
	n.stop()
	n.restartLater(x.span() / 2)
	return true
}

// rot flips a bit of a log while its process is down. The process has ended in good
// order, except that its engine has lost what was not flushed: damage behind the log's
// last witness could not be told from a torn write. A cluster survives one such disk at
// a time.
func (x *nemesis) rot() bool {
	n := x.any()
	if n == nil || !x.s.operator.whole() || !n.halt() {
		return false
	}
	name, offset := n.disk.rot()
	n.damaged = true
	x.trace(n, "rot", "%s at %d", name, offset)
	n.restartLater(x.span() / 2)
	return true
}

func (x *nemesis) transfer() bool {
	id := x.s.anyShard(x.s.rng)
	n := x.s.leaderOf(id)
	if n == nil {
		return false
	}
	err := n.host.Transfer(id, 0)
	x.trace(n, "transfer", "shard %d: %s", id, errorText(err))
	n.process()
	return err == nil
}
