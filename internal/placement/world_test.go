package placement

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
)

// world is a cluster as a model, stepped in one goroutine from one seed. The system keyspace's
// records are a log that each machine follows at its own pace; shards are groups.
type world struct {
	seed     uint64
	rng      *rand.Rand
	step     int
	quiet    bool // the nemesis has ended
	log      []transaction
	head     *Catalog // all of log
	written  map[string]int64
	founding []Keyspace
	founders []Member
	machines []*machine
	groups   map[uint64]*group
	calls    []*call
	downTo   int // the system keyspace has no quorum until this step
	failure  string
	ever     map[uint64]map[Node]bool // by shard: replicas that a record has named
	highest  map[uint64]uint16        // by shard: incarnations
	foreign  map[string]bool          // keyspaces whose move was begun by somebody who planned no more
	begun    int                      // moves, for statistics
	disks    uint64
	zones    int
}

// transaction is what is written at once; a nil value deletes.
type transaction []struct {
	key   string
	value []byte
}

// call is something that a machine waits for.
type call struct {
	due    int
	target int
	effect func() bool // nil once it has happened
	answer func(ok bool)
	agent  *Agent
	of     *machine
	ok     bool
	limit  int
}

// Limits of the model.
const (
	replaceAfter = 25 // steps
	movesLimit   = 3
)

// machine is a node, with what it has on disk and what it remembers.
type machine struct {
	w           *world
	id          uint64
	life        uint16
	disk        uint64
	url, zone   string
	up, gone    bool // gone: for good, or removed
	joined      bool
	paused      int // until
	hidden      int // until: the others do not see it, and its shards do
	stuck       int // until: its catalog stands still
	silentSince int
	seen        int // when it last ran
	at          int
	catalog     *Catalog
	agent       *Agent
	open        map[uint64]*replica
	led         map[uint64]uint64
}

func (w *world) chance(n int) bool { return w.rng.IntN(n) == 0 }

func (w *world) fail(format string, args ...any) {
	if w.failure == "" {
		w.failure = fmt.Sprintf("step %d: ", w.step) + fmt.Sprintf(format, args...)
	}
}

// note tells of one thing that happens, to whoever replays a seed.
func (w *world) note(format string, args ...any) {
	if *modelSeed != 0 {
		fmt.Printf("%d: %s\n", w.step, fmt.Sprintf(format, args...))
	}
}

func newWorld(seed uint64) *world {
	w := &world{seed: seed, rng: rand.New(rand.NewPCG(seed, 7)), written: map[string]int64{}, groups: map[uint64]*group{},
		ever: map[uint64]map[Node]bool{}, highest: map[uint64]uint16{}, foreign: map[string]bool{}}
	w.zones = 1 + w.rng.IntN(4)
	count := 3 + w.rng.IntN(3)
	var voters, learners []Node
	for i := range count {
		m := w.machine()
		m.id, m.life, m.joined = uint64(i+1), 1, true
		w.founders = append(w.founders, Member{ID: m.id, Name: fmt.Sprint("n", m.id), PeerURLs: []string{m.url}, Incarnation: 1})
		if n := (Node{ID: m.id, Incarnation: 1}); i < OwnReplicas(count) {
			voters = append(voters, n)
		} else {
			learners = append(learners, n)
		}
	}
	w.founding = []Keyspace{
		{Format: 1, Name: System, Epoch: 1, State: Active, Shards: []Shard{{ID: 1, Engine: "raft", First: voters, Nodes: voters, Learners: learners}}},
		{Format: 1, Name: Default, Epoch: 1, State: Active, Shards: []Shard{{ID: 2, Engine: "raft", First: voters, Nodes: voters}}},
	}
	w.head = w.base()
	for i := range w.founding {
		w.found(&w.founding[i])
	}
	for _, m := range w.machines {
		m.start()
	}
	return w
}

// base is a catalog of which nobody has written anything.
func (w *world) base() *Catalog {
	c := NewCatalog(w.founding...)
	c.Found(w.founders...)
	return c
}

