package placement

import (
	"cmp"
	"fmt"
	"slices"
)

// entry is one of a modelled group's log. Most are writes of clients; some change the membership.
type entry struct {
	term   uint64
	config *config
}

// config is a membership. old is not nil while both have to agree.
type config struct {
	old, voters, learners []Node
}

// key is a replica's identity: what it votes under.
func key(n Node) Node { return Node{ID: n.ID, Incarnation: n.Incarnation} }

func (c *config) votes(n Node) bool { return contains(c.voters, n) || contains(c.old, n) }

// most reports whether a majority of the voters, and of the old ones, have something.
func (c *config) most(has func(Node) bool) bool {
	return majority(c.voters, has) && (c.old == nil || majority(c.old, has))
}

func majority(list []Node, has func(Node) bool) bool {
	count := 0
	for _, n := range list {
		if has(n) {
			count++
		}
	}
	return 2*count > len(list)
}

// replica is one replica's disk, and whether it believes that it leads.
type replica struct {
	node     Node
	log      []entry
	promised uint64
	leads    uint64 // an epoch; zero: it does not
	since    int    // records that there were when it came to lead
	commit   int    // as it knows
	machine  *machine
	lost     bool // by the nemesis
	closed   bool // because the record names it no more
}

// group is a shard's consensus as an abstract machine: it does what consensus does, in one step
// where real replicas exchange messages.
type group struct {
	w         *world
	shard     uint64
	name      string
	founders  *config
	replicas  map[Node]*replica
	committed []entry // what has been acknowledged
}

func (g *group) alive(n Node) *replica {
	r := g.replicas[key(n)]
	if r == nil || r.lost || r.closed || !r.machine.runs() {
		return nil
	}
	return r
}

// config is the newest in a log, and where it stands.
func (g *group) config(log []entry) (*config, int) {
	for i := len(log) - 1; i >= 0; i-- {
		if log[i].config != nil {
			return log[i].config, i + 1
		}
	}
	return g.founders, 0
}

// before is the membership before the one at a place in a log.
func (g *group) before(log []entry, at int) *config {
	c, _ := g.config(log[:at-1])
	return c
}

// match is how much two logs share: the same term at one place means the same before it.
func match(a, b []entry) int {
	n := min(len(a), len(b))
	for n > 0 && a[n-1].term != b[n-1].term {
		n--
	}
	return n
}

func lastTerm(log []entry) uint64 {
	if len(log) == 0 {
		return 0
	}
	return log[len(log)-1].term
}

// leader is who leads in the newest epoch and runs.
func (g *group) leader() *replica {
	var newest *replica
	for _, r := range g.sorted() {
		if r.leads != 0 && g.alive(r.node) != nil && (newest == nil || r.leads > newest.leads) {
			newest = r
		}
	}
	return newest
}

func (g *group) sorted() []*replica {
	list := make([]*replica, 0, len(g.replicas))
	for _, r := range g.replicas {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b *replica) int {
		return cmp.Or(cmp.Compare(a.node.Incarnation, b.node.Incarnation), cmp.Compare(a.node.ID, b.node.ID))
	})
	return list
}

// campaign lets a replica stand for election.
func (g *group) campaign(r *replica) bool {
	c, at := g.config(r.log)
	// One that is not to vote any more may have the only log that says so: it leads to decide that.
	if g.alive(r.node) == nil || !c.votes(r.node) && (at == 0 || at <= r.commit || !g.before(r.log, at).votes(r.node)) {
		return false
	}
	epoch := r.promised
	var grants []*replica
	for _, n := range slices.Concat(c.voters, c.old) {
		v := g.alive(n)
		if v == nil {
			continue
		}
		epoch = max(epoch, v.promised)
		if t, u := lastTerm(v.log), lastTerm(r.log); u > t || u == t && len(r.log) >= len(v.log) {
			grants = append(grants, v)
		}
	}
	if !c.most(func(n Node) bool {
		return slices.ContainsFunc(grants, func(v *replica) bool { return v.node.Same(n) })
	}) {
		return false
	}
	epoch++
	for _, v := range grants {
		v.promised, v.leads = epoch, 0
	}
	if match(r.log, g.committed) < len(g.committed) {
		g.w.fail("%s: %v comes to lead without what was acknowledged", g.name, r.node)
	}
	g.w.note("%s: %v leads in epoch %d", g.name, r.node, epoch)
	r.promised, r.leads, r.since, r.commit = epoch, epoch, len(g.w.log), 0
	r.log = append(r.log, entry{term: epoch})
	r.machine.look(g.shard)
	return true
}

// step: elections, replication and commits of one moment.
func (g *group) step() {
	if l := g.leader(); l == nil || g.w.chance(150) && !g.w.quiet {
		if list := g.sorted(); len(list) > 0 && g.w.chance(3) {
			g.campaign(list[g.w.rng.IntN(len(list))])
		}
	}
	for _, r := range g.sorted() {
		if r.leads == 0 || g.alive(r.node) == nil {
			continue
		}
		if g.w.chance(8) {
			r.log = append(r.log, entry{term: r.leads})
		}
		if g.replicate(r); r.leads != 0 {
			g.decide(r)
		}
	}
}

