package node

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/quorum"
	"github.com/quorate/quorate/internal/limit"
	"github.com/quorate/quorate/internal/mvcc"
	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/store"
)

// Keyspace is a complete etcd as this node serves it. Its methods are safe for
// concurrent use and block until the answer, the context's end or the deadline
// of package router.
type Keyspace struct {
	n       *Node
	name    string
	shard   shard.ID
	store   *store.Store
	waiters *shard.Waiters
	replica *shard.Replica // owned by the loop
	fresh   bool           // nothing had been applied when it was opened
	leads   atomic.Int64   // since when this node leads it, if it does; monotonic
	// incarnation tells the replica from others that this node has had of the shard.
	incarnation uint16
	status      atomic.Pointer[KeyspaceStatus]
	caughtUp    atomic.Bool // a read has been confirmed since it was opened
	deleted     atomic.Bool // it serves nobody, until it is brought back or gone
	// elsewhere: this replica is on its way in or out, and clients are served by others.
	elsewhere atomic.Bool
	quota     atomic.Int64 // what its leader is to set, in bytes; below zero: none
	limiter   limit.Limiter
	traffic   traffic
	load      load // the meter's own
	// installs keeps physical compaction and the install of a snapshot apart.
	installs sync.Mutex
	prunedTo int64 // the compaction that was physically done last; with installs
	closed   bool  // the replica is gone, and so is its state; with installs
}

// KeyspaceStatus describes a keyspace's replica on this node.
type KeyspaceStatus struct {
	Leader        uint64 // member id; zero: none known
	Leads         bool   // this node is the leader
	Term          uint64
	CommitIndex   uint64
	AppliedIndex  uint64
	IsLearner     bool
	Engine        string // as the shard was founded
	Decides       int    // voters that must have an entry durably before it is decided
	Elects        int    // voters that must agree to a leader
	Warning       string // what an operator must know of that; usually empty
	Starting      bool   // the node is not Ready yet
	Behind        bool   // it may lack what was acknowledged before it was opened here: see Barrier
	Deleted       bool   // it serves nobody, until it is brought back or gone
	Elsewhere     bool   // others serve its clients: this replica comes or goes
	InDoubt       bool   // its log has lost something, and is being repaired
	LeaderChanges uint64 // leaders seen since the start

	roles uint64 // shard.Replica.Roles, as of which the rest is
}

// Name is the keyspace's name.
func (k *Keyspace) Name() string { return k.name }

// Shard is the shard that holds the keyspace.
func (k *Keyspace) Shard() shard.ID { return k.shard }

