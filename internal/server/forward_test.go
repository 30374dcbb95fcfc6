package server

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/router"
)

// far is a keyspace that back carries and front does not.
const far = "far"

// farMember is back's id.
const farMember = uint64(0xb1)

// newPair is a node that passes calls for far on, and the one that answers them.
func newPair(t *testing.T, options ...rigOption) (front, back *rig) {
	t.Helper()
	back = newRig(t, options...)
	back.node.keyspaces[far] = newFakeKeyspace(t, far, mvccOptions{})
	front = newRig(t, options...)
	front.carry(Member{ID: farMember, ClientURLs: []string{"http://" + back.addr}})
	return front, back
}

// carry makes members carry far, in this order, as r knows it.
func (r *rig) carry(members ...Member) {
	r.node.members = append(r.node.members, members...)
	var ids []uint64
	for _, m := range members {
		ids = append(ids, m.ID)
	}
	r.node.carriers = func(name string) ([]uint64, error) {
		switch name {
		case far:
			return ids, nil
		case "deleted":
			return nil, fmt.Errorf("%w: %q: undelete it first", placement.ErrDeleted, name)
		case "unsettled":
			return nil, fmt.Errorf("find keyspace: %w", router.ErrNoLeader)
		}
		return nil, fmt.Errorf("%w: %q", placement.ErrNotFound, name)
	}
}

func inKeyspace(ctx context.Context, name string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, KeyspaceMetadata, name)
}

// forwarded is the counter of calls that were passed on.
func (r *rig) forwarded(outcome string) float64 {
	r.t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "quorate_forwarded_calls_total" && m.GetLabel()[0].GetValue() == outcome {
				return m.GetCounter().GetValue()
			}
		}
	}
	r.t.Fatalf("no counter of %s", outcome)
	return 0
}

