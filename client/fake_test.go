package client

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// fakeNode answers as a node does, and counts what it is asked.
type fakeNode struct {
	pb.UnimplementedKVServer
	pb.UnimplementedClusterServer
	pb.UnimplementedMaintenanceServer
	pb.UnimplementedWatchServer

	member   uint64
	endpoint string
	server   *grpc.Server

	mu struct {
		sync.Mutex
		leader, term uint64
		// without: this node does not carry the keyspace, and member 1 answers for it.
		without bool
		// fail answers puts and ranges, if it is set.
		fail  func(context.Context) error
		calls map[string]int // by the method's last name
		names []string       // the keyspaces that calls named, one by one
	}
}

// startFakes starts nodes with the members 1, 2, ...; 1 leads in term 1.
func startFakes(t *testing.T, n int) []*fakeNode {
	t.Helper()
	var nodes []*fakeNode
	for i := range n {
		f := &fakeNode{member: uint64(i + 1)}
		f.mu.leader, f.mu.term, f.mu.calls = 1, 1, make(map[string]int)
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		f.endpoint = listener.Addr().String()
		f.server = grpc.NewServer(grpc.ChainUnaryInterceptor(f.unary), grpc.ChainStreamInterceptor(f.stream))
		pb.RegisterKVServer(f.server, f)
		pb.RegisterClusterServer(f.server, f)
		pb.RegisterMaintenanceServer(f.server, f)
		pb.RegisterWatchServer(f.server, f)
		go f.server.Serve(listener)
		t.Cleanup(f.server.Stop)
		nodes = append(nodes, f)
	}
	return nodes
}

func (f *fakeNode) called(ctx context.Context, method string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.calls[method[strings.LastIndexByte(method, '/')+1:]]++
	f.mu.names = append(f.mu.names, strings.Join(metadata.ValueFromIncomingContext(ctx, keyspaceMetadata), "+"))
}

func (f *fakeNode) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	f.called(ctx, info.FullMethod)
	return handler(ctx, req)
}

func (f *fakeNode) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	f.called(ss.Context(), info.FullMethod)
	return handler(srv, ss)
}

func (f *fakeNode) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// count is how often a method was called, since the last time that it was counted.
func (f *fakeNode) count(method string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.mu.calls[method]
	delete(f.mu.calls, method)
	return n
}

// header is that of an answer about the keyspace.
func (f *fakeNode) header() *pb.ResponseHeader {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := &pb.ResponseHeader{MemberId: f.member, RaftTerm: f.mu.term}
	if f.mu.without {
		h.MemberId = 1
	}
	return h
}

func (f *fakeNode) answer(ctx context.Context) (*pb.ResponseHeader, error) {
	f.mu.Lock()
	fail := f.mu.fail
	f.mu.Unlock()
	if fail != nil {
		return nil, fail(ctx)
	}
	return f.header(), nil
}

func (f *fakeNode) Put(ctx context.Context, _ *pb.PutRequest) (*pb.PutResponse, error) {
	h, err := f.answer(ctx)
	if err != nil {
		return nil, err
	}
	return &pb.PutResponse{Header: h}, nil
}

func (f *fakeNode) Range(ctx context.Context, _ *pb.RangeRequest) (*pb.RangeResponse, error) {
	h, err := f.answer(ctx)
	if err != nil {
		return nil, err
	}
	return &pb.RangeResponse{Header: h}, nil
}

func (f *fakeNode) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	h := f.header()
	f.mu.Lock()
	defer f.mu.Unlock()
	return &pb.StatusResponse{Header: h, Leader: f.mu.leader, RaftTerm: f.mu.term}, nil
}

// MemberList is about the cluster: this node answers.
func (f *fakeNode) MemberList(context.Context, *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	return &pb.MemberListResponse{Header: &pb.ResponseHeader{MemberId: f.member}}, nil
}

// Watch opens what it is asked for, and says nothing more.
func (f *fakeNode) Watch(s grpc.BidiStreamingServer[pb.WatchRequest, pb.WatchResponse]) error {
	if _, err := s.Recv(); err != nil {
		return err
	}
	if err := s.Send(&pb.WatchResponse{Header: f.header(), Created: true}); err != nil {
		return err
	}
	<-s.Context().Done()
	return s.Context().Err()
}

func endpointsOf(nodes []*fakeNode) []string {
	var all []string
	for _, n := range nodes {
		all = append(all, n.endpoint)
	}
	return all
}

func configOf(nodes []*fakeNode) clientv3.Config {
	return clientv3.Config{Endpoints: endpointsOf(nodes), MaxUnaryRetries: 4}
}

// fakeClient is a client whose first survey is over.
func fakeClient(t *testing.T, nodes []*fakeNode) *Client {
	t.Helper()
	c, err := New(configOf(nodes), "a")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.guide.surveys.Wait()
	for _, n := range nodes {
		n.count("Status")
	}
	return c
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
