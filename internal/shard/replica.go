package shard

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
	"github.com/quorate/quorate/internal/store"
)

// Replica is one shard's copy on this node. Only its host's owner calls it,
// except for the apply jobs, which touch nothing but the applier.
type Replica struct {
	id      ID
	self    consensus.ReplicaID
	sparse  bool // the machine's log may have holes
	host    *Host
	machine consensus.Machine
	kind    func(consensus.MessageKind) string
	applier applier
	lessor  lessor

	cache entryCache
	state LeaderState // as last reported to Outcome
	roles uint64      // how often role, leader, epoch or configuration changed
	doubt bool        // the machine is in doubt (H9)
	mends bool        // and the end of that is on its way to the disk
	dirty bool        // in host.dirty
	gone  bool        // removed from the host

	listed   bool     // in host.awake
	resting  bool     // its time stands still (rest.go)
	with     []NodeID // whom it rests with: a leader with all others, a follower with its leader
	restedAt int      // the host's tick when it last went to rest
	cold     bool
	cooling  bool      // in host.cooling
	idle     int       // ticks since anything happened
	heard    int       // the host's tick when its leader was last heard, or became it
	sought   int       // the host's tick when it last thought of looking for its leader
	asks     int       // how often it has asked for its leader
	soughtAt [2]NodeID // whom it asked last, of those that have a replica and of all

	// Appends: handed to the log up to appended, durable up to durable.
	durable  consensus.Seq
	epoch    consensus.Epoch // of the durable hard state
	held     []heldMessages  // by ascending seq (H3)
	unsynced []unsyncedSpan  // by ascending seq
	waiting  int             // bytes of unsynced

	// Apply: learned up to learned (exclusive), applied up to applied (inclusive).
	learned  consensus.Index
	applied  consensus.Index
	applying bool // a job is under way (H2)

	install  *stagedInstall   // a received snapshot waiting for the machine's word
	stalled  *consensus.Ready // the Ready that asked for the install; nothing is drained meanwhile
	released consensus.Index
	fence    consensus.Epoch // the highest first epoch up to released
	sizes    logSizes
	own      []consensus.Message               // of the machine to itself, on their way
	holders  map[*SnapshotSend]consensus.Index // what streams still need (H4)
	reads    int                               // log read-backs under way for peers

	first consensus.Configuration // in force until a membership entry is applied
	// The newest that is applied, and its bytes.
	decided     consensus.Configuration
	decidedData []byte
	queue       proposalQueue
	times       stageTimes
}

type heldMessages struct {
	seq      consensus.Seq
	messages []consensus.Message
}

// unsyncedSpan is an append on its way to the disk.
type unsyncedSpan struct {
	seq         consensus.Seq
	epoch       consensus.Epoch // of the hard state in it; zero: none
	first, last consensus.Index // of the appended entries; zero: none
	bytes       int
}

// ReplicaConfig describes one replica to the host that is to carry it.
type ReplicaConfig struct {
	Engine  consensus.Engine
	Machine consensus.Config // Group, ID, HardState, Log and Applied; the host adds the rest
	Store   *store.Store
	Waiters *Waiters
	// Incarnation tells the replica from others that this node has had of the shard; zero:
	// it is the node's.
	Incarnation uint16
	// Observe, when set, is told every result on the apply worker: for checkers.
	Observe func(*store.Result)
}

