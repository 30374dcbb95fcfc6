package server

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"

	"github.com/quorate/quorate/internal/store"
)

func (r *rig) keepAlive(ctx context.Context, id int64) (*pb.LeaseKeepAliveResponse, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.lease.LeaseKeepAlive(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil {
		return nil, err
	}
	return stream.Recv()
}

func (r *rig) grant(id, ttl int64) *pb.LeaseGrantResponse {
	r.t.Helper()
	resp, err := r.lease.LeaseGrant(testContext(r.t), &pb.LeaseGrantRequest{ID: id, TTL: ttl})
	if err != nil {
		r.t.Fatal(err)
	}
	return resp
}

// Each lease method's answer, field by field.
func TestLeaseResponses(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	same(t, r.grant(5, 60), &pb.LeaseGrantResponse{Header: topHeader(1), ID: 5, TTL: 60})
	same(t, r.grant(-6, 1), &pb.LeaseGrantResponse{Header: topHeader(1), ID: -6, TTL: 2}) // outlives an election
	if _, err := r.kv.Put(ctx, &pb.PutRequest{Key: bs("b"), Lease: 5}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.kv.Put(ctx, &pb.PutRequest{Key: bs("a"), Lease: 5}); err != nil {
		t.Fatal(err)
	}
	ttl, err := r.lease.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 5, Keys: true})
	if err != nil {
		t.Fatal(err)
	}
	same(t, ttl, &pb.LeaseTimeToLiveResponse{Header: topHeader(3), ID: 5, TTL: 59, GrantedTTL: 60, Keys: [][]byte{bs("a"), bs("b")}})
	ttl, err = r.lease.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 5})
	if err != nil {
		t.Fatal(err)
	}
	same(t, ttl, &pb.LeaseTimeToLiveResponse{Header: topHeader(3), ID: 5, TTL: 59, GrantedTTL: 60})
	alive, err := r.keepAlive(ctx, 5)
	if err != nil {
		t.Fatal(err)
	}
	same(t, alive, &pb.LeaseKeepAliveResponse{Header: topHeader(3), ID: 5, TTL: 60})
	leases, err := r.lease.LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(leases.Leases, func(a, b *pb.LeaseStatus) int { return int(a.ID - b.ID) })
	same(t, leases, &pb.LeaseLeasesResponse{Header: topHeader(3), Leases: []*pb.LeaseStatus{{ID: -6}, {ID: 5}}})
	revoke, err := r.lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: 5})
	if err != nil {
		t.Fatal(err)
	}
	same(t, revoke, &pb.LeaseRevokeResponse{Header: topHeader(4)})
}

// An id that the client leaves to us is positive and unused.
func TestLeaseChoosesID(t *testing.T) {
	r := newRig(t)
	seen := map[int64]bool{}
	for range 100 {
		id := r.grant(0, 60).ID
		if id <= 0 || seen[id] {
			t.Fatalf("id %d", id)
		}
		seen[id] = true
	}
}

func TestLeaseErrors(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	r.grant(5, 60)
	_, err := r.lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: 5, TTL: 60})
	wantStatus(t, "grant again", err, rpctypes.ErrGRPCLeaseExist)
	_, err = r.lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: 5, TTL: store.LeaseTTLMaxSeconds + 1})
	wantStatus(t, "grant for ever", err, rpctypes.ErrGRPCLeaseTTLTooLarge)
	_, err = r.lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: 6})
	wantStatus(t, "revoke", err, rpctypes.ErrGRPCLeaseNotFound)
	// An unknown lease is an answer to these two, not an error.
	ttl, err := r.lease.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 6, Keys: true})
	if err != nil {
		t.Fatal(err)
	}
	same(t, ttl, &pb.LeaseTimeToLiveResponse{Header: topHeader(1), ID: 6, TTL: -1})
	alive, err := r.keepAlive(ctx, 6)
	if err != nil {
		t.Fatal(err)
	}
	same(t, alive, &pb.LeaseKeepAliveResponse{Header: topHeader(1), ID: 6})
}

// One stream keeps many leases alive, and survives unknown ones among them.
func TestKeepAliveStream(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	r.grant(1, 10)
	r.grant(2, 20)
	stream, err := r.lease.LeaseKeepAlive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct{ id, ttl int64 }{{1, 10}, {9, 0}, {2, 20}, {1, 10}} {
		if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: want.id}); err != nil {
			t.Fatal(err)
		}
		got, err := stream.Recv()
		if err != nil || got.ID != want.id || got.TTL != want.ttl {
			t.Fatalf("keep-alive of %d: %v, %v", want.id, got, err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err == nil || err.Error() != "EOF" {
		t.Fatalf("end of stream: %v", err)
	}
}

// A keep-alive stream that asked for a leader ends without one.
func TestKeepAliveEndsWithoutLeader(t *testing.T) {
	r, ctx := newRig(t, func(c *Config, _ *mvccOptions) { c.ElectionTimeout = 20 * time.Millisecond }), testContext(t)
	stream, err := r.lease.LeaseKeepAlive(metadata.AppendToOutgoingContext(ctx, rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader))
	if err != nil {
		t.Fatal(err)
	}
	stream.Send(&pb.LeaseKeepAliveRequest{ID: 1})
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	r.k.setStatus(func(s *KeyspaceStatus) { s.Leader = 0 })
	_, err = stream.Recv()
	wantStatus(t, "keep-alive", err, rpctypes.ErrGRPCNoLeader)
}

func TestLeaseTTLMin(t *testing.T) {
	for election, want := range map[time.Duration]int64{
		time.Second: 2, 100 * time.Millisecond: 1, 2 * time.Second: 3, 5 * time.Second: 8,
	} {
		if got := leaseTTLMin(election); got != want {
			t.Errorf("%v: %d, want %d", election, got, want)
		}
	}
}

// The official client: grant, attach, keep alive, revoke.
func TestClientLease(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	c := r.client()
	lease, err := c.Grant(ctx, 30)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Put(ctx, "a", "1", clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	alive, err := c.KeepAlive(ctx, lease.ID)
	if err != nil {
		t.Fatal(err)
	}
	if m := <-alive; m == nil || m.TTL != 30 {
		t.Fatalf("keep-alive: %v", m)
	}
	if _, err := c.KeepAliveOnce(ctx, lease.ID+1); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Fatalf("keep-alive of nothing: %v", err)
	}
	if _, err := c.Revoke(ctx, lease.ID); err != nil {
		t.Fatal(err)
	}
	if get, err := c.Get(ctx, "a"); err != nil || get.Count != 0 {
		t.Fatalf("key after revoke: %v, %v", get, err)
	}
}
