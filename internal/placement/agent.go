package placement

import (
	"maps"
	"slices"
)

// Ports are what an Agent needs of its node. Every call returns at once.
type Ports interface {
	// Catalog is what this node knows. It does not change until the agent is called again.
	Catalog() *Catalog
	// Leads reports whether this node leads a shard, and since when: another epoch is another
	// leadership.
	Leads(shard uint64) (epoch uint64, ok bool)
	// Situation is how the leader of a shard sees it; ok is false if this node leads it no more
	// in that epoch.
	Situation(shard uint64, epoch uint64) (s Situation, ok bool)
	// Drained reports whether this node's replica of a shard votes no more, and nobody waits for it. It
	// goes by the last membership in the replica's log, also if that is not applied, and only once
	// it is decided: until then the replica may be needed.
	Drained(shard uint64) bool
	// Configure makes a membership the target of a shard that this node leads in an epoch, and
	// HandOver lets another replica lead. Both may fail: what follows shows.
	Configure(shard, epoch uint64, voters, learners []Node)
	HandOver(shard, epoch uint64, to Node)
	// Barrier answers with Agent.Read when Catalog has everything that was recorded before
	// the call, or when that cannot be known.
	Barrier()
	// Write replaces records if those that they replace are still there (L2). It answers with
	// Agent.Written.
	Write(p Proposal)
	// Change writes a change of the nodes, in the same way. It answers with Agent.Changed.
	Change(m MemberChange)
	// Planning is what plans are made with; ok is false if this node does not plan for the
	// cluster: it does not lead the system keyspace, or has not seen all that came before.
	Planning() (p Planning, ok bool)
}

// Agent is a node's part in the placement: it takes the next step of each shard that the node leads
// (L5, L9), says that replicas of its own have left, and plans for the cluster while its node leads
// the system keyspace (L8). It is stepped, and not safe for concurrent use.
type Agent struct {
	self  uint64
	life  uint16
	ports Ports

	pending map[uint64]bool // shards to look at
	later   map[uint64]bool // and those to look at when laterTicks have passed
	ticks   int
	asked   map[uint64]uint64 // shard → epoch, of those that wait for the barrier
	reading bool
	writing map[string]bool // keyspaces whose record is being written
	joining int             // changes of nodes being written

	planned  Planned
	planning bool // the barrier is for a plan, too
	grown    int  // ticks since somebody has created something that no plan has seen
}

// Planned is as of when a plan found nothing more to do.
type Planned struct {
	stirred uint64
	silent  map[uint64]bool
	dead    map[uint64]bool
	epoch   uint64 // of the system keyspace's leadership
	shards  uint64 // the next one's id
	valid   bool
}

// laterTicks is how often those shards are looked at whose first node does not lead because it is
// not there, or not to stay: a dead node may be the first of thousands.
const laterTicks = 200

// writesMax bounds the records that one node writes at a time.
const writesMax = 16

// grownTicks is after how many ticks a plan looks at what has been created. Whoever created it chose
// good places as far as he knew, so there is no hurry; but he may have known too little.
const grownTicks = 128

// NewAgent is the agent of a node during one life of its disk.
func NewAgent(node uint64, life uint16, ports Ports) *Agent {
	return &Agent{self: node, life: life, ports: ports, pending: make(map[uint64]bool), later: make(map[uint64]bool), writing: make(map[string]bool)}
}

// Look has a shard looked at: its record, its leader or its replicas have changed, or one of these
// answers again.
func (a *Agent) Look(shard uint64) { a.pending[shard] = true }

// Pending is how many shards are to be looked at again.
func (a *Agent) Pending() int { return len(a.pending) }

// Tick takes what steps can be taken. The owner calls it every few tens of milliseconds.
func (a *Agent) Tick() {
	if a.ticks++; a.ticks%laterTicks == 0 {
		maps.Copy(a.pending, a.later)
		clear(a.later)
	}
	if a.reading {
		return
	}
	a.planning = a.due()
	a.asked = make(map[uint64]uint64)
	for _, shard := range slices.Sorted(maps.Keys(a.pending)) { // in an order, so that a run can be repeated
		k, ok := a.ports.Catalog().ByShard(shard)
		if !ok {
			delete(a.pending, shard)
			continue
		}
		if epoch, leads := a.ports.Leads(shard); leads {
			a.asked[shard] = epoch
		} else if !a.leave(&k) {
			delete(a.pending, shard)
		}
	}
	if len(a.asked) > 0 || a.planning {
		a.reading = true
		a.ports.Barrier()
	}
}