// found makes the group of a new keyspace.
func (w *world) found(k *Keyspace) {
	s := &k.Shards[0]
	w.groups[s.ID] = &group{w: w, shard: s.ID, name: k.Name, founders: &config{voters: s.First, learners: s.Learners}, replicas: map[Node]*replica{}}
	w.ever[s.ID] = map[Node]bool{}
	for _, n := range s.Replicas() {
		w.ever[s.ID][key(n)], w.highest[s.ID] = true, 1
	}
}

func (w *world) machine() *machine {
	w.disks++
	m := &machine{w: w, disk: w.disks, url: fmt.Sprint("http://m", len(w.machines)), open: map[uint64]*replica{}, led: map[uint64]uint64{}}
	m.zone = fmt.Sprint("z", w.rng.IntN(w.zones))
	w.machines = append(w.machines, m)
	return m
}

// start runs a machine that is a node.
func (m *machine) start() {
	if m.catalog == nil {
		m.catalog, m.at = m.w.base(), 0
	}
	m.up, m.agent = true, NewAgent(m.id, m.life, m)
	for shard, r := range m.open {
		r.leads = 0
		m.agent.Look(shard)
	}
	clear(m.led)
	m.w.announced(m)
}

// announced: those who lead look at shards whose replicas answer again.
func (w *world) announced(m *machine) {
	for shard := range m.open {
		for _, o := range w.machines {
			o.look(shard)
		}
	}
}

func (m *machine) look(shard uint64) {
	if m.agent != nil {
		m.agent.Look(shard)
	}
}

func (m *machine) crash() {
	m.w.note("%d crashes", m.id)
	m.up, m.agent = false, nil
	for _, r := range m.open {
		r.leads = 0
	}
}

// runs reports whether it does anything.
func (m *machine) runs() bool { return m.up && !m.gone && m.paused <= m.w.step }

// follow takes over what the system keyspace's replica has learned.
func (m *machine) follow() {
	w := m.w
	k, _ := w.head.Keyspace(System)
	_, _, named := k.Shards[0].On(m.id, m.life)
	if !named || m.stuck > w.step && !w.quiet || w.chance(3) {
		return
	}
	for range 1 + w.rng.IntN(8) {
		if m.at == len(w.log) {
			return
		}
		m.at++
		for _, x := range w.log[m.at-1] {
			var name string
			if x.value == nil {
				name = m.catalog.Delete([]byte(x.key))
			} else {
				name, _ = m.catalog.Put([]byte(x.key), x.value, int64(m.at))
			}
			if k, ok := m.catalog.Keyspace(name); ok {
				m.agent.Look(k.Shards[0].ID)
			}
		}
	}
}

// carry opens the replicas that the catalog names and closes and erases others.
func (m *machine) carry() {
	for _, shard := range slices.Sorted(maps.Keys(m.open)) {
		r := m.open[shard]
		k, ok := m.catalog.ByShard(shard)
		if ok {
			if n, _, on := k.Shards[0].On(m.id, m.life); on && n.Same(r.node) {
				continue
			}
		}
		m.close(shard, r)
	}
	for shard, name := range m.catalog.shards {
		g, k := m.w.groups[shard], m.catalog.keyspaces[name]
		n, _, on := k.Shards[0].On(m.id, m.life)
		if !on || m.open[shard] != nil || g == nil {
			continue
		}
		if old := g.replicas[key(n)]; old != nil {
			m.w.fail("%s: %v comes back and has forgotten what it promised", name, n)
		}
		r := &replica{node: key(n), machine: m}
		r.node.Life = n.Life
		g.replicas[key(n)], m.open[shard] = r, r
		m.agent.Look(shard)
	}
}

func (m *machine) close(shard uint64, r *replica) {
	m.w.note("%d closes %d: %v, at %d", m.id, shard, r.node, m.at)
	delete(m.open, shard)
	r.closed, r.leads = true, 0
	g := m.w.groups[shard]
	if g == nil {
		return
	}
	if c, _ := g.config(g.committed); c.votes(r.node) && m.w.head.Has(shard) {
		m.w.fail("%s: %v is taken away and votes", g.name, r.node)
	}
}

