package server

import (
	"cmp"
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

// authorityMetadata is where gRPC keeps the host that a client believes it speaks to.
const authorityMetadata = ":authority"

// gatedPrefix begins the names of the methods that work on a keyspace. Health and
// reflection answer on a node without one. Unary ones are told apart by their context, see
// routed.
const gatedPrefix = "/etcdserverpb."

// call is the context of a call that is answered here: it knows its keyspace, which is nil only
// for a call about the cluster whose keyspace is elsewhere. It is a type of its own because
// handlers reach the keyspace by a type assertion where context.Value would walk the chain of
// contexts and box.
type call struct {
	context.Context
	keyspace Keyspace
}

// keyspaceOf returns the keyspace of a handler's context, which has passed the gate (I1).
func keyspaceOf(ctx context.Context) Keyspace { return ctx.(*call).keyspace }

// gate decides whether a call may reach its handler, in etcd's order: learner, client
// version, leader. It is the only way in (I1). It reports whether the call requires a
// leader; whether there is one is asked by leaderless.
func (s *Server) gate(c *call, versions *counterSet, learnerMay bool, leaderless func(Keyspace) bool) (needsLeader bool, err error) {
	ctx, here := c.Context, c.keyspace != nil
	var replica KeyspaceStatus
	if here {
		replica = c.keyspace.Status()
	}
	if !learnerMay && replica.IsLearner {
		return false, rpctypes.ErrGRPCNotSupportedForLearner
	}
	version := "unknown"
	if v := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataClientAPIVersionKey); len(v) > 0 {
		version = v[0]
		if !utf8.ValidString(version) {
			return false, rpctypes.ErrGRPCInvalidClientAPIVersion
		}
	}
	versions.inc(version)
	if v := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataRequireLeaderKey); len(v) > 0 {
		needsLeader = v[0] == rpctypes.MetadataHasLeader
	}
	if here && needsLeader && leaderless(c.keyspace) {
		return false, rpctypes.ErrGRPCNoLeader
	}
	// As in etcd, where a member serves nobody before it has caught up after its start.
	if replica.Behind {
		if err := c.keyspace.Barrier(ctx); err != nil {
			return false, toStatus(err)
		}
	}
	return needsLeader, nil
}

// chosen is the keyspace of a call: that of a bound connection, or else the one that it names by
// metadata, or else by its authority. Who is bound by a certificate may name that keyspace
// by both, and no other; a port's own clients know nothing of keyspaces and call it what they like.
func (s *Server) chosen(ctx context.Context) (string, error) {
	bound := s.boundTo(ctx)
	names := metadata.ValueFromIncomingContext(ctx, KeyspaceMetadata)
	if bound == nil {
		if len(names) > 0 {
			return names[0], nil
		}
		return cmp.Or(s.labelOf(ctx), DefaultKeyspace), nil
	}
	if bound.err != nil {
		return "", bound.err
	}
	keyspace := bound.keyspace()
	if bound.port == "" {
		if label := s.labelOf(ctx); label != "" {
			names = append(names, label)
		}
	}
	for _, name := range names {
		if name != keyspace {
			return "", bound.errOther()
		}
	}
	return keyspace, nil
}

// labelOf is the keyspace that a call names by its authority, or empty.
func (s *Server) labelOf(ctx context.Context) string {
	if s.config.KeyspaceDomain == "" {
		return ""
	}
	if v := metadata.ValueFromIncomingContext(ctx, authorityMetadata); len(v) > 0 {
		if label, ok := labelUnder(v[0], s.config.KeyspaceDomain); ok {
			return label
		}
	}
	return ""
}

// labelUnder is the one label that an authority, HOST or HOST:PORT, has in front of a domain.
// Host names are compared without case, and may end with a dot; keyspaces are lower case. It
// allocates only for a host that is not written so.
func labelUnder(authority, domain string) (label string, ok bool) {
	host := authority
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	host = strings.TrimSuffix(host, ".")
	dot := len(host) - len(domain) - 1
	if dot < 1 || host[dot] != '.' || !strings.EqualFold(host[dot+1:], domain) {
		return "", false
	}
	label = host[:dot]
	return strings.ToLower(label), strings.IndexByte(label, '.') < 0
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
	switch c := ctx.(type) {
	case *call:
		if err := s.admit(c, req); err != nil {
			return nil, err
		}
		if _, err := s.gate(c, &s.metrics.unaryVersions, learnerServes(req), leaderless); err != nil {
			return nil, err
		}
		return handler(c, req)
	case *away:
		resp, err = s.forward.unary(c, info.FullMethod, req)
		s.passedOn(c, err)
		return resp, err
	}
	if err := s.checkUnrouted(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return handler(ctx, req)
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
		if err := s.checkUnrouted(ss.Context(), info.FullMethod); err != nil {
			return err
		}
		return handler(srv, ss)
	}
	keyspace, elsewhere := s.route(ss.Context())
	if elsewhere != nil {
		return s.forwardStream(elsewhere, ss, info)
	}
	c := &call{Context: ss.Context(), keyspace: keyspace}
	if err := s.admit(c, nil); err != nil {
		return err
	}
	needsLeader, err := s.gate(c, &s.metrics.streamVersions,
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
	if info.IsClientStream {
		ss = &paced{ServerStream: ss, ctx: entry.ctx, server: s, limits: keyspace.Limiter()}
	}
	return handler(srv, &gatedStream{ServerStream: ss, ctx: c})
}

// codeOf is the code that gRPC sends for a handler's error.
func codeOf(err error) codes.Code {
	if s, ok := status.FromError(err); ok {
		return s.Code()
	}
	return status.FromContextError(err).Code()
}
