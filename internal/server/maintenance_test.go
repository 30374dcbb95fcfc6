package server

import (
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/internal/store"
)

func TestStatus(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	r.put("a", "1")
	got, err := r.maint.Status(ctx, &pb.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	want := &pb.StatusResponse{
		Header: topHeader(2), Version: "3.7.3", StorageVersion: "3.7.0", Leader: fakeMember, RaftTerm: fakeTerm,
		RaftIndex: 1, RaftAppliedIndex: 1, DbSize: 1 << 20, DbSizeInUse: 1 << 19,
		DbSizeQuota: store.QuotaDefaultBytes, DowngradeInfo: &pb.DowngradeInfo{},
	}
	same(t, got, want)
	r.k.setStatus(func(s *KeyspaceStatus) { s.Leader, s.IsLearner = 0, true })
	r.setQuota(77)
	want.RaftIndex, want.RaftAppliedIndex = 2, 2
	want.Leader, want.IsLearner, want.DbSizeQuota, want.Errors = 0, true, 77, []string{"etcdserver: no leader"}
	if got, err = r.maint.Status(ctx, &pb.StatusRequest{}); err != nil {
		t.Fatal(err)
	}
	same(t, got, want)
	r.k.setStatus(func(s *KeyspaceStatus) {
		s.Leader, s.IsLearner, s.Warning = fakeMember, false, "only one lost disk is survived"
	})
	want.Leader, want.IsLearner, want.Errors = fakeMember, false, []string{"only one lost disk is survived"}
	if got, err = r.maint.Status(ctx, &pb.StatusRequest{}); err != nil {
		t.Fatal(err)
	}
	same(t, got, want)
}

func TestHashKV(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	for range 4 {
		r.put("a", "v") // 2..5
	}
	got, err := r.maint.HashKV(ctx, &pb.HashKVRequest{})
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, &pb.HashKVResponse{Header: topHeader(5), Hash: got.Hash, CompactRevision: -1, HashRevision: 5})
	r.compact(3)
	at4, err := r.maint.HashKV(ctx, &pb.HashKVRequest{Revision: 4})
	if err != nil {
		t.Fatal(err)
	}
	same(t, at4, &pb.HashKVResponse{Header: topHeader(5), Hash: at4.Hash, CompactRevision: 3, HashRevision: 4})
	if got.Hash == at4.Hash {
		t.Error("two histories, one hash")
	}
	_, err = r.maint.HashKV(ctx, &pb.HashKVRequest{Revision: 2})
	wantStatus(t, "compacted", err, rpctypes.ErrGRPCCompacted)
	_, err = r.maint.HashKV(ctx, &pb.HashKVRequest{Revision: 6})
	wantStatus(t, "future", err, rpctypes.ErrGRPCFutureRev)
	hash, err := r.maint.Hash(ctx, &pb.HashRequest{})
	if err != nil {
		t.Fatal(err)
	}
	same(t, hash, &pb.HashResponse{Header: topHeader(5), Hash: hash.Hash})
}

func TestMoveLeader(t *testing.T) {
	r, ctx := newRig(t, func(c *Config, _ *mvccOptions) { c.ElectionTimeout = 20 * time.Millisecond }), testContext(t)
	r.node.members = append(r.node.members, Member{ID: 3, Name: "three"})
	move := func(to uint64) error {
		_, err := r.maint.MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: to})
		return err
	}
	wantStatus(t, "to a learner", move(2), rpctypes.ErrGRPCBadLeaderTransferee)
	wantStatus(t, "to nobody", move(99), rpctypes.ErrGRPCBadLeaderTransferee)
	wantStatus(t, "to one who does not take it", move(3), errTransferTimeout)
	r.node.onTransfer = func(to uint64) error {
		time.AfterFunc(20*time.Millisecond, func() { r.k.setStatus(func(s *KeyspaceStatus) { s.Leader = to }) })
		return nil
	}
	if err := move(3); err != nil || r.k.Status().Leader != 3 {
		t.Errorf("move: %v, leader %d", err, r.k.Status().Leader)
	}
	wantStatus(t, "asked of a follower", move(3), rpctypes.ErrGRPCNotLeader)
}

func TestHashesAreNotForLearners(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	r.k.setStatus(func(s *KeyspaceStatus) { s.IsLearner = true })
	if _, err := r.maint.HashKV(ctx, &pb.HashKVRequest{}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("HashKV of a learner: %v", err)
	}
}
