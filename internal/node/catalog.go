package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/store"
)

// Limits of the catalog.
const (
	// keyspacesMax bounds the keyspaces of a cluster. Each costs every node that carries it
	// heartbeats and ticks, also when nobody uses it.
	keyspacesMax = 20000
	// conflictsMax is how often a change is tried again that another one came before.
	conflictsMax = 32
)

// CreateKeyspace adds a keyspace to the cluster and returns its record. It returns when this
// node serves the keyspace, if it carries it, or when ctx ends: the record is then there all the same. Errors are
// placement's, package router's, or ctx's.
func (n *Node) CreateKeyspace(ctx context.Context, spec placement.Spec) (placement.Keyspace, error) {
	record, err := n.change(ctx, func(c *placement.Catalog) (placement.Keyspace, error) {
		return c.Create(spec, n.placeable(c, spec.Replicas))
	})
	if err != nil {
		return record, fmt.Errorf("create keyspace: %w", err)
	}
	n.cfg.Logger.Info("created a keyspace", "keyspace", record.Name, "shard", record.Shards[0].ID, "engine", record.Shards[0].Engine)
	return record, n.awaitServing(ctx, &record)
}

// UpdateKeyspace changes a keyspace's limits. Errors are as in CreateKeyspace.
func (n *Node) UpdateKeyspace(ctx context.Context, name string, change placement.Change) (placement.Keyspace, error) {
	record, err := n.change(ctx, func(c *placement.Catalog) (placement.Keyspace, error) { return c.Update(name, change) })
	if err != nil {
		return record, fmt.Errorf("update keyspace: %w", err)
	}
	return record, nil
}

// DeleteKeyspace ends a keyspace's service; until its grace is over it can be brought back.
// Errors are as in CreateKeyspace.
func (n *Node) DeleteKeyspace(ctx context.Context, name string) (placement.Keyspace, error) {
	now := n.cfg.Clock.Now().Unix()
	record, err := n.change(ctx, func(c *placement.Catalog) (placement.Keyspace, error) { return c.Remove(name, now) })
	if err != nil {
		return record, fmt.Errorf("delete keyspace: %w", err)
	}
	n.cfg.Logger.Info("deleted a keyspace", "keyspace", record.Name, "expires", record.Expires())
	return record, nil
}

// UndeleteKeyspace brings a deleted keyspace back. Errors are as in CreateKeyspace.
func (n *Node) UndeleteKeyspace(ctx context.Context, name string) (placement.Keyspace, error) {
	record, err := n.change(ctx, func(c *placement.Catalog) (placement.Keyspace, error) { return c.Restore(name) })
	if err != nil {
		return record, fmt.Errorf("undelete keyspace: %w", err)
	}
	return record, n.awaitServing(ctx, &record)
}

// KeyspaceRecords lists the records of all keyspaces by name, deleted ones included.
// With linearizable set they are confirmed by the system shard's leader first; else they
// are this node's own.
func (n *Node) KeyspaceRecords(ctx context.Context, linearizable bool) ([]placement.Keyspace, error) {
	if linearizable {
		if err := n.catalog.catchUp(ctx); err != nil {
			return nil, fmt.Errorf("list keyspaces: %w", err)
		}
	}
	n.catalog.mu.Lock()
	defer n.catalog.mu.Unlock()
	return n.catalog.mu.catalog.Keyspaces(), nil
}

