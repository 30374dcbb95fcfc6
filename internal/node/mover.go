package node

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/store"
)

// mover is the goroutine that owns the node's placement.Agent, and gives it its ports.
type mover struct {
	n     *Node
	agent *placement.Agent

	mu struct {
		sync.Mutex
		look map[uint64]bool // shards that have changed
		back []func()        // answers for the agent
	}
	wake chan struct{} // holds one token while there is something in mu

	// The rest is run's own.
	catalog  *placement.Catalog // as of revision
	revision int64
	planned  time.Duration // when the agent could plan last
	answers  bool          // the agent is being told that its barrier has come
}

// Times of the mover.
const (
	// moverPeriod is how often shards on the move are looked at.
	moverPeriod = 50 * time.Millisecond
	// planPeriod is the least time between two plans: one for 10,000 keyspaces takes 10 ms.
	planPeriod = 250 * time.Millisecond
	// preferAfterDefault is how long a node leads a shard before it hands it to whom the record names:
	// that one may be about to stop, and have given it away for that.
	preferAfterDefault = 10 * time.Second
	// moverTimeout bounds a write and a barrier of the mover.
	moverTimeout = 5 * time.Second
)

// caughtUpEntries is how far behind what is decided a replica may be that has caught up. A busy shard
// has that many on their way at any moment.
const caughtUpEntries = 1000

func newMover(n *Node) *mover {
	return &mover{n: n, wake: make(chan struct{}, 1)}
}

// look has a shard looked at. Any goroutine may call it.
func (m *mover) look(id uint64) {
	m.mu.Lock()
	if m.mu.look == nil {
		m.mu.look = make(map[uint64]bool)
	}
	m.mu.look[id] = true
	m.mu.Unlock()
	m.rouse()
}

// answer hands the agent an answer on the mover's goroutine.
func (m *mover) answer(f func()) {
	m.mu.Lock()
	m.mu.back = append(m.mu.back, f)
	m.mu.Unlock()
	m.rouse()
}

func (m *mover) rouse() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// run steps the agent until the node stops.
func (m *mover) run() {
	m.agent = placement.NewAgent(uint64(m.n.identity.Node), m.n.identity.Incarnation, m)
	ticker := time.NewTicker(moverPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-m.n.ctx.Done():
			return
		case <-m.wake:
			m.mu.Lock()
			look, back := m.mu.look, m.mu.back
			m.mu.look, m.mu.back = nil, nil
			m.mu.Unlock()
			for id := range look {
				m.agent.Look(id)
			}
			for _, f := range back {
				f()
			}
		case <-ticker.C:
			m.agent.Tick()
		}
	}
}

// Catalog implements placement.Ports.
func (m *mover) Catalog() *placement.Catalog {
	c := m.n.catalog
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.catalog == nil || m.revision != c.mu.revision {
		m.catalog, m.revision = c.mu.catalog.Clone(), c.mu.revision
	}
	return m.catalog
}

// Leads implements placement.Ports.
func (m *mover) Leads(id uint64) (epoch uint64, ok bool) {
	k, open := m.n.keyspaces.of(shard.ID(id))
	if !open {
		return 0, false
	}
	s := k.status.Load()
	return s.Term, s.Leads
}

// Situation implements placement.Ports.
func (m *mover) Situation(id, epoch uint64) (x placement.Situation, ok bool) {
	err := m.n.onLoop(func() error {
		r, open := m.n.host.Replica(shard.ID(id))
		if !open {
			return shard.ErrUnknownShard
		}
		s := r.Status()
		if ok = s.Role == consensus.Leader && uint64(s.HardState.Epoch) == epoch; ok {
			x = situationOf(&s, func(p *consensus.PeerStatus) bool { // a leader that is new believes the best of all
				return r.Hears(p) && m.n.liveness.answers(uint64(shard.NodeOf(p.ID)))
			})
			// What is not decided a later leader may undo.
			decided := r.Decided()
			x.Changing = x.Changing || unfinished(&decided) || !decided.Membership.Equal(&s.Configuration.Membership)
			k, _ := m.n.keyspaces.of(shard.ID(id))
			x.Settled = m.n.cfg.Clock.Monotonic()-time.Duration(k.leads.Load()) >= m.n.cfg.preferAfter
		}
		return nil
	})
	return x, ok && err == nil
}

