package sim

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/store"
)

// placedNode is what a node of a run with moves has beside the others': a catalog that follows
// its replica of the system keyspace, an agent, and replicas that come and go.
type placedNode struct {
	n *simNode

	// On the disk, or the machine's.
	zone   string
	weight int
	disk   uint64              // the disk's own number
	joined bool                // it knows who it is
	gone   bool                // it never comes back
	system uint16              // its replica of the system keyspace
	have   map[shard.ID]uint16 // which replica of a shard the disk has something of
	tries  int                 // to join

	// The process's.
	catalog   *placement.Catalog
	revisions map[string]int64 // of the keys that are in it
	at        consensus.Index  // of the system keyspace, as of which it is
	epoch     consensus.Epoch  // of the last leader that it knows something of
	confirmed bool             // it holds all that was recorded before the process began
	following bool
	flushing  bool
	retrying  bool // to drop what was busy
	waiting   []catalogWaiter
	agent     *placement.Agent
	erasing   map[shard.ID]bool
	heard     map[shard.NodeID]time.Duration // by the node's clock
	silent    map[uint64]bool                // as last looked at
}

type catalogWaiter struct {
	at   consensus.Index
	done func()
}

func newPlacedNode(n *simNode) *placedNode {
	s := n.s
	return &placedNode{
		n: n, zone: fmt.Sprintf("z%d", n.index%s.opts.swarm.zones), weight: 1, disk: uint64(n.index+1)<<16 | 1,
		have: make(map[shard.ID]uint16),
	}
}

// member is what the machine says of itself.
func (p *placedNode) member() placement.Member {
	n := p.n
	return placement.Member{
		ID: uint64(n.id), Name: n.name(), PeerURLs: []string{p.url()}, ClientURLs: []string{p.url()},
		Incarnation: n.incarnation, Disk: p.disk, Zone: p.zone, Weight: p.weight,
	}
}

func (p *placedNode) url() string { return "http://" + p.n.name() }

// wiped forgets what was on the disk.
func (p *placedNode) wiped() {
	p.n.s.moves.loses(p.n)
	p.joined, p.have = false, make(map[shard.ID]uint16)
	p.disk++
}

// open recovers the node's replicas: first the system keyspace's, then those that the catalog
// in it names.
func (p *placedNode) open() error {
	n := p.n
	p.catalog, p.revisions, p.at, p.epoch = n.s.moves.newCatalog(), make(map[string]int64), 0, 0
	p.confirmed, p.following, p.flushing, p.retrying, p.waiting, p.erasing = false, false, false, false, nil, make(map[shard.ID]bool)
	p.heard, p.silent = make(map[shard.NodeID]time.Duration), nil
	p.agent = placement.NewAgent(uint64(n.id), n.incarnation, ports{n})
	p.have[systemShard] = p.system
	if err := n.openShard(systemShard, p.system); err != nil {
		return err
	}
	n.s.moves.opens(n, systemShard)
	p.read()
	open, _ := p.catalog.Duties(uint64(n.id), n.incarnation, p.having(), false, false)
	for _, d := range open {
		if err := p.openOne(d); err != nil {
			return err
		}
	}
	return nil
}

func (p *placedNode) having() map[uint64]uint16 {
	have := make(map[uint64]uint16, len(p.have))
	for id, incarnation := range p.have {
		have[uint64(id)] = incarnation
	}
	return have
}

func (p *placedNode) openOne(d placement.Duty) error {
	id := shard.ID(d.Shard)
	p.have[id] = d.Incarnation
	if err := p.n.openShard(id, d.Incarnation); err != nil {
		return err
	}
	p.n.s.moves.opens(p.n, id)
	p.agent.Look(d.Shard)
	return nil
}

// started begins what a process does again and again.
func (p *placedNode) started() {
	p.carry()
	p.tickLater()
	p.pingLater()
	p.announceLater()
}

