package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/quorate/quorate/internal/router"
)

func topHeader(revision int64) *pb.ResponseHeader {
	return &pb.ResponseHeader{ClusterId: fakeClusterID, MemberId: fakeMember, Revision: revision, RaftTerm: fakeTerm}
}

// same fails unless two messages are equal, nil and empty sub-messages told apart.
func same(t *testing.T, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func wantStatus(t *testing.T, what string, err, want error) {
	t.Helper()
	got, expected := status.Convert(err), status.Convert(want)
	if err == nil || got.Code() != expected.Code() || got.Message() != expected.Message() {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

func bs(s string) []byte { return []byte(s) }

// Each method's answer, field by field, on a store whose every revision is known.
func TestKVResponses(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	put, err := r.kv.Put(ctx, &pb.PutRequest{Key: bs("a"), Value: bs("1")})
	if err != nil {
		t.Fatal(err)
	}
	same(t, put, &pb.PutResponse{Header: topHeader(2)})
	put, err = r.kv.Put(ctx, &pb.PutRequest{Key: bs("a"), Value: bs("2"), PrevKv: true})
	if err != nil {
		t.Fatal(err)
	}
	a1 := &mvccpb.KeyValue{Key: bs("a"), Value: bs("1"), CreateRevision: 2, ModRevision: 2, Version: 1}
	a2 := &mvccpb.KeyValue{Key: bs("a"), Value: bs("2"), CreateRevision: 2, ModRevision: 3, Version: 2}
	same(t, put, &pb.PutResponse{Header: topHeader(3), PrevKv: a1})
	r.put("b", "x")

	got, err := r.kv.Range(ctx, &pb.RangeRequest{Key: bs("a"), RangeEnd: bs("z"), Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, &pb.RangeResponse{Header: topHeader(4), Kvs: []*mvccpb.KeyValue{a2}, More: true, Count: 2})
	got, err = r.kv.Range(ctx, &pb.RangeRequest{Key: bs("a"), Revision: 2, Serializable: true})
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, &pb.RangeResponse{Header: topHeader(4), Kvs: []*mvccpb.KeyValue{a1}, Count: 1})

	del, err := r.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: bs("a"), PrevKv: true})
	if err != nil {
		t.Fatal(err)
	}
	same(t, del, &pb.DeleteRangeResponse{Header: topHeader(5), Deleted: 1, PrevKvs: []*mvccpb.KeyValue{a2}})

	compact, err := r.kv.Compact(ctx, &pb.CompactionRequest{Revision: 3, Physical: true})
	if err != nil {
		t.Fatal(err)
	}
	same(t, compact, &pb.CompactionResponse{Header: topHeader(5)})
}

// The headers inside a txn hold the revision alone, that of a nested txn not even that.
func TestTxnResponse(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	r.put("a", "1")
	inner := &pb.ResponseHeader{Revision: 3}
	resp, err := r.kv.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: bs("a"), Target: pb.Compare_VALUE, Result: pb.Compare_EQUAL,
			TargetUnion: &pb.Compare_Value{Value: bs("1")}}},
		Success: ops(opPut("b"), opGet("a"), opDelete("zz", ""), opTxn(ops(opPut("c")), nil)),
		Failure: ops(opPut("never")),
	})
	if err != nil {
		t.Fatal(err)
	}
	a := &mvccpb.KeyValue{Key: bs("a"), Value: bs("1"), CreateRevision: 2, ModRevision: 2, Version: 1}
	same(t, resp, &pb.TxnResponse{Header: topHeader(3), Succeeded: true, Responses: []*pb.ResponseOp{
		{Response: &pb.ResponseOp_ResponsePut{ResponsePut: &pb.PutResponse{Header: inner}}},
		{Response: &pb.ResponseOp_ResponseRange{ResponseRange: &pb.RangeResponse{Header: inner, Kvs: []*mvccpb.KeyValue{a}, Count: 1}}},
		{Response: &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: &pb.DeleteRangeResponse{Header: inner}}},
		{Response: &pb.ResponseOp_ResponseTxn{ResponseTxn: &pb.TxnResponse{Header: &pb.ResponseHeader{}, Succeeded: true,
			Responses: []*pb.ResponseOp{{Response: &pb.ResponseOp_ResponsePut{ResponsePut: &pb.PutResponse{Header: inner}}}}}}},
	}})
	empty, err := r.kv.Txn(ctx, &pb.TxnRequest{})
	if err != nil {
		t.Fatal(err)
	}
	same(t, empty, &pb.TxnResponse{Header: topHeader(3), Succeeded: true})
}

