package placement

import "slices"

// Catalog is a Port.
func (m *machine) Catalog() *Catalog { return m.catalog }

// Leads is a Port.
func (m *machine) Leads(shard uint64) (uint64, bool) {
	r := m.open[shard]
	if r == nil || r.leads == 0 {
		return 0, false
	}
	return r.leads, true
}

// Situation is a Port.
func (m *machine) Situation(shard, epoch uint64) (Situation, bool) {
	if now, ok := m.Leads(shard); !ok || now != epoch {
		return Situation{}, false
	}
	return m.w.groups[shard].situation(m.open[shard]), true
}

// Drained is a Port. It goes by the last membership in the replica's log, once that is decided.
func (m *machine) Drained(shard uint64) bool {
	r, g := m.open[shard], m.w.groups[shard]
	if r == nil || g == nil || m.w.chance(2) { // its keyspace may be gone already
		return false
	}
	c, at := g.config(r.log)
	return !c.votes(r.node) && r.commit >= at
}

// Configure is a Port.
func (m *machine) Configure(shard, epoch uint64, voters, learners []Node) {
	if now, ok := m.Leads(shard); ok && now == epoch && !m.w.chance(10) {
		m.w.groups[shard].configure(m.open[shard], voters, learners)
	}
}

// HandOver is a Port.
func (m *machine) HandOver(shard, epoch uint64, to Node) {
	g := m.w.groups[shard]
	if now, ok := m.Leads(shard); ok && now == epoch && !m.w.chance(10) && g.alive(to) != nil {
		g.campaign(g.replicas[key(to)])
	}
}

// Barrier is a Port.
func (m *machine) Barrier() {
	agent := m.agent
	m.w.call(&call{of: m, agent: agent, target: len(m.w.log), effect: m.w.available, answer: agent.Read})
}

// Write is a Port.
func (m *machine) Write(p Proposal) {
	agent, w := m.agent, m.w
	epoch, plans := m.Leads(systemShard)
	w.call(&call{of: m, agent: agent, effect: func() bool {
		old := w.head.keyspaces[p.Keyspace]
		ok := w.keyspace(&p.Next)
		if ok && !old.Shards[0].moving() && p.Next.Shards[0].moving() {
			w.begun++
			now := w.groups[systemShard].leader()
			// Without moves it is one that its leader has taken up again.
			w.foreign[p.Keyspace] = len(p.Moves) == 0 || !plans || now == nil || now.leads != epoch
		}
		return ok
	}, answer: func(ok bool) { agent.Written(p.Keyspace, ok) }})
}

// Change is a Port.
func (m *machine) Change(c MemberChange) {
	agent, w := m.agent, m.w
	w.call(&call{of: m, agent: agent, effect: func() bool { return w.member(c) }, answer: agent.Changed})
}

// Planning is a Port.
func (m *machine) Planning() (Planning, bool) {
	r := m.open[systemShard]
	if r == nil || r.leads == 0 || m.at < r.since {
		return Planning{}, false
	}
	return m.planning(), true
}

// planning is how a node sees the others.
func (m *machine) planning() Planning {
	p := Planning{Seed: 1, Silent: map[uint64]bool{}, Dead: map[uint64]bool{}, Moves: movesLimit}
	for _, o := range m.w.machines {
		if o == m || !o.joined || !o.silent() {
			continue
		}
		p.Silent[o.id] = true
		if m.w.step-o.silentSince > replaceAfter {
			p.Dead[o.id] = true
		}
	}
	for id := range m.catalog.members {
		if m.w.byID(id) == nil { // added, and has never started
			p.Silent[id], p.Dead[id] = true, m.w.quiet
		}
	}
	return p
}

func (m *machine) silent() bool { return !m.runs() || m.hidden > m.w.step }

func (w *world) byID(id uint64) *machine {
	for _, m := range w.machines {
		if m.id == id && m.joined {
			return m
		}
	}
	return nil
}

// call has something happen, and be answered, later.
func (w *world) call(c *call) {
	c.due, c.limit = w.step+1+w.rng.IntN(5), w.step+60
	if w.chance(20) {
		c.due += 15
	}
	w.calls = append(w.calls, c)
}

// serve lets calls take effect and answers them: sometimes it says that one failed that did not.
func (w *world) serve() {
	calls := w.calls
	w.calls = nil
	for _, c := range calls {
		switch {
		case c.due > w.step:
		case c.effect != nil:
			if !w.chance(12) || w.quiet {
				c.ok = c.effect()
			}
			c.ok = c.ok && !w.chance(12)
			c.effect, c.due = nil, w.step+w.rng.IntN(4)
		case c.of.agent != c.agent:
			continue // whoever asked is no more
		case c.ok && c.of.at < c.target && w.step < c.limit:
		case !c.of.runs():
		default:
			c.answer(c.ok && c.of.at >= c.target)
			continue
		}
		w.calls = append(w.calls, c)
	}
}

// forsaken reports whether most of a shard's nodes may be believed to be dead.
func (w *world) forsaken(s *Shard) bool {
	return !majority(s.Nodes, func(n Node) bool {
		m := w.byID(n.ID)
		return m != nil && n.On(m.id, m.life) && w.step-m.silentSince <= replaceAfter
	})
}

// budget checks how many shards move.
func (w *world) budget() {
	var moving []string
	for name, k := range w.head.keyspaces {
		switch {
		case !k.Shards[0].moving():
			delete(w.foreign, name)
		case w.forsaken(&k.Shards[0]):
			w.foreign[name] = true // others may begin, and it may come back
		case !w.foreign[name] && !w.groups[k.Shards[0].ID].broken():
			moving = append(moving, name)
		}
	}
	if len(moving) > movesLimit {
		w.fail("%d shards move at a time: %v", len(moving), slices.Sorted(slices.Values(moving)))
	}
}
