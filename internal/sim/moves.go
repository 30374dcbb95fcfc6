package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/paxos"
	"github.com/quorate/quorate/internal/mvcc"
	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/store"
)

// The shards that every cluster begins with.
const (
	systemShard  shard.ID = 1
	defaultShard shard.ID = 2
)

// nodesMax bounds the nodes of a run that live at a time, and nodesMin those that may be left by
// the nemesis.
const (
	nodesMax = 9
	nodesMin = 5
)

// moves is what only a run with moves has: a catalog in shard 1, and what has to be true of it.
type moves struct {
	s        *Sim
	founding []placement.Keyspace
	founders []placement.Member
	rng      *rand.Rand
	writer   *client // whose the nodes' own requests are, as far as checkers ask

	catalog *placement.Catalog // what is decided
	known   map[shard.ID]placement.Shard
	names   map[shard.ID]string
	arrived map[shard.ID]int // voters that came since the shard began to move
	began   map[shard.ID]time.Duration
	// intact are the replicas whose data is on a disk as they left it.
	intact map[shard.ID]map[consensus.ReplicaID]bool
	lost   map[shard.ID]map[consensus.ReplicaID]bool // those that were, once
	wanted int                                       // keyspaces to create
}

// found lays down what the cluster begins with: two shards of its own, and a catalog that says so.
func (s *Sim) found() {
	m := &moves{
		s: s, rng: rand.New(rand.NewPCG(s.opts.Seed, 0x6d6f766573)), wanted: s.opts.Shards,
		known: make(map[shard.ID]placement.Shard), names: make(map[shard.ID]string), arrived: make(map[shard.ID]int),
		began: make(map[shard.ID]time.Duration), intact: make(map[shard.ID]map[consensus.ReplicaID]bool),
		lost: make(map[shard.ID]map[consensus.ReplicaID]bool),
	}
	s.moves = m
	var system, preset []placement.Node
	for _, n := range s.nodes {
		n.placed = newPlacedNode(n)
		n.placed.joined, n.placed.system = true, 1
		m.founders = append(m.founders, n.placed.member())
		node := placement.Node{ID: uint64(n.id), Incarnation: 1}
		if len(preset) < placement.ReplicasDefault {
			preset = append(preset, node)
		}
		system = append(system, node)
	}
	voters := placement.OwnReplicas(len(system))
	own := placement.Shard{ID: uint64(systemShard), First: system[:voters], Nodes: system[:voters]}
	for i, node := range system[voters:] {
		node.Incarnation = uint16(i + 2)
		own.Learners = append(own.Learners, node)
		s.nodes[voters+i].placed.system = node.Incarnation
	}
	m.founding = append(m.founding,
		m.founded(placement.System, 0, own),
		m.founded(placement.Default, len(preset), placement.Shard{ID: uint64(defaultShard), First: preset, Nodes: preset}))
	m.catalog = m.newCatalog()
	for i := range m.founding {
		m.appears(&m.founding[i])
	}
	m.writer = &client{s: s, name: "node"}
}

func (m *moves) founded(name string, replicas int, x placement.Shard) placement.Keyspace {
	x.Engine = m.s.engineOf(shard.ID(x.ID)).Name
	if x.Engine == paxos.Engine.Name && len(x.First) == 5 {
		x.WriteQuorum = m.s.opts.swarm.writeQuorum
	}
	return placement.Keyspace{
		Format: 1, Name: name, Epoch: 1, State: placement.Active, Replicas: replicas, QuotaBytes: -1, Shards: []placement.Shard{x},
	}
}

// newCatalog is that of a node that has read nothing.
func (m *moves) newCatalog() *placement.Catalog {
	c := placement.NewCatalog(m.founding...)
	c.Found(m.founders...)
	return c
}

// appears takes note of a new shard.
func (m *moves) appears(k *placement.Keyspace) {
	x := k.Shards[0]
	id := shard.ID(x.ID)
	m.known[id], m.names[id] = x, k.Name
	m.intact[id], m.lost[id] = make(map[consensus.ReplicaID]bool), make(map[consensus.ReplicaID]bool)
	for _, n := range x.First { // those that have not opened theirs have promised nothing
		if o := m.s.nodeByID(shard.NodeID(n.ID)); o.placed.joined && !o.gone() && n.On(n.ID, o.incarnation) {
			m.intact[id][replicaOf(n)] = true
		}
	}
	m.s.shards = append(m.s.shards, id)
	slices.Sort(m.s.shards)
}

func (m *moves) firstConfiguration(id shard.ID) consensus.Configuration {
	x := m.known[id]
	c := consensus.Configuration{Membership: consensus.Membership{Voters: replicasOf(x.First), WriteQuorum: x.WriteQuorum}}
	return c
}