// turn is one step of a machine.
func (m *machine) turn() {
	w := m.w
	if !m.runs() {
		return
	}
	m.seen = w.step
	m.follow()
	m.carry()
	_, removed := m.catalog.Removed(m.id)
	if _, told := w.head.Removed(m.id); removed || told && w.chance(20) {
		m.crash()
		m.gone = true
		return
	}
	for shard, r := range m.open {
		if r.leads != m.led[shard] {
			m.led[shard] = r.leads
			m.agent.Look(shard)
		}
	}
	if w.chance(2) {
		m.agent.Tick()
	}
}

// names reports whether a record names a replica.
func (c *Catalog) names(keyspace string, n Node) bool {
	k, ok := c.keyspaces[keyspace]
	return ok && contains(k.Shards[0].Replicas(), n)
}

// available reports whether the system keyspace can decide.
func (w *world) available() bool {
	l := w.groups[systemShard].leader()
	if l == nil || w.downTo > w.step {
		return false
	}
	c, _ := w.groups[systemShard].config(l.log)
	return c.most(func(n Node) bool { return w.groups[systemShard].alive(n) != nil })
}

// commit writes records, if those that they replace are still there.
func (w *world) commit(t transaction, replaces map[string]int64) bool {
	if !w.available() {
		return false
	}
	for k, revision := range replaces {
		if w.written[k] != revision {
			return false
		}
	}
	w.log = append(w.log, t)
	for _, x := range t {
		w.note("%d: %s = %s", len(w.log), x.key, x.value)
		w.written[x.key] = int64(len(w.log))
		if x.value == nil {
			w.written[x.key] = 0
			w.head.Delete([]byte(x.key))
		} else if name, err := w.head.Put([]byte(x.key), x.value, int64(len(w.log))); err != nil {
			w.fail("%v", err)
		} else if name != "" {
			w.recorded(name)
		}
	}
	return true
}

// keyspace writes a keyspace's record.
func (w *world) keyspace(k *Keyspace) bool {
	if old, ok := w.head.Keyspace(k.Name); ok && k.Epoch != old.Epoch+1 && w.written[Key(k.Name)] == k.Revision {
		w.fail("%s: epoch %d follows %d", k.Name, k.Epoch, old.Epoch)
	}
	return w.commit(transaction{{Key(k.Name), k.Encode()}}, map[string]int64{Key(k.Name): k.Revision})
}

// member writes a change of the nodes.
func (w *world) member(c MemberChange) bool {
	k := MemberKey(c.Member.ID)
	t, replaces := transaction{{k, c.Member.Encode()}}, map[string]int64{k: c.Member.Revision}
	if c.Gone {
		t = transaction{{k, nil}, {RemovedKey(c.Member.ID), fmt.Appendf(nil, `{"id":%d,"name":%q}`, c.Member.ID, c.Member.Name)}}
	}
	if c.Joins {
		t = append(t, transaction{{NextMemberKey, strconv.AppendUint(nil, w.head.NextMember+1, 10)}}...)
		replaces[NextMemberKey] = w.written[NextMemberKey]
	}
	if c.System != nil {
		t = append(t, transaction{{Key(System), c.System.Encode()}}...)
		replaces[Key(System)] = c.System.Revision
	}
	return w.commit(t, replaces)
}

// recorded checks a record that is written now.
func (w *world) recorded(name string) {
	k := w.head.keyspaces[name]
	s := &k.Shards[0]
	seen, highest := w.ever[s.ID], w.highest[s.ID]
	if seen == nil {
		return // founded just now
	}
	on := map[string]bool{}
	for _, n := range s.Replicas() {
		place := fmt.Sprint(n.place())
		if on[place] {
			w.fail("%s: two replicas are to be on %v: %s", name, n, k.Encode())
		}
		on[place] = true
		if !seen[key(n)] && n.Incarnation <= highest {
			w.fail("%s: incarnation %d of %v is not a new one", name, n.Incarnation, n)
		}
		seen[key(n)], w.highest[s.ID] = true, max(w.highest[s.ID], n.Incarnation)
	}
}