func newReplica(h *Host, id ID, c ReplicaConfig) (*Replica, error) {
	machine, err := c.Engine.New(c.Machine)
	if err != nil {
		return nil, fmt.Errorf("start replica %v of shard %d: %w", c.Machine.ID, id, err)
	}
	last := c.Machine.Log.Released + consensus.Index(len(c.Machine.Log.Entries))
	r := &Replica{
		id: id, self: c.Machine.ID, sparse: c.Engine.Sparse, host: h, machine: machine, kind: c.Engine.KindName,
		applier:  applier{shard: id, node: uint64(h.cfg.Node), store: c.Store, waiters: c.Waiters, observe: c.Observe},
		learned:  c.Machine.Applied + 1,
		applied:  c.Machine.Applied,
		released: c.Machine.Log.Released,
		fence:    c.Machine.Log.ReleasedEpoch,
		epoch:    c.Machine.HardState.Epoch,
		doubt:    c.Machine.Log.InDoubt,
		first:    c.Machine.Log.Configuration.Clone(),
		decided:  c.Machine.Log.Configuration.Clone(),
		holders:  make(map[*SnapshotSend]consensus.Index),
		times:    stageTimes{stages: &h.stages},
	}
	if r.sparse {
		last = c.Machine.Applied // what is behind may be written over
	}
	r.cache.reset(last + 1)
	for i := range c.Machine.Log.Entries {
		r.sizes.appended(c.Machine.Log.Released+consensus.Index(i)+1, int(c.Machine.Log.Entries[i].Size))
	}
	r.lessor.load(c.Store)
	return r, nil
}

// ID is the replica's shard.
func (r *Replica) ID() ID { return r.id }

// Status describes the replica's machine.
func (r *Replica) Status() consensus.Status { return r.machine.Status() }

// Applied is the index of the last entry applied here.
func (r *Replica) Applied() consensus.Index { return r.applied }

// Learned is the index of the last entry known decided.
func (r *Replica) Learned() consensus.Index { return r.learned - 1 }

// Unapplied is the number of entries that this node has and has not applied.
func (r *Replica) Unapplied() int { return int(max(r.cache.end(), r.applied+1) - r.applied - 1) }

// State is who leads, as last reported to Outcome.
func (r *Replica) State() LeaderState { return r.state }

// Decided is the newest membership that is decided and applied here.
func (r *Replica) Decided() consensus.Configuration { return r.decided }

// noteDecided looks at what was applied last. REQUIRES: nothing is being applied.
func (r *Replica) noteDecided() error {
	data := r.applier.store.Applied().Configuration
	if len(data) == 0 || bytes.Equal(data, r.decidedData) {
		return nil
	}
	c, err := consensus.DecodeConfiguration(data)
	if err != nil {
		return fmt.Errorf("shard %d: %w", r.id, err)
	}
	r.decided, r.decidedData = c, slices.Clone(data)
	return nil
}

// Roles counts the changes of role, leader, epoch or configuration.
func (r *Replica) Roles() uint64 { return r.roles }

// InDoubt reports whether the replica's damaged log is still being repaired (H9).
func (r *Replica) InDoubt() bool { return r.doubt }

// Store is the replica's state machine; its views may be read from any goroutine.
func (r *Replica) Store() *store.Store { return r.applier.store }

// Machine gives checkers a look at the machine itself.
func (r *Replica) Machine() consensus.Machine { return r.machine }

// drain handles everything the machine has to say, proposes what is queued, and
// handles what follows from that. The machine speaks first, so that commands
// queued for an epoch that has passed are dropped and not proposed (H7).
func (r *Replica) drain() {
	r.drainReady()
	if r.queue.flush(r) {
		r.drainReady()
	}
	for len(r.own) > 0 {
		m := r.own[0]
		r.own = append(r.own[:0], r.own[1:]...)
		// What it refuses is lost, as any message may be: it has moved on.
		if r.machine.Step(m) == nil {
			r.drainReady()
		}
	}
}

func (r *Replica) drainReady() {
	for r.stalled == nil {
		rd, ok := r.machine.Ready()
		if !ok {
			return
		}
		if rd.Install != nil {
			r.stalled = rd
			r.startInstall(rd.Install)
			return
		}
		r.handle(rd)
	}
}

