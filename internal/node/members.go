package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/store"
)

// levelKey is the system keyspace's key of the cluster's feature level, decimal.
const levelKey = "level"

// Members lists the cluster's nodes by id. With linearizable set the list is confirmed by the
// system shard's leader first; else it is this node's own.
func (n *Node) Members(ctx context.Context, linearizable bool) ([]placement.Member, error) {
	if linearizable {
		if err := n.catalog.catchUp(ctx); err != nil {
			return nil, err
		}
	}
	n.catalog.mu.Lock()
	defer n.catalog.mu.Unlock()
	return n.catalog.mu.catalog.Members(), nil
}

// systemRange reads every system key with a prefix from this node's own state.
func (n *Node) systemRange(prefix string) ([]store.KeyValue, error) {
	view, err := n.keyspaces.own(SystemKeyspace).View()
	if err != nil {
		return nil, fmt.Errorf("read system keyspace: %w", err)
	}
	defer view.Close()
	end := prefix[:len(prefix)-1] + string(rune(prefix[len(prefix)-1]+1))
	res, err := view.Range(&store.RangeRequest{Key: []byte(prefix), RangeEnd: []byte(end)})
	if err != nil {
		return nil, fmt.Errorf("read system keyspace: %w", err)
	}
	return res.KVs, nil
}

// register publishes this member, unless what is published is still true.
func (n *Node) register(ctx context.Context) error {
	self := placement.Member{
		ID: uint64(n.identity.Node), Name: n.cfg.Name, PeerURLs: n.cfg.self().PeerURLs, ClientURLs: n.cfg.AdvertiseClientURLs, KeyspaceURLs: n.cfg.AdvertiseKeyspaceURLs,
		Incarnation: n.identity.Incarnation, Disk: n.identity.Disk, MinLevel: n.cfg.MinLevel, MaxLevel: n.cfg.MaxLevel,
		Zone: n.cfg.Zone, Weight: n.cfg.Weight,
	}
	_, err := n.changeMember(ctx, func(c *placement.Catalog) (placement.MemberChange, error) {
		if err := n.checkMembership(c); err != nil {
			return placement.MemberChange{}, err
		}
		change, news := c.Announce(self)
		if !news {
			return change, errNoNews
		}
		return change, nil
	})
	if errors.Is(err, errNoNews) {
		return nil
	}
	return err
}

// errNoNews says that a record need not be written.
var errNoNews = errors.New("the record says that already")

// ErrRemoved: the cluster has removed this node, or has given its place to another disk.
var ErrRemoved = errors.New("the member has been permanently removed from the cluster")

// checkMembership reports that this node is none of the cluster's any more.
func (n *Node) checkMembership(c *placement.Catalog) error {
	id := uint64(n.identity.Node)
	if _, gone := c.Removed(id); gone {
		return fmt.Errorf("%s: %w: empty the directory, and start it with --join to have a new node", n.cfg.DataDir, ErrRemoved)
	}
	if m, ok := c.Member(id); ok && m.Incarnation > n.identity.Incarnation {
		return fmt.Errorf("%s: %w: another disk has the place of node %x, in its life %d: choose that one's --data-dir, or empty this one and join anew",
			n.cfg.DataDir, ErrRemoved, id, m.Incarnation)
	}
	return nil
}

// changeMember writes a change of the nodes, unless the catalog has changed meanwhile: then it
// is made anew.
func (n *Node) changeMember(ctx context.Context, next func(*placement.Catalog) (placement.MemberChange, error)) (placement.MemberChange, error) {
	for try := range conflictsMax {
		if err := giveWay(ctx, try); err != nil {
			return placement.MemberChange{}, err
		}
		if err := n.catalog.catchUp(ctx); err != nil {
			return placement.MemberChange{}, err
		}
		n.catalog.mu.Lock()
		change, err := next(n.catalog.mu.catalog)
		counts := countsOf(n.catalog.mu.catalog)
		n.catalog.mu.Unlock()
		if err != nil {
			return change, err
		}
		revision, done, err := n.writeMember(ctx, &change, &counts)
		if err != nil {
			return change, err
		}
		if done {
			return change, n.catalog.await(ctx, revision)
		}
	}
	return placement.MemberChange{}, fmt.Errorf("%w %d times in between: try again", placement.ErrConflict, conflictsMax)
}

