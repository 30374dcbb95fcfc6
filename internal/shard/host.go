package shard

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/wal"
)

// HostConfig is what all replicas of a node share.
type HostConfig struct {
	Node        NodeID
	Incarnation uint16
	Timing      Timing
	Limits      Limits
	Windows     Windows
	// BatchBytes is where a log batch is closed and the next one begins; with the
	// largest command it must fit the log. Default 8 MiB.
	BatchBytes int
}

// Windows are the flow-control limits handed to every machine; see consensus.Config.
type Windows struct {
	MessageBytes     int // default 1 MiB
	InflightMessages int // default 512
	InflightBytes    int // default 16 MiB
	UncommittedBytes int // default 64 MiB
	ReadRounds       int // default 64
}

func (w *Windows) setDefaults() {
	for _, d := range []struct {
		field *int
		value int
	}{
		{&w.MessageBytes, 1 << 20}, {&w.InflightMessages, 512}, {&w.InflightBytes, 16 << 20},
		{&w.UncommittedBytes, 64 << 20}, {&w.ReadRounds, 64},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
}

// Host owns all replicas of a node. It is not safe for concurrent use: one owner
// steps it.
type Host struct {
	cfg      HostConfig
	ports    Ports
	replicas map[ID]*Replica
	order    []*Replica // by id, so that runs repeat
	dirty    []*Replica // touched since the last Process
	drained  []*Replica // by the last Process
	awake    []*Replica // those that are ticked, and perhaps some at rest; by id unless unsorted
	unsorted bool
	resting  int // replicas
	cold     int // of those that rest
	cooling  cooling
	pairs    pairs
	ticks    int
	now      time.Duration

	batch      *wal.Batch // of the current turn; nil: nothing yet
	spare      []*wal.Batch
	covers     []ticketCover // appends in the current batch
	inflight   []ticket      // handed to the log, by ascending number
	lastTicket Ticket

	snapshots int // streams under way
	stages    Stages
}

// ticket is one batch on its way to the disk.
type ticket struct {
	number Ticket
	batch  *wal.Batch
	covers []ticketCover
}

type ticketCover struct {
	replica *Replica
	seq     consensus.Seq
}

// NewHost returns a host without replicas.
func NewHost(cfg HostConfig, ports Ports) *Host {
	cfg.Limits.setDefaults()
	cfg.Windows.setDefaults()
	if cfg.Timing.ColdTicks == 0 {
		cfg.Timing.ColdTicks = coldAfter * cfg.Timing.ElectionTicks
	}
	if cfg.BatchBytes == 0 {
		cfg.BatchBytes = 8 << 20
	}
	return &Host{cfg: cfg, ports: ports, replicas: make(map[ID]*Replica)}
}

// Add starts a replica. It returns consensus.ErrInvalid, wrapped, when the
// restored state is impossible.
func (h *Host) Add(id ID, c ReplicaConfig) (*Replica, error) {
	if _, ok := h.replicas[id]; ok {
		return nil, fmt.Errorf("add shard %d: already on this node", id)
	}
	m := &c.Machine
	m.Group, m.ID = Group(id), ReplicaOf(h.cfg.Node, cmp.Or(c.Incarnation, h.cfg.Incarnation))
	m.ElectionTicks, m.HeartbeatTicks = h.cfg.Timing.ElectionTicks, h.cfg.Timing.HeartbeatTicks
	w := &h.cfg.Windows
	m.MessageBytes, m.InflightMessages, m.InflightBytes = w.MessageBytes, w.InflightMessages, w.InflightBytes
	m.UncommittedBytes, m.ReadRounds = w.UncommittedBytes, w.ReadRounds
	r, err := newReplica(h, id, c)
	if err != nil {
		return nil, err
	}
	h.replicas[id] = r
	at, _ := slices.BinarySearchFunc(h.order, id, func(r *Replica, id ID) int { return int(r.id) - int(id) })
	h.order = slices.Insert(h.order, at, r)
	h.list(r)
	h.touch(r)
	return r, nil
}

// Replica returns the node's replica of a shard.
func (h *Host) Replica(id ID) (*Replica, bool) {
	r, ok := h.replicas[id]
	return r, ok
}

// Replicas returns all replicas by ascending shard id; the slice is the host's.
func (h *Host) Replicas() []*Replica { return h.order }

// Drained are the replicas that the last Process looked at, some perhaps twice; the slice is
// the host's.
func (h *Host) Drained() []*Replica { return h.drained }

// Stages returns the latency of each stage that proposals pass on this node.
func (h *Host) Stages() *Stages { return &h.stages }

// SetNow moves the host's clock, monotonic since the node's start. Inputs that
// follow happen at that time.
func (h *Host) SetNow(now time.Duration) {
	if now > h.now {
		h.now = now
	}
}

func (h *Host) touch(r *Replica) {
	if !r.dirty {
		r.dirty = true
		h.dirty = append(h.dirty, r)
	}
}

// Tick advances every replica that is not at rest by one tick.
func (h *Host) Tick() {
	h.ticks++
	if h.unsorted {
		slices.SortFunc(h.awake, func(a, b *Replica) int { return cmp.Compare(a.id, b.id) })
		h.unsorted = false
	}
	// First who may rest: after a tick a heartbeat may be due, which would wake the others.
	h.awake = slices.DeleteFunc(h.awake, (*Replica).unlisted)
	for _, r := range h.awake {
		r.tick(h.now)
		r.seekLeader()
		h.touch(r)
	}
	h.beatPairs()
	h.cool()
	h.trim()
}

// Hasten advances the replicas that know no leader by most of an election
// timeout. A node calls it once, when it has met the first peer after its start:
// a leader that exists is heard of within the heartbeats that are left, and a
// cluster without one need not wait (etcd: --initial-election-tick-advance).
func (h *Host) Hasten() {
	const heartbeatsLeft = 2
	ticks := h.cfg.Timing.ElectionTicks - heartbeatsLeft*h.cfg.Timing.HeartbeatTicks
	for _, r := range h.order {
		if r.state.Leader != 0 {
			continue
		}
		for range ticks {
			r.machine.Tick()
		}
		h.touch(r)
	}
}

// HastenShard lets a replica that knows no leader campaign now: a shard that was just
// founded need not wait for an election timeout.
func (h *Host) HastenShard(id ID) {
	r, ok := h.replicas[id]
	if !ok || r.state.Leader != 0 {
		return
	}
	role := r.machine.Status().Role // a trial that nobody answers begins anew
	r.active()
	for n := 0; n < 2*h.cfg.Timing.ElectionTicks && role != consensus.Candidate && r.machine.Status().Role == role; n++ {
		r.machine.Tick()
	}
	h.touch(r)
}

// Remove takes a replica off this node: it says nothing more, and the log forgets it. What
// the engine has of it stays. It returns ErrUnknownShard, or ErrReplicaBusy while
// something of it is under way beside the owner: try again then.
func (h *Host) Remove(id ID) error {
	r, ok := h.replicas[id]
	if !ok {
		return fmt.Errorf("remove shard %d: %w", id, ErrUnknownShard)
	}
	if r.applying || r.install != nil || r.reads > 0 || len(r.holders) > 0 || len(r.unsynced) > 0 {
		return fmt.Errorf("remove shard %d: %w", id, ErrReplicaBusy)
	}
	r.wake()
	r.gone = true
	h.awake = slices.DeleteFunc(h.awake, func(o *Replica) bool { return o == r })
	delete(h.replicas, id)
	h.order = slices.DeleteFunc(h.order, func(o *Replica) bool { return o == r })
	h.logBatch().Remove(Group(id))
	return nil
}

// Forget lets the log forget a group that no replica of this node belongs to.
func (h *Host) Forget(group consensus.GroupID) {
	if _, ok := h.replicas[ID(group)]; !ok {
		h.logBatch().Remove(group)
	}
}

// Receive takes a peer's message. An error says why it was refused.
func (h *Host) Receive(m *consensus.Message) error {
	lives := m.Kind == KindRest && m.Group == 0
	if lives { // it may lead groups whose replicas here look for their leader
		h.pairs.of(NodeOf(m.From))
	}
	h.hears(m.From)
	if lives {
		return nil
	}
	r, ok := h.replicas[ID(m.Group)]
	if !ok {
		return fmt.Errorf("message from %v for shard %d: %w", m.From, m.Group, ErrUnknownShard)
	}
	if m.From == r.state.Leader {
		r.heard = h.ticks
	}
	if m.Kind == KindRest {
		r.leaderRests(m)
		return nil
	}
	if r.waiting > h.cfg.Limits.UnsyncedBytes && len(m.Entries) > 0 {
		// The disk is behind: what the leader repeats later is not taken now.
		return nil
	}
	if err := r.machine.Step(*m); err != nil {
		return fmt.Errorf("message from %v for shard %d: %w", m.From, m.Group, err)
	}
	h.touch(r)
	return nil
}

// PeerState tells every replica that shares a shard with a node about a change
// of the connection to it.
func (h *Host) PeerState(node NodeID, state consensus.PeerState) {
	for _, r := range h.order {
		s := r.machine.Status()
		for _, ids := range [][]consensus.ReplicaID{s.Configuration.Voters, s.Configuration.Outgoing, s.Configuration.Learners} {
			for _, id := range ids {
				if NodeOf(id) == node {
					if r.resting && s.Leader == id {
						r.active()
					}
					r.machine.Done(consensus.Done{Peer: id, State: state})
					h.touch(r)
				}
			}
		}
	}
}

// Process drains every touched replica and hands what they append to the log, as
// one batch for all shards.
func (h *Host) Process() {
	h.drained = h.drained[:0]
	for len(h.dirty) > 0 {
		r := h.dirty[0]
		h.dirty = h.dirty[1:]
		r.dirty = false
		if r.gone {
			continue
		}
		h.drained = append(h.drained, r)
		r.drain()
		if h.batch != nil && h.batch.Size() >= h.cfg.BatchBytes {
			h.seal()
		}
	}
	h.dirty = nil
	h.seal()
}

// seal hands the current batch to the log.
func (h *Host) seal() {
	if h.batch == nil || h.batch.Empty() {
		return
	}
	h.lastTicket++
	h.inflight = append(h.inflight, ticket{number: h.lastTicket, batch: h.batch, covers: h.covers})
	h.ports.Log.Append(h.lastTicket, h.batch)
	h.batch, h.covers = nil, nil
}

// Durable is the answer of LogPort.Append: every batch up to the ticket is durable.
func (h *Host) Durable(t Ticket) {
	n := 0
	for n < len(h.inflight) && h.inflight[n].number <= t {
		for _, c := range h.inflight[n].covers {
			c.replica.syncedUpTo(c.seq)
			h.touch(c.replica)
		}
		h.inflight[n].batch.Reset()
		h.spare = append(h.spare, h.inflight[n].batch)
		n++
	}
	h.inflight = append(h.inflight[:0], h.inflight[n:]...)
}

func (h *Host) logBatch() *wal.Batch {
	if h.batch != nil {
		return h.batch
	}
	if n := len(h.spare); n > 0 {
		h.batch, h.spare = h.spare[n-1], h.spare[:n-1]
	} else {
		h.batch = new(wal.Batch)
	}
	return h.batch
}

// ticketFor notes that the current batch makes a replica's append durable.
func (h *Host) ticketFor(r *Replica, seq consensus.Seq) {
	h.covers = append(h.covers, ticketCover{replica: r, seq: seq})
}
