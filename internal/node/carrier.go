package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/mvcc"
	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/store"
)

// carrier knows the catalog as this node's replica of the system keyspace has it, and keeps
// what the node carries in step with it (N5).
type carrier struct {
	n    *Node
	wake chan struct{} // holds one token while the system keyspace may have news
	// writing holds one token while this node changes the catalog: changes of one node would
	// only come before each other.
	writing chan struct{}

	mu struct {
		sync.Mutex
		catalog  *placement.Catalog
		revision int64         // of the system keyspace, up to which the catalog is
		changed  chan struct{} // closed when revision grows
		carried  chan struct{} // closed when something was opened or closed
	}

	// The rest is run's own.
	watcher *mvcc.Watcher
	todo    map[string]bool // keyspaces whose record is to be compared with what is open
	nodes   bool            // the nodes have changed
	leaves  []*Keyspace     // replicas that are no longer this node's
	unread  map[string]bool // keys of records that this program does not understand
	founded []*Keyspace     // just founded here, and without a leader so far
	tries   int             // to elect one
	swept   bool            // what an earlier run has left behind is gone
}

// Periods of the carrier.
const (
	// hastenPeriod is how often a shard that was just founded tries to elect its leader: the
	// other nodes may open theirs a moment later.
	hastenPeriod = 20 * time.Millisecond
	hastenTries  = 100
	// carryPeriod is how often it looks for what it could not do before, and for what has
	// expired.
	carryPeriod = time.Second
)

// watchBatch bounds the events that are taken over at once.
const watchBatch = 1000

func newCarrier(n *Node) *carrier {
	c := &carrier{n: n, wake: make(chan struct{}, 1), writing: make(chan struct{}, 1), todo: make(map[string]bool)}
	c.mu.changed, c.mu.carried = make(chan struct{}), make(chan struct{})
	return c
}

// run follows the system keyspace until the node stops.
func (c *carrier) run() {
	defer func() {
		if c.watcher != nil {
			c.watcher.Close()
		}
	}()
	slow, fast := time.NewTicker(carryPeriod), time.NewTicker(hastenPeriod)
	defer slow.Stop()
	defer fast.Stop()
	for {
		if !c.n.logged("read the catalog", c.follow()) {
			c.restart()
		}
		if c.carry() {
			c.hasten()
		}
		var hasten <-chan time.Time
		if len(c.founded) > 0 {
			hasten = fast.C
		}
		select {
		case <-c.n.ctx.Done():
			return
		case <-c.wake:
		case <-hasten:
			c.hasten()
		case <-slow.C:
			c.n.logged("close replicas that are elsewhere now", c.close())
			c.n.logged("end the grace of deleted keyspaces", c.expire(c.n.ctx))
			c.n.logged("erase what is left of deleted keyspaces", c.sweep(c.n.ctx))
		}
	}
}

// carry opens and closes what the catalog asks for, and reports whether it did any of that.
// What does not work is tried again.
func (c *carrier) carry() (did bool) {
	if c.nodes {
		c.nodes = !c.followNodes()
	}
	for name := range c.todo {
		record, ok := c.record(name)
		var err error
		if ok {
			err = c.keep(&record)
			c.n.mover.look(record.Shards[0].ID)
		} else {
			err = c.drop(name)
		}
		if err == nil {
			delete(c.todo, name)
			did = true
		} else if !errors.Is(err, shard.ErrReplicaBusy) {
			c.n.logged("carry keyspace "+name, err)
		}
	}
	if did {
		c.mu.Lock()
		close(c.mu.carried)
		c.mu.carried = make(chan struct{})
		c.mu.Unlock()
	}
	return did
}

// awaitCarried waits until something was opened or closed.
func (c *carrier) awaitCarried(ctx context.Context, carried <-chan struct{}) error {
	select {
	case <-carried:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.n.ctx.Done():
		return errStopping
	}
}

// nextCarried is closed when something is opened or closed after the call.
func (c *carrier) nextCarried() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.carried
}

// newCatalog is what a node knows before it has read anything.
func (n *Node) newCatalog() *placement.Catalog {
	c := placement.NewCatalog(n.foundingRecords()...)
	c.Found(n.founders()...)
	return c
}

// followNodes connects to the nodes that the catalog has, and ends this one if it is none of them
// any more. It reports whether it could.
func (c *carrier) followNodes() bool {
	c.mu.Lock()
	members, err := c.mu.catalog.Members(), c.n.checkMembership(c.mu.catalog)
	c.mu.Unlock()
	if err != nil {
		c.n.fail(err)
		return true
	}
	return c.n.logged("follow the nodes of the cluster", c.n.followPeers(members))
}

// keep opens a keyspace's replica if this node is to carry one, and lets it go if not.
func (c *carrier) keep(record *placement.Keyspace) error {
	s := &record.Shards[0]
	if record.Name == SystemKeyspace {
		return nil // every node has it
	}
	if old, ok := c.n.keyspaces.named(record.Name); ok && old.shard != shard.ID(s.ID) {
		// That one is gone, and another has its name.
		c.leave(old)
		return nil
	}
	replica, serves, here := s.On(uint64(c.n.identity.Node), c.n.identity.Incarnation)
	k, open := c.n.keyspaces.of(shard.ID(s.ID))
	switch {
	case open && (!here || k.incarnation != replica.Incarnation):
		c.leave(k)
		return nil
	case !here:
		return nil
	case !open:
		if !c.n.cfg.has(s.Engine) {
			return fmt.Errorf("it runs on engine %q, which this program lacks: start one that has it", s.Engine)
		}
		var err error
		if k, err = c.n.openShard(specOf(record, replica)); err != nil {
			c.swept = false // should it move away, its remains have to go
			return err
		}
		if first := s.First[0]; k.fresh && first.Same(replica) {
			c.founded, c.tries = append(c.founded, k), 0
		}
	}
	k.elsewhere.Store(!serves)
	k.deleted.Store(record.State == placement.Deleted)
	if record.QuotaBytes != 0 { // that of the default keyspace is a flag's
		k.quota.Store(record.QuotaBytes)
	}
	k.limiter.Set(record.Limits)
	c.n.unquoted.add(k)
	return nil
}