// Every error that a KV request can have, with code and text.
func TestKVErrors(t *testing.T) {
	r, ctx := newRig(t, func(c *Config, _ *mvccOptions) { c.Limits.TxnOpsMax = 4 }), testContext(t)
	r.put("a", "1")
	r.put("a", "2")
	r.put("a", "3") // revision 4
	r.compact(3)
	rangeOf := func(m *pb.RangeRequest) error { _, err := r.kv.Range(ctx, m); return err }
	putOf := func(m *pb.PutRequest) error { _, err := r.kv.Put(ctx, m); return err }
	delOf := func(m *pb.DeleteRangeRequest) error { _, err := r.kv.DeleteRange(ctx, m); return err }
	txnOf := func(o ...*pb.RequestOp) error {
		_, err := r.kv.Txn(ctx, &pb.TxnRequest{Success: o})
		return err
	}
	compactOf := func(rev int64) error { _, err := r.kv.Compact(ctx, &pb.CompactionRequest{Revision: rev}); return err }
	for _, test := range []struct {
		name string
		err  error
		want error
	}{
		{"range: no key", rangeOf(&pb.RangeRequest{SortOrder: 9}), rpctypes.ErrGRPCEmptyKey},
		{"range: order", rangeOf(&pb.RangeRequest{Key: bs("a"), SortOrder: 3}), rpctypes.ErrGRPCInvalidSortOption},
		{"range: target", rangeOf(&pb.RangeRequest{Key: bs("a"), SortTarget: -1}), rpctypes.ErrGRPCInvalidSortOption},
		{"range: compacted", rangeOf(&pb.RangeRequest{Key: bs("a"), Revision: 2}), rpctypes.ErrGRPCCompacted},
		{"range: future", rangeOf(&pb.RangeRequest{Key: bs("a"), Revision: 5}), rpctypes.ErrGRPCFutureRev},
		{"put: no key", putOf(&pb.PutRequest{IgnoreValue: true, Value: bs("v")}), rpctypes.ErrGRPCEmptyKey},
		{"put: value", putOf(&pb.PutRequest{Key: bs("a"), IgnoreValue: true, Value: bs("v")}), rpctypes.ErrGRPCValueProvided},
		{"put: lease", putOf(&pb.PutRequest{Key: bs("a"), IgnoreLease: true, Lease: 1}), rpctypes.ErrGRPCLeaseProvided},
		{"put: unknown lease", putOf(&pb.PutRequest{Key: bs("a"), Lease: 99}), rpctypes.ErrGRPCLeaseNotFound},
		{"put: nothing to keep", putOf(&pb.PutRequest{Key: bs("none"), IgnoreValue: true}), rpctypes.ErrGRPCKeyNotFound},
		{"put: too large", putOf(&pb.PutRequest{Key: bs("a"), Value: make([]byte, 1536<<10)}), rpctypes.ErrGRPCRequestTooLarge},
		{"delete: no key", delOf(&pb.DeleteRangeRequest{RangeEnd: bs("z")}), rpctypes.ErrGRPCEmptyKey},
		{"delete: too large", delOf(&pb.DeleteRangeRequest{Key: make([]byte, 1536<<10)}), rpctypes.ErrGRPCRequestTooLarge},
		{"txn: too many", txnOf(opGet("a"), opGet("a"), opGet("a"), opGet("a"), opPut("")), rpctypes.ErrGRPCTooManyOps},
		{"txn: nested too many", txnOf(opTxn(ops(opGet("a"), opGet("a"), opGet("a"), opGet("a")), nil)), rpctypes.ErrGRPCTooManyOps},
		{"txn: nothing", txnOf(&pb.RequestOp{}), rpctypes.ErrGRPCKeyNotFound},
		{"txn: no key", txnOf(opGet("a"), opPut("")), rpctypes.ErrGRPCEmptyKey},
		{"txn: duplicate", txnOf(opPut("a"), opDelete("a", "b")), rpctypes.ErrGRPCDuplicateKey},
		{"txn: read of the future", txnOf(opGetAt("a", 9)), rpctypes.ErrGRPCFutureRev},
		{"txn: write with a compacted read", txnOf(opPut("b"), opGetAt("a", 1)), rpctypes.ErrGRPCCompacted},
		{"txn: too large", txnOf(opPut("b"), opPut(string(make([]byte, 1536<<10)))), rpctypes.ErrGRPCRequestTooLarge},
		{"compact: again", compactOf(3), rpctypes.ErrGRPCCompacted},
		{"compact: future", compactOf(9), rpctypes.ErrGRPCFutureRev},
	} {
		wantStatus(t, test.name, test.err, test.want)
	}
	if rev := revisionOf(r.k); rev != 4 {
		t.Errorf("revision %d after refused requests, want 4", rev)
	}
}