// Carriers lists the other nodes that carry a keyspace: who should lead comes first. One that
// this node's catalog lacks is looked for again when the catalog has everything that was
// acknowledged before the call: whoever has created a keyspace finds it through every node.
// Errors are placement.ErrNotFound and placement.ErrDeleted, wrapped, package router's, or ctx's.
func (n *Node) Carriers(ctx context.Context, keyspace string) ([]shard.NodeID, error) {
	if keyspace == SystemKeyspace {
		return nil, fmt.Errorf("%w: %q", placement.ErrNotFound, keyspace)
	}
	record, ok := n.catalog.record(keyspace)
	if !ok && placement.CheckName(keyspace) == nil {
		if err := n.catalog.catchUp(ctx); err != nil {
			return nil, fmt.Errorf("find keyspace %q: %w", keyspace, err)
		}
		record, ok = n.catalog.record(keyspace)
	}
	switch {
	case !ok:
		return nil, fmt.Errorf("%w: %q", placement.ErrNotFound, keyspace)
	case record.State == placement.Deleted:
		return nil, fmt.Errorf("%w: %q: undelete it first", placement.ErrDeleted, keyspace)
	}
	nodes := make([]shard.NodeID, 0, len(record.Shards[0].Nodes))
	for _, x := range record.Shards[0].Nodes {
		if id := shard.NodeID(x.ID); id != n.identity.Node {
			nodes = append(nodes, id)
		}
	}
	slices.SortStableFunc(nodes, func(a, b shard.NodeID) int { // who answers comes first
		return cmp.Compare(n.rank(a), n.rank(b))
	})
	return nodes, nil
}

func (n *Node) rank(node shard.NodeID) int {
	if n.liveness.answers(uint64(node)) {
		return 0
	}
	return 1
}

// change writes a keyspace's next record, unless the catalog has changed meanwhile: then it
// is made anew.
func (n *Node) change(ctx context.Context, next func(*placement.Catalog) (placement.Keyspace, error)) (placement.Keyspace, error) {
	select {
	case n.catalog.writing <- struct{}{}:
		defer func() { <-n.catalog.writing }()
	case <-ctx.Done():
		return placement.Keyspace{}, ctx.Err()
	}
	for try := range conflictsMax {
		if err := giveWay(ctx, try); err != nil {
			return placement.Keyspace{}, err
		}
		if err := n.catalog.catchUp(ctx); err != nil {
			return placement.Keyspace{}, err
		}
		n.catalog.mu.Lock()
		record, err := next(n.catalog.mu.catalog)
		before, _ := n.catalog.mu.catalog.Keyspace(record.Name)
		counts := countsOf(n.catalog.mu.catalog)
		n.catalog.mu.Unlock()
		if err != nil {
			return record, err
		}
		txn := replaceRecord(&record)
		if record.Revision == 0 { // a new one takes its shard's id with it (L1)
			counts.shards.add(txn)
		}
		if record.Replicas > before.Replicas {
			counts.room.add(txn)
		}
		revision, done, err := n.systemTxn(ctx, txn)
		if err != nil {
			return record, err
		}
		if done {
			record.Revision = revision
			return record, n.catalog.await(ctx, revision)
		}
	}
	return placement.Keyspace{}, fmt.Errorf("%w %d times in between: try again", placement.ErrConflict, conflictsMax)
}

// conflictPause is how long a change waits at most for each time that others came before, so that these
// do not go on doing so.
const conflictPause = 2 * time.Millisecond

