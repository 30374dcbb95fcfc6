package server

import (
	"context"
	"net"
	"net/http"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// A bound port is a client port whose calls go to one keyspace, so that a client that knows
// nothing of keyspaces works in it. A call learns of it from the local address of its
// connection: that is the one value which gRPC and net/http both carry from a connection to
// its calls, and it is the port's own also where the port listens on every address.

// boundAddr is the local address of a connection to a bound port.
type boundAddr struct {
	net.Addr
	keyspace string
}

// ServeKeyspace is Serve for a port of one keyspace, which need not exist. Calls of our own
// API are refused there.
func (s *Server) ServeKeyspace(l net.Listener, keyspace string) error {
	s.hasBound.Store(true) // before the port's first call
	p := s.newPort(l)
	p.keyspace = keyspace
	return s.servePort(p)
}

// boundTo is the keyspace that a call's port is bound to; empty for an ordinary port. It
// costs a load while there is no bound port.
func (s *Server) boundTo(ctx context.Context) string {
	if !s.hasBound.Load() {
		return ""
	}
	if p, ok := peer.FromContext(ctx); ok {
		if a, ok := p.LocalAddr.(*boundAddr); ok {
			return a.keyspace
		}
	}
	return ""
}

// requestBoundTo is boundTo for HTTP/1.1.
func requestBoundTo(r *http.Request) string {
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(*boundAddr); ok {
		return a.keyspace
	}
	return ""
}

// managementPrefix begins the names of the methods of our own API, which is about the cluster.
const managementPrefix = "/quorate."

// checkManagement refuses a call of our own API on a bound port: who was given the port was
// given one keyspace.
func (s *Server) checkManagement(ctx context.Context, method string) error {
	if !strings.HasPrefix(method, managementPrefix) {
		return nil
	}
	if bound := s.boundTo(ctx); bound != "" {
		return status.Errorf(codes.PermissionDenied, "this port serves keyspace %q alone: ask a client port of the node about the cluster", bound)
	}
	return nil
}

// errOtherKeyspace answers a call that names another keyspace than its port's.
func errOtherKeyspace(bound string) error {
	return status.Errorf(codes.PermissionDenied, "quorate: this port serves keyspace %q alone: leave the metadata %s out, or use a client port of the node",
		bound, KeyspaceMetadata)
}
