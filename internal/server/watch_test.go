package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// watching is a raw watch stream.
type watching struct {
	t      *testing.T
	stream pb.Watch_WatchClient
	cancel context.CancelFunc
}

func (r *rig) watching(t *testing.T, ctx context.Context) *watching {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	t.Cleanup(cancel)
	stream, err := r.watch.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return &watching{t: t, stream: stream, cancel: cancel}
}

func (w *watching) create(r *pb.WatchCreateRequest) {
	w.t.Helper()
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}})
}

func (w *watching) cancelWatch(id int64) {
	w.t.Helper()
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}})
}

func (w *watching) progress() {
	w.t.Helper()
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
}

func (w *watching) send(m *pb.WatchRequest) {
	w.t.Helper()
	if err := w.stream.Send(m); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watching) recv() *pb.WatchResponse {
	w.t.Helper()
	m, err := w.stream.Recv()
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

func (w *watching) want(want *pb.WatchResponse) {
	w.t.Helper()
	same(w.t, w.recv(), want)
}

// fence sends a request with a known answer and fails if another message comes first:
// it shows that what was sent before has no answer.
func (w *watching) fence(revision int64) {
	w.t.Helper()
	w.create(&pb.WatchCreateRequest{Key: bs("b"), RangeEnd: bs("a")})
	w.want(&pb.WatchResponse{Header: topHeader(revision), WatchId: -1, Created: true, Canceled: true,
		CancelReason: "mvcc: watcher range is empty"})
}

// events receives until n events have come, and checks that no revision is cut.
func (w *watching) events(n int) []*mvccpb.Event {
	w.t.Helper()
	var out []*mvccpb.Event
	for len(out) < n {
		m := w.recv()
		if m.Created || m.Canceled {
			w.t.Fatalf("unexpected %v", m)
		}
		if len(out) > 0 && len(m.Events) > 0 && m.Events[0].Kv.ModRevision <= out[len(out)-1].Kv.ModRevision {
			w.t.Fatalf("message begins at revision %d, the one before ended at %d",
				m.Events[0].Kv.ModRevision, out[len(out)-1].Kv.ModRevision)
		}
		if k := len(m.Events); k > 0 && m.Header.Revision != m.Events[k-1].Kv.ModRevision {
			w.t.Fatalf("header %d, last event %d", m.Header.Revision, m.Events[k-1].Kv.ModRevision)
		}
		out = append(out, m.Events...)
	}
	if len(out) != n {
		w.t.Fatalf("%d events, want %d", len(out), n)
	}
	return out
}

func putEvent(key, value string, create, mod, version int64) *mvccpb.Event {
	return &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: bs(key), Value: bs(value), CreateRevision: create, ModRevision: mod, Version: version}}
}

// Create, events, cancel: the messages of a watch's life.
func TestWatchLife(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	r.put("a", "0")
	w := r.watching(t, ctx)
	w.create(&pb.WatchCreateRequest{Key: bs("a")})
	w.want(&pb.WatchResponse{Header: topHeader(2), Created: true})
	r.put("a", "1")
	r.put("b", "not watched")
	if _, err := r.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: bs("a")}); err != nil {
		t.Fatal(err)
	}
	got := w.events(2)
	same(t, got[0], putEvent("a", "1", 2, 3, 2))
	same(t, got[1], &mvccpb.Event{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: bs("a"), ModRevision: 5}})
	w.cancelWatch(0)
	w.want(&pb.WatchResponse{Header: topHeader(5), Canceled: true})
	r.put("a", "unseen")
	w.cancelWatch(0) // unknown now: no answer
	w.fence(6)
	// Ids count on, and the id of a canceled watch is free.
	w.create(&pb.WatchCreateRequest{Key: bs("a")})
	w.want(&pb.WatchResponse{Header: topHeader(6), WatchId: 1, Created: true})
	w.create(&pb.WatchCreateRequest{Key: bs("a"), WatchId: 7})
	w.want(&pb.WatchResponse{Header: topHeader(6), WatchId: 7, Created: true})
	w.create(&pb.WatchCreateRequest{Key: bs("a"), WatchId: 2})
	w.want(&pb.WatchResponse{Header: topHeader(6), WatchId: 2, Created: true})
	w.create(&pb.WatchCreateRequest{Key: bs("a")}) // skips 2
	w.want(&pb.WatchResponse{Header: topHeader(6), WatchId: 3, Created: true})
}