// Goal: a client of a node that does not carry its keyspace has a whole etcd all the same.
func TestForwardedIsAnEtcd(t *testing.T) {
	front, back := newPair(t)
	ctx := testContext(t)
	c := front.bind(far).client()
	watch := c.Watch(ctx, "k", clientv3.WithPrevKV())
	lease, err := c.Grant(ctx, 60)
	if err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("v", 1<<20)
	for _, v := range []string{"first", large} {
		if _, err := c.Put(ctx, "k", v, clientv3.WithLease(lease.ID)); err != nil {
			t.Fatal(err)
		}
	}
	var seen []*clientv3.Event
	for len(seen) < 2 {
		m := <-watch
		if m.Err() != nil {
			t.Fatal(m.Err())
		}
		seen = append(seen, m.Events...)
	}
	if string(seen[1].Kv.Value) != large || string(seen[1].PrevKv.Value) != "first" {
		t.Errorf("the watch saw %d bytes after %q", len(seen[1].Kv.Value), seen[1].PrevKv.Value)
	}
	txn, err := c.Txn(ctx).If(clientv3.Compare(clientv3.Version("k"), "=", 2)).Then(clientv3.OpGet("k")).Commit()
	if err != nil || !txn.Succeeded || string(txn.Responses[0].GetResponseRange().Kvs[0].Value) != large {
		t.Errorf("txn: %v", err)
	}
	alive, err := c.KeepAlive(ctx, lease.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got := <-alive; got == nil || got.TTL != 60 {
		t.Errorf("keep-alive: %+v", got)
	}
	stream, err := pb.NewKVClient(front.conn).RangeStream(inKeyspace(ctx, far), &pb.RangeRequest{Key: bs("k")})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := stream.Recv(); err != nil || got.RangeResponse.Count != 1 {
		t.Errorf("range stream: %v", err)
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Errorf("range stream ends with %v", err)
	}
	k := back.node.keyspaces[far].(*fakeKeyspace)
	if got := revisionOf(k); got != 3 {
		t.Errorf("the revision is %d", got)
	}
	if front.forwarded("ok") < 5 || front.forwarded("error") != 0 || back.forwarded("ok") != 0 {
		t.Error("calls are counted wrongly")
	}
}

// Goal: what a method answers through another node is what it answers at its own, whatever
// bytes it gets. Method: every method of etcd's API, both ways, at two nodes that are alike.
func TestForwardedAnswersAreTheSame(t *testing.T) {
	front, _ := newPair(t)
	_, alike := newPair(t)
	ctx := inKeyspace(testContext(t), far)
	for _, m := range etcdMethods(t) {
		for _, payload := range [][]byte{nil, {0xff}, {0x0a, 0x05, 'x'}, {0x0a, 0x01, 'x'}} {
			want, got := alike.call(ctx, m, payload), front.call(ctx, m, payload)
			if status.Code(got) != status.Code(want) || status.Convert(got).Message() != status.Convert(want).Message() {
				t.Errorf("%s with % x: %v, want %v", m.full, payload, got, want)
			}
		}
	}
}

// Goal: what cannot be passed on says why; what was passed on is not passed on again.
func TestNotForwarded(t *testing.T) {
	front, _ := newPair(t)
	for _, c := range []struct {
		keyspace, forwarded string
		code                codes.Code
		says                string
	}{
		{"deleted", "", codes.FailedPrecondition, `quorate: keyspace is deleted: "deleted": undelete it first`},
		{"deleted", "1", codes.FailedPrecondition, "undelete it first"},
		{"none", "", codes.NotFound, `quorate: keyspace "none" not found`},
		{"none", "1", codes.Unavailable, "try again"},
		{"unsettled", "", codes.Unavailable, "etcdserver: no leader"},
		{far, "1", codes.Unavailable, `quorate: keyspace "far" is not on the member that should carry it: try again`},
	} {
		ctx := inKeyspace(testContext(t), c.keyspace)
		if c.forwarded != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, forwardedMetadata, c.forwarded)
		}
		var trailer metadata.MD
		_, err := front.kv.Range(ctx, &pb.RangeRequest{Key: bs("a")}, grpc.Trailer(&trailer))
		check := func(kind string, err error, trailer metadata.MD) {
			marked := len(trailer[notHereTrailer]) > 0
			if status.Code(err) != c.code || !strings.Contains(status.Convert(err).Message(), c.says) || marked != (c.forwarded != "" && c.code == codes.Unavailable) {
				t.Errorf("%+v: %s: %v, %v", c, kind, err, trailer)
			}
		}
		check("unary", err, trailer)
		stream, err := front.watch.Watch(ctx)
		if err == nil {
			_, err = stream.Recv()
		}
		check("stream", err, stream.Trailer())
	}
	if front.forwarded("ok")+front.forwarded("error")+front.forwarded("unreachable") != 0 {
		t.Error("a call that was not passed on is counted")
	}
}

// Goal: the member list is answered here: it is about the cluster, and through a bound port
// about the ports of its keyspace.
func TestMemberListIsNotForwarded(t *testing.T) {
	front, _ := newPair(t)
	front.node.members[0].KeyspaceURLs = map[string][]string{far: {"http://c:2479"}}
	list, err := pb.NewClusterClient(front.bind(far).conn).MemberList(testContext(t), &pb.MemberListRequest{})
	if err != nil || len(list.Members) != len(front.node.members) ||
		!slices.ContainsFunc(list.Members, func(m *pb.Member) bool { return slices.Contains(m.ClientURLs, "http://c:2479") }) ||
		list.Header.MemberId != fakeMember || list.Header.RaftTerm != 0 {
		t.Errorf("%v, %v", list, err)
	}
}

// stand is a member that does with each call what a test wants.
type stand struct {
	addr   string
	calls  atomic.Int64
	server *grpc.Server
}

func newStand(t *testing.T, handle func(s *stand, stream grpc.ServerStream) error) *stand {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &stand{addr: l.Addr().String()}
	s.server = grpc.NewServer(grpc.ForceServerCodecV2(rawMessageCodec{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		s.calls.Add(1)
		return handle(s, stream)
	}))
	go s.server.Serve(l)
	t.Cleanup(s.server.Stop)
	return s
}

func (s *stand) member(id uint64) Member {
	return Member{ID: id, ClientURLs: []string{"http://" + s.addr}}
}

// answerEmpty is a handler that answers anything with an empty message.
func answerEmpty(_ *stand, stream grpc.ServerStream) error {
	if err := stream.RecvMsg(new(rawMessage)); err != nil {
		return err
	}
	return stream.SendMsg(new(rawMessage))
}

