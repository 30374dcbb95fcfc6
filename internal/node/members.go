package node

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/store"
)

// The system keyspace's keys.
const (
	membersPrefix = "members/" // + node id in hex → MemberInfo as JSON
	levelKey      = "level"    // → the cluster's feature level, decimal
)

// MemberInfo is what a member publishes about itself in the system keyspace.
type MemberInfo struct {
	ID         shard.NodeID `json:"id"`
	Name       string       `json:"name"`
	PeerURLs   []string     `json:"peerURLs"`
	ClientURLs []string     `json:"clientURLs"`
	// KeyspaceURLs are ports that serve one keyspace, by keyspace.
	KeyspaceURLs map[string][]string `json:"keyspaceURLs,omitempty"`
	Incarnation  uint16              `json:"incarnation"`
	Disk         uint64              `json:"disk"`
	MinLevel     uint32              `json:"minLevel"`
	MaxLevel     uint32              `json:"maxLevel"`
	IsLearner    bool                `json:"-"`
}

// Members lists the cluster's members by id: the first ones, with what each has
// published. With linearizable set the list is confirmed by the system shard's
// leader first; else it is this node's own.
func (n *Node) Members(ctx context.Context, linearizable bool) ([]MemberInfo, error) {
	system := n.keyspaces.own(SystemKeyspace)
	if linearizable {
		if err := system.Barrier(ctx); err != nil {
			return nil, err
		}
	}
	return n.localMembers()
}

func (n *Node) localMembers() ([]MemberInfo, error) {
	list := make([]MemberInfo, 0, len(n.cfg.InitialCluster))
	for i, id := range n.cfg.nodes() {
		m := n.cfg.InitialCluster[i]
		list = append(list, MemberInfo{ID: id, Name: m.Name, PeerURLs: m.PeerURLs})
	}
	published, err := n.publishedMembers()
	if err != nil {
		return nil, err
	}
	for _, m := range published {
		i := slices.IndexFunc(list, func(x MemberInfo) bool { return x.ID == m.ID })
		if i < 0 {
			list = append(list, m)
			continue
		}
		list[i] = m
	}
	slices.SortFunc(list, func(a, b MemberInfo) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}

func (n *Node) publishedMembers() ([]MemberInfo, error) {
	kvs, err := n.systemRange(membersPrefix)
	if err != nil {
		return nil, err
	}
	list := make([]MemberInfo, len(kvs))
	for i, kv := range kvs {
		if err := json.Unmarshal(kv.Value, &list[i]); err != nil {
			return nil, fmt.Errorf("system keyspace, key %s: %w", kv.Key, err)
		}
	}
	return list, nil
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
	system := n.keyspaces.own(SystemKeyspace)
	if err := system.Barrier(ctx); err != nil {
		return err
	}
	self := MemberInfo{
		ID: n.identity.Node, Name: n.cfg.Name, PeerURLs: n.cfg.self().PeerURLs, ClientURLs: n.cfg.AdvertiseClientURLs, KeyspaceURLs: n.cfg.AdvertiseKeyspaceURLs,
		Incarnation: n.identity.Incarnation, Disk: n.identity.Disk, MinLevel: n.cfg.MinLevel, MaxLevel: n.cfg.MaxLevel,
	}
	value, err := json.Marshal(self)
	if err != nil {
		return fmt.Errorf("encode member: %w", err)
	}
	key := membersPrefix + self.ID.String()
	kvs, err := n.systemRange(key)
	if err != nil {
		return err
	}
	if len(kvs) == 1 && string(kvs[0].Value) == string(value) {
		return nil
	}
	return n.systemPut(ctx, key, value)
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
	published, err := n.publishedMembers()
	if err != nil || len(published) < len(n.identity.Voters) {
		return err
	}
	common := published[0].MaxLevel
	for _, m := range published {
		common = min(common, m.MaxLevel)
	}
	if common <= n.Level() {
		return nil
	}
	return n.systemPut(ctx, levelKey, strconv.AppendUint(nil, uint64(common), 10))
}