func opGetAt(key string, revision int64) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: bs(key), Revision: revision}}}
}

// The size at which a request is refused is etcd's, and a message above the transport's
// limit is refused with grpc's own text.
func TestRequestSizes(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	put := func(valueBytes int) error {
		_, err := r.kv.Put(ctx, &pb.PutRequest{Key: bs("k"), Value: make([]byte, valueBytes)})
		return err
	}
	const max = 1536 << 10
	// key field 3 bytes, value tag and length 4, etcd's own overhead 18.
	if err := put(max - 3 - 4 - 18); err != nil {
		t.Errorf("largest put: %v", err)
	}
	wantStatus(t, "one byte more", put(max-3-4-18+1), rpctypes.ErrGRPCRequestTooLarge)
	err := put(max + 512<<10)
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "grpc: received message larger than max (2097160 vs. 2097152)") {
		t.Errorf("oversized message: %v", err)
	}
}

// Errors of the layers below reach the client with etcd's code and text from every
// method that asks the leader.
func TestLeaderErrors(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	calls := map[string]func() error{
		"Range":       func() error { _, err := r.kv.Range(ctx, &pb.RangeRequest{Key: bs("a")}); return err },
		"Put":         func() error { _, err := r.kv.Put(ctx, &pb.PutRequest{Key: bs("a")}); return err },
		"DeleteRange": func() error { _, err := r.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: bs("a")}); return err },
		"Txn":         func() error { _, err := r.kv.Txn(ctx, &pb.TxnRequest{Success: ops(opPut("a"))}); return err },
		"read Txn":    func() error { _, err := r.kv.Txn(ctx, &pb.TxnRequest{Success: ops(opGet("a"))}); return err },
		"Compact":     func() error { _, err := r.kv.Compact(ctx, &pb.CompactionRequest{Revision: 1}); return err },
		"RangeStream": func() error { _, err := r.rangeStream(ctx, &pb.RangeRequest{Key: bs("a")}); return err },
		"LeaseGrant":  func() error { _, err := r.lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 9}); return err },
		"LeaseRevoke": func() error { _, err := r.lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: 9}); return err },
		"TimeToLive":  func() error { _, err := r.lease.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 9}); return err },
		"KeepAlive":   func() error { _, err := r.keepAlive(ctx, 9); return err },
	}
	for err, want := range map[error]error{
		router.ErrTimeout:                            rpctypes.ErrGRPCTimeout,
		router.ErrTimeoutLeaderFail:                  rpctypes.ErrGRPCTimeoutDueToLeaderFail,
		router.ErrUnknownOutcome:                     rpctypes.ErrGRPCTimeoutDueToLeaderFail,
		router.ErrNoLeader:                           rpctypes.ErrGRPCNoLeader,
		router.ErrTooManyRequests:                    rpctypes.ErrGRPCRequestTooManyRequests,
		router.ErrNoSpace:                            rpctypes.ErrGRPCNoSpace,
		router.ErrStopped:                            rpctypes.ErrGRPCStopped,
		fmt.Errorf("shard 2: %w", router.ErrStopped): rpctypes.ErrGRPCStopped,
		errors.New("what is this"):                   status.Error(codes.Unknown, "what is this"),
	} {
		r.k.fail(err)
		for name, call := range calls {
			wantStatus(t, name+" with "+err.Error(), call(), want)
		}
	}
	r.k.fail(nil)
}

