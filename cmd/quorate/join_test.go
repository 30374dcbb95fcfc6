package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	rpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/quorate/quorate/api/quorate/v1"
	"github.com/quorate/quorate/internal/placement"
)

// joinable serves Join alone, and returns its URL.
func joinable(t *testing.T, join func(*quoratev1.JoinNodeRequest) (*quoratev1.JoinNodeResponse, error)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	quoratev1.RegisterNodesServer(s, &fakeNodes{join: join})
	go s.Serve(l) // ends with Stop, and its error says nothing
	t.Cleanup(s.Stop)
	return "http://" + l.Addr().String()
}

func refuses(code codes.Code, text string) func(*quoratev1.JoinNodeRequest) (*quoratev1.JoinNodeResponse, error) {
	return func(*quoratev1.JoinNodeRequest) (*quoratev1.JoinNodeResponse, error) {
		return nil, rpcstatus.Error(code, text)
	}
}

// nobody is a URL at which nothing listens.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return "http://" + l.Addr().String()
}

func joinConfig(urls ...string) *Config {
	return &Config{
		Name: "d", AdvertisePeerURLs: []string{"http://10.0.0.4:2380"}, Zone: "eu-2", Weight: 3, Bootstrap: Bootstrap{Token: "token"}, Join: urls,
	}
}

// Goal: a node joins through whoever can take it in, also later, and says all of itself.
func TestJoinCluster(t *testing.T) {
	want := placement.Ticket{Cluster: 1, Token: "token", Node: 0xab, Incarnation: 2, Members: []placement.Member{{ID: 7, Name: "a"}}}
	ticket, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	alive := joinable(t, func(r *quoratev1.JoinNodeRequest) (*quoratev1.JoinNodeResponse, error) {
		if asked.Add(1) == 1 {
			return nil, rpcstatus.Error(codes.Unavailable, "etcdserver: no leader")
		}
		said := &quoratev1.JoinNodeRequest{Name: "d", PeerUrls: []string{"http://10.0.0.4:2380"}, Zone: "eu-2", Weight: 3, ClusterToken: "token", Disk: 42}
		if !proto.Equal(r, said) {
			t.Errorf("%v", r)
		}
		return &quoratev1.JoinNodeResponse{Node: want.Node, Ticket: ticket}, nil
	})
	got, err := joinCluster(t.Context(), joinConfig(nobody(t), alive), nil, 42, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if got.Node != want.Node || got.Incarnation != 2 || len(got.Members) != 1 || asked.Load() != 2 {
		t.Errorf("%+v after %d attempts", got, asked.Load())
	}
}

// Goal: whatever keeps a node from joining is one sentence that says what to do; what cannot
// change is not tried again.
func TestJoinRefusals(t *testing.T) {
	answers := func(r *quoratev1.JoinNodeResponse) func(*quoratev1.JoinNodeRequest) (*quoratev1.JoinNodeResponse, error) {
		return func(*quoratev1.JoinNodeRequest) (*quoratev1.JoinNodeResponse, error) { return r, nil }
	}
	etcd := "http://" + startNothing(t)
	for _, c := range []struct{ what, url, want string }{
		{"wrong token", joinable(t, refuses(codes.FailedPrecondition, "another cluster: correct --initial-cluster-token")), ": another cluster: correct --initial-cluster-token"},
		{"address in use", joinable(t, refuses(codes.AlreadyExists, "node exists: give each node its own")), ": node exists: give each node its own"},
		{"no room", joinable(t, refuses(codes.ResourceExhausted, "not enough nodes: the limit")), ": not enough nodes: the limit"},
		{"an etcd", etcd, "cannot take nodes in: it is an etcd, or an older Quorate"},
		{"one keyspace's port", joinable(t, refuses(codes.PermissionDenied, "this port serves one: ask another")), "takes no nodes in: this port serves one: ask another"},
		{"a ticket that is none", joinable(t, answers(&quoratev1.JoinNodeResponse{Node: 1, Ticket: []byte("{")})), "cannot be read: unexpected end of JSON input: start the version that it runs"},
		{"somebody else's ticket", joinable(t, answers(&quoratev1.JoinNodeResponse{Node: 1, Ticket: []byte(`{"node":2}`)})), "its ticket is not for node 1"},
	} {
		_, err := joinCluster(t.Context(), joinConfig(nobody(t), c.url), nil, 42, slog.New(slog.DiscardHandler))
		if err == nil {
			t.Errorf("%s is accepted", c.what)
			continue
		}
		checkSentence(t, c.what, err.Error(), "--join "+c.url)
		checkSentence(t, c.what, err.Error(), c.want)
	}
}

// startNothing is a server without our services, and returns its address.
func startNothing(t *testing.T) string {
	t.Helper()
	address, stop, err := serveKeyspaces(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return address
}

// Goal: patience ends, and the sentence says who was asked and why that failed.
func TestJoinGivesUp(t *testing.T) {
	broken, gone := joinable(t, refuses(codes.Unavailable, "etcdserver: no leader")), nobody(t)
	_, err := joinWithin(t.Context(), 50*time.Millisecond, joinConfig(gone, broken), nil, 42, slog.New(slog.DiscardHandler))
	if err == nil {
		t.Fatal("joined")
	}
	checkSentence(t, "join", err.Error(), "no node of --join could take this one in within 50ms ("+broken+": etcdserver: no leader): start one of "+gone+", "+broken+", or correct --join")
	silent := "http://" + silentAddress(t)
	if _, err = joinWithin(t.Context(), 50*time.Millisecond, joinConfig(silent), nil, 42, slog.New(slog.DiscardHandler)); err == nil {
		t.Fatal("joined")
	}
	checkSentence(t, "join", err.Error(), silent+": no connection within")
}

// Goal: whoever stops a node that waits to join is obeyed at once.
func TestJoinStops(t *testing.T) {
	ctx, stop := context.WithCancelCause(t.Context())
	why := errors.New("received signal interrupt")
	url := joinable(t, func(*quoratev1.JoinNodeRequest) (*quoratev1.JoinNodeResponse, error) {
		stop(why)
		return nil, rpcstatus.Error(codes.Unavailable, "etcdserver: no leader")
	})
	if _, err := joinCluster(ctx, joinConfig(url), nil, 42, slog.New(slog.DiscardHandler)); !errors.Is(err, why) {
		t.Error(err)
	}
}