// giveWay waits before a change is tried again.
func giveWay(ctx context.Context, try int) error {
	if try == 0 {
		return nil
	}
	select {
	case <-time.After(rand.N(time.Duration(try) * conflictPause)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// counter is one of the catalog's, as it was when a change was made.
type counter struct {
	key      string
	value    uint64
	revision int64
}

// add counts one more, if nobody has meanwhile.
func (c *counter) add(txn *store.TxnRequest) {
	txn.Compare = append(txn.Compare, unchanged(c.key, c.revision))
	txn.Success = append(txn.Success, put(c.key, strconv.AppendUint(nil, c.value+1, 10)))
}

type counts struct{ shards, members, room counter }

func countsOf(c *placement.Catalog) counts {
	return counts{
		shards:  counter{placement.NextShardKey, c.NextShard, c.CounterRevision},
		members: counter{placement.NextMemberKey, c.NextMember, c.NextMemberRevision},
		room:    counter{placement.RoomKey, c.Room, c.RoomRevision},
	}
}

// replaceRecord writes a record if that which it replaces is still there.
func replaceRecord(record *placement.Keyspace) *store.TxnRequest {
	key := placement.Key(record.Name)
	return &store.TxnRequest{
		Compare: []store.Compare{unchanged(key, record.Revision)},
		Success: []store.RequestOp{put(key, record.Encode())},
	}
}

// unchanged compares a key's revision; zero: it is not there.
func unchanged(key string, revision int64) store.Compare {
	return store.Compare{Result: store.CompareEqual, Target: store.CompareMod, Key: []byte(key), Number: revision}
}

func put(key string, value []byte) store.RequestOp {
	return store.RequestOp{Put: &store.PutRequest{Key: []byte(key), Value: value}}
}

// systemTxn runs a transaction in the system keyspace. It returns the revision and whether
// it succeeded.
func (n *Node) systemTxn(ctx context.Context, txn *store.TxnRequest) (revision int64, done bool, err error) {
	res, err := n.keyspaces.own(SystemKeyspace).Propose(ctx, store.KindTxn, txn.AppendTo(nil))
	if err != nil {
		return 0, false, fmt.Errorf("write to the system keyspace: %w", err)
	}
	if res.Err != nil {
		return 0, false, fmt.Errorf("write to the system keyspace: %w", res.Err)
	}
	answer, ok := res.Response.(*store.TxnResponse)
	if !ok {
		return 0, false, fmt.Errorf("write to the system keyspace: answer %T", res.Response)
	}
	return answer.Revision, answer.Succeeded, nil
}

// catchUp waits until the catalog has everything that was acknowledged before the call.
func (c *carrier) catchUp(ctx context.Context) error {
	system := c.n.keyspaces.own(SystemKeyspace)
	if err := system.Barrier(ctx); err != nil {
		return err
	}
	return c.await(ctx, system.DB().Head().Revision)
}

// placeable is the cluster as a new keyspace is placed on it. Nodes that do not answer get nothing,
// unless there are too few others.
func (n *Node) placeable(c *placement.Catalog, replicas int) placement.Cluster {
	preset := n.identity.Shards[DefaultShard].Engine
	engines := append([]string{preset}, slices.DeleteFunc(n.cfg.engineNames(), func(e string) bool { return e == preset })...)
	silent, _ := n.liveness.silent(n.cfg.ReplaceAfter)
	nodes := c.Ring(silent)
	usable := 0
	for i := range nodes {
		if nodes[i].Weight > 0 {
			usable++
		}
	}
	if usable < max(replicas, placement.ReplicasDefault) {
		nodes = c.Ring(nil)
	}
	return placement.Cluster{
		Nodes: nodes, Engines: engines, KeyspaceMax: keyspacesMax, Seed: n.identity.Cluster, Now: n.cfg.Clock.Now().Unix(),
	}
}

// awaitServing waits until a keyspace answers here, if this node carries it.
func (n *Node) awaitServing(ctx context.Context, record *placement.Keyspace) error {
	for {
		carried := n.catalog.nextCarried()
		k, open := n.keyspaces.of(shard.ID(record.Shards[0].ID))
		if open && !k.deleted.Load() {
			return k.Barrier(ctx)
		}
		if !slices.ContainsFunc(record.Shards[0].Nodes, func(x placement.Node) bool { return x.ID == uint64(n.identity.Node) }) {
			return nil
		}
		if err := n.catalog.awaitCarried(ctx, carried); err != nil {
			return err
		}
	}
}

// expire gives up deleted keyspaces whose grace is over. It is the duty of the system
// keyspace's leader.
func (c *carrier) expire(ctx context.Context) error {
	if !c.n.keyspaces.own(SystemKeyspace).Status().Leads {
		return nil
	}
	c.mu.Lock()
	records := c.mu.catalog.Expired(c.n.cfg.Clock.Now().Unix())
	c.mu.Unlock()
	var errs error
	for i := range records {
		r := &records[i]
		key := placement.Key(r.Name)
		_, done, err := c.n.systemTxn(ctx, &store.TxnRequest{
			Compare: []store.Compare{unchanged(key, r.Revision)},
			Success: []store.RequestOp{{DeleteRange: &store.DeleteRangeRequest{Key: []byte(key)}}},
		})
		if errs = errors.Join(errs, err); done {
			c.n.cfg.Logger.Info("a deleted keyspace is gone", "keyspace", r.Name)
		}
	}
	return errs
}
