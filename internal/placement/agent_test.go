package placement

import (
	"flag"
	"fmt"
	"slices"
	"testing"
)

var (
	modelSeeds = flag.Int("placement.seeds", 300, "how many seeds TestModel takes")
	modelSeed  = flag.Uint64("placement.seed", 0, "the only seed that TestModel takes")
)

// Steps of a run: the nemesis works, and then all has to come to rest within a bound.
const (
	stormSteps = 300
	restSteps  = 900
)

// Goal: whatever crashes, comes back, is wiped, joins, leaves or answers wrongly: no shard loses what
// it acknowledged or its quorum through us, no replica comes back as one that it is not, no more
// shards move than may, and when the storm is over everybody gets to where he should be.
func TestModel(t *testing.T) {
	first, last := uint64(1), uint64(*modelSeeds)
	if *modelSeed != 0 {
		first, last = *modelSeed, *modelSeed
	}
	const parts = 4
	moves := make([]int, parts)
	t.Run("seeds", func(t *testing.T) {
		for part := range uint64(parts) {
			t.Run(fmt.Sprint(part), func(t *testing.T) {
				t.Parallel()
				for seed := first + part; seed <= last; seed += parts {
					w := newWorld(seed)
					w.run()
					moves[part] += w.begun
					if w.failure != "" {
						t.Errorf("seed %d: %s\nagain: go test ./internal/placement -run TestModel -placement.seed=%d", seed, w.failure, seed)
						return
					}
				}
			})
		}
	})
	sum := 0
	for _, n := range moves {
		sum += n
	}
	t.Logf("%d moves", sum)
	if *modelSeed == 0 && !t.Failed() && sum < 5**modelSeeds {
		t.Errorf("%d moves in %d runs: the model tests too little", sum, *modelSeeds)
	}
}

// run is a storm, and the rest after it.
func (w *world) run() {
	for w.step = 1; w.step <= stormSteps && w.failure == ""; w.step++ {
		if w.step > 20 && w.chance(3) {
			w.nemesis()
		}
		w.turn()
	}
	w.heal()
	why := ""
	for end := w.step + restSteps; w.step <= end && w.failure == ""; w.step++ {
		w.turn()
		if w.step%8 == 0 {
			if why = w.restless(); why == "" {
				return
			}
		}
	}
	w.fail("no end: %s", why)
}

// turn is one step of everybody.
func (w *world) turn() {
	for _, m := range w.machines {
		switch {
		case !m.silent():
			m.silentSince = w.step
		case m.hidden == w.step+1 || m.paused == w.step:
			w.announced(m)
		}
		m.turn()
	}
	for id := range uint64(FirstShard + 40) {
		g := w.groups[id]
		if g == nil {
			continue
		}
		if !w.head.Has(id) {
			delete(w.groups, id)
			continue
		}
		g.step()
		g.check()
	}
	w.serve()
	w.budget()
}

// heal ends the storm: whoever is not gone for good comes back.
func (w *world) heal() {
	w.quiet, w.downTo = true, 0
	for _, m := range w.machines {
		m.paused, m.hidden = 0, 0
		if !m.up && !m.gone && m.joined {
			m.start()
		}
	}
}

// living counts the machines that are nodes and have not gone for good.
func (w *world) living() (n int) {
	for _, m := range w.machines {
		if m.joined && !m.gone {
			n++
		}
	}
	return n
}