// A linearizable read waits for a barrier, a serializable one does not; a txn asks for
// one unless all its reads are serializable.
func TestReadBarriers(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	local := &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: bs("a"), Serializable: true}}}
	for _, test := range []struct {
		name string
		call func() error
		want int64
	}{
		{"range", func() error { _, err := r.kv.Range(ctx, &pb.RangeRequest{Key: bs("a")}); return err }, 1},
		{"local range", func() error {
			_, err := r.kv.Range(ctx, &pb.RangeRequest{Key: bs("a"), Serializable: true})
			return err
		}, 0},
		{"invalid range", func() error { r.kv.Range(ctx, &pb.RangeRequest{}); return nil }, 0},
		{"txn", func() error { _, err := r.kv.Txn(ctx, &pb.TxnRequest{Success: ops(opGet("a"))}); return err }, 1},
		{"half local txn", func() error {
			_, err := r.kv.Txn(ctx, &pb.TxnRequest{Success: ops(local), Failure: ops(opGet("a"))})
			return err
		}, 1},
		{"local txn", func() error { _, err := r.kv.Txn(ctx, &pb.TxnRequest{Success: ops(local)}); return err }, 0},
		{"nested read is a write", func() error {
			_, err := r.kv.Txn(ctx, &pb.TxnRequest{Success: ops(opTxn(ops(opGet("a")), nil))})
			return err
		}, 0},
		{"stream", func() error { _, err := r.rangeStream(ctx, &pb.RangeRequest{Key: bs("a")}); return err }, 1},
		{"local stream", func() error {
			_, err := r.rangeStream(ctx, &pb.RangeRequest{Key: bs("a"), Serializable: true})
			return err
		}, 0},
	} {
		before := r.k.barriers.Load()
		if err := test.call(); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if n := r.k.barriers.Load() - before; n != test.want {
			t.Errorf("%s: %d barriers, want %d", test.name, n, test.want)
		}
	}
}

func (r *rig) rangeStream(ctx context.Context, req *pb.RangeRequest) ([]*pb.RangeResponse, error) {
	stream, err := r.kv.RangeStream(ctx, req)
	if err != nil {
		return nil, err
	}
	var out []*pb.RangeResponse
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, m.RangeResponse)
	}
}

