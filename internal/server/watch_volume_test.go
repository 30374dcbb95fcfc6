package server

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Events beyond a message's size are cut between revisions; a revision that does not
// fit is cut for clients that asked for fragments, and sent whole to the others.
func TestWatchFragments(t *testing.T) {
	r, ctx := newRig(t, func(c *Config, _ *mvccOptions) { c.Limits.RequestBytesMax = 1 }), testContext(t)
	limit := 1 + grpcOverheadBytes
	big := strings.Repeat("v", 200<<10)
	txn := &pb.TxnRequest{}
	for i := range 5 { // one revision of 1 MB
		txn.Success = append(txn.Success, opPutValue(fmt.Sprintf("k%d", i), big))
	}
	r.applyTxn(txn)
	for i := range 5 { // and five of 200 KB
		r.put(fmt.Sprintf("k%d", i), big)
	}
	w := r.watching(t, ctx)
	w.create(&pb.WatchCreateRequest{Key: bs("k"), RangeEnd: bs("l"), StartRevision: 2, Fragment: true})
	w.recv()
	var fragments, keys int
	for keys < 10 {
		m := w.recv()
		if n := mustMarshal(t, m); len(n) >= limit {
			t.Errorf("message of %d bytes", len(n))
		}
		if m.Fragment {
			fragments++
			if last := m.Events[len(m.Events)-1].Kv.ModRevision; last != 2 {
				t.Errorf("fragment ends in revision %d", last)
			}
		}
		keys += len(m.Events)
	}
	if fragments != 2 {
		t.Errorf("%d fragments, want 2 (of 2+2+1 events)", fragments)
	}
	plain := r.watching(t, ctx)
	plain.create(&pb.WatchCreateRequest{Key: bs("k"), RangeEnd: bs("l"), StartRevision: 2})
	plain.recv()
	if m := plain.recv(); len(m.Events) != 5 || m.Fragment {
		t.Errorf("first message has %d events, fragment %v; want revision 2 whole", len(m.Events), m.Fragment)
	}
	plain.events(5)
	// The official client puts fragments together.
	c := <-r.client().Watch(ctx, "k", clientv3.WithPrefix(), clientv3.WithRev(2), clientv3.WithFragment())
	for i := range 5 {
		if i >= len(c.Events) || c.Events[i].Kv.ModRevision != 2 {
			t.Fatalf("client's first message has %d events, want all of revision 2", len(c.Events))
		}
	}
}

func opPutValue(key, value string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: bs(key), Value: bs(value)}}}
}

// A revision of more events than fit a batch of the store arrives whole.
func TestWatchHugeRevision(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	const n = 12_000
	for i := 0; i < n; i += 1000 {
		txn := &pb.TxnRequest{}
		for j := i; j < i+1000; j++ {
			txn.Success = append(txn.Success, opPut(fmt.Sprintf("k%06d", j)))
		}
		r.applyTxn(txn)
	}
	if _, err := r.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: bs("k"), RangeEnd: bs("l")}); err != nil {
		t.Fatal(err)
	}
	last := revisionOf(r.k)
	r.put("k", "end")
	for _, fragment := range []bool{false, true} {
		w := r.watching(t, ctx)
		w.create(&pb.WatchCreateRequest{Key: bs("k"), RangeEnd: bs("l"), StartRevision: last, Fragment: fragment})
		w.recv()
		var events []*mvccpb.Event
		messages := 0
		for len(events) < n+1 {
			m := w.recv()
			messages++
			events = append(events, m.Events...)
			if whole := len(events) >= n; m.Fragment == whole && len(events) != n+1 {
				t.Errorf("fragment %v with %d of %d events", m.Fragment, len(events), n)
			}
		}
		for i := range n {
			if string(events[i].Kv.Key) != fmt.Sprintf("k%06d", i) {
				t.Fatalf("event %d is of %s", i, events[i].Kv.Key)
			}
		}
		if !fragment && messages != 2 {
			t.Errorf("%d messages, want the revision in one and the put in another", messages)
		}
		w.cancel()
	}
}

// Goal: a client that does not read its events costs bounded memory and holds nobody
// up; when it reads again, nothing is missing.
func TestWatchSlowClient(t *testing.T) {
	r, ctx := newRig(t, func(_ *Config, o *mvccOptions) { o.PendingEvents, o.RecentBytes = 16, 64<<10 }), testContext(t)
	slow := r.watching(t, ctx)
	slow.create(&pb.WatchCreateRequest{Key: bs("k")})
	slow.recv()
	quick := r.watching(t, ctx)
	quick.create(&pb.WatchCreateRequest{Key: bs("k"), StartRevision: 1})
	quick.recv()
	value := strings.Repeat("v", 4<<10)
	const n = 500
	for range n {
		r.put("k", value)
	}
	for _, w := range []*watching{quick, slow} {
		for i, e := range w.events(n) {
			if e.Kv.ModRevision != int64(i+2) {
				t.Fatalf("event %d has revision %d", i, e.Kv.ModRevision)
			}
		}
	}
}

// Many watchers of one key on one stream all hear of each write, in order.
func TestWatchFanOut(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	const watchers, writes = 300, 20
	w := r.watching(t, ctx)
	for range watchers {
		w.create(&pb.WatchCreateRequest{Key: bs("k")})
		w.recv()
	}
	for range writes {
		r.put("k", "v")
	}
	seen := make(map[int64]int64)
	for n := 0; n < watchers*writes; {
		m := w.recv()
		for _, e := range m.Events {
			if last := seen[m.WatchId]; last != 0 && e.Kv.ModRevision != last+1 {
				t.Fatalf("watch %d: revision %d after %d", m.WatchId, e.Kv.ModRevision, last)
			}
			seen[m.WatchId] = e.Kv.ModRevision
			n++
		}
	}
	if len(seen) != watchers {
		t.Fatalf("%d watchers heard, want %d", len(seen), watchers)
	}
}

// Writers and watchers at once: each watcher that begins now gets every later revision
// exactly once.
func TestWatchWhileWriting(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() {
			r.put("k", "v")
		}
	}()
	for range 20 {
		w := r.watching(t, ctx)
		w.create(&pb.WatchCreateRequest{Key: bs("k")})
		created := w.recv()
		next := int64(0)
		for range 5 {
			for _, e := range w.recv().Events {
				if next != 0 && e.Kv.ModRevision != next {
					t.Fatalf("revision %d, want %d", e.Kv.ModRevision, next)
				}
				if next == 0 && e.Kv.ModRevision > created.Header.Revision+1 {
					t.Fatalf("first event at %d, created at %d", e.Kv.ModRevision, created.Header.Revision)
				}
				next = e.Kv.ModRevision + 1
			}
		}
		w.cancel()
	}
	stop.Store(true)
	<-done
}