func (r *Replica) handle(rd *consensus.Ready) {
	r.wake()
	if !rd.Append.Empty() || !rd.Learned.Empty() || len(rd.Reads) > 0 || rd.RoleChanged {
		r.active()
	}
	r.append(&rd.Append)
	for i := range rd.Send {
		r.send(&rd.Send[i])
	}
	r.hold(rd.Append.Seq, rd.AfterSync)
	if !rd.Learned.Empty() {
		r.learn(rd.Learned)
	}
	for _, read := range rd.Reads {
		r.host.ports.Outcome.ReadReady(r.id, read.ID, read.Index)
	}
	if len(rd.Dropped) > 0 {
		r.host.ports.Outcome.Dropped(r.id, rd.Dropped)
	}
	// Unknown proposals keep waiting: they are applied, or overtaken (H7), or
	// their deadline ends them.
	if len(rd.NeedSnapshot) > 0 {
		r.streamSnapshots(rd.NeedSnapshot)
	}
	if rd.RoleChanged {
		r.roleChanged()
	}
}

// append hands the machine's append to the node's next log batch. Entries that do
// not fit are carried on by further batches: the log keeps their order, so what a
// crash leaves is a prefix.
func (r *Replica) append(a *consensus.Append) {
	if a.Empty() {
		return
	}
	batch, group := r.host.logBatch(), Group(r.id)
	if a.HardState != nil {
		batch.HardState(group, *a.HardState)
	}
	if a.Truncate != 0 {
		batch.Truncate(group, a.Truncate)
		r.cache.truncate(a.Truncate)
		r.sizes.truncated(a.Truncate)
	}
	u := unsyncedSpan{seq: a.Seq}
	if a.HardState != nil {
		u.epoch = a.HardState.Epoch
	}
	for rest := a.Entries; len(rest) > 0; {
		n, bytes := prefix(rest, r.host.cfg.BatchBytes-r.host.logBatch().Size())
		r.host.logBatch().Append(group, rest[:n])
		u.bytes += bytes
		if rest = rest[n:]; len(rest) > 0 {
			r.host.seal()
		}
	}
	if len(a.Entries) > 0 {
		r.keep(a.Entries)
		u.first, u.last = bounds(a.Entries, r.sparse)
		r.sizes.appended(u.last, u.bytes)
		r.times.appended(u.last, r.host.now)
	}
	if a.Decided != 0 {
		r.host.logBatch().Decided(group, a.Decided)
	}
	if a.Repaired {
		r.repaired()
	}
	r.unsynced = append(r.unsynced, u)
	r.waiting += u.bytes
	r.host.ticketFor(r, a.Seq)
}

// keep puts entries that the log has not got yet into the cache (H1).
func (r *Replica) keep(entries []consensus.Entry) {
	if r.sparse {
		r.cache.put(entries)
		return
	}
	r.cache.append(entries)
}

// bounds are the lowest and the highest index of entries.
func bounds(entries []consensus.Entry, sparse bool) (first, last consensus.Index) {
	first, last = entries[0].Index, entries[len(entries)-1].Index
	if sparse {
		for i := range entries {
			first, last = min(first, entries[i].Index), max(last, entries[i].Index)
		}
	}
	return first, last
}

// repaired has the log forget what it has lost of this replica (H9). Once no replica of
// the node is in doubt, there is also no shard left that may be missing whole.
func (r *Replica) repaired() {
	batch := r.host.logBatch()
	batch.Repaired(Group(r.id))
	r.mends = true
	for _, o := range r.host.order {
		if o.doubt && !o.mends {
			return
		}
	}
	batch.Repaired(everyGroup)
}

// everyGroup stands for the groups that a log does not know; see wal.Batch.Repaired.
const everyGroup consensus.GroupID = 0

// entryOverhead is what an entry takes in a log batch beside its data, at most.
const entryOverhead = 128

// prefix is how many entries fit into room bytes, at least one, and their data's size.
func prefix(entries []consensus.Entry, room int) (n, bytes int) {
	for n < len(entries) {
		room -= len(entries[n].Data) + entryOverhead
		if n > 0 && room < 0 {
			break
		}
		bytes += len(entries[n].Data)
		n++
	}
	return n, bytes
}