// A streamed range is the same as a range, cut into messages: header, count and more
// come last.
func TestRangeStream(t *testing.T) {
	r, ctx := newRig(t, func(c *Config, _ *mvccOptions) { c.Limits.RequestBytesMax = 1000 }), testContext(t)
	for i := range 50 {
		r.put(fmt.Sprintf("k%03d", i), strings.Repeat("v", 100))
	}
	for _, req := range []*pb.RangeRequest{
		{Key: bs("k"), RangeEnd: bs("l")},
		{Key: bs("k"), RangeEnd: bs("l"), Limit: 20},
		{Key: bs("k"), RangeEnd: bs("l"), Limit: 50},
		{Key: bs("k"), RangeEnd: bs("l"), Limit: -1},
		{Key: bs("k"), RangeEnd: bs("l"), KeysOnly: true, Revision: 30},
		{Key: bs("k"), RangeEnd: bs("l"), CountOnly: true},
		{Key: bs("x"), RangeEnd: bs("y")},
		{Key: bs("k007")},
		{Key: bs("k"), RangeEnd: []byte{0}, SortOrder: pb.RangeRequest_ASCEND},
	} {
		want, err := r.kv.Range(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		parts, err := r.rangeStream(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		got := &pb.RangeResponse{}
		for i, p := range parts {
			if last := i == len(parts)-1; (p.Header != nil) != last || (!last && (p.More || p.Count != 0)) {
				t.Errorf("%v: message %d of %d: %v", req, i, len(parts), p.Header)
			}
			got.Header, got.More, got.Count = p.Header, p.More, p.Count
			got.Kvs = append(got.Kvs, p.Kvs...)
		}
		same(t, got, want)
		if len(want.Kvs) == 50 && !req.KeysOnly && len(parts) < 4 {
			t.Errorf("%v: %d messages, want several", req, len(parts))
		}
	}
	for name, test := range map[string]struct {
		req  *pb.RangeRequest
		want error
	}{
		"sorted":   {&pb.RangeRequest{Key: bs("k"), SortOrder: pb.RangeRequest_DESCEND, MinModRevision: 1}, errStreamSort},
		"filtered": {&pb.RangeRequest{Key: bs("k"), MaxCreateRevision: 1}, errStreamFilter},
		"no key":   {&pb.RangeRequest{MinModRevision: 1}, rpctypes.ErrGRPCEmptyKey},
		"future":   {&pb.RangeRequest{Key: bs("k"), Revision: 99}, rpctypes.ErrGRPCFutureRev},
	} {
		_, err := r.rangeStream(ctx, test.req)
		wantStatus(t, name, err, test.want)
	}
}

// Over its quota a keyspace refuses puts, whatever else is wrong with them; deletes go on.
func TestQuotaComesFirst(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	r.put("a", "1")
	r.setQuota(1)
	_, err := r.kv.Put(ctx, &pb.PutRequest{})
	wantStatus(t, "put", err, rpctypes.ErrGRPCNoSpace)
	_, err = r.kv.Txn(ctx, &pb.TxnRequest{Success: ops(&pb.RequestOp{})})
	wantStatus(t, "txn", err, rpctypes.ErrGRPCNoSpace)
	_, err = r.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{})
	wantStatus(t, "delete", err, rpctypes.ErrGRPCEmptyKey)
}

// The keyspace of a call is the one its metadata names.
func TestKeyspaceByMetadata(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	other := metadata.AppendToOutgoingContext(ctx, KeyspaceMetadata, "other")
	if _, err := r.kv.Put(other, &pb.PutRequest{Key: bs("a"), Value: bs("other")}); err != nil {
		t.Fatal(err)
	}
	if got, err := r.kv.Range(ctx, &pb.RangeRequest{Key: bs("a")}); err != nil || got.Count != 0 {
		t.Fatalf("default keyspace sees %v, %v", got, err)
	}
	if got, err := r.kv.Range(other, &pb.RangeRequest{Key: bs("a")}); err != nil || got.Count != 1 {
		t.Fatalf("other keyspace sees %v, %v", got, err)
	}
	_, err := r.kv.Range(metadata.AppendToOutgoingContext(ctx, KeyspaceMetadata, "no\nne"), &pb.RangeRequest{Key: bs("a")})
	if status.Code(err) == codes.OK {
		t.Fatal("an unknown keyspace was served")
	}
	_, err = r.kv.Range(metadata.AppendToOutgoingContext(ctx, KeyspaceMetadata, "none"), &pb.RangeRequest{Key: bs("a")})
	wantStatus(t, "unknown keyspace", err, status.Error(codes.NotFound, `quorate: keyspace "none" not found`))
}

// The official client against every KV method.
func TestClientKV(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	c := r.client()
	if _, err := c.Put(ctx, "a", "1"); err != nil {
		t.Fatal(err)
	}
	txn, err := c.Txn(ctx).If(clientv3.Compare(clientv3.Version("a"), ">", 0)).
		Then(clientv3.OpPut("b", "2"), clientv3.OpGet("a")).Else(clientv3.OpDelete("a")).Commit()
	if err != nil || !txn.Succeeded {
		t.Fatalf("txn: %v, %v", txn, err)
	}
	get, err := c.Get(ctx, "", clientv3.WithFromKey(), clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend))
	if err != nil || len(get.Kvs) != 2 || string(get.Kvs[0].Key) != "b" {
		t.Fatalf("get: %v, %v", get, err)
	}
	if del, err := c.Delete(ctx, "a", clientv3.WithPrevKV()); err != nil || del.Deleted != 1 {
		t.Fatalf("delete: %v, %v", del, err)
	}
	if _, err := c.Compact(ctx, 3); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(ctx, "a", clientv3.WithRev(2)); !errors.Is(err, rpctypes.ErrCompacted) {
		t.Fatalf("get of a compacted revision: %v", err)
	}
}

// A call ends when its client goes away.
func TestCallEndsWithItsClient(t *testing.T) {
	r := newRig(t)
	stall := make(chan struct{})
	r.k.stall.Store(&stall)
	defer close(stall)
	ctx, cancel := context.WithCancel(context.Background())
	m := r.server.metrics.rpc.method(pb.KV_Put_FullMethodName)
	ended := make(chan error, 1)
	go func() {
		_, err := r.kv.Put(ctx, &pb.PutRequest{Key: bs("a")})
		ended <- err
	}()
	waitFor(t, func() bool { return m.started.Load() == 1 })
	cancel()
	if err := <-ended; status.Code(err) != codes.Canceled {
		t.Errorf("put = %v", err)
	}
	waitFor(t, func() bool { return m.handled[codes.Canceled].Load() == 1 })
}