// Propose replicates a command and returns what it did, which may be a rejection.
// The body is not copied. Its error is one of package router, or the context's.
func (k *Keyspace) Propose(ctx context.Context, kind store.Kind, body []byte) (*store.Result, error) {
	type outcome struct {
		result *store.Result
		err    error
	}
	k.traffic.commands.Add(1)
	k.traffic.bytes.Add(uint64(len(body)))
	done := make(chan outcome, 1)
	err := k.n.mail.postClient(event{
		kind: eventSubmit, shard: k.shard, command: kind, body: body,
		answer: func(r *store.Result, err error) { done <- outcome{r, err} },
	})
	if err != nil {
		return nil, err
	}
	select {
	case o := <-done:
		return o.result, o.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Barrier returns once a View taken afterwards holds everything that was
// acknowledged anywhere before the call.
func (k *Keyspace) Barrier(ctx context.Context) error {
	k.traffic.barriers.Add(1)
	done := make(chan error, 1)
	err := k.n.mail.postClient(event{
		kind: eventBarrier, shard: k.shard, done: func(err error) { done <- err },
	})
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		if err == nil && !k.caughtUp.Load() {
			k.caughtUp.Store(true)
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// View is this node's state as it is now; the caller closes it.
func (k *Keyspace) View() (*store.View, error) { return k.store.View() }

// RangeNewest answers a range of one key from memory, as a View taken now would, or
// reports that it cannot.
func (k *Keyspace) RangeNewest(r *store.RangeRequest) (*store.RangeResponse, bool) {
	k.traffic.ranges.Add(1)
	res, ok := k.store.RangeNewest(r)
	if ok && len(res.KVs) > 0 {
		k.traffic.bytes.Add(uint64(len(res.KVs[0].Key) + len(res.KVs[0].Value)))
	}
	return res, ok
}

// DB is where this node's watchers are fed and physical compaction runs.
func (k *Keyspace) DB() *mvcc.DB { return k.store.DB() }

// RenewLease starts a lease's time anew and returns its TTL in seconds.
func (k *Keyspace) RenewLease(ctx context.Context, id int64) (ttl int64, err error) {
	ttl, _, err = k.lease(ctx, id, true)
	return ttl, err
}

// RemainingLease returns a lease's granted TTL and what is left of it, in seconds.
func (k *Keyspace) RemainingLease(ctx context.Context, id int64) (ttl, remaining int64, err error) {
	return k.lease(ctx, id, false)
}

func (k *Keyspace) lease(ctx context.Context, id int64, renew bool) (ttl, remaining int64, err error) {
	type outcome struct {
		ttl, remaining int64
		err            error
	}
	k.traffic.commands.Add(1)
	done := make(chan outcome, 1)
	err = k.n.mail.postClient(event{
		kind: eventLease, shard: k.shard, lease: id, renew: renew,
		leased: func(ttl, remaining int64, err error) { done <- outcome{ttl, remaining, err} },
	})
	if err != nil {
		return 0, 0, err
	}
	select {
	case o := <-done:
		return o.ttl, o.remaining, o.err
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
}

// Limiter keeps the keyspace's limits on this node. It is the same one in every call.
func (k *Keyspace) Limiter() *limit.Limiter { return &k.limiter }

// Size is the keyspace's logical size here and its quota, in bytes; a quota below
// zero is none.
func (k *Keyspace) Size() (bytes, quota int64) {
	view, err := k.View()
	if err != nil {
		return 0, 0
	}
	defer view.Close()
	q, err := view.Quota()
	if err != nil {
		return 0, 0
	}
	return view.LogicalBytes(), q.Bytes
}

// Pending is the number of commands of this node that wait for their result.
func (k *Keyspace) Pending() int { return k.waiters.Len() }

// Status is the replica's state after the loop's last turn that had to do with it.
func (k *Keyspace) Status() KeyspaceStatus {
	s := *k.status.Load()
	s.Deleted, s.Elsewhere, s.Behind = k.deleted.Load(), k.elsewhere.Load(), !k.caughtUp.Load()
	select {
	case <-k.n.ready:
	default:
		s.Starting = true
	}
	return s
}

// publish stores the status of the keyspaces that the turn has looked at, for readers outside
// the loop. It returns how many requests are in progress: those of this node, and entries of
// these keyspaces that are to be applied.
func (n *Node) publish() (requests int) {
	requests = int(n.waiting.Load())
	for _, r := range n.host.Drained() {
		if k, ok := n.keyspaces.of(r.ID()); ok {
			n.publishOne(k)
			requests += r.Unapplied()
		}
	}
	return requests
}

func (n *Node) publishOne(k *Keyspace) {
	r, old := k.replica, k.status.Load()
	state := r.State()
	next := KeyspaceStatus{
		Leader: uint64(shard.NodeOf(state.Leader)), Leads: state.Leads, Term: uint64(state.Epoch),
		CommitIndex: uint64(r.Learned()), AppliedIndex: uint64(r.Applied()),
		IsLearner: old.IsLearner, Engine: old.Engine, Decides: old.Decides, Elects: old.Elects, Warning: old.Warning, InDoubt: r.InDoubt(), LeaderChanges: old.LeaderChanges, roles: r.Roles(),
	}
	if next == *old {
		return
	}
	if old.InDoubt && !next.InDoubt {
		n.cfg.Logger.Warn("the log is repaired: this replica votes again", "shard", k.shard)
	}
	if next.roles != old.roles {
		s := r.Status()
		next.IsLearner = slices.Contains(s.Configuration.Learners, s.ID)
		next.Decides, next.Elects = quorum.Sizes(len(s.Configuration.Voters), s.Configuration.WriteQuorum)
		next.Warning = QuorumWarning(next.Decides, len(s.Configuration.Voters))
		if next.Leader != 0 && (next.Leader != old.Leader || next.Term != old.Term) {
			next.LeaderChanges++
		}
	}
	k.status.Store(&next)
	n.unpruned.add(k)
	n.unreleased.add(k)
	if next.Leads && (!old.Leads || next.Term != old.Term) {
		k.leads.Store(int64(n.cfg.Clock.Monotonic()))
		n.mover.look(uint64(k.shard))
	}
	if next.Leader != old.Leader || next.Term != old.Term {
		n.unquoted.add(k)
	}
}

// shardSpec is what a node must know of a shard to carry a replica of it.
type shardSpec struct {
	id       shard.ID
	keyspace string
	record   shardRecord
	first    consensus.Configuration // what the shard began with

	incarnation uint16 // of this node's replica
}

// openShard restores a shard's replica from engine and log. The rest of a node that runs goes
// on meanwhile.
func (n *Node) openShard(spec *shardSpec) (*Keyspace, error) {
	id := spec.id
	s, err := store.Open(n.engine, id, store.Options{MVCC: mvcc.Options{Cache: n.cache, RecentShare: &n.recentShare}})
	if err != nil {
		return nil, fmt.Errorf("open shard %d: %w", id, err)
	}
	machine, err := n.restore(spec, s)
	if err != nil {
		return nil, fmt.Errorf("restore shard %d: %w", id, err)
	}
	k := &Keyspace{n: n, name: spec.keyspace, shard: id, store: s, waiters: shard.NewWaiters(func(change int) { n.waiting.Add(int64(change)) }), fresh: machine.Applied == 0, incarnation: spec.incarnation}
	add := func() error {
		k.replica, err = n.host.Add(id, shard.ReplicaConfig{Engine: n.cfg.engine(spec.record.Engine), Machine: machine, Store: s, Waiters: k.waiters, Incarnation: spec.incarnation})
		if err != nil {
			return err
		}
		n.router.AddShard(id, k.waiters, machine.Applied)
		configuration := &machine.Log.Configuration
		status := KeyspaceStatus{InDoubt: k.replica.InDoubt(), Engine: spec.record.Engine}
		status.Decides, status.Elects = quorum.Sizes(len(configuration.Voters), configuration.WriteQuorum)
		status.Warning = QuorumWarning(status.Decides, len(configuration.Voters))
		k.status.Store(&status)
		n.keyspaces.add(k)
		n.unpruned.add(k)
		n.unreleased.add(k)
		n.logOpened(spec, configuration)
		return nil
	}
	return k, n.ownTurn(add)
}

// openOwn opens the cluster's own keyspaces as far as this node has them: the system keyspace, in
// which it says where the other one is.
func (n *Node) openOwn() error {
	record := n.foundingRecords()[0]
	system := placement.Node{ID: uint64(n.identity.Node), Incarnation: max(1, n.identity.System)}
	if _, err := n.openShard(specOf(&record, system)); err != nil {
		return err
	}
	if err := n.catalog.follow(); err != nil {
		return fmt.Errorf("read the catalog: %w", err)
	}
	if record, ok := n.catalog.record(DefaultKeyspace); ok {
		if err := n.catalog.keep(&record); err != nil {
			return err
		}
	}
	for _, k := range n.keyspaces.all() {
		k.caughtUp.Store(true) // Ready says so
	}
	return nil
}

// closeShard takes a shard's replica off this node and erases its state. It returns
// shard.ErrReplicaBusy, wrapped, while that cannot be.
func (n *Node) closeShard(k *Keyspace) error {
	err := n.onLoop(func() error {
		if err := n.host.Remove(k.shard); err != nil {
			return err
		}
		n.router.RemoveShard(k.shard)
		n.keyspaces.remove(k)
		return nil
	})
	if err != nil {
		return err
	}
	k.installs.Lock()
	defer k.installs.Unlock()
	k.closed = true
	// First the log forgets, durably: a log without its state could not be opened again, the other
	// way round it can. And another replica must not begin with what this one's log still holds.
	if err := n.log.settled(nil); err != nil {
		return err
	}
	return store.Erase(n.engine, k.shard)
}