// leave records that a replica of this node has left, once nobody waits for it. It reports
// whether there is such a replica.
func (a *Agent) leave(k *Keyspace) bool {
	for _, n := range k.Shards[0].Leaving {
		if !n.On(a.self, a.life) {
			continue
		}
		if a.ports.Drained(k.Shards[0].ID) {
			if next, ok := k.Left(n); ok {
				a.write(Proposal{Keyspace: k.Name, Next: next})
			}
		}
		return true
	}
	return false
}

// Read is the answer to Ports.Barrier.
func (a *Agent) Read(ok bool) {
	a.reading = false
	if !ok {
		return // later
	}
	if a.planning {
		a.plan()
	}
	c := a.ports.Catalog()
	for _, shard := range slices.Sorted(maps.Keys(a.asked)) {
		epoch := a.asked[shard]
		k, known := c.ByShard(shard)
		if !known {
			delete(a.pending, shard)
			continue
		}
		situation, leads := a.ports.Situation(shard, epoch)
		if leads && !a.writing[k.Name] {
			a.step(&k, &situation, epoch)
		}
	}
	a.asked = nil
}

// step takes one shard's next step.
func (a *Agent) step(k *Keyspace, x *Situation, epoch uint64) {
	s := &k.Shards[0]
	switch step := s.Next(x, !own(k.Name)); step.Kind {
	case Rest:
		if !a.leave(k) {
			delete(a.pending, s.ID)
		}
	case Later:
		delete(a.pending, s.ID)
		a.later[s.ID] = true
	case Configure:
		a.ports.Configure(s.ID, epoch, step.Voters, step.Learners)
	case HandOver:
		a.ports.HandOver(s.ID, epoch, step.To)
	case Write:
		a.write(Proposal{Keyspace: k.Name, Next: k.with(step.Shard)})
	}
}

func (a *Agent) write(p Proposal) {
	if len(a.writing) < writesMax && !a.writing[p.Keyspace] {
		a.writing[p.Keyspace] = true
		a.ports.Write(p)
	}
}

// Written is the answer to Ports.Write: whether the record is there.
func (a *Agent) Written(keyspace string, ok bool) {
	delete(a.writing, keyspace)
	a.planned.valid = a.planned.valid && ok
}

// Changed is the answer to Ports.Change.
func (a *Agent) Changed(ok bool) {
	a.joining--
	a.planned.valid = a.planned.valid && ok
}

// due reports whether there is something to plan for: something has changed since a plan that found
// nothing to do. The plan itself waits for the barrier. Otherwise it would not know of what has
// just been written, and begin as many moves once more (L8).
func (a *Agent) due() bool {
	p, ok := a.ports.Planning()
	if !ok || len(a.writing) > 0 || a.joining > 0 {
		return false
	}
	now := a.now(&p)
	if !a.planned.valid || !a.planned.same(&now) {
		return true
	}
	if a.planned.shards == now.shards {
		a.grown = 0
		return false
	}
	a.grown++
	return a.grown > grownTicks
}

func (a *Agent) now(p *Planning) Planned {
	c := a.ports.Catalog()
	epoch, _ := a.ports.Leads(systemShard)
	return Planned{stirred: c.Stirred(), silent: p.Silent, dead: p.Dead, epoch: epoch, shards: c.NextShard, valid: true}
}

// plan plans for the cluster.
func (a *Agent) plan() {
	p, ok := a.ports.Planning()
	if !ok || len(a.writing) > 0 || a.joining > 0 {
		return
	}
	c := a.ports.Catalog()
	a.planned, a.grown = a.now(&p), 0
	a.planned.silent, a.planned.dead = maps.Clone(p.Silent), maps.Clone(p.Dead)
	for _, change := range c.Emptied() {
		a.joining++
		a.ports.Change(change)
	}
	if a.joining > 0 {
		return
	}
	proposals, err := c.Plan(p)
	if err != nil {
		a.planned.valid = false
		return
	}
	for _, proposal := range proposals {
		if c.Paused && len(proposal.Moves) > 0 {
			continue
		}
		if len(a.writing) == writesMax {
			a.planned.valid = false // the rest comes next time
			return
		}
		a.write(proposal)
	}
}

func (p *Planned) same(o *Planned) bool {
	return p.stirred == o.stirred && p.epoch == o.epoch && maps.Equal(p.silent, o.silent) && maps.Equal(p.dead, o.dead)
}

// ByShard is the record of the keyspace that has a shard.
func (c *Catalog) ByShard(shard uint64) (Keyspace, bool) {
	k, ok := c.keyspaces[c.shards[shard]]
	return k, ok
}
