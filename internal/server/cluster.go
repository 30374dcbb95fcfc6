package server

import (
	"context"
	"errors"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/quorate/quorate/internal/placement"
)

// clusterServer is etcd's Cluster service over the nodes' records. A member votes in some
// keyspaces and not in others, so "learner" is only what somebody asked for who added one that
// has not started: it is promoted by itself.
type clusterServer struct {
	node    Node
	headers *headers
	boundTo func(context.Context) *binding // of the call's connection, or nil
	pb.UnsafeClusterServer
}

// memberErrors say what errors about nodes are to a client of etcd's API. What is not among them
// has no counterpart in etcd, and goes as it does in our own API: with a sentence.
var memberErrors = []struct{ err, to error }{
	{placement.ErrMember, rpctypes.ErrGRPCMemberNotFound}, // addresses are checked before: it is being removed
	{placement.ErrMemberNotFound, rpctypes.ErrGRPCMemberNotFound},
	{placement.ErrMemberExists, rpctypes.ErrGRPCPeerURLExist}, // names are not asked for
	{placement.ErrUnsafe, rpctypes.ErrGRPCUnhealthy},
}

// memberStatus is catalogStatus for etcd's API.
func memberStatus(err error) error {
	for _, e := range memberErrors {
		if errors.Is(err, e.err) {
			return e.to
		}
	}
	return catalogStatus(err)
}

// MemberList lists the members. Its header has no revision: members are no keys. Through a
// bound port it lists where its keyspace has ports: clients that take their endpoints from
// the list would find themselves in the default keyspace elsewhere. Who is bound by a
// certificate is so at every port, and gets the ordinary list.
func (s *clusterServer) MemberList(ctx context.Context, r *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	nodes, err := s.node.Cluster().Nodes(ctx, r.Linearizable)
	if err != nil {
		return nil, memberStatus(err)
	}
	ofPort := ""
	if bound := s.boundTo(ctx); bound != nil {
		ofPort = bound.port
	}
	return &pb.MemberListResponse{Header: s.headers.ofCluster(keyspaceOf(ctx)), Members: memberMessages(nodes, ofPort)}, nil
}

// MemberAdd makes room for a member that is started afterwards.
func (s *clusterServer) MemberAdd(ctx context.Context, r *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	if err := s.mayChange(ctx); err != nil {
		return nil, err
	}
	urls, err := peerURLs(r.PeerURLs)
	if err != nil {
		return nil, rpctypes.ErrGRPCMemberBadURLs
	}
	ticket, err := s.node.Cluster().Join(ctx, placement.JoinRequest{PeerURLs: urls, Learner: r.IsLearner})
	if err != nil {
		return nil, memberStatus(err)
	}
	added := &pb.Member{ID: ticket.Node, PeerURLs: urls, IsLearner: r.IsLearner}
	members := s.membersAfter(ctx)
	if !slices.ContainsFunc(members, func(m *pb.Member) bool { return m.ID == added.ID }) {
		members = append(members, added)
	}
	return &pb.MemberAddResponse{Header: s.headers.ofCluster(keyspaceOf(ctx)), Member: added, Members: members}, nil
}

// MemberRemove takes a member out of the list at once; it goes when its replicas are elsewhere.
func (s *clusterServer) MemberRemove(ctx context.Context, r *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	if err := s.mayChange(ctx); err != nil {
		return nil, err
	}
	if _, err := s.node.Cluster().RemoveNode(ctx, r.ID); err != nil {
		return nil, memberStatus(err)
	}
	members := slices.DeleteFunc(s.membersAfter(ctx), func(m *pb.Member) bool { return m.ID == r.ID })
	return &pb.MemberRemoveResponse{Header: s.headers.ofCluster(keyspaceOf(ctx)), Members: members}, nil
}

// MemberUpdate changes where a member is found by its peers.
func (s *clusterServer) MemberUpdate(ctx context.Context, r *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	if err := s.mayChange(ctx); err != nil {
		return nil, err
	}
	urls, err := peerURLs(r.PeerURLs)
	if err != nil {
		return nil, rpctypes.ErrGRPCMemberBadURLs
	}
	if _, err := s.node.Cluster().AddressNode(ctx, r.ID, urls); err != nil {
		return nil, memberStatus(err)
	}
	return &pb.MemberUpdateResponse{Header: s.headers.ofCluster(keyspaceOf(ctx)), Members: s.membersAfter(ctx)}, nil
}

// MemberPromote has nothing to do: who was added as a learner is promoted by itself. It says
// how far that is.
func (s *clusterServer) MemberPromote(ctx context.Context, r *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	if err := s.mayChange(ctx); err != nil {
		return nil, err
	}
	nodes, err := s.node.Cluster().Nodes(ctx, true)
	if err != nil {
		return nil, memberStatus(err)
	}
	i := slices.IndexFunc(nodes, func(m placement.Member) bool { return m.ID == r.ID && m.State != placement.Removing })
	switch {
	case i < 0:
		return nil, rpctypes.ErrGRPCMemberNotFound
	case !nodes[i].Learner:
		return nil, rpctypes.ErrGRPCMemberNotLearner
	case !nodes[i].Started():
		return nil, rpctypes.ErrGRPCLearnerNotReady
	}
	return &pb.MemberPromoteResponse{Header: s.headers.ofCluster(keyspaceOf(ctx)), Members: memberMessages(nodes, "")}, nil
}

// mayChange refuses a change on a bound connection: who was given the port or the certificate was
// given one keyspace.
func (s *clusterServer) mayChange(ctx context.Context) error {
	if bound := s.boundTo(ctx); bound != nil {
		return bound.refuse("quorate: ", "change members through a client port of the node", "change members with a certificate without one")
	}
	return nil
}

// membersAfter lists the members after a change. That was made, and is never answered by an
// error: without a leader the list is what this node knows.
func (s *clusterServer) membersAfter(ctx context.Context) []*pb.Member {
	nodes, err := s.node.Cluster().Nodes(ctx, true)
	if err != nil {
		nodes, _ = s.node.Cluster().Nodes(ctx, false)
	}
	return memberMessages(nodes, "")
}

// memberMessages lists members as etcd does: without those that are being removed, and without
// the name and client URLs of those that have never started. bound is the keyspace of a bound
// port, or empty.
func memberMessages(nodes []placement.Member, bound string) []*pb.Member {
	members := make([]*pb.Member, 0, len(nodes))
	for i := range nodes {
		m := &nodes[i]
		if m.State == placement.Removing {
			continue
		}
		member := &pb.Member{ID: m.ID, PeerURLs: m.PeerURLs, IsLearner: m.Learner && !m.Started()}
		if m.Started() {
			member.Name, member.ClientURLs = m.Name, m.ClientURLs
		}
		if m.Started() && bound != "" {
			member.ClientURLs = m.KeyspaceURLs[bound]
		}
		members = append(members, member)
	}
	return members
}
