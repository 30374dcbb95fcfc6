package server

import (
	"cmp"
	"context"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/internal/store"
)

// maintenanceServer is etcd's Maintenance service, as far as it looks and does not
// change.
type maintenanceServer struct {
	node     Node
	headers  *headers
	election time.Duration
	pb.UnsafeMaintenanceServer
}

// Status describes this member's replica of the keyspace. It asks nobody, so that it
// answers in a cluster without a leader.
func (s *maintenanceServer) Status(ctx context.Context, _ *pb.StatusRequest) (*pb.StatusResponse, error) {
	k := keyspaceOf(ctx)
	status := k.Status()
	bytes, inUse := s.node.Disk()
	resp := &pb.StatusResponse{
		Version:          EtcdVersion,
		StorageVersion:   EtcdClusterVersion,
		Leader:           status.Leader,
		RaftTerm:         status.Term,
		RaftIndex:        status.CommitIndex,
		RaftAppliedIndex: status.AppliedIndex,
		IsLearner:        status.IsLearner,
		DbSize:           bytes,
		DbSizeInUse:      inUse,
		DowngradeInfo:    &pb.DowngradeInfo{},
	}
	if status.Leader == 0 {
		resp.Errors = append(resp.Errors, rpctypes.ErrNoLeader.Error())
	}
	if status.Warning != "" { // etcdctl endpoint status shows it, and nothing else of etcd's has room
		resp.Errors = append(resp.Errors, status.Warning)
	}
	err := withView(k, func(view *store.View) (err error) {
		resp.Header = s.headers.proto(k, view.Revision())
		quota, err := view.Quota()
		resp.DbSizeQuota = quota.Bytes
		return err
	})
	if err != nil {
		return nil, toStatus(err)
	}
	return resp, nil
}

// Hash is the hash of the whole replicated state, which includes more than HashKV's.
func (s *maintenanceServer) Hash(ctx context.Context, _ *pb.HashRequest) (*pb.HashResponse, error) {
	k := keyspaceOf(ctx)
	resp := new(pb.HashResponse)
	err := withView(k, func(view *store.View) error {
		hash, err := view.Hash()
		resp.Header, resp.Hash = s.headers.proto(k, view.Revision()), uint32(hash^hash>>32)
		return err
	})
	if err != nil {
		return nil, toStatus(err)
	}
	return resp, nil
}

// HashKV is the hash of the history up to a revision. It is a function of that revision
// and the compacted one alone, so that members can be compared.
func (s *maintenanceServer) HashKV(ctx context.Context, r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	k := keyspaceOf(ctx)
	resp := new(pb.HashKVResponse)
	err := withView(k, func(view *store.View) (err error) {
		resp.Header = s.headers.proto(k, view.Revision())
		resp.CompactRevision = view.CompactRevision()
		resp.HashRevision = cmp.Or(r.Revision, view.Revision())
		resp.Hash, err = view.HashKV(r.Revision)
		return err
	})
	if err != nil {
		return nil, toStatus(err)
	}
	return resp, nil
}

// MoveLeader gives the leadership of the call's keyspace to another member, and waits
// until this node sees it there. Only the leader can.
func (s *maintenanceServer) MoveLeader(ctx context.Context, r *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	k := keyspaceOf(ctx)
	status := k.Status()
	if status.Leader != s.node.MemberID() {
		return nil, rpctypes.ErrGRPCNotLeader
	}
	members, err := s.node.Members(ctx, false)
	if err != nil {
		return nil, toStatus(err)
	}
	if !slices.ContainsFunc(members, func(m Member) bool { return m.ID == r.TargetID && !m.IsLearner }) {
		return nil, rpctypes.ErrGRPCBadLeaderTransferee
	}
	if err := s.node.TransferLeadership(ctx, status.Keyspace, r.TargetID); err != nil {
		return nil, toStatus(err)
	}
	if err := s.awaitLeader(ctx, k, r.TargetID); err != nil {
		return nil, err
	}
	return &pb.MoveLeaderResponse{}, nil
}

// errTransferTimeout has etcd's text, and the code that it gets there by being in no
// table.
var errTransferTimeout = status.Error(codes.Unknown, "etcdserver: request timed out, leader transfer took too long")

// awaitLeader polls, as etcd does: a transfer takes a few round trips and happens rarely.
func (s *maintenanceServer) awaitLeader(ctx context.Context, k Keyspace, leader uint64) error {
	ctx, cancel := context.WithTimeout(ctx, transferElections*s.election)
	defer cancel()
	ticker := time.NewTicker(s.election / pollsPerElection)
	defer ticker.Stop()
	for k.Status().Leader != leader {
		select {
		case <-ctx.Done():
			return errTransferTimeout
		case <-ticker.C:
		}
	}
	return nil
}

const (
	transferElections = 3  // election timeouts that a transfer may take
	pollsPerElection  = 20 // looks at the leader in each of them
)

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