// What is refused is answered with a message, in etcd's order, and the stream goes on.
func TestWatchRefusals(t *testing.T) {
	r, ctx := newRig(t, func(c *Config, _ *mvccOptions) { c.Limits.WatchersMax = 1 }), testContext(t)
	w := r.watching(t, ctx)
	refused := func(reason string) {
		t.Helper()
		w.want(&pb.WatchResponse{Header: topHeader(1), WatchId: -1, Created: true, Canceled: true, CancelReason: reason})
	}
	w.create(&pb.WatchCreateRequest{Key: bs("b"), RangeEnd: bs("a"), StartRevision: -1})
	refused("etcdserver: mvcc: required revision has been compacted")
	w.create(&pb.WatchCreateRequest{Key: bs("b"), RangeEnd: bs("b"), WatchId: 5})
	refused("mvcc: watcher range is empty")
	w.create(&pb.WatchCreateRequest{Key: bs("a"), WatchId: 5})
	w.want(&pb.WatchResponse{Header: topHeader(1), WatchId: 5, Created: true})
	w.create(&pb.WatchCreateRequest{Key: bs("a"), WatchId: 5})
	refused("mvcc: duplicate watch ID provided on the WatchStream")
	w.create(&pb.WatchCreateRequest{Key: bs("a")})
	refused("etcdserver: too many requests")
	w.send(&pb.WatchRequest{}) // a request of no kind is ignored
	w.fence(1)
}

// Ranges: one key, a range, a prefix from a key on, everything.
func TestWatchRanges(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	for _, test := range []struct {
		key, end string
		want     string
	}{
		{"b", "", "b"},
		{"b", "c", "b bb"},
		{"b", "\x00", "b bb c"},
		{"", "\x00", "a b bb c"},
		{"\x00", "\x00", "a b bb c"},
		{"", "b", "a"},
	} {
		t.Run(fmt.Sprintf("%q-%q", test.key, test.end), func(t *testing.T) {
			w := r.watching(t, ctx)
			w.create(&pb.WatchCreateRequest{Key: bs(test.key), RangeEnd: bs(test.end)})
			w.recv()
			for _, key := range []string{"a", "b", "bb", "c"} {
				r.put(key, "v")
			}
			var got []string
			for _, e := range w.events(len(strings.Fields(test.want))) {
				got = append(got, string(e.Kv.Key))
			}
			if strings.Join(got, " ") != test.want {
				t.Fatalf("events of %v, want %s", got, test.want)
			}
			w.cancel()
		})
	}
}

func TestWatchFiltersAndPrevKV(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	noPut, noDelete := pb.WatchCreateRequest_NOPUT, pb.WatchCreateRequest_NODELETE
	w := r.watching(t, ctx)
	w.create(&pb.WatchCreateRequest{Key: bs("a"), WatchId: 1, PrevKv: true})
	w.create(&pb.WatchCreateRequest{Key: bs("a"), WatchId: 2, Filters: []pb.WatchCreateRequest_FilterType{noPut}})
	w.create(&pb.WatchCreateRequest{Key: bs("a"), WatchId: 3, Filters: []pb.WatchCreateRequest_FilterType{noDelete, 99}})
	w.create(&pb.WatchCreateRequest{Key: bs("a"), WatchId: 4, Filters: []pb.WatchCreateRequest_FilterType{noPut, noDelete}})
	for range 4 {
		w.recv()
	}
	r.put("a", "1")
	r.put("a", "2")
	r.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: bs("a")})
	got := map[int64][]*mvccpb.Event{}
	for len(got[1]) < 3 || len(got[2]) < 1 || len(got[3]) < 2 {
		m := w.recv()
		got[m.WatchId] = append(got[m.WatchId], m.Events...)
	}
	first, second := putEvent("a", "1", 2, 2, 1), putEvent("a", "2", 2, 3, 2)
	gone := &mvccpb.Event{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: bs("a"), ModRevision: 4}}
	withPrev := func(e, prev *mvccpb.Event) *mvccpb.Event {
		return &mvccpb.Event{Type: e.Type, Kv: e.Kv, PrevKv: prev.Kv}
	}
	same(t, got[1], []*mvccpb.Event{first, withPrev(second, first), withPrev(gone, second)})
	same(t, got[2], []*mvccpb.Event{gone})
	same(t, got[3], []*mvccpb.Event{first, second})
	if len(got[4]) != 0 {
		t.Errorf("a watch that filters everything got %v", got[4])
	}
}