// followLater has the catalog follow the system keyspace.
func (p *placedNode) followLater() {
	if p.following {
		return
	}
	p.following = true
	p.n.later(p.n.s.between(0, 10*time.Millisecond), func() {
		p.following = false
		p.read()
		p.carry()
		p.n.process()
	})
}

// read takes over what is new in the system keyspace.
func (p *placedNode) read() {
	n := p.n
	fail := func(err error) { n.s.violate("catalog", "%s: %v", n.name(), err) }
	view, err := n.stores[systemShard].View()
	if err != nil {
		fail(err)
	}
	defer view.Close()
	applied, err := view.Applied()
	if err != nil {
		fail(err)
	}
	if consensus.Index(applied.Index) < p.at {
		n.s.violate("catalog", "%s: the system keyspace went back from %d to %d", n.name(), p.at, applied.Index)
	}
	p.at, p.epoch = consensus.Index(applied.Index), consensus.Epoch(applied.Epoch)
	seen := make(map[string]bool)
	all := []byte{0}
	err = view.Scan(all, all, 0, func(kv *store.KeyValue) (bool, error) {
		key := string(kv.Key)
		if seen[key] = true; p.revisions[key] == kv.ModRevision {
			return true, nil
		}
		p.revisions[key] = kv.ModRevision
		keyspace, err := p.catalog.Put(kv.Key, kv.Value, kv.ModRevision)
		p.look(keyspace)
		return true, err
	})
	if err != nil {
		fail(err)
	}
	for _, key := range sorted(p.revisions) {
		if !seen[key] {
			delete(p.revisions, key)
			p.look(p.catalog.Delete([]byte(key)))
		}
	}
	p.answer()
}

func (p *placedNode) look(keyspace string) {
	if k, ok := p.catalog.Keyspace(keyspace); ok {
		p.agent.Look(k.Shards[0].ID)
	}
}

// answer lets those go on whose index the catalog has reached.
func (p *placedNode) answer() {
	waiting := p.waiting
	p.waiting = nil
	for _, w := range waiting {
		if w.at > p.at {
			p.waiting = append(p.waiting, w)
			continue
		}
		p.n.later(0, w.done)
	}
}

// carry opens what the catalog names, and drops what it names no more (L10 of placement).
func (p *placedNode) carry() {
	n := p.n
	if !n.up {
		return
	}
	flushed, err := n.stores[systemShard].DurableApplied()
	if err != nil {
		n.s.violate("engine", "%s: %v", n.name(), err)
	}
	durable := consensus.Index(flushed.Index) >= p.at
	open, drop := p.catalog.Duties(uint64(n.id), n.incarnation, p.having(), p.confirmed, durable)
	for _, d := range open {
		id := shard.ID(d.Shard)
		if _, ok := n.replica(id); ok || p.erasing[id] {
			continue
		}
		if err := p.openOne(d); err != nil {
			if errors.Is(err, errDead) || errors.Is(err, errSync) {
				n.fatal(err)
				return
			}
			n.s.violate("open", "%s: %v", n.name(), err)
		}
		n.s.trace.replica(n.s.now, n, id, "open", fmt.Sprintf("replica %d", d.Incarnation))
		n.s.report.count("replica opened")
	}
	for _, id := range drop {
		p.drop(shard.ID(id))
	}
	if _, drop = p.catalog.Duties(uint64(n.id), n.incarnation, p.having(), true, true); len(drop) > 0 && !durable && !p.flushing {
		p.flushing = true
		n.later(n.s.between(0, flushDelay), p.flush)
	}
}

// flushDelay is how long a node waits at most until it makes a catalog durable that names some
// of its replicas no more.
const flushDelay = 500 * time.Millisecond

func (p *placedNode) flush() {
	p.flushing = false
	if err := p.n.memory.Flush(); err != nil {
		p.n.s.violate("engine", "%s flush: %v", p.n.name(), err)
	}
	p.carry()
	p.n.process()
}