func (g *group) replicate(r *replica) {
	c, _ := g.config(r.log)
	for _, n := range slices.Concat(c.voters, c.old, c.learners) {
		f := g.alive(n)
		switch {
		case f == nil || f == r || g.w.chance(3):
			continue
		case f.promised > r.leads:
			if g.w.chance(8) {
				r.leads = 0 // it hears of another one
				return
			}
			continue
		}
		f.promised, f.leads = r.leads, 0
		common := match(r.log, f.log)
		more := min(len(r.log), common+1+g.w.rng.IntN(6))
		f.log = append(slices.Clip(f.log[:common]), r.log[common:more]...)
		f.commit = min(len(f.log), max(f.commit, r.commit))
	}
}

// decide commits what enough replicas have, and goes on with a change of membership.
func (g *group) decide(r *replica) {
	c, at := g.config(r.log)
	for n := len(r.log); n > r.commit && r.log[n-1].term == r.leads; n-- {
		if c.most(func(v Node) bool {
			f := g.replicas[key(v)]
			return f != nil && !f.lost && !f.closed && f.promised <= r.leads && match(f.log, r.log) >= n
		}) {
			r.commit = n
			break
		}
	}
	if r.commit < len(g.committed) {
		return
	}
	if match(r.log, g.committed) < len(g.committed) {
		g.w.fail("%s: %v overwrites what was acknowledged", g.name, r.node)
	}
	g.committed = slices.Clone(r.log[:r.commit])
	switch {
	case r.commit < at:
	case c.old != nil:
		r.log = append(r.log, entry{term: r.leads, config: &config{voters: c.voters, learners: c.learners}})
	case !c.votes(r.node):
		r.leads = 0
	}
}

// configure is what a leader is asked for. Who leads no more, or is busy, does nothing.
func (g *group) configure(r *replica, voters, learners []Node) {
	c, at := g.config(r.log)
	if c.old != nil || r.commit < at || r.commit == 0 {
		return
	}
	for _, n := range voters {
		if contains(learners, n) {
			g.w.fail("%s: %v is to vote and to learn", g.name, n)
		}
		for _, o := range voters {
			if o.ID == n.ID && o.Incarnation != n.Incarnation && max(1, o.Life) == max(1, n.Life) {
				g.w.fail("%s: %v and %v vote on one disk", g.name, n, o)
			}
		}
		f := g.replicas[key(n)]
		if !c.votes(n) && (f == nil || !g.w.head.names(g.name, n)) {
			g.w.fail("%s: %v is to vote and has never been there, or was taken away", g.name, n)
		}
	}
	next := &config{voters: voters, learners: learners}
	if !sameSet(c.voters, voters) {
		next.old = c.voters
		if !majority(voters, func(n Node) bool { f := g.replicas[key(n)]; return f != nil && len(r.log) <= len(f.log)+20 }) {
			g.w.fail("%s: %v are to vote and have nothing", g.name, voters)
		}
	} else if sameSet(c.learners, learners) {
		return
	}
	g.w.note("%s: %v makes %v, %v the membership in epoch %d", g.name, r.node, voters, learners, r.leads)
	r.log = append(r.log, entry{term: r.leads, config: next})
}

// situation is what a leader tells.
func (g *group) situation(r *replica) Situation {
	c, at := g.config(r.log)
	x := Situation{Self: r.node, Settled: true, Changing: c.old != nil || r.commit < at || r.commit == 0}
	seen := map[Node]bool{}
	for _, n := range slices.Concat(c.voters, c.old, c.learners) {
		if seen[key(n)] {
			continue
		}
		seen[key(n)] = true
		p := Progress{Node: n, Votes: c.votes(n)}
		if f := g.replicas[key(n)]; f != nil && g.w.step-f.machine.seen <= 3 && !f.closed && !f.lost && f.promised <= r.leads {
			p.Active, p.CaughtUp = true, match(f.log, r.log)+2 >= len(r.log)
		}
		x.Replicas = append(x.Replicas, p)
	}
	return x
}

// check: most voters have everything that was acknowledged, but for disks that the nemesis took.
func (g *group) check() {
	c, at := g.config(g.committed)
	has := func(length int) func(Node) bool {
		return func(n Node) bool {
			r := g.replicas[key(n)]
			return r == nil && len(g.committed) == 0 || r != nil && !r.closed && match(r.log, g.committed) >= length
		}
	}
	// What came after both agreed may be with the new ones alone.
	if !majority(c.voters, has(len(g.committed))) || c.old != nil && !majority(c.old, has(at)) {
		g.w.fail("%s: what was acknowledged is at too few of %s", g.name, g.describe(c))
	}
}

// broken reports whether the nemesis has taken a quorum for good.
func (g *group) broken() bool {
	there := func(n Node) bool {
		if r := g.replicas[key(n)]; r != nil {
			return !r.lost && !r.closed && !r.machine.gone
		}
		m := g.w.byID(n.ID) // it has never been opened
		return m != nil && !m.gone && n.On(m.id, m.life)
	}
	c, _ := g.config(g.committed)
	if !c.most(there) {
		return true
	}
	for _, r := range g.replicas { // a membership that was never acknowledged may bind those who have it
		if there(r.node) {
			if c, _ := g.config(r.log); !c.most(there) {
				return true
			}
		}
	}
	return false
}

func (g *group) describe(c *config) (text string) {
	for _, n := range slices.Concat(c.old, c.voters) {
		r := g.replicas[key(n)]
		if r == nil {
			text += fmt.Sprintf("%v:none ", n)
			continue
		}
		text += fmt.Sprintf("%v:%d/%d lost=%v closed=%v ", n, match(r.log, g.committed), len(g.committed), r.lost, r.closed)
	}
	return text
}
