package server

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/quorate/quorate/internal/limit"
	"github.com/quorate/quorate/internal/store"
)

// leaseServer is etcd's Lease service.
type leaseServer struct {
	headers *headers
	metrics *metrics
	// ttlMinSeconds is the shortest TTL that is granted: a lease must outlive an
	// election, or every change of the leader would end it.
	ttlMinSeconds int64
	newID         func() int64
}

func (s *Server) leaseService() *grpc.ServiceDesc {
	l := &leaseServer{
		headers: s.headers, metrics: s.metrics,
		ttlMinSeconds: leaseTTLMin(s.config.ElectionTimeout), newID: randomLeaseID,
	}
	return describe(pb.Lease_ServiceDesc, map[string]grpc.MethodHandler{
		"LeaseGrant":      unaryMethod(s, pb.Lease_LeaseGrant_FullMethodName, l.grant),
		"LeaseRevoke":     unaryMethod(s, pb.Lease_LeaseRevoke_FullMethodName, l.revoke),
		"LeaseTimeToLive": unaryMethod(s, pb.Lease_LeaseTimeToLive_FullMethodName, l.timeToLive),
		"LeaseLeases":     unaryMethod(s, pb.Lease_LeaseLeases_FullMethodName, l.leases),
	}, map[string]grpc.StreamHandler{
		"LeaseKeepAlive": l.keepAlive,
	})
}

// leaseTTLMin is one and a half election timeouts in whole seconds, rounded up.
func leaseTTLMin(election time.Duration) int64 {
	return int64((3*election/2 + time.Second - 1) / time.Second)
}

// randomLeaseID draws a positive id. 63 random bits do not collide; if they did, the
// grant would be refused.
func randomLeaseID() int64 {
	var b [8]byte
	for {
		rand.Read(b[:])
		if id := int64(binary.BigEndian.Uint64(b[:]) >> 1); id != 0 {
			return id
		}
	}
}

func (s *leaseServer) grant(ctx context.Context, r *pb.LeaseGrantRequest) (any, error) {
	k := keyspaceOf(ctx)
	id := r.ID
	if id == 0 {
		id = s.newID()
	}
	body := (&store.LeaseGrantRequest{ID: id, TTLSeconds: r.TTL, TTLMinSeconds: s.ttlMinSeconds}).AppendTo(nil)
	result, err := k.Propose(ctx, store.KindLeaseGrant, body)
	if err != nil {
		return nil, toStatus(err)
	}
	if result.Err != nil {
		if errors.Is(result.Err, store.ErrTooManyLeases) {
			k.Limiter().Refused(limit.Leases)
		}
		return nil, toStatus(result.Err)
	}
	resp := result.Response.(*store.LeaseGrantResponse)
	return &pb.LeaseGrantResponse{Header: s.headers.proto(k, resp.Revision), ID: resp.ID, TTL: resp.TTLSeconds}, nil
}

func (s *leaseServer) revoke(ctx context.Context, r *pb.LeaseRevokeRequest) (any, error) {
	k := keyspaceOf(ctx)
	result, err := k.Propose(ctx, store.KindLeaseRevoke, (&store.LeaseRevokeRequest{ID: r.ID}).AppendTo(nil))
	if err != nil {
		return nil, toStatus(err)
	}
	if result.Err != nil {
		return nil, toStatus(result.Err)
	}
	resp := result.Response.(*store.LeaseRevokeResponse)
	return &pb.LeaseRevokeResponse{Header: s.headers.proto(k, resp.Revision)}, nil
}

// timeToLive asks the leader what is left. An unknown lease is an answer, not an error.
func (s *leaseServer) timeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest) (any, error) {
	k := keyspaceOf(ctx)
	resp := &pb.LeaseTimeToLiveResponse{ID: r.ID, TTL: -1}
	granted, remaining, err := k.RemainingLease(ctx, r.ID)
	switch {
	case errors.Is(err, store.ErrLeaseNotFound):
	case err != nil:
		return nil, toStatus(err)
	default:
		resp.TTL, resp.GrantedTTL = remaining, granted
		if r.Keys {
			if err := s.addKeys(ctx, k, resp); err != nil {
				return nil, toStatus(err)
			}
		}
	}
	resp.Header = s.headers.proto(k, revisionOf(k))
	return resp, nil
}

// addKeys lists the keys of a lease that the leader knows. Our replica may be behind
// the leader's, hence the barrier; the lease may be gone since, which is not found.
func (s *leaseServer) addKeys(ctx context.Context, k Keyspace, resp *pb.LeaseTimeToLiveResponse) error {
	if err := k.Barrier(ctx); err != nil {
		return err
	}
	return withView(k, func(view *store.View) error {
		_, keys, ok, err := view.Lease(resp.ID, true)
		if !ok {
			resp.TTL, resp.GrantedTTL = -1, 0
		}
		resp.Keys = keys
		return err
	})
}

// leases lists what this node has applied, as etcd does.
func (s *leaseServer) leases(ctx context.Context, _ *pb.LeaseLeasesRequest) (any, error) {
	k := keyspaceOf(ctx)
	resp := new(pb.LeaseLeasesResponse)
	err := withView(k, func(view *store.View) error {
		resp.Header, resp.Leases = s.headers.proto(k, view.Revision()), nil
		return view.Leases(func(l store.Lease) bool {
			resp.Leases = append(resp.Leases, &pb.LeaseStatus{ID: l.ID})
			return true
		})
	})
	if err != nil {
		return nil, toStatus(err)
	}
	return resp, nil
}

// keepAlive renews one lease after the other, as they are asked for. One goroutine
// does it all: it waits in RecvMsg, which ends when the client goes, and the second
// one only watches for an end from our side.
func (s *leaseServer) keepAlive(_ any, stream grpc.ServerStream) error {
	ended := make(chan error, 1)
	go func() { ended <- s.renewAll(stream) }()
	ctx := stream.Context()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return endOf(ctx, ctx.Err())
	}
}

func (s *leaseServer) renewAll(stream grpc.ServerStream) error {
	ctx := stream.Context()
	k := keyspaceOf(ctx)
	for {
		var r keepAliveRequest
		if err := stream.RecvMsg(&r); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			s.metrics.streamFailed(ctx, err, "receive", "lease-keepalive")
			return err
		}
		// The header is made before the renewal: a client must not see a lease renewed at
		// a revision at which it was revoked already.
		reply := &keepAliveReply{header: s.headers.at(k, revisionOf(k)), id: r.id}
		ttl, err := k.RenewLease(ctx, r.id)
		if err != nil && !errors.Is(err, store.ErrLeaseNotFound) {
			return toStatus(err)
		}
		if err == nil {
			reply.ttl = ttl
		}
		if err := stream.SendMsg(reply); err != nil {
			s.metrics.streamFailed(ctx, err, "send", "lease-keepalive")
			return err
		}
	}
}
