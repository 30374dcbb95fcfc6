package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/transport"
)

// joinedIdentity is who this node is by what a running cluster has told it.
func (n *Node) joinedIdentity(t *placement.Ticket) identity {
	id := identity{
		Format: memberVersion, Cluster: t.Cluster, Node: shard.NodeID(t.Node), Incarnation: t.Incarnation, Disk: n.cfg.Seed,
		Name: n.cfg.Name, Token: t.Token, Joined: true, System: t.System, Shards: make(map[shard.ID]shardRecord),
	}
	for _, founder := range t.Founders {
		id.Voters = append(id.Voters, shard.NodeID(founder))
	}
	slices.Sort(id.Voters)
	for _, s := range t.Shards {
		id.Shards[shard.ID(s.ID)] = shardRecord{Engine: s.Engine, WriteQuorum: s.WriteQuorum}
	}
	for _, m := range t.Members {
		if m.ID != t.Node {
			id.Members = append(id.Members, Member{Name: m.Name, PeerURLs: m.PeerURLs, ID: shard.NodeID(m.ID), Incarnation: m.Incarnation})
		}
	}
	self := n.cfg.self()
	self.ID, self.Incarnation = id.Node, id.Incarnation
	id.Members = append(id.Members, self)
	return id
}

// adoptJoined makes the directory's member this node. Where the others are it knows itself.
func (n *Node) adoptJoined(known *identity) error {
	if known.Name != n.cfg.Name {
		return fmt.Errorf("%s: %w: it is member %q, this one is %q: correct --name or --data-dir",
			n.cfg.DataDir, ErrForeign, known.Name, n.cfg.Name)
	}
	n.cfg.InitialCluster, n.cfg.Token = known.Members, known.Token
	if err := n.checkRecord(known); err != nil {
		return err
	}
	n.identity = *known
	return nil
}

// ticketTime is how long a node that was added looks for a member that knows its place.
const ticketTime = 10 * time.Second

// askForTicket asks the members of --initial-cluster for the place that somebody has given this
// node, as etcd's members do.
func (n *Node) askForTicket(ctx context.Context) (*placement.Ticket, error) {
	self := n.cfg.self()
	request, err := json.Marshal(placement.JoinRequest{Name: n.cfg.Name, PeerURLs: self.PeerURLs, ClusterToken: n.cfg.Token})
	if err != nil {
		return nil, err
	}
	asker := transport.New(transport.Config{
		Identity: transport.Identity{
			Node: transport.NodeID(nodeIDOf(self.PeerURLs, n.cfg.Token)), Name: n.cfg.Name,
			MinLevel: n.cfg.MinLevel, MaxLevel: n.cfg.MaxLevel, Terms: string(request),
		},
		Network: n.cfg.Network, Clock: n.cfg.Clock, Handler: peerHandler{n}, Logger: n.cfg.Logger, Seed: n.cfg.Seed,
	})
	defer asker.Close()
	ctx, cancel := context.WithTimeout(ctx, ticketTime)
	defer cancel()
	why := errors.New("none of them answers")
	for {
		for _, m := range n.cfg.InitialCluster {
			addr, err := peerAddress(m.PeerURLs[0])
			if err != nil || m.Name == n.cfg.Name {
				continue
			}
			reply, err := asker.Probe(ctx, addr)
			if err != nil {
				continue
			}
			ticket := new(placement.Ticket)
			if err := json.Unmarshal(reply.Body, ticket); err == nil && ticket.Node != 0 {
				return ticket, nil
			}
			why = fmt.Errorf("%s at %s knows no member with the peer URL %s that has not started yet", m.Name, addr, self.PeerURLs[0])
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: --initial-cluster-state existing: %w: add this member first with 'etcdctl member add', or start it with --join and the client URL of a member", ErrConfig, why)
		case <-time.After(probePause):
		}
	}
}

// ticketFor answers who asks for a place that somebody has given it. The catalog is this node's
// own: who was added a moment ago may have to ask again.
func (n *Node) ticketFor(hello *transport.Hello) []byte {
	var r placement.JoinRequest
	if hello.Cluster != 0 || json.Unmarshal([]byte(hello.Terms), &r) != nil || r.ClusterToken != n.identity.Token {
		return nil
	}
	n.catalog.mu.Lock()
	defer n.catalog.mu.Unlock()
	c := n.catalog.mu.catalog
	for _, m := range c.Members() {
		if m.Started() || !slices.Equal(slices.Sorted(slices.Values(m.PeerURLs)), slices.Sorted(slices.Values(r.PeerURLs))) {
			continue
		}
		system, _ := c.Keyspace(SystemKeyspace)
		replica, _, ok := system.Shards[0].On(m.ID, m.Incarnation)
		if !ok {
			return nil
		}
		body, err := json.Marshal(n.ticket(c, &m, replica.Incarnation))
		if err != nil {
			return nil
		}
		return body
	}
	return nil
}