// A watch may begin in the past, at a revision in the middle of it, or in the future.
func TestWatchStartRevisions(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	for i := range 5 {
		r.put("a", fmt.Sprint(i)) // revisions 2..6
	}
	w := r.watching(t, ctx)
	w.create(&pb.WatchCreateRequest{Key: bs("a"), StartRevision: 4})
	w.want(&pb.WatchResponse{Header: topHeader(6), Created: true})
	if e := w.events(3); e[0].Kv.ModRevision != 4 {
		t.Fatalf("began at %d, want 4", e[0].Kv.ModRevision)
	}
	late := r.watching(t, ctx)
	late.create(&pb.WatchCreateRequest{Key: bs("a"), StartRevision: 9})
	late.recv()
	for range 4 {
		r.put("a", "x") // 7..10
	}
	if e := late.events(2); e[0].Kv.ModRevision != 9 {
		t.Fatalf("began at %d, want 9", e[0].Kv.ModRevision)
	}
}

// A watch whose history is gone is created and then canceled with the compacted
// revision and a header without one. Its id stays taken until the client cancels it.
func TestWatchCanceledByCompaction(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	for range 5 {
		r.put("a", "v") // revisions 2..6
	}
	r.compact(5)
	w := r.watching(t, ctx)
	w.create(&pb.WatchCreateRequest{Key: bs("a"), StartRevision: 4, WatchId: 9})
	w.want(&pb.WatchResponse{Header: topHeader(6), WatchId: 9, Created: true})
	w.want(&pb.WatchResponse{Header: topHeader(0), WatchId: 9, Canceled: true, CompactRevision: 5})
	w.create(&pb.WatchCreateRequest{Key: bs("a"), WatchId: 9})
	w.want(&pb.WatchResponse{Header: topHeader(6), WatchId: -1, Created: true, Canceled: true,
		CancelReason: "mvcc: duplicate watch ID provided on the WatchStream"})
	w.progress() // no answer while a dead watch is there
	w.fence(6)
	w.cancelWatch(9)
	w.want(&pb.WatchResponse{Header: topHeader(6), WatchId: 9, Canceled: true})
	// The compacted revision itself can be watched from.
	w.create(&pb.WatchCreateRequest{Key: bs("a"), StartRevision: 5, WatchId: 9})
	w.want(&pb.WatchResponse{Header: topHeader(6), WatchId: 9, Created: true})
	w.events(2)
}

// The official client reports the compaction and ends the watch.
func TestClientWatchCompacted(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	for range 5 {
		r.put("a", "v")
	}
	r.compact(5)
	m, ok := <-r.client().Watch(ctx, "a", clientv3.WithRev(2))
	if !ok || m.CompactRevision != 5 || !errors.Is(m.Err(), rpctypes.ErrCompacted) {
		t.Fatalf("got %+v, %v", m, ok)
	}
}

func TestWatchProgressRequests(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	w := r.watching(t, ctx)
	w.progress() // no watchers: no answer
	w.fence(1)
	w.create(&pb.WatchCreateRequest{Key: bs("a"), WatchId: 1})
	w.recv()
	w.progress()
	w.want(&pb.WatchResponse{Header: topHeader(1), WatchId: -1})
	// Progress comes behind the events that it covers, however fast it is asked for.
	for i := range 200 {
		revision := r.put("a", fmt.Sprint(i))
		w.progress()
		seen := int64(0)
		for {
			m := w.recv()
			if m.WatchId == -1 {
				if seen != revision || m.Header.Revision != revision {
					t.Fatalf("progress %d after events up to %d, want %d", m.Header.Revision, seen, revision)
				}
				break
			}
			seen = m.Events[len(m.Events)-1].Kv.ModRevision
		}
	}
	// A watch of the future stops the answers.
	w.create(&pb.WatchCreateRequest{Key: bs("a"), StartRevision: 1000, WatchId: 2})
	w.recv()
	w.progress()
	w.fence(201)
}

// Watches that asked for it are told of progress when nothing else happened.
func TestWatchProgressNotify(t *testing.T) {
	r, ctx := newRig(t, func(c *Config, _ *mvccOptions) { c.ProgressInterval = progressIntervalMin }), testContext(t)
	w := r.watching(t, ctx)
	w.create(&pb.WatchCreateRequest{Key: bs("quiet"), WatchId: 1, ProgressNotify: true})
	w.create(&pb.WatchCreateRequest{Key: bs("silent"), WatchId: 2})
	w.recv()
	w.recv()
	r.put("elsewhere", "v")
	for range 2 {
		w.want(&pb.WatchResponse{Header: topHeader(2), WatchId: 1})
	}
}