// hold sends messages now if what they wait for is durable, else keeps them (H3).
func (r *Replica) hold(seq consensus.Seq, messages []consensus.Message) {
	if len(messages) == 0 {
		return
	}
	if seq <= r.durable || mutant.On(mutant.ShardSendHeld) {
		for i := range messages {
			r.send(&messages[i])
		}
		return
	}
	kept := append([]consensus.Message(nil), messages...)
	r.held = append(r.held, heldMessages{seq: seq, messages: kept})
}

// syncedUpTo is called when the log is durable up to seq.
func (r *Replica) syncedUpTo(seq consensus.Seq) {
	r.durable = seq
	r.machine.Done(consensus.Done{Durable: seq})
	n := 0
	for n < len(r.unsynced) && r.unsynced[n].seq <= seq {
		r.waiting -= r.unsynced[n].bytes
		r.epoch = max(r.epoch, r.unsynced[n].epoch)
		if last := r.unsynced[n].last; last != 0 {
			r.times.synced(last, r.host.now)
		}
		n++
	}
	r.unsynced = append(r.unsynced[:0], r.unsynced[n:]...)
	n = 0
	for n < len(r.held) && r.held[n].seq <= seq {
		for i := range r.held[n].messages {
			r.send(&r.held[n].messages[i])
		}
		n++
	}
	r.held = append(r.held[:0], r.held[n:]...)
}

// evictable is the highest index that the log can give back (H1).
func (r *Replica) evictable() consensus.Index {
	upTo := r.cache.end() - 1
	for i := range r.unsynced {
		if first := r.unsynced[i].first; first != 0 {
			upTo = min(upTo, first-1)
		}
	}
	return upTo
}

// send fills a message's span and hands it to the network. A span that is no
// longer cached is read back from the log beside the owner.
func (r *Replica) send(m *consensus.Message) {
	if m.Fill.Empty() {
		r.transmit(m)
		return
	}
	entries, ok := r.cache.span(m.Fill)
	if !ok {
		r.readBack(m)
		return
	}
	if !fillable(m, entries) {
		return
	}
	filled := *m
	filled.Entries, filled.Fill = entries, consensus.Span{}
	r.transmit(&filled)
}

// fillable keeps H5: the log may have moved on since the machine wrote the message.
func fillable(m *consensus.Message, entries []consensus.Entry) bool {
	return len(entries) == m.Fill.Len() && !slices.ContainsFunc(entries, func(e consensus.Entry) bool { return e.Epoch > m.Epoch })
}

// ownMax bounds a machine's messages to itself that are under way. One more is lost, which
// is what any message may be.
const ownMax = 16

func (r *Replica) transmit(m *consensus.Message) {
	if m.To == r.self {
		if len(r.own) < ownMax {
			own := *m
			own.Entries = slices.Clone(m.Entries) // the cache's, which goes on being written
			r.own = append(r.own, own)
		}
		return
	}
	if !r.host.ports.Network.Send(NodeOf(m.To), m) {
		r.machine.Done(consensus.Done{Peer: m.To, State: consensus.PeerUnreachable})
	}
}

func (r *Replica) roleChanged() {
	r.roles++
	s := r.machine.Status()
	r.doubt = s.InDoubt
	state := LeaderState{Leader: s.Leader, Epoch: s.HardState.Epoch, Leads: s.Role == consensus.Leader}
	if state == r.state {
		return
	}
	if state.Epoch != r.state.Epoch || !state.Leads {
		r.dropCommands(r.queue.commands)
		r.queue.drop(len(r.queue.commands))
	}
	r.state, r.heard = state, r.host.ticks
	if !state.Leads && !mutant.On(mutant.ShardLeaseKeepDeadline) && !mutant.On(mutant.StoreExpireAlways) {
		r.lessor.demote()
	}
	r.host.ports.Outcome.RoleChanged(r.id, state)
}

// Tick advances the machine's and the lessor's time.
func (r *Replica) tick(now time.Duration) {
	r.machine.Tick()
	r.expireLeases(now)
}
