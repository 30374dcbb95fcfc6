package server

import (
	"context"
	"strings"
	"unicode/utf8"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// KeyspaceMetadata is the gRPC metadata key by which a call chooses its keyspace.
const KeyspaceMetadata = "quorate-keyspace"

// DefaultKeyspace serves the calls that choose none.
const DefaultKeyspace = "default"

// gatedPrefix begins the names of the methods that work on a keyspace. Health and
// reflection answer on a node without one.
const gatedPrefix = "/etcdserverpb."

// call is the context of a call that has passed the gate: it knows its keyspace. It is
// a type of its own because handlers reach the keyspace by a type assertion where
// context.Value would walk the chain of contexts and box.
type call struct {
	context.Context
	keyspace Keyspace
}

// keyspaceOf returns the keyspace of a handler's context. The gate put it there (I1).
func keyspaceOf(ctx context.Context) Keyspace { return ctx.(*call).keyspace }

// gate decides whether a call may reach its handler, in etcd's order: learner, client
// version, leader. It is the only way in (I1). It reports whether the call requires a
// leader; whether there is one is asked by leaderless.
func (s *Server) gate(ctx context.Context, versions *counterSet, learnerMay bool, leaderless func(Keyspace) bool) (*call, bool, error) {
	name := DefaultKeyspace
	if v := metadata.ValueFromIncomingContext(ctx, KeyspaceMetadata); len(v) > 0 {
		name = v[0]
	}
	keyspace, ok := s.node.Keyspace(name)
	if !ok {
		return nil, false, status.Errorf(codes.NotFound, "quorate: keyspace %q not found", name)
	}
	c := &call{Context: ctx, keyspace: keyspace}
	if !learnerMay && keyspace.Status().IsLearner {
		return nil, false, rpctypes.ErrGRPCNotSupportedForLearner
	}
	version := "unknown"
	if v := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataClientAPIVersionKey); len(v) > 0 {
		version = v[0]
		if !utf8.ValidString(version) {
			return nil, false, rpctypes.ErrGRPCInvalidClientAPIVersion
		}
	}
	versions.inc(version)
	needsLeader := false
	if v := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataRequireLeaderKey); len(v) > 0 {
		needsLeader = v[0] == rpctypes.MetadataHasLeader
	}
	if needsLeader && leaderless(keyspace) {
		return nil, false, rpctypes.ErrGRPCNoLeader
	}
	return c, needsLeader, nil
}

// leaderless reports whether a keyspace has no leader at this moment. A unary call is
// tried again by its client.
func leaderless(k Keyspace) bool { return k.Status().Leader == 0 }

// learnerServes lists what etcd lets a learner answer: its own status and local reads.
func learnerServes(req any) bool {
	switch r := req.(type) {
	case *pb.StatusRequest:
		return true
	case *rangeRequest:
		return r.Serializable
	default:
		return false
	}
}

// unary is the one interceptor around every unary call: gate and metrics.
func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	m := s.metrics.rpc.method(info.FullMethod)
	m.started.Add(1)
	start := s.clock.Monotonic()
	defer func() { m.finish(codeOf(err), s.clock.Monotonic()-start) }()
	if !strings.HasPrefix(info.FullMethod, gatedPrefix) {
		return handler(ctx, req)
	}
	c, _, err := s.gate(ctx, &s.metrics.unaryVersions, learnerServes(req), leaderless)
	if err != nil {
		return nil, err
	}
	return handler(c, req)
}

// gatedStream gives a stream's handler the context that passed the gate.
type gatedStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (g *gatedStream) Context() context.Context { return g.ctx }

// stream is the one interceptor around every streaming call.
func (s *Server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	m := s.metrics.rpc.method(info.FullMethod)
	m.started.Add(1)
	start := s.clock.Monotonic()
	defer func() { m.finish(codeOf(err), s.clock.Monotonic()-start) }()
	if !strings.HasPrefix(info.FullMethod, gatedPrefix) {
		return handler(srv, ss)
	}
	c, needsLeader, err := s.gate(ss.Context(), &s.metrics.streamVersions,
		info.FullMethod == pb.Maintenance_Snapshot_FullMethodName, s.streams.leaderless)
	if err != nil {
		return err
	}
	entry, err := s.streams.enter(c, needsLeader)
	if err != nil {
		return err
	}
	defer s.streams.leave(entry)
	c.Context = entry.ctx
	return handler(srv, &gatedStream{ServerStream: ss, ctx: c})
}

// codeOf is the code that gRPC sends for a handler's error.
func codeOf(err error) codes.Code {
	if s, ok := status.FromError(err); ok {
		return s.Code()
	}
	return status.FromContextError(err).Code()
}