// node is one of those that may be asked; nil if there is none.
func (w *world) node() *machine {
	var list []*machine
	for _, m := range w.machines {
		if m.joined && m.runs() && m.catalog != nil {
			list = append(list, m)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return list[w.rng.IntN(len(list))]
}

// nemesis does something bad, or something that somebody asks for.
func (w *world) nemesis() {
	m := w.machines[w.rng.IntN(len(w.machines))]
	asked := w.node()
	if asked == nil || m.gone {
		return
	}
	switch w.rng.IntN(16) {
	case 0, 1:
		if m.runs() {
			m.crash()
		}
	case 2, 3:
		if !m.up && m.joined {
			m.start()
		}
	case 4:
		m.paused = w.step + 5 + w.rng.IntN(50)
	case 5:
		m.hidden = w.step + 5 + w.rng.IntN(70)
	case 6:
		m.stuck = w.step + w.rng.IntN(40)
	case 7:
		w.downTo = w.step + w.rng.IntN(25)
	case 8:
		w.destroy(m)
	case 9:
		if len(w.machines) < 10 {
			w.join(asked, w.machine())
		}
	default:
		w.ask(asked, m)
	}
}

// spareDisks reports whether another disk may go: mostly none does that would end a shard.
func (w *world) spareDisks(m *machine) bool {
	if w.living() <= 3 || w.chance(40) {
		return w.living() > 3
	}
	for _, g := range w.groups {
		if r := m.open[g.shard]; r != nil {
			r.lost = true
			broken := g.broken()
			r.lost = false
			if broken || g.thin(r) {
				return false
			}
		}
	}
	return true
}

// thin reports whether a replica is one of the few that have everything.
func (g *group) thin(but *replica) bool {
	c, _ := g.config(g.committed)
	return !c.most(func(n Node) bool {
		r := g.replicas[key(n)]
		return r != nil && r != but && !r.lost && !r.machine.gone && !r.closed && match(r.log, g.committed) == len(g.committed)
	})
}

// destroy takes a disk. Its machine comes back empty, or never.
func (w *world) destroy(m *machine) {
	if !m.joined || !w.spareDisks(m) {
		return
	}
	m.crash()
	for _, r := range m.open {
		r.lost = true
	}
	m.open = map[uint64]*replica{}
	m.gone = w.chance(2)
	if m.gone {
		return
	}
	// Another machine at the same address: what is left of the old one never runs.
	m.gone = true
	next := w.machine()
	next.url, next.zone = m.url, m.zone
	m.joined = false
	next.id, next.joined, next.silentSince = m.id, false, m.silentSince
	if a := w.node(); a != nil {
		w.join(a, next)
	}
}

// join asks for a place until there is one.
func (w *world) join(asked, m *machine) {
	retry := 0
	var try func() bool
	try = func() bool {
		if retry++; retry > 40 || m.joined {
			return false
		}
		r := JoinRequest{Name: "m" + m.url[len("http://m"):], PeerURLs: []string{m.url}, Zone: m.zone, Disk: m.disk}
		change, err := asked.catalog.Join(r, func(count uint64) uint64 { return 100 + count },
			func(id uint64) bool { o := w.byID(id); return o != nil && !o.silent() })
		if err != nil || !w.member(change) || w.chance(8) {
			w.calls = append(w.calls, &call{due: w.step + 4, effect: try, answer: func(bool) {}, of: m, limit: w.step})
			if a := w.node(); a != nil {
				asked = a
			}
			return false
		}
		m.id, m.life, m.joined, m.seen, m.silentSince = change.Member.ID, change.Member.Incarnation, true, w.step, w.step
		m.start()
		return true
	}
	try()
}

// ask is what people do.
func (w *world) ask(asked, m *machine) {
	c := asked.catalog
	name := fmt.Sprint("k", w.rng.IntN(8))
	switch w.rng.IntN(12) {
	case 0:
		if change, err := c.Drain(m.id, true); err == nil {
			w.member(change)
		}
	case 1, 2:
		if change, err := c.Drain(m.id, false); err == nil {
			w.member(change)
		}
	case 3:
		if change, err := c.Weigh(m.id, 1+w.rng.IntN(4)); err == nil {
			w.member(change)
		}
	case 4:
		if change, err := c.RemoveNode(m.id, asked.planning().Silent); err == nil && w.living() > 3 {
			w.member(change)
		}
	case 5:
		if o, ok := c.Member(m.id); ok && m.joined {
			o.Disk, o.Zone, o.ClientURLs = m.disk, m.zone, []string{fmt.Sprint("http://c", m.id)}
			if change, news := c.Announce(o); news {
				w.member(change)
			}
		}
	case 6:
		three := []int{1, 3, 3, 5}[w.rng.IntN(4)]
		if k, err := c.Update(name, Change{Replicas: &three}); err == nil {
			w.keyspace(&k)
		}
	case 7:
		w.forget(c, name)
	case 8:
		r := JoinRequest{Name: fmt.Sprint("x", w.step), PeerURLs: []string{fmt.Sprint("http://x", w.step)}}
		if change, err := c.Join(r, func(count uint64) uint64 { return 100 + count }, nil); err == nil && w.chance(8) {
			w.member(change)
		}
	default:
		w.create(asked, name)
	}
}

func (w *world) create(asked *machine, name string) {
	c := asked.catalog
	k, err := c.Create(Spec{Name: name, Replicas: []int{0, 1, 3, 5}[w.rng.IntN(4)]}, Cluster{
		Nodes: c.Ring(asked.planning().Dead), Engines: []string{"raft"}, KeyspaceMax: 100, Seed: 1,
	})
	if err != nil || k.Shards[0].ID >= FirstShard+40 {
		return
	}
	next := fmt.Append(nil, k.Shards[0].ID+1)
	if w.commit(transaction{{Key(name), k.Encode()}, {NextShardKey, next}}, map[string]int64{Key(name): 0, NextShardKey: c.CounterRevision}) {
		w.found(&k)
	}
}

// forget deletes a keyspace, brings it back, or lets its record go.
func (w *world) forget(c *Catalog, name string) {
	k, err := c.Remove(name, 1)
	if err == nil {
		w.keyspace(&k)
		return
	}
	if k, err = c.Restore(name); err != nil {
		return
	}
	if w.chance(2) {
		w.keyspace(&k)
		return
	}
	w.commit(transaction{{Key(name), nil}}, map[string]int64{Key(name): k.Revision})
}

// restless says what has not come to rest yet; empty if all has.
func (w *world) restless() string {
	system := w.groups[systemShard]
	if system.broken() {
		return "" // nothing can be decided any more, and the nemesis did it
	}
	l := system.leader()
	if l == nil {
		return "the system keyspace has no leader"
	}
	planning := l.machine.planning()
	lost := false
	for _, k := range w.head.All() {
		if g := w.groups[k.Shards[0].ID]; g.broken() {
			lost = true
		} else if why := w.wrong(&k, g); why != "" {
			return k.Name + ": " + why + " " + string(k.Encode())
		}
	}
	for _, m := range w.machines {
		if m.joined && !m.gone && m.at < len(w.log) {
			return fmt.Sprintf("%d is behind: %+v %+v", m.id, w.head.members[m.id], w.head.keyspaces[System])
		}
	}
	for _, m := range w.head.Members() {
		if m.State == Removing && !lost && !w.nowhere() {
			return fmt.Sprintf("%x is still there", m.ID)
		}
	}
	proposals, err := w.head.Plan(planning)
	if len(proposals) > 0 && !lost || err != nil {
		return fmt.Sprintf("a plan is left: %+v %v", proposals, err)
	}
	if o, err := w.head.Overview(planning); !lost {
		for _, n := range o.Nodes {
			if n.Replicas > n.Cap && n.State == "" || err != nil {
				return fmt.Sprintf("%x has %d replicas of %d: %v", n.ID, n.Replicas, n.Cap, err)
			}
		}
	}
	return ""
}

// carriers are the living nodes that may carry replicas.
func (w *world) carriers() (list []*machine) {
	for _, m := range w.machines {
		if r, ok := w.head.Member(m.id); ok && m.joined && !m.gone && r.weight() > 0 {
			list = append(list, m)
		}
	}
	return list
}

// nowhere reports whether some keyspace wants more replicas than there is room for.
func (w *world) nowhere() bool {
	for _, k := range w.head.keyspaces {
		if k.Replicas > len(w.carriers()) {
			return true
		}
	}
	return len(w.carriers()) < w.head.ownReplicas(w.dead())
}

// dead are the nodes that have gone for good.
func (w *world) dead() map[uint64]bool {
	dead := map[uint64]bool{}
	for id := range w.head.members {
		m := w.byID(id)
		dead[id] = m == nil || m.gone
	}
	return dead
}

// wrong says what is not yet as it should be with a keyspace.
func (w *world) wrong(k *Keyspace, g *group) string {
	s, carriers := &k.Shards[0], w.carriers()
	want := k.Replicas
	if want == 0 {
		want = w.head.ownReplicas(w.dead())
	}
	c, _ := g.config(g.committed)
	good, zones := 0, map[string]int{}
	for _, n := range s.Nodes {
		r := g.alive(n)
		if r != nil && c.votes(n) && match(r.log, g.committed)+12 >= len(g.committed) {
			if slices.Contains(carriers, r.machine) {
				good++
			}
			m, _ := w.head.Member(n.ID)
			zones[zoneOf(m)]++
		}
	}
	switch {
	case s.moving():
		return "it moves"
	case c.old != nil || !sameSet(c.voters, s.Nodes):
		return fmt.Sprintf("it is not where its record says: %+v", c)
	case good < min(want, len(carriers)):
		return fmt.Sprintf("%d good replicas of %d, on %d", good, want, len(carriers))
	case want <= len(carriers) && len(s.Nodes) != want:
		return fmt.Sprintf("it wants %d", want)
	}
	for z, n := range zones {
		if want <= len(carriers) && n > w.most(want, carriers) {
			return fmt.Sprintf("%d in zone %s", n, z)
		}
	}
	return ""
}

// zoneOf is what a node fails with: itself if it has no zone.
func zoneOf(m Member) string {
	if m.Zone == "" {
		return fmt.Sprint("of ", m.ID)
	}
	return m.Zone
}

// most is how many replicas a zone must take.
func (w *world) most(want int, carriers []*machine) int {
	size := map[string]int{}
	for _, m := range carriers {
		r, _ := w.head.Member(m.id)
		size[zoneOf(r)]++
	}
	for most := 1; ; most++ {
		room := 0
		for _, n := range size {
			room += min(n, most)
		}
		if room >= want {
			return most
		}
	}
}
