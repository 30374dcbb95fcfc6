package server

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// A bound connection is one whose calls go to one keyspace: that of its port, so that a client
// that knows nothing of keyspaces works in it, or that of its client's certificate. A call
// learns of it from the local address of its connection: that is the one value which gRPC and
// net/http both carry from a connection to its calls, and it is the port's own also where the
// port listens on every address.

// binding is what a connection leaves of the choice of a keyspace. It never changes.
type binding struct {
	// port and certificate are the keyspaces of both, at least one of them set unless err is.
	port, certificate string
	// err answers every call: the certificate names a keyspace in a way that cannot be meant.
	err error
}

// keyspace is the only one that the connection's calls reach.
func (b *binding) keyspace() string { return cmp.Or(b.port, b.certificate) }

// boundAddr is the local address of a bound connection.
type boundAddr struct {
	net.Addr
	*binding
}

// ServeKeyspace is Serve for a port of one keyspace, which need not exist. Calls of our own
// API are refused there.
func (s *Server) ServeKeyspace(l net.Listener, keyspace string) error {
	p := s.newPort(l)
	p.bind = &binding{port: keyspace}
	s.hasBound.Store(true) // before the port's first call
	return s.servePort(p)
}

// boundTo is what binds a call's connection; nil: nothing. It costs a load while no connection
// was bound.
func (s *Server) boundTo(ctx context.Context) *binding {
	if !s.hasBound.Load() {
		return nil
	}
	if p, ok := peer.FromContext(ctx); ok {
		if a, ok := p.LocalAddr.(*boundAddr); ok {
			return a.binding
		}
	}
	return nil
}

// requestBoundTo is boundTo for HTTP/1.1.
func requestBoundTo(r *http.Request) *binding {
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(*boundAddr); ok {
		return a.binding
	}
	return nil
}

// managementPrefix begins the names of the methods of our own API, which is about the cluster.
const managementPrefix = "/quorate."

// checkUnrouted refuses a call outside of etcd's API on a bound connection: all calls with a
// wrong certificate, and those of our own API.
func (s *Server) checkUnrouted(ctx context.Context, method string) error {
	bound := s.boundTo(ctx)
	switch {
	case bound == nil:
		return nil
	case bound.err != nil:
		return bound.err
	case strings.HasPrefix(method, managementPrefix):
		return bound.refuse("", "ask a client port of the node about the cluster", "ask about the cluster with a certificate without one")
	}
	return nil
}

// errOther answers a call that names another keyspace than its connection's.
func (b *binding) errOther() error {
	return b.refuse("quorate: ", "leave the metadata "+KeyspaceMetadata+" out, or use a client port of the node",
		"leave the metadata "+KeyspaceMetadata+" and the keyspace's host name out, or use another certificate")
}

// refuse says that the port or the certificate is for one keyspace, and what to do about each.
func (b *binding) refuse(prefix, atPort, withCertificate string) error {
	if b.port != "" {
		return status.Errorf(codes.PermissionDenied, "%sthis port serves keyspace %q alone: %s", prefix, b.port, atPort)
	}
	return status.Errorf(codes.PermissionDenied, "%sthis certificate is for keyspace %q alone: %s", prefix, b.certificate, withCertificate)
}