// leave lets nobody use a replica any more; close takes it off the node.
func (c *carrier) leave(k *Keyspace) {
	k.elsewhere.Store(true)
	if !slices.Contains(c.leaves, k) {
		c.leaves = append(c.leaves, k)
	}
}

// close takes replicas off this node that are elsewhere now. What is recorded must not be
// forgotten here afterwards, or the next start would open a replica anew that has promised and
// forgotten (N6): so the engine is flushed first, once for all of them.
func (c *carrier) close() error {
	if len(c.leaves) == 0 || len(c.unread) > 0 {
		return nil
	}
	leaves := c.leaves
	c.leaves = nil
	if err := c.n.engine.Flush(); err != nil {
		c.leaves = leaves
		return err
	}
	var errs error
	for _, k := range leaves {
		switch err := c.n.closeShard(k); {
		case err == nil:
			c.n.cfg.Logger.Info("closed a replica that is elsewhere now", "keyspace", k.name, "shard", k.shard)
			c.todo[k.name] = true // perhaps it is to come back
		case errors.Is(err, shard.ErrReplicaBusy):
			c.leaves = append(c.leaves, k)
		default:
			errs = errors.Join(errs, err)
			c.leaves = append(c.leaves, k)
		}
	}
	return errs
}

// drop lets the replica of a keyspace go that is gone.
func (c *carrier) drop(name string) error {
	if k, open := c.n.keyspaces.named(name); open {
		c.leave(k)
	}
	return nil
}

// specOf is what a node must know of a keyspace's shard to carry a replica of it.
func specOf(record *placement.Keyspace, replica placement.Node) *shardSpec {
	s := &record.Shards[0]
	spec := &shardSpec{
		id: shard.ID(s.ID), keyspace: record.Name, record: shardRecord{Engine: s.Engine, WriteQuorum: s.WriteQuorum},
		incarnation: replica.Incarnation,
	}
	for _, n := range s.First {
		spec.first.Voters = append(spec.first.Voters, replicaOf(n))
	}
	slices.Sort(spec.first.Voters)
	spec.first.WriteQuorum = s.WriteQuorum
	return spec
}

// replicaOf is the consensus' name for a replica.
func replicaOf(n placement.Node) consensus.ReplicaID {
	return shard.ReplicaOf(shard.NodeID(n.ID), n.Incarnation)
}

// hasten lets the first nodes of shards that were just founded campaign.
func (c *carrier) hasten() {
	c.tries++
	c.founded = slices.DeleteFunc(c.founded, func(k *Keyspace) bool {
		return k.Status().Leader != 0 || c.tries > hastenTries
	})
	if len(c.founded) == 0 {
		return
	}
	c.n.mail.post(event{kind: eventCall, call: c.hastenAll(slices.Clone(c.founded))})
}

func (c *carrier) hastenAll(keyspaces []*Keyspace) func() error {
	return func() error {
		for _, k := range keyspaces {
			c.n.host.HastenShard(k.shard)
		}
		return nil
	}
}

// sweep erases, once, what an earlier run has left of shards that are in no catalog any
// more: it may have ended between the two halves of closing one.
func (c *carrier) sweep(ctx context.Context) error {
	if c.swept || len(c.unread) > 0 || c.n.keyspaces.own(SystemKeyspace).Status().Leader == 0 {
		return nil
	}
	if err := c.n.keyspaces.own(SystemKeyspace).Barrier(ctx); err != nil {
		return err
	}
	if err := c.follow(); err != nil { // now the catalog has all that was acknowledged before
		return err
	}
	if err := c.n.engine.Flush(); err != nil { // N6
		return err
	}
	stored, err := store.Shards(c.n.engine)
	if err != nil {
		return err
	}
	for _, g := range c.n.log.log.Groups() {
		if id := shard.ID(g); !slices.Contains(stored, id) {
			stored = append(stored, id)
		}
	}
	for _, id := range stored {
		if id == SystemShard || c.carries(id) {
			continue
		}
		if _, open := c.n.keyspaces.of(id); open {
			continue
		}
		if err := c.erase(id); err != nil {
			return err
		}
		c.n.cfg.Logger.Info("erased what was left of a shard that is not here any more", "shard", id)
	}
	c.swept = true
	return nil
}

// carries reports whether this node is to carry a replica of a shard.
func (c *carrier) carries(id shard.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.mu.catalog.ByShard(uint64(id))
	if !ok {
		return false
	}
	_, _, ok = k.Shards[0].On(uint64(c.n.identity.Node), c.n.identity.Incarnation)
	return ok
}

// erase forgets a shard that is not open, in the order of closeShard.
func (c *carrier) erase(id shard.ID) error {
	err := c.n.onLoop(func() error {
		c.n.host.Forget(shard.Group(id))
		return nil
	})
	if err == nil {
		err = c.n.log.settled(nil)
	}
	if err != nil {
		return err
	}
	return store.Erase(c.n.engine, id)
}
