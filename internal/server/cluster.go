package server

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// clusterServer is etcd's Cluster service: so far it lists, and changes nothing.
type clusterServer struct {
	node    Node
	headers *headers
	boundTo func(context.Context) string // the keyspace of a bound port, or empty
	pb.UnsafeClusterServer
}

var errNoMembership = missing("changing the members of a running cluster")

// MemberList lists the members. Its header has no revision: members are no keys. Through a
// bound port it lists where its keyspace has ports: clients that take their endpoints from
// the list would find themselves in the default keyspace elsewhere.
func (s *clusterServer) MemberList(ctx context.Context, r *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	members, err := s.node.Members(ctx, r.Linearizable)
	if err != nil {
		return nil, toStatus(err)
	}
	resp := &pb.MemberListResponse{
		Header:  s.headers.ofCluster(keyspaceOf(ctx)),
		Members: make([]*pb.Member, len(members)),
	}
	bound := s.boundTo(ctx)
	for i, m := range members {
		if bound != "" {
			m.ClientURLs = m.KeyspaceURLs[bound]
		}
		resp.Members[i] = &pb.Member{
			ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, IsLearner: m.IsLearner,
		}
	}
	return resp, nil
}

// MemberAdd is not implemented yet.
func (*clusterServer) MemberAdd(context.Context, *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	return nil, errNoMembership
}

// MemberRemove is not implemented yet.
func (*clusterServer) MemberRemove(context.Context, *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	return nil, errNoMembership
}

// MemberUpdate is not implemented yet.
func (*clusterServer) MemberUpdate(context.Context, *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	return nil, errNoMembership
}

// MemberPromote is not implemented yet.
func (*clusterServer) MemberPromote(context.Context, *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	return nil, errNoMembership
}