// ticket is what a node must know that joins.
func (n *Node) ticket(c *placement.Catalog, m *placement.Member, system uint16) placement.Ticket {
	t := placement.Ticket{Cluster: n.identity.Cluster, Token: n.identity.Token, Node: m.ID, Incarnation: m.Incarnation, System: system}
	for _, founder := range n.identity.Voters {
		t.Founders = append(t.Founders, uint64(founder))
	}
	for _, f := range foundedShards {
		r := n.identity.Shards[f.id]
		t.Shards = append(t.Shards, placement.Shard{ID: uint64(f.id), Engine: r.Engine, WriteQuorum: r.WriteQuorum})
	}
	for _, o := range c.Members() {
		if o.ID != m.ID {
			t.Members = append(t.Members, o)
		}
	}
	return t
}

// Join makes a machine a node of the cluster, or gives it the place of one that has lost its
// disk. Errors are placement's, package router's, or ctx's.
func (n *Node) Join(ctx context.Context, r placement.JoinRequest) (placement.Ticket, error) {
	if r.Disk != 0 && r.ClusterToken != n.identity.Token { // who adds a member says no token
		return placement.Ticket{}, fmt.Errorf("join: %w: the token of this cluster is not %q: correct --initial-cluster-token, or ask another cluster", placement.ErrForeignCluster, r.ClusterToken)
	}
	id := func(count uint64) uint64 {
		return uint64(nodeIDOf(r.PeerURLs, fmt.Sprintf("%s/%x/%d", n.identity.Token, n.identity.Cluster, count)))
	}
	change, err := n.changeMember(ctx, func(c *placement.Catalog) (placement.MemberChange, error) {
		return c.Join(r, id, n.liveness.answers)
	})
	if err != nil {
		return placement.Ticket{}, fmt.Errorf("join: %w", err)
	}
	n.catalog.mu.Lock()
	defer n.catalog.mu.Unlock()
	c := n.catalog.mu.catalog
	system, _ := c.Keyspace(SystemKeyspace)
	replica, _, ok := system.Shards[0].On(change.Member.ID, change.Member.Incarnation)
	if !ok {
		return placement.Ticket{}, fmt.Errorf("join: %w: it was removed meanwhile", placement.ErrConflict)
	}
	n.cfg.Logger.Info("a node joins", "node", fmt.Sprintf("%x", change.Member.ID), "name", r.Name, "incarnation", change.Member.Incarnation, "peer-urls", r.PeerURLs)
	return n.ticket(c, &change.Member, replica.Incarnation), nil
}

// peersFile holds the other nodes as this one knew them last, so that it finds them again however
// they have moved.
const peersFile = "nodes"

// firstPeers are the other nodes at a start.
func (n *Node) firstPeers() []transport.Peer {
	text, err := n.dir.readChecked(peersFile)
	var known []placement.Member
	if err == nil && text != "" {
		err = json.Unmarshal([]byte(text), &known)
	}
	if n.logged("read where the other nodes are", err) && len(known) > 0 {
		return n.peersOf(known)
	}
	list := make([]placement.Member, len(n.cfg.InitialCluster))
	for i, m := range n.cfg.InitialCluster {
		list[i] = placement.Member{ID: uint64(n.cfg.nodes()[i]), PeerURLs: m.PeerURLs, Incarnation: m.Incarnation}
	}
	return n.peersOf(list)
}

// followPeers connects to the nodes that the catalog has.
func (n *Node) followPeers(members []placement.Member) error {
	n.transport.SetPeers(n.peersOf(members))
	n.liveness.follow(members)
	body, err := json.Marshal(members)
	if err != nil {
		return err
	}
	return n.dir.writeChecked(peersFile, string(body))
}

func (n *Node) peersOf(members []placement.Member) []transport.Peer {
	var peers []transport.Peer
	for _, m := range members {
		if len(m.PeerURLs) == 0 || shard.NodeID(m.ID) == n.identity.Node {
			continue
		}
		addr, err := peerAddress(m.PeerURLs[0])
		if err != nil {
			continue
		}
		peers = append(peers, transport.Peer{ID: transport.NodeID(m.ID), Addr: addr, Incarnation: transport.Incarnation(max(1, m.Incarnation))})
	}
	return peers
}