// silent is a member that nobody listens for.
func silent(t *testing.T, id uint64) Member {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return Member{ID: id, ClientURLs: []string{"http://" + l.Addr().String()}}
}

// Goal: metadata, header, trailer, deadline and the details of a status pass through, and
// what belongs to a connection does not.
func TestForwardedMetadata(t *testing.T) {
	type said struct {
		md       metadata.MD
		deadline bool
	}
	heard := make(chan said, 2)
	s := newStand(t, func(_ *stand, stream grpc.ServerStream) error {
		md, _ := metadata.FromIncomingContext(stream.Context())
		_, deadline := stream.Context().Deadline()
		heard <- said{md, deadline}
		stream.SetHeader(metadata.Pairs("h", "1"))
		stream.SetTrailer(metadata.Pairs("t", "2", "b-bin", "\x00\xff"))
		if err := answerEmpty(nil, stream); err != nil {
			return err
		}
		st, _ := status.New(codes.Code(77), "a sentence of its own").WithDetails(&pb.Member{Name: "detail"})
		return st.Err()
	})
	front := newRig(t)
	front.carry(s.member(3))
	ctx := metadata.AppendToOutgoingContext(inKeyspace(testContext(t), far), "k", "v", "k", "w", "x-bin", "\x01\xfe", rpctypes.MetadataRequireLeaderKey, "true")
	check := func(kind string, err error, header, trailer metadata.MD) {
		t.Helper()
		got := <-heard
		if !slices.Equal(got.md["k"], []string{"v", "w"}) || got.md["x-bin"][0] != "\x01\xfe" || got.md[rpctypes.MetadataRequireLeaderKey][0] != "true" ||
			!slices.Equal(got.md[KeyspaceMetadata], []string{far}) || !slices.Equal(got.md[forwardedMetadata], []string{"1"}) || !got.deadline {
			t.Errorf("%s: the member got %v, deadline %v", kind, got.md, got.deadline)
		}
		if !slices.Equal(header["h"], []string{"1"}) || !slices.Equal(trailer["t"], []string{"2"}) || trailer["b-bin"][0] != "\x00\xff" {
			t.Errorf("%s: the client got %v, %v", kind, header, trailer)
		}
		st := status.Convert(err)
		if st.Code() != 77 || st.Message() != "a sentence of its own" || len(st.Details()) != 1 || st.Details()[0].(*pb.Member).Name != "detail" {
			t.Errorf("%s: %v, %v", kind, err, st.Details())
		}
	}
	var header, trailer metadata.MD
	_, err := front.kv.Put(ctx, &pb.PutRequest{Key: bs("a")}, grpc.Header(&header), grpc.Trailer(&trailer))
	check("unary", err, header, trailer)
	stream, err := front.lease.LeaseKeepAlive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	stream.Send(&pb.LeaseKeepAliveRequest{})
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	header, _ = stream.Header()
	check("stream", err, header, stream.Trailer())
}

// Goal: members that cannot be reached are passed over, for unary calls and for streams; when
// there is no other, a sentence says so, and nothing waits.
func TestForwardPassesOverTheDead(t *testing.T) {
	s := newStand(t, answerEmpty)
	front, alone := newRig(t), newRig(t)
	front.carry(silent(t, 3), Member{ID: 4}, s.member(5))
	alone.carry(silent(t, 3))
	ctx := inKeyspace(testContext(t), far)
	for range 3 {
		if _, err := front.kv.Put(ctx, &pb.PutRequest{Key: bs("a")}); err != nil {
			t.Fatal(err)
		}
	}
	watch := func(r *rig) error {
		stream, err := r.watch.Watch(ctx)
		if err == nil {
			stream.Send(&pb.WatchRequest{})
			_, err = stream.Recv()
		}
		return err
	}
	if err := watch(front); err != nil {
		t.Fatal(err)
	}
	if got := s.calls.Load(); got != 4 || front.forwarded("ok") != 4 {
		t.Errorf("%d calls arrived, %v are counted", got, front.forwarded("ok"))
	}
	want := status.Error(codes.Unavailable, `quorate: no member that carries keyspace "far" can be reached: try again`)
	_, err := alone.kv.Put(ctx, &pb.PutRequest{Key: bs("a")})
	wantStatus(t, "unary", err, want)
	wantStatus(t, "stream", watch(alone), want)
	if alone.forwarded("unreachable") != 2 {
		t.Errorf("%v are counted", alone.forwarded("unreachable"))
	}
}

