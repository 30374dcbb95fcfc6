package server

import (
	"cmp"
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"github.com/quorate/quorate/internal/store"
)

// maintenanceServer is etcd's Maintenance service, as far as it looks and does not
// change.
type maintenanceServer struct {
	node    Node
	headers *headers
	pb.UnsafeMaintenanceServer
}

// Status describes this member's replica of the keyspace. It asks nobody, so that it
// answers in a cluster without a leader.
func (s *maintenanceServer) Status(ctx context.Context, _ *pb.StatusRequest) (*pb.StatusResponse, error) {
	k := keyspaceOf(ctx)
	status, node := k.Status(), s.node.Status()
	resp := &pb.StatusResponse{
		Header:           s.headers.proto(k, revisionOf(k)),
		Version:          EtcdVersion,
		StorageVersion:   EtcdClusterVersion,
		Leader:           status.Leader,
		RaftTerm:         status.Term,
		RaftIndex:        status.CommitIndex,
		RaftAppliedIndex: status.AppliedIndex,
		IsLearner:        status.IsLearner,
		DbSize:           node.DiskBytes,
		DbSizeInUse:      node.InUseBytes,
		DbSizeQuota:      cmp.Or(status.QuotaBytes, store.QuotaDefaultBytes),
		DowngradeInfo:    &pb.DowngradeInfo{},
	}
	if status.Leader == 0 {
		resp.Errors = append(resp.Errors, rpctypes.ErrNoLeader.Error())
	}
	return resp, nil
}

// Hash is the hash of the whole replicated state, which includes more than HashKV's.
func (s *maintenanceServer) Hash(ctx context.Context, _ *pb.HashRequest) (*pb.HashResponse, error) {
	k := keyspaceOf(ctx)
	view, err := k.View()
	if err != nil {
		return nil, toStatus(err)
	}
	defer view.Close()
	hash, err := view.Hash()
	if err != nil {
		return nil, toStatus(err)
	}
	return &pb.HashResponse{Header: s.headers.proto(k, view.Revision()), Hash: uint32(hash ^ hash>>32)}, nil
}

// HashKV is the hash of the history up to a revision. It is a function of that revision
// and the compacted one alone, so that members can be compared.
func (s *maintenanceServer) HashKV(ctx context.Context, r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	k := keyspaceOf(ctx)
	view, err := k.View()
	if err != nil {
		return nil, toStatus(err)
	}
	defer view.Close()
	hash, err := view.HashKV(r.Revision)
	if err != nil {
		return nil, toStatus(err)
	}
	return &pb.HashKVResponse{
		Header:          s.headers.proto(k, view.Revision()),
		Hash:            hash,
		CompactRevision: view.CompactRevision(),
		HashRevision:    cmp.Or(r.Revision, view.Revision()),
	}, nil
}

// MoveLeader gives the leadership of the call's keyspace to another member. Only the
// leader can.
func (s *maintenanceServer) MoveLeader(ctx context.Context, r *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	k := keyspaceOf(ctx)
	status := k.Status()
	if status.Leader != s.node.MemberID() {
		return nil, rpctypes.ErrGRPCNotLeader
	}
	if err := s.node.TransferLeadership(ctx, status.Keyspace, r.TargetID); err != nil {
		return nil, toStatus(err)
	}
	return &pb.MoveLeaderResponse{}, nil
}

// Defragment has nothing to do: compaction gives space back by itself.
func (s *maintenanceServer) Defragment(context.Context, *pb.DefragmentRequest) (*pb.DefragmentResponse, error) {
	return nil, missing("defragmentation (compaction gives space back by itself)")
}

// Alarm lists the alarms, of which there are none yet: `etcdctl endpoint health` asks.
// Raising or disarming one is not implemented.
func (s *maintenanceServer) Alarm(ctx context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	if r.Action != pb.AlarmRequest_GET {
		return nil, missing("raising and disarming alarms")
	}
	k := keyspaceOf(ctx)
	view, err := k.View()
	if err != nil {
		return nil, toStatus(err)
	}
	defer view.Close()
	return &pb.AlarmResponse{Header: s.headers.proto(k, view.Revision())}, nil
}

// Snapshot is not implemented yet.
func (s *maintenanceServer) Snapshot(*pb.SnapshotRequest, grpc.ServerStreamingServer[pb.SnapshotResponse]) error {
	return missing("saving a snapshot")
}

// Downgrade is not implemented yet.
func (s *maintenanceServer) Downgrade(context.Context, *pb.DowngradeRequest) (*pb.DowngradeResponse, error) {
	return nil, missing("downgrading")
}
