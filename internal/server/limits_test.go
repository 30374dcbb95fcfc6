package server

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/internal/limit"
	"github.com/quorate/quorate/internal/mvcc"
	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/store"
)

// limited is the counter of what a limit has refused in the default keyspace.
func (r *rig) limited(kind limit.Kind) float64 {
	r.t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "quorate_keyspace_limited_total" && m.GetLabel()[0].GetValue() == DefaultKeyspace && m.GetLabel()[1].GetValue() == kind.String() {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

// Goal: above its rate a keyspace is answered as etcd answers, at once, and counted; the
// keyspace beside it and the calls that belong to none are not touched.
func TestRequestRate(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	r.k.limits.Set(placement.Limits{RequestsPerSecond: 3})
	refused := 0
	start := time.Now()
	for i := range 20 {
		_, err := r.kv.Put(ctx, &pb.PutRequest{Key: bs(fmt.Sprint(i))})
		if err != nil && status.Convert(err).Message() != status.Convert(rpctypes.ErrGRPCRequestTooManyRequests).Message() {
			t.Fatal(err)
		}
		if err != nil {
			refused++
		}
		if _, err := r.kv.Range(inKeyspace(ctx, "other"), &pb.RangeRequest{Key: bs("a")}); err != nil {
			t.Fatal(err)
		}
	}
	if most := int(3*time.Since(start).Seconds()) + 4; refused < 20-most || refused == 20 {
		t.Fatalf("%d of 20 were refused", refused)
	}
	if n := r.limited(limit.Requests); n != float64(refused) {
		t.Errorf("%v are counted of %d", n, refused)
	}
	if _, err := r.watch.Watch(ctx); err != nil { // the stream's opening is answered by its end
		t.Fatal(err)
	}
	r.k.limits.Set(placement.Limits{})
	if _, err := r.kv.Put(ctx, &pb.PutRequest{Key: bs("a")}); err != nil {
		t.Fatalf("without a limit: %v", err)
	}
}

// Goal: bytes count, of every kind of request.
func TestByteRate(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	for what, call := range map[string]func(big string) error{
		"put": func(big string) error {
			_, err := r.kv.Put(ctx, &pb.PutRequest{Key: bs("a"), Value: bs(big)})
			return err
		},
		"range": func(big string) error { _, err := r.kv.Range(ctx, &pb.RangeRequest{Key: bs(big)}); return err },
		"txn": func(big string) error {
			_, err := r.kv.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: bs("a"), Value: bs(big)}}}}})
			return err
		},
		"delete": func(big string) error {
			_, err := r.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: bs(big)})
			return err
		},
	} {
		k := newFakeKeyspace(t, DefaultKeyspace, mvcc.Options{})
		k.limits.Set(placement.Limits{BytesPerSecond: 1000})
		r.node.keyspaces[DefaultKeyspace] = k
		if err := call(strings.Repeat("x", 100_000)); err != nil {
			t.Fatalf("%s: the first one: %v", what, err)
		}
		if err := call("x"); status.Code(err) != codes.ResourceExhausted {
			t.Fatalf("%s: the second one: %v", what, err)
		}
		if n := k.limits.Counts()[limit.Bytes]; n != 1 {
			t.Fatalf("%s: %d are counted", what, n)
		}
	}
}

// Goal: a watcher above the limit is refused by a message with the reason, its stream goes on,
// and watchers that end make room, by being canceled or with their stream.
func TestWatcherLimit(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	r.k.limits.Set(placement.Limits{Watchers: 2})
	w, other := r.watching(t, ctx), r.watching(t, ctx)
	create := func(w *watching, ok bool) {
		t.Helper()
		w.create(&pb.WatchCreateRequest{Key: bs("a")})
		if m := w.recv(); !m.Created || m.Canceled == ok || !ok && !strings.Contains(m.CancelReason, "as many watchers") {
			t.Fatalf("%v, want one: %v", m, ok)
		}
	}
	create(w, true)
	create(other, true)
	create(other, false)
	create(w, false)
	w.cancelWatch(0)
	w.recv()
	create(other, true)
	other.cancel()
	waitFor(t, func() bool { return r.server.metrics.watchers.Load() == 0 })
	create(w, true)
	create(w, true)
	create(w, false)
	if n := r.limited(limit.Watchers); n != 3 {
		t.Errorf("%v are counted", n)
	}
}