// drop takes a replica off the node: first out of the host and the log, then, when the disk
// has that, out of the engine.
func (p *placedNode) drop(id shard.ID) {
	n := p.n
	if p.erasing[id] {
		return
	}
	if _, ok := n.replica(id); ok {
		if err := n.host.Remove(id); err != nil {
			n.s.report.count("error remove: " + rootText(err))
			if !p.retrying {
				p.retrying = true
				n.later(20*time.Millisecond, func() { p.retrying = false; p.carry() })
			}
			return
		}
		n.router.RemoveShard(id)
		delete(n.stores, id)
		delete(n.waiters, id)
		n.s.leaveWatches(n, id)
	} else {
		n.host.Forget(shard.Group(id))
	}
	p.erasing[id] = true
	n.s.trace.replica(n.s.now, n, id, "drop", fmt.Sprintf("replica %d", p.have[id]))
	n.process()
	p.eraseAfter(id, n.handed)
}

// eraseAfter waits for a batch of the log.
func (p *placedNode) eraseAfter(id shard.ID, ticket shard.Ticket) {
	n := p.n
	n.later(n.s.between(0, 10*time.Millisecond), func() {
		if n.synced < ticket {
			p.eraseAfter(id, ticket)
			return
		}
		if err := errors.Join(store.Erase(n.memory, id), n.memory.Flush()); err != nil {
			n.s.violate("engine", "%s: %v", n.name(), err)
		}
		n.s.trace.replica(n.s.now, n, id, "erase", fmt.Sprintf("replica %d", p.have[id]))
		n.s.report.count("replica erased")
		n.s.moves.erased(n, id)
		delete(p.have, id)
		delete(p.erasing, id)
		p.carry()
		n.process()
	})
}

// leaveWatches ends watches at a node's replica that goes.
func (s *Sim) leaveWatches(n *simNode, id shard.ID) {
	for _, w := range s.watches {
		if w.watcher != nil && w.node == n && w.shard == id {
			w.watcher.Close()
			w.watcher = nil
		}
	}
}

// agentPeriod is how often an agent is called, and pingPeriod how often a node says to all others
// that it lives; silentAfter is when they take it for dead.
const (
	agentPeriod = 40 * time.Millisecond
	pingPeriod  = 100 * time.Millisecond
	silentAfter = 600 * time.Millisecond
)

func (p *placedNode) tickLater() {
	p.n.later(agentPeriod, func() {
		p.lookAround()
		p.agent.Tick()
		p.n.process()
		p.tickLater()
	})
}

// lookAround has everything looked at again when a node has fallen silent or is back.
func (p *placedNode) lookAround() {
	silent, _ := p.unheard()
	if len(silent) == len(p.silent) && !slices.ContainsFunc(p.catalog.Members(), func(m placement.Member) bool { return silent[m.ID] != p.silent[m.ID] }) {
		return
	}
	p.silent = silent
	for _, r := range p.n.host.Replicas() {
		p.agent.Look(uint64(r.ID()))
	}
}

func (p *placedNode) pingLater() {
	n := p.n
	n.later(n.s.between(pingPeriod/2, pingPeriod*3/2), func() {
		for _, o := range n.s.nodes {
			if o != n && o.placed.joined && !o.placed.gone {
				n.links().send(n, o, nil, false)
			}
		}
		p.pingLater()
	})
}

// hears notes a sign of life.
func (p *placedNode) hears(from *simNode) { p.heard[from.id] = p.n.clock() }

// unheard are the nodes that are silent, and those that have been for so long that they count as dead.
func (p *placedNode) unheard() (silent, dead map[uint64]bool) {
	silent, dead = make(map[uint64]bool), make(map[uint64]bool)
	now := p.n.clock()
	for _, m := range p.catalog.Members() {
		id := shard.NodeID(m.ID)
		if id == p.n.id {
			continue
		}
		at, ok := p.heard[id]
		if !ok { // since the process began, or since it learned of the node
			p.heard[id] = now
			continue
		}
		if now-at > silentAfter {
			silent[m.ID] = true
		}
		if now-at > p.n.s.opts.swarm.replaceAfter {
			dead[m.ID] = true
		}
	}
	return silent, dead
}