// A stream that asked for a leader ends when there is none for a while; one that did
// not stays.
func TestWatchEndsWithoutLeader(t *testing.T) {
	r, ctx := newRig(t, func(c *Config, _ *mvccOptions) { c.ElectionTimeout = 20 * time.Millisecond }), testContext(t)
	plain := r.watching(t, ctx)
	asking := r.watching(t, metadata.AppendToOutgoingContext(ctx, rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader))
	for _, w := range []*watching{plain, asking} {
		w.create(&pb.WatchCreateRequest{Key: bs("b")})
		w.recv()
	}
	r.k.setStatus(func(s *KeyspaceStatus) { s.Leader = 0 })
	_, err := asking.stream.Recv()
	wantStatus(t, "watch that asked for a leader", err, rpctypes.ErrGRPCNoLeader)
	plain.fence(1)
	again, err := r.watch.Watch(clientv3.WithRequireLeader(ctx))
	if err == nil {
		_, err = again.Recv()
	}
	wantStatus(t, "new watch", err, rpctypes.ErrGRPCNoLeader)
}

// A client whose leader has just died opens its watch anew at a survivor, while that is
// without a leader for a moment. The watch must not end for it: etcd's client would give it
// up for good.
func TestWatchOpensDuringElection(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	r.k.setStatus(func(s *KeyspaceStatus) { s.Leader = 0 })
	w := r.watching(t, clientv3.WithRequireLeader(ctx))
	w.create(&pb.WatchCreateRequest{Key: bs("a")})
	w.recv()
	r.k.setStatus(func(s *KeyspaceStatus) { s.Leader = 1 })
	r.put("a", "v")
	if got := w.recv(); len(got.Events) != 1 {
		t.Errorf("the watch tells %v, want the put", got)
	}
}

// Deleting a keyspace ends its streams, with a sentence that says what happened.
func TestDeletionEndsStreams(t *testing.T) {
	r, ctx := newRig(t, func(c *Config, _ *mvccOptions) { c.ElectionTimeout = 20 * time.Millisecond }), testContext(t)
	w := r.watching(t, ctx)
	w.create(&pb.WatchCreateRequest{Key: bs("a")})
	w.recv()
	r.k.setStatus(func(s *KeyspaceStatus) { s.Deleted = true })
	_, err := w.stream.Recv()
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "undelete it first") {
		t.Errorf("the watch ends with %v", err)
	}
}

// Stop ends watches at once, with an error that sends the client elsewhere.
func TestStopEndsStreams(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	w := r.watching(t, ctx)
	w.create(&pb.WatchCreateRequest{Key: bs("a")})
	w.recv()
	alive, err := r.lease.LeaseKeepAlive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	alive.Send(&pb.LeaseKeepAliveRequest{ID: 1})
	alive.Recv()
	start := time.Now()
	r.server.Stop(ctx)
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("Stop took %v", took)
	}
	_, err = w.stream.Recv()
	wantStatus(t, "watch", err, rpctypes.ErrGRPCStopped)
	_, err = alive.Recv()
	wantStatus(t, "keep-alive", err, rpctypes.ErrGRPCStopped)
	if _, err := r.kv.Put(ctx, &pb.PutRequest{Key: bs("a")}, grpc.WaitForReady(false)); status.Code(err) != codes.Unavailable {
		t.Errorf("put after Stop = %v", err)
	}
}

// A call that does not end by itself is cut off when Stop's patience is over.
func TestStopCutsStuckCalls(t *testing.T) {
	r := newRig(t)
	stall := make(chan struct{})
	r.k.stall.Store(&stall)
	defer close(stall)
	ended := make(chan error, 1)
	go func() {
		_, err := r.kv.Put(context.Background(), &pb.PutRequest{Key: bs("a")})
		ended <- err
	}()
	m := r.server.metrics.rpc.method(pb.KV_Put_FullMethodName)
	waitFor(t, func() bool { return m.started.Load() == 1 })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	r.server.Stop(ctx)
	if err := <-ended; status.Code(err) != codes.Unavailable {
		t.Errorf("put = %v", err)
	}
	if n := m.handled[codes.Canceled].Load(); n != 1 {
		t.Errorf("Stop returned while a handler runs: %d ended", n)
	}
}

// A client that has said all it wants may still listen.
func TestWatchAfterCloseSend(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	w := r.watching(t, ctx)
	w.create(&pb.WatchCreateRequest{Key: bs("a")})
	w.recv()
	if err := w.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	r.put("a", "1")
	w.events(1)
}

// The store's watchers go with their stream.
func TestWatchersAreReleased(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	w := r.watching(t, ctx)
	for range 10 {
		w.create(&pb.WatchCreateRequest{Key: bs("a")})
		w.recv()
	}
	if n := r.server.metrics.watchers.Load(); n != 10 {
		t.Fatalf("%d watchers, want 10", n)
	}
	w.cancel()
	waitFor(t, func() bool { return r.server.metrics.watchers.Load() == 0 && r.server.metrics.watchStreams.Load() == 0 })
}
