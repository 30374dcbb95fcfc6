package server

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/quorate/quorate/api/quorate/v1"
	"github.com/quorate/quorate/internal/placement"
)

// nodesServer is our own Nodes service: it translates between the API's messages and the
// nodes' records.
type nodesServer struct {
	node Node
	quoratev1.UnsafeNodesServer
}

// Join implements quoratev1.NodesServer. A machine that asks for itself has a name and a disk;
// who adds one that has not started uses etcd's MemberAdd.
func (s *nodesServer) Join(ctx context.Context, r *quoratev1.JoinNodeRequest) (*quoratev1.JoinNodeResponse, error) {
	if err := checkJoin(r); err != nil {
		return nil, catalogStatus(err)
	}
	urls, err := peerURLs(r.PeerUrls)
	if err != nil {
		return nil, catalogStatus(err)
	}
	ticket, err := s.node.Cluster().Join(ctx, placement.JoinRequest{
		Name: r.Name, PeerURLs: urls, Zone: r.Zone, Weight: int(r.Weight), ClusterToken: r.ClusterToken, Disk: r.Disk,
	})
	if err != nil {
		return nil, catalogStatus(err)
	}
	raw, err := json.Marshal(ticket)
	if err != nil {
		panic(fmt.Sprintf("server: a ticket cannot be encoded: %v", err))
	}
	return &quoratev1.JoinNodeResponse{Node: ticket.Node, Ticket: raw}, nil
}

// checkJoin refuses what only somebody else than the machine itself may leave out.
func checkJoin(r *quoratev1.JoinNodeRequest) error {
	switch {
	case r.Name == "":
		return fmt.Errorf("%w: it has no name: give each node its own", placement.ErrMember)
	case r.Disk == 0:
		return fmt.Errorf("%w: its disk has no number: send a random one, and keep it with the data", placement.ErrMember)
	}
	return nil
}

// List implements quoratev1.NodesServer.
func (s *nodesServer) List(ctx context.Context, r *quoratev1.ListNodesRequest) (*quoratev1.ListNodesResponse, error) {
	members, err := s.node.Cluster().Nodes(ctx, !r.Serializable)
	if err != nil {
		return nil, catalogStatus(err)
	}
	overview, err := s.node.Cluster().Placement(ctx)
	if err != nil {
		return nil, catalogStatus(err)
	}
	resp := &quoratev1.ListNodesResponse{Nodes: make([]*quoratev1.Node, len(members))}
	for i := range members {
		resp.Nodes[i] = nodeMessage(loadOf(&overview, members[i]))
	}
	return resp, nil
}

// Drain implements quoratev1.NodesServer.
func (s *nodesServer) Drain(ctx context.Context, r *quoratev1.DrainNodeRequest) (*quoratev1.DrainNodeResponse, error) {
	m, err := s.node.Cluster().DrainNode(ctx, r.Node, r.Drain)
	if err != nil {
		return nil, catalogStatus(err)
	}
	return &quoratev1.DrainNodeResponse{Node: s.described(ctx, m)}, nil
}

// Weigh implements quoratev1.NodesServer.
func (s *nodesServer) Weigh(ctx context.Context, r *quoratev1.WeighNodeRequest) (*quoratev1.WeighNodeResponse, error) {
	m, err := s.node.Cluster().WeighNode(ctx, r.Node, int(r.Weight))
	if err != nil {
		return nil, catalogStatus(err)
	}
	return &quoratev1.WeighNodeResponse{Node: s.described(ctx, m)}, nil
}

// Remove implements quoratev1.NodesServer.
func (s *nodesServer) Remove(ctx context.Context, r *quoratev1.RemoveNodeRequest) (*quoratev1.RemoveNodeResponse, error) {
	m, err := s.node.Cluster().RemoveNode(ctx, r.Node)
	if err != nil {
		return nil, catalogStatus(err)
	}
	return &quoratev1.RemoveNodeResponse{Node: s.described(ctx, m)}, nil
}

// described is one node's message. Its load is an ornament: a change that was made is never
// answered by an error.
func (s *nodesServer) described(ctx context.Context, m placement.Member) *quoratev1.Node {
	overview, err := s.node.Cluster().Placement(ctx)
	if err != nil {
		overview = placement.Overview{}
	}
	return nodeMessage(loadOf(&overview, m))
}

// loadOf is a node with what it carries, as far as that is known.
func loadOf(overview *placement.Overview, m placement.Member) *placement.NodeLoad {
	load := placement.NodeLoad{}
	if i := slices.IndexFunc(overview.Nodes, func(l placement.NodeLoad) bool { return l.ID == m.ID }); i >= 0 {
		load = overview.Nodes[i]
	}
	load.Member = m
	return &load
}

func nodeMessage(l *placement.NodeLoad) *quoratev1.Node {
	return &quoratev1.Node{
		Id: l.ID, Name: l.Name, PeerUrls: l.PeerURLs, ClientUrls: l.ClientURLs, Zone: l.Zone,
		Weight: uint32(cmp.Or(l.Weight, placement.WeightDefault)), State: nodeStateOf(l.State),
		Started: l.Started(), Incarnation: uint32(max(1, l.Incarnation)), Silent: l.Silent, Dead: l.Dead,
		Replicas: uint32(l.Replicas), Cap: uint32(l.Cap), Leaders: uint32(l.Leaders), LeadersCap: uint32(l.LeadersCap), Share: l.Share,
		RequestsPerSecond: l.Requests, BytesPerSecond: l.Bytes, CpuThousandths: l.CPU,
	}
}

func nodeStateOf(s placement.MemberState) quoratev1.Node_State {
	switch s {
	case "":
		return quoratev1.Node_ACTIVE
	case placement.Draining:
		return quoratev1.Node_DRAINING
	case placement.Removing:
		return quoratev1.Node_REMOVING
	}
	return quoratev1.Node_STATE_UNSPECIFIED
}

// peerURLs reads the addresses of a node, and writes them in the one form in which nodes
// advertise theirs, so that two of them can be compared. It returns placement.ErrMember, wrapped.
func peerURLs(raw []string) ([]string, error) {
	var urls []string
	for _, r := range raw {
		u, ok := peerURL(strings.TrimSpace(r))
		if !ok {
			return nil, fmt.Errorf("%w: peer URL %.128q: write http://HOST:PORT", placement.ErrMember, r)
		}
		if !slices.Contains(urls, u) {
			urls = append(urls, u)
		}
	}
	if len(urls) == 0 {
		return nil, fmt.Errorf("%w: it has no peer URL: write http://HOST:PORT", placement.ErrMember)
	}
	return urls, nil
}

func peerURL(raw string) (string, bool) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" || u.Hostname() == "" {
		return "", false
	}
	if port, err := strconv.ParseUint(u.Port(), 10, 16); err != nil || port == 0 {
		return "", false
	}
	short := url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}
	return short.String(), *u == url.URL{Scheme: u.Scheme, Host: u.Host}
}