// writeMember writes a change if what it replaces is still there.
func (n *Node) writeMember(ctx context.Context, change *placement.MemberChange, counts *counts) (revision int64, done bool, err error) {
	m := &change.Member
	key := placement.MemberKey(m.ID)
	txn := &store.TxnRequest{Compare: []store.Compare{unchanged(key, m.Revision)}}
	if change.Gone {
		body, err := json.Marshal(placement.Removed{ID: m.ID, Name: m.Name, At: n.cfg.Clock.Now().Unix()})
		if err != nil {
			return 0, false, err
		}
		txn.Success = append(txn.Success, put(placement.RemovedKey(m.ID), body),
			store.RequestOp{DeleteRange: &store.DeleteRangeRequest{Key: []byte(key)}},
			store.RequestOp{DeleteRange: &store.DeleteRangeRequest{Key: []byte(placement.LoadKey(m.ID))}})
	} else {
		txn.Success = append(txn.Success, put(key, m.Encode()))
	}
	if change.Joins {
		counts.members.add(txn)
	}
	if change.Empties {
		counts.room.add(txn)
	}
	if k := change.System; k != nil {
		txn.Compare = append(txn.Compare, unchanged(placement.Key(k.Name), k.Revision))
		txn.Success = append(txn.Success, put(placement.Key(k.Name), k.Encode()))
	}
	return n.systemTxn(ctx, txn)
}

// changed is a change's record, or what kept it from being one.
func changed(what string, change placement.MemberChange, err error) (placement.Member, error) {
	if err != nil {
		return change.Member, fmt.Errorf("%s node: %w", what, err)
	}
	return change.Member, nil
}

// DrainNode empties a node, or lets it carry its share again. Errors are placement's, package
// router's, or ctx's; likewise of the following.
func (n *Node) DrainNode(ctx context.Context, id uint64, drain bool) (placement.Member, error) {
	change, err := n.changeMember(ctx, func(c *placement.Catalog) (placement.MemberChange, error) { return c.Drain(id, drain) })
	return changed("drain", change, err)
}

// WeighNode changes a node's share.
func (n *Node) WeighNode(ctx context.Context, id uint64, weight int) (placement.Member, error) {
	change, err := n.changeMember(ctx, func(c *placement.Catalog) (placement.MemberChange, error) { return c.Weigh(id, weight) })
	return changed("weigh", change, err)
}

// AddressNode changes where a node's peers find it.
func (n *Node) AddressNode(ctx context.Context, id uint64, peerURLs []string) (placement.Member, error) {
	change, err := n.changeMember(ctx, func(c *placement.Catalog) (placement.MemberChange, error) { return c.Address(id, peerURLs) })
	return changed("update", change, err)
}

// RemoveNode begins to take a node out for good: once it is empty it is gone.
func (n *Node) RemoveNode(ctx context.Context, id uint64) (placement.Member, error) {
	change, err := n.changeMember(ctx, func(c *placement.Catalog) (placement.MemberChange, error) {
		silent, _ := n.liveness.silent(n.cfg.ReplaceAfter)
		return c.RemoveNode(id, silent)
	})
	return changed("remove", change, err)
}

func (n *Node) systemPut(ctx context.Context, key string, value []byte) error {
	put := store.PutRequest{Key: []byte(key), Value: value}
	body := put.AppendTo(nil)
	res, err := n.keyspaces.own(SystemKeyspace).Propose(ctx, store.KindPut, body)
	if err != nil {
		return fmt.Errorf("write %s to the system keyspace: %w", key, err)
	}
	if res.Err != nil {
		return fmt.Errorf("write %s to the system keyspace: %w", key, res.Err)
	}
	return nil
}

// readLevel is the replicated feature level as this node has applied it; 1 until
// one is written.
func (n *Node) readLevel() (uint32, error) {
	kvs, err := n.systemRange(levelKey)
	if err != nil || len(kvs) == 0 {
		return 1, err
	}
	level, err := strconv.ParseUint(strings.TrimSpace(string(kvs[0].Value)), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("system keyspace, key %s: %w", levelKey, err)
	}
	return uint32(level), nil
}

// raiseLevel is the system leader's duty: the feature level rises to what every
// member has announced, and never falls.
func (n *Node) raiseLevel(ctx context.Context) error {
	if !n.keyspaces.own(SystemKeyspace).Status().Leads {
		return nil
	}
	members, err := n.Members(ctx, false)
	if err != nil {
		return err
	}
	common := n.cfg.MaxLevel
	for _, m := range members {
		common = min(common, m.MaxLevel) // 0: it has not said so yet
	}
	if common <= n.Level() {
		return nil
	}
	return n.systemPut(ctx, levelKey, strconv.AppendUint(nil, uint64(common), 10))
}