// Goal: what a stream sends is slowed down to the rate and not refused, so that leases live.
func TestStreamsArePaced(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	r.grant(1, 60)
	r.k.limits.Set(placement.Limits{RequestsPerSecond: 20})
	stream, err := r.lease.LeaseKeepAlive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for range 25 { // one call and 19 messages are the burst
		if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: 1}); err != nil {
			t.Fatal(err)
		}
		if got, err := stream.Recv(); err != nil || got.TTL != 60 {
			t.Fatalf("%v, %v", got, err)
		}
	}
	if took := time.Since(start); took < 250*time.Millisecond {
		t.Errorf("25 messages took %v at 20 per second", took)
	}
	if n := r.limited(limit.Requests); n != 0 {
		t.Errorf("%v are counted as refused", n)
	}
}

// Goal: quotas of keys and leases have etcd's answer, or a sentence where etcd has none.
func TestKeyAndLeaseQuota(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	body := (&store.SetQuotaRequest{Bytes: -1, Keys: 1, Leases: 1}).AppendTo(nil)
	if result, err := r.k.Propose(ctx, store.KindSetQuota, body); err != nil || result.Err != nil {
		t.Fatalf("set quota: %v, %v", err, result)
	}
	r.put("a", "1")
	if _, err := r.kv.Put(ctx, &pb.PutRequest{Key: bs("b")}); status.Convert(err).Message() != "etcdserver: mvcc: database space exceeded" {
		t.Fatal(err)
	}
	if _, err := r.kv.Put(ctx, &pb.PutRequest{Key: bs("a")}); err != nil {
		t.Fatal(err)
	}
	r.grant(1, 60)
	_, err := r.lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: 2, TTL: 60})
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "revoke some") {
		t.Fatal(err)
	}
	if n := r.limited(limit.Leases); n != 1 {
		t.Errorf("%v are counted", n)
	}
}

// Goal: a refusal is held back, by the node that the client speaks to: between nodes a held
// call would take other keyspaces' place.
func TestRefusalsAreHeldBack(t *testing.T) {
	front, back := newPair(t)
	ctx := testContext(t)
	limited := back.node.keyspaces[far].(*fakeKeyspace)
	limited.limits.Set(placement.Limits{RequestsPerSecond: 1})
	ask := func(ctx context.Context, r *rig) (took time.Duration, err error) {
		start := time.Now()
		_, err = r.kv.Range(inKeyspace(ctx, far), &pb.RangeRequest{Key: bs("a")})
		return time.Since(start), err
	}
	if _, err := ask(ctx, back); err != nil {
		t.Fatal(err)
	}
	const least = 100 * time.Millisecond
	for _, r := range []*rig{front, back} {
		if took, err := ask(ctx, r); status.Code(err) != codes.ResourceExhausted || took < least {
			t.Errorf("refused after %v: %v", took, err)
		}
	}
	stream, err := pb.NewKVClient(front.conn).RangeStream(inKeyspace(ctx, far), &pb.RangeRequest{Key: bs("a")})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a stream: %v", err)
	}
	marked := metadata.AppendToOutgoingContext(ctx, forwardedMetadata, "1")
	if took, err := ask(marked, back); status.Code(err) != codes.ResourceExhausted || took >= least {
		t.Errorf("passed on, and refused after %v: %v", took, err)
	}
	// The next one in is held as the first one, so nobody is left inside.
	if d := limited.limits.Enter(); d != least {
		t.Errorf("the next is held for %v", d)
	}
}