// Goal: a write that may have run is not tried again. Method: a member that dies with the
// request in its hands, and one that answers with an error that clients take for a chance.
func TestForwardedWriteRunsOnce(t *testing.T) {
	for name, handle := range map[string]func(*stand, grpc.ServerStream) error{
		"dies": func(s *stand, stream grpc.ServerStream) error {
			stream.RecvMsg(new(rawMessage))
			go s.server.Stop()
			<-stream.Context().Done()
			return nil
		},
		"is in doubt": func(s *stand, stream grpc.ServerStream) error {
			stream.RecvMsg(new(rawMessage))
			return rpctypes.ErrGRPCTimeoutDueToLeaderFail
		},
	} {
		first, second := newStand(t, handle), newStand(t, answerEmpty)
		front := newRig(t)
		front.carry(first.member(3), second.member(4))
		_, err := front.kv.Put(inKeyspace(testContext(t), far), &pb.PutRequest{Key: bs("a")})
		if status.Code(err) != codes.Unavailable || first.calls.Load() != 1 || second.calls.Load() != 0 || front.forwarded("error") != 1 {
			t.Errorf("a member that %s: %v; %d and %d calls", name, err, first.calls.Load(), second.calls.Load())
		}
	}
}

// Goal: a call waits a moment for members that do not have the keyspace yet, and not for ever.
func TestForwardWaitsForTheKeyspace(t *testing.T) {
	late := func(from int64) func(*stand, grpc.ServerStream) error {
		return func(s *stand, stream grpc.ServerStream) error {
			if s.calls.Load() < from {
				stream.SetTrailer(metadata.Pairs(notHereTrailer, "1"))
				return status.Error(codes.Unavailable, "quorate: not here")
			}
			return answerEmpty(s, stream)
		}
	}
	first, second := newStand(t, late(4)), newStand(t, late(3))
	front := newRig(t)
	front.carry(first.member(3), second.member(4))
	ctx := inKeyspace(testContext(t), far)
	var trailer metadata.MD
	if _, err := front.kv.Put(ctx, &pb.PutRequest{Key: bs("a")}, grpc.Trailer(&trailer)); err != nil || len(trailer) != 0 {
		t.Errorf("%v, %v", err, trailer)
	}
	if first.calls.Load() != 3 || second.calls.Load() != 3 {
		t.Errorf("%d and %d calls", first.calls.Load(), second.calls.Load())
	}
	never := newStand(t, late(1000))
	front = newRig(t)
	front.carry(never.member(3))
	_, err := front.kv.Put(ctx, &pb.PutRequest{Key: bs("a")}, grpc.Trailer(&trailer))
	wantStatus(t, "never", err, status.Error(codes.Unavailable, "quorate: not here"))
	if never.calls.Load() != roundsMax || len(trailer[notHereTrailer]) != 0 {
		t.Errorf("%d calls, %v", never.calls.Load(), trailer)
	}
}

// Goal: a client that gives up ends its call at the member, and one whose time is over, too.
func TestForwardedCallsEndWithTheirClient(t *testing.T) {
	ended := make(chan error, 1)
	arrived := make(chan struct{}, 1)
	s := newStand(t, func(_ *stand, stream grpc.ServerStream) error {
		stream.RecvMsg(new(rawMessage))
		arrived <- struct{}{}
		<-stream.Context().Done()
		ended <- stream.Context().Err()
		return nil
	})
	front := newRig(t)
	front.carry(s.member(3))
	calls := map[string]func(context.Context) error{
		"unary": func(ctx context.Context) error {
			_, err := front.kv.Put(ctx, &pb.PutRequest{Key: bs("a")})
			return err
		},
		"stream": func(ctx context.Context) error {
			stream, err := front.watch.Watch(ctx)
			if err == nil {
				stream.Send(&pb.WatchRequest{})
				_, err = stream.Recv()
			}
			return err
		},
	}
	for kind, call := range calls {
		ctx, cancel := context.WithCancel(inKeyspace(testContext(t), far))
		go func() { <-arrived; cancel() }()
		if err := call(ctx); status.Code(err) != codes.Canceled {
			t.Errorf("%s: %v", kind, err)
		}
		<-ended
		ctx, cancel = context.WithTimeout(inKeyspace(testContext(t), far), 200*time.Millisecond)
		if err := call(ctx); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("%s: %v", kind, err)
		}
		cancel()
		<-arrived
		<-ended
	}
}

