package server

import pb "go.etcd.io/etcd/api/v3/etcdserverpb"

// headers makes response headers. etcd fills cluster id, member id and term in the
// outermost header of a response and nowhere else (I4).
type headers struct{ node Node }

// at is the header of a response whose revision is known.
func (h *headers) at(k Keyspace, revision int64) header {
	return header{cluster: h.node.ClusterID(), member: h.node.MemberID(), revision: revision, term: k.Status().Term}
}

// ofCluster is the header of a response about the cluster. Its term is that of the call's
// keyspace, which is zero if that is not here.
func (h *headers) ofCluster(k Keyspace) *pb.ResponseHeader {
	if k == nil {
		return header{cluster: h.node.ClusterID(), member: h.node.MemberID()}.proto()
	}
	return h.proto(k, 0)
}

// proto is the same as a protobuf message.
func (h *headers) proto(k Keyspace, revision int64) *pb.ResponseHeader {
	return h.at(k, revision).proto()
}

func (h header) proto() *pb.ResponseHeader {
	return &pb.ResponseHeader{ClusterId: h.cluster, MemberId: h.member, Revision: h.revision, RaftTerm: h.term}
}

// revisionOf is the current revision of a keyspace, local and cheap.
func revisionOf(k Keyspace) int64 { return k.DB().Head().Revision }