// situationOf is a shard as its leader's machine describes it.
func situationOf(s *consensus.Status, hears func(*consensus.PeerStatus) bool) placement.Situation {
	x := placement.Situation{Self: placeOf(s.ID), Changing: s.Configuration.Joint() || s.Transferee != 0}
	c := &s.Configuration
	for _, id := range slices.Concat(c.Voters, c.Learners) {
		p := placement.Progress{Node: placeOf(id), Votes: slices.Contains(c.Voters, id), Active: id == s.ID, CaughtUp: id == s.ID}
		if i := slices.IndexFunc(s.Peers, func(p consensus.PeerStatus) bool { return p.ID == id }); i >= 0 {
			peer := &s.Peers[i]
			p.Active, p.CaughtUp = hears(peer) && !peer.InDoubt, peer.Match+caughtUpEntries >= s.Commit && peer.Match > 0
		}
		x.Replicas = append(x.Replicas, p)
	}
	return x
}

// placeOf is the inverse of replicaOf.
func placeOf(id consensus.ReplicaID) placement.Node {
	return placement.Node{ID: uint64(shard.NodeOf(id)), Incarnation: shard.IncarnationOf(id)}
}

// Drained implements placement.Ports.
func (m *mover) Drained(id uint64) bool {
	k, open := m.n.keyspaces.of(shard.ID(id))
	if !open { // it is being opened, or cannot be: what its disk has may still count
		return false
	}
	self := shard.ReplicaOf(m.n.identity.Node, k.incarnation)
	votes := func(c *consensus.Configuration) bool { return slices.Contains(c.Voters, self) || unfinished(c) }
	needed := true
	err := m.n.onLoop(func() error {
		newest, decided := k.replica.Status().Configuration, k.replica.Decided()
		needed = votes(&decided) || votes(&newest) || newest.Joint()
		return nil
	})
	return err == nil && !needed && k.elsewhere.Load() && k.Pending() == 0
}

// unfinished reports whether another entry follows that ends a joint configuration. In Paxos, which
// says where a change began, none does: the machine knows when it is over.
func unfinished(c *consensus.Configuration) bool { return c.Joint() && c.Begun == 0 }

// Configure implements placement.Ports.
func (m *mover) Configure(id, epoch uint64, voters, learners []placement.Node) {
	m.asLeader(id, epoch, func(s *consensus.Status) error {
		target := consensus.Membership{Voters: replicasOf(voters), Learners: replicasOf(learners), WriteQuorum: s.Configuration.WriteQuorum}
		if target.WriteQuorum > len(voters)/2+1 || target.WriteQuorum == 1 {
			target.WriteQuorum = 0 // fewer voters: a majority
		}
		return m.n.host.Membership(shard.ID(id), target)
	})
}

func replicasOf(nodes []placement.Node) []consensus.ReplicaID {
	ids := make([]consensus.ReplicaID, len(nodes))
	for i, n := range nodes {
		ids[i] = replicaOf(n)
	}
	slices.Sort(ids)
	return ids
}

// HandOver implements placement.Ports.
func (m *mover) HandOver(id, epoch uint64, to placement.Node) {
	m.asLeader(id, epoch, func(*consensus.Status) error { return m.n.host.Transfer(shard.ID(id), replicaOf(to)) })
}

// asLeader does something with a shard that this node leads in an epoch. What does not succeed is
// tried again when the shard is looked at again.
func (m *mover) asLeader(id, epoch uint64, do func(*consensus.Status) error) {
	err := m.n.onLoop(func() error {
		r, open := m.n.host.Replica(shard.ID(id))
		if !open {
			return nil
		}
		s := r.Status()
		if s.Role != consensus.Leader || uint64(s.HardState.Epoch) != epoch {
			return nil
		}
		return do(&s)
	})
	if err != nil && m.n.ctx.Err() == nil {
		m.n.cfg.Logger.Debug("a shard's next step failed", "shard", id, "error", err)
	}
}

// Barrier implements placement.Ports.
func (m *mover) Barrier() {
	m.n.start1(func() {
		ctx, cancel := context.WithTimeout(m.n.ctx, moverTimeout)
		defer cancel()
		err := m.n.catalog.catchUp(ctx)
		m.answer(func() {
			m.answers = true
			m.agent.Read(err == nil)
			m.answers = false
		})
	})
}