// Goal: streams do not use up the calls that a member lets a connection have, they count among
// the server's streams, and they end when the server stops.
func TestForwardedStreamsAreBounded(t *testing.T) {
	const perConnection, streams = 2, 7
	front, back := newPair(t, func(c *Config, _ *mvccOptions) { c.ConcurrentStreamsMax, c.StreamsMax = perConnection, streams })
	ctx := inKeyspace(testContext(t), far)
	open := func() (pb.Watch_WatchClient, error) {
		stream, err := pb.NewWatchClient(front.dial()).Watch(ctx)
		if err != nil {
			return nil, err
		}
		stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: bs("k")}}})
		_, err = stream.Recv()
		return stream, err
	}
	var all []pb.Watch_WatchClient
	for range streams {
		stream, err := open()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, stream)
	}
	_, err := open()
	wantStatus(t, "one stream more than the server has", err, rpctypes.ErrGRPCRequestTooManyRequests)
	if _, err := front.kv.Put(ctx, &pb.PutRequest{Key: bs("k")}); err != nil {
		t.Fatal(err)
	}
	for _, stream := range all {
		if m, err := stream.Recv(); err != nil || len(m.Events) != 1 {
			t.Errorf("%v, %v", m, err)
		}
	}
	conns := front.server.forward.mu.to[farMember].streams
	if len(conns) != (streams+perConnection-1)/perConnection {
		t.Errorf("%d connections", len(conns))
	}
	var stopped sync.WaitGroup
	stopped.Go(func() { front.server.Stop(ctx) })
	for _, stream := range all {
		_, err := stream.Recv()
		wantStatus(t, "a stream of a server that stops", err, rpctypes.ErrGRPCStopped)
	}
	stopped.Wait()
	for _, c := range conns {
		if c.open != 0 {
			t.Errorf("%d streams are left", c.open)
		}
	}
	if n := back.server.metrics.watchStreams.Load(); n > streams {
		t.Errorf("the member has %d streams", n)
	}
}

// Goal: the end of a member ends its streams with an error that takes clients on; the next call
// finds it when it is back, also elsewhere.
func TestForwardAfterARestart(t *testing.T) {
	front, back := newPair(t)
	ctx := testContext(t)
	stream, err := front.watch.Watch(inKeyspace(ctx, far))
	if err != nil {
		t.Fatal(err)
	}
	stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: bs("k")}}})
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	back.server.Stop(ctx)
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the watch ended with %v", err)
	}
	again := newRig(t)
	again.node.keyspaces = maps.Clone(back.node.keyspaces)
	moved := slices.Clone(front.node.members)
	moved[len(moved)-1].ClientURLs = []string{"http://" + again.addr}
	front.node.setMembers(moved)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		_, err := front.kv.Put(inKeyspace(ctx, far), &pb.PutRequest{Key: bs("k")})
		if err == nil {
			break
		}
		if status.Code(err) != codes.Unavailable || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// Goal: a bound port of a keyspace elsewhere is as healthy as calls through it are.
func TestForwardedHealth(t *testing.T) {
	front, back := newPair(t)
	bound := front.bind(far)
	for _, path := range []string{"/health", "/readyz", "/livez", "/health?serializable=true"} {
		if code, body, _ := bound.get(path); code != http.StatusOK {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	back.node.keyspaces[far].(*fakeKeyspace).fail(fmt.Errorf("no luck"))
	if code, body, _ := bound.get("/health"); code != http.StatusServiceUnavailable || !strings.Contains(body, "no luck") {
		t.Errorf("%d %s", code, body)
	}
}