func replicaOf(n placement.Node) consensus.ReplicaID {
	return shard.ReplicaOf(shard.NodeID(n.ID), n.Incarnation)
}

func replicasOf(nodes []placement.Node) []consensus.ReplicaID {
	var ids []consensus.ReplicaID
	for _, n := range nodes {
		ids = with(ids, replicaOf(n))
	}
	return ids
}

// begin lets the operator create keyspaces.
func (m *moves) begin() {
	m.s.after(m.s.between(0, 100*time.Millisecond), func() {
		name := fmt.Sprintf("k%d", m.catalog.Len())
		if m.catalog.Len() >= m.wanted || m.s.healing {
			return
		}
		if n := m.anyNode(); n != nil {
			n.placed.create(placement.Spec{Name: name, Replicas: []int{3, 3, 3, 5}[m.rng.IntN(4)]})
		}
		m.begin()
	})
}

// anyNode draws a node that runs and is one.
func (m *moves) anyNode() *simNode {
	var up []*simNode
	for _, n := range m.s.nodes {
		if n.up && !n.paused {
			up = append(up, n)
		}
	}
	if len(up) == 0 {
		return nil
	}
	return up[m.rng.IntN(len(up))]
}

// recorded follows the catalog as it is decided.
func (m *moves) recorded(events []*mvcc.Event) {
	for _, e := range events {
		key := string(e.KV.Key)
		if e.Delete {
			m.catalog.Delete(e.KV.Key)
			continue
		}
		name, ok := strings.CutPrefix(key, placement.KeyspacesPrefix)
		if !ok {
			name, ok = strings.CutPrefix(key, placement.OwnPrefix)
		}
		before, had := m.catalog.Keyspace(name)
		if _, err := m.catalog.Put(e.KV.Key, e.KV.Value, e.KV.ModRevision); err != nil {
			m.s.violate("record", "%v", err)
		}
		if id, err := strconv.ParseUint(strings.TrimPrefix(key, placement.RemovedPrefix), 16, 64); err == nil && strings.HasPrefix(key, placement.RemovedPrefix) {
			m.removed(m.s.nodeByID(shard.NodeID(id)))
		}
		if !ok {
			continue
		}
		after, _ := m.catalog.Keyspace(name)
		m.s.trace.client(m.s.now, "cat", shard.ID(after.Shards[0].ID), "record", "%s", e.KV.Value)
		if !had {
			m.appears(&after)
			m.s.watch(shard.ID(after.Shards[0].ID))
			continue
		}
		m.checkRecord(&before, &after)
		m.known[shard.ID(after.Shards[0].ID)] = after.Shards[0]
	}
}

// removed switches a machine off that is no node any more.
func (m *moves) removed(n *simNode) {
	m.s.report.count("node gone")
	m.s.after(m.s.between(0, 2*time.Second), func() {
		if n.up {
			n.crash(1)
		}
		m.bury(n)
		for _, id := range m.s.shards {
			m.checkQuorum(id, n.name()+" was removed")
		}
	})
}

// bury notes that a node never comes back.
func (m *moves) bury(n *simNode) {
	n.placed.gone = true
	m.loses(n)
}

// at is the node that a client asks about a shard: its own, if that serves it, or one that its
// own's catalog names.
func (c *client) at(id shard.ID) *simNode {
	n := c.node
	if c.s.moves == nil || !n.up || n.serves(id) {
		return n
	}
	k, ok := n.placed.catalog.Keyspace(c.s.moves.names[id])
	if !ok {
		return n
	}
	nodes := k.Shards[0].Nodes
	return c.s.nodeByID(shard.NodeID(nodes[c.rng.IntN(len(nodes))].ID))
}

// serves reports whether clients may ask the process about a shard.
func (n *simNode) serves(id shard.ID) bool {
	if n.placed == nil {
		return true
	}
	r, ok := n.replica(id)
	if !ok {
		return false
	}
	k, ok := n.placed.catalog.Keyspace(n.s.moves.names[id])
	if !ok {
		return false
	}
	at, serves, ok := k.Shards[0].On(uint64(n.id), n.incarnation)
	return ok && serves && replicaOf(at) == r.Status().ID
}

// gone reports whether the machine never comes back.
func (n *simNode) gone() bool { return n.placed != nil && n.placed.gone }

// unchanged compares a key's revision; zero: it is not there.
func unchanged(key string, revision int64) store.Compare {
	return store.Compare{Result: store.CompareEqual, Target: store.CompareMod, Key: []byte(key), Number: revision}
}

func put(key string, value []byte) store.RequestOp {
	return store.RequestOp{Put: &store.PutRequest{Key: []byte(key), Value: value}}
}

func remove(key string) store.RequestOp {
	return store.RequestOp{DeleteRange: &store.DeleteRangeRequest{Key: []byte(key)}}
}