// Write implements placement.Ports.
func (m *mover) Write(p placement.Proposal) {
	for _, move := range p.Moves {
		m.n.cfg.Logger.Info("a replica is to move", "keyspace", p.Keyspace, "move", move.String(), "why", cmp.Or(p.Note, move.Reason.String()))
	}
	m.n.start1(func() {
		done, err := m.n.writeRecord(&p.Next)
		m.n.logged("record a step of keyspace "+p.Keyspace, err)
		m.answer(func() { m.agent.Written(p.Keyspace, done) })
	})
}

// writeRecord replaces a record if that is still there which it replaces.
func (n *Node) writeRecord(record *placement.Keyspace) (bool, error) {
	return n.write(func(ctx context.Context) (int64, bool, error) { return n.systemTxn(ctx, replaceRecord(record)) })
}

// write runs a transaction of the mover's, and waits until the catalog has what it wrote.
func (n *Node) write(txn func(context.Context) (int64, bool, error)) (bool, error) {
	ctx, cancel := context.WithTimeout(n.ctx, moverTimeout)
	defer cancel()
	revision, done, err := txn(ctx)
	if err == nil && done {
		err = n.catalog.await(ctx, revision)
	}
	return done && err == nil, err
}

// Change implements placement.Ports.
func (m *mover) Change(change placement.MemberChange) {
	m.n.cfg.Logger.Info("a node is gone for good", "node", change.Member.ID, "name", change.Member.Name)
	counts := countsOf(m.catalog)
	m.n.start1(func() {
		done, err := m.n.write(func(ctx context.Context) (int64, bool, error) { return m.n.writeMember(ctx, &change, &counts) })
		m.n.logged("remove a node", err)
		m.answer(func() { m.agent.Changed(done) })
	})
}

// Planning implements placement.Ports.
func (m *mover) Planning() (p placement.Planning, ok bool) {
	now := m.n.cfg.Clock.Monotonic()
	if _, leads := m.Leads(uint64(SystemShard)); !leads || !m.answers && now-m.planned < planPeriod {
		return p, false
	}
	if m.answers { // a plan is being made, and not only asked for: barriers for steps must not put it off
		m.planned = now
	}
	return m.n.planning(), true
}

// planning is what this node knows for a plan.
func (n *Node) planning() placement.Planning {
	p := placement.Planning{Seed: n.identity.Cluster, Now: n.cfg.Clock.Now().Unix()}
	p.Silent, p.Dead = n.liveness.silent(n.cfg.ReplaceAfter)
	return p
}

// Placement is where everything is, as this node sees it.
func (n *Node) Placement(context.Context) (placement.Overview, error) {
	return n.copyCatalog().Overview(n.planning())
}

// Explain says why each replica of a keyspace is where it is. Errors are placement's.
func (n *Node) Explain(_ context.Context, keyspace string) ([]string, error) {
	return n.copyCatalog().Explain(keyspace, n.planning())
}

func (n *Node) copyCatalog() *placement.Catalog {
	n.catalog.mu.Lock()
	defer n.catalog.mu.Unlock()
	return n.catalog.mu.catalog.Clone()
}

// PlanPlacement is what would move next, if a node may have so many percent of its share; zero:
// as many as ever.
func (n *Node) PlanPlacement(ctx context.Context, loadPercent int) ([]placement.Proposal, error) {
	if err := n.catalog.catchUp(ctx); err != nil {
		return nil, err
	}
	p := n.planning()
	p.LoadPercent = loadPercent
	return n.copyCatalog().Plan(p)
}

// ApplyPlacement begins what PlanPlacement says, also while placement is paused. It returns what
// has begun.
func (n *Node) ApplyPlacement(ctx context.Context, loadPercent int) ([]placement.Proposal, error) {
	proposals, err := n.PlanPlacement(ctx, loadPercent)
	if err != nil {
		return nil, err
	}
	var begun []placement.Proposal
	var errs error
	for i := range proposals {
		done, err := n.writeRecord(&proposals[i].Next)
		if errs = errors.Join(errs, err); done {
			begun = append(begun, proposals[i])
		}
	}
	if len(begun) > 0 {
		return begun, nil
	}
	return nil, errs
}

// PausePlacement keeps replicas from moving, but for moves that are under way or asked for.
func (n *Node) PausePlacement(ctx context.Context, paused bool) error {
	value := "false"
	if paused {
		value = "true"
	}
	revision, _, err := n.systemTxn(ctx, &store.TxnRequest{Success: []store.RequestOp{put(placement.PausedKey, []byte(value))}})
	if err != nil {
		return err
	}
	return n.catalog.await(ctx, revision)
}
