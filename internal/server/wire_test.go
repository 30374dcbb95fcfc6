package server

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/quorate/quorate/internal/mvcc"
	"github.com/quorate/quorate/internal/store"
)

// The fields that the codec reads and writes itself. A field that etcd's API gains is
// not in here: decide what it means for us, teach the codec, then add it.
var knownFields = map[string]string{
	"etcdserverpb.RangeRequest":           "1 key,2 range_end,3 limit,4 revision,5 sort_order,6 sort_target,7 serializable,8 keys_only,9 count_only,10 min_mod_revision,11 max_mod_revision,12 min_create_revision,13 max_create_revision",
	"etcdserverpb.PutRequest":             "1 key,2 value,3 lease,4 prev_kv,5 ignore_value,6 ignore_lease",
	"etcdserverpb.DeleteRangeRequest":     "1 key,2 range_end,3 prev_kv",
	"etcdserverpb.TxnRequest":             "1 compare,2 success,3 failure",
	"etcdserverpb.Compare":                "1 result,2 target,3 key,4 version,5 create_revision,6 mod_revision,7 value,8 lease,64 range_end",
	"etcdserverpb.RequestOp":              "1 request_range,2 request_put,3 request_delete_range,4 request_txn",
	"etcdserverpb.LeaseKeepAliveRequest":  "1 ID",
	"etcdserverpb.ResponseHeader":         "1 cluster_id,2 member_id,3 revision,4 raft_term",
	"etcdserverpb.RangeResponse":          "1 header,2 kvs,3 more,4 count",
	"etcdserverpb.RangeStreamResponse":    "1 range_response",
	"etcdserverpb.PutResponse":            "1 header,2 prev_kv",
	"etcdserverpb.DeleteRangeResponse":    "1 header,2 deleted,3 prev_kvs",
	"etcdserverpb.TxnResponse":            "1 header,2 succeeded,3 responses",
	"etcdserverpb.ResponseOp":             "1 response_range,2 response_put,3 response_delete_range,4 response_txn",
	"etcdserverpb.LeaseKeepAliveResponse": "1 header,2 ID,3 TTL",
	"etcdserverpb.WatchResponse":          "1 header,2 watch_id,3 created,4 canceled,5 compact_revision,6 cancel_reason,7 fragment,11 events",
	"mvccpb.KeyValue":                     "1 key,2 create_revision,3 mod_revision,4 version,5 value,6 lease",
	"mvccpb.Event":                        "1 type,2 kv,3 prev_kv",
}

func TestEveryFieldIsKnown(t *testing.T) {
	files := []protoreflect.FileDescriptor{pb.File_rpc_proto, mvccpb.File_kv_proto}
	seen := 0
	for _, file := range files {
		for i := range file.Messages().Len() {
			m := file.Messages().Get(i)
			want, ok := knownFields[string(m.FullName())]
			if !ok {
				continue
			}
			seen++
			var got []string
			for j := range m.Fields().Len() {
				f := m.Fields().Get(j)
				got = append(got, strings.TrimSpace(protoNumber(f)+" "+string(f.Name())))
			}
			if strings.Join(got, ",") != want {
				t.Errorf("%s has fields %s, the codec knows %s", m.FullName(), strings.Join(got, ","), want)
			}
		}
	}
	if seen != len(knownFields) {
		t.Errorf("%d of %d messages found", seen, len(knownFields))
	}
}

func protoNumber(f protoreflect.FieldDescriptor) string {
	n := int(f.Number())
	if n < 10 {
		return string(rune('0' + n))
	}
	return string(rune('0'+n/10)) + string(rune('0'+n%10))
}

// decodeBoth reads data with our decoder and with proto, and returns what the store
// sees either way.
type decodeBoth func(data []byte) (ours, theirs any, errOurs, errTheirs error)

var requestDecoders = map[string]decodeBoth{
	"Range": func(data []byte) (any, any, error, error) {
		var r rangeRequest
		m := new(pb.RangeRequest)
		err1, err2 := r.decode(data), proto.Unmarshal(data, m)
		return r.RangeRequest, *rangeOf(m), err1, err2
	},
	"Put": func(data []byte) (any, any, error, error) {
		var r putRequest
		m := new(pb.PutRequest)
		err1, err2 := r.decode(data), proto.Unmarshal(data, m)
		return r.PutRequest, *putOf(m), err1, err2
	},
	"DeleteRange": func(data []byte) (any, any, error, error) {
		var r deleteRangeRequest
		m := new(pb.DeleteRangeRequest)
		err1, err2 := r.decode(data), proto.Unmarshal(data, m)
		return r.DeleteRangeRequest, *deleteRangeOf(m), err1, err2
	},
	"Txn": func(data []byte) (any, any, error, error) {
		var r txnRequest
		m := new(pb.TxnRequest)
		err1, err2 := r.decode(data), proto.Unmarshal(data, m)
		return r.TxnRequest, *txnOf(m), err1, err2
	},
	"LeaseKeepAlive": func(data []byte) (any, any, error, error) {
		var r keepAliveRequest
		m := new(pb.LeaseKeepAliveRequest)
		err1, err2 := r.decode(data), proto.Unmarshal(data, m)
		return r.id, m.ID, err1, err2
	},
}

// The plain translation from protobuf to the store, which the codec must equal.

func rangeOf(m *pb.RangeRequest) *store.RangeRequest {
	return &store.RangeRequest{
		Key: m.Key, RangeEnd: m.RangeEnd, Limit: m.Limit, Revision: m.Revision,
		SortOrder: store.SortOrder(m.SortOrder), SortTarget: store.SortTarget(m.SortTarget),
		Serializable: m.Serializable, KeysOnly: m.KeysOnly, CountOnly: m.CountOnly,
		MinModRevision: m.MinModRevision, MaxModRevision: m.MaxModRevision,
		MinCreateRevision: m.MinCreateRevision, MaxCreateRevision: m.MaxCreateRevision,
	}
}

func putOf(m *pb.PutRequest) *store.PutRequest {
	return &store.PutRequest{Key: m.Key, Value: m.Value, Lease: m.Lease, PrevKV: m.PrevKv,
		IgnoreValue: m.IgnoreValue, IgnoreLease: m.IgnoreLease}
}

func deleteRangeOf(m *pb.DeleteRangeRequest) *store.DeleteRangeRequest {
	return &store.DeleteRangeRequest{Key: m.Key, RangeEnd: m.RangeEnd, PrevKV: m.PrevKv}
}

func txnOf(m *pb.TxnRequest) *store.TxnRequest {
	r := &store.TxnRequest{}
	for _, c := range m.Compare {
		r.Compare = append(r.Compare, compareOf(c))
	}
	for _, op := range m.Success {
		r.Success = append(r.Success, opOf(op))
	}
	for _, op := range m.Failure {
		r.Failure = append(r.Failure, opOf(op))
	}
	return r
}

func compareOf(m *pb.Compare) store.Compare {
	c := store.Compare{Key: m.Key, RangeEnd: m.RangeEnd,
		Result: store.CompareResult(m.Result), Target: store.CompareTarget(m.Target)}
	switch m.Target {
	case pb.Compare_VERSION:
		c.Number = m.GetVersion()
	case pb.Compare_CREATE:
		c.Number = m.GetCreateRevision()
	case pb.Compare_MOD:
		c.Number = m.GetModRevision()
	case pb.Compare_VALUE:
		c.Value = m.GetValue()
	case pb.Compare_LEASE:
		c.Number = m.GetLease()
	}
	return c
}

func opOf(m *pb.RequestOp) (op store.RequestOp) {
	switch u := m.Request.(type) {
	case *pb.RequestOp_RequestRange:
		op.Range = rangeOf(u.RequestRange)
	case *pb.RequestOp_RequestPut:
		op.Put = putOf(u.RequestPut)
	case *pb.RequestOp_RequestDeleteRange:
		op.DeleteRange = deleteRangeOf(u.RequestDeleteRange)
	case *pb.RequestOp_RequestTxn:
		op.Txn = txnOf(u.RequestTxn)
	}
	return op
}

// compareDecoders fails when our decoder and proto differ on data: in what they accept
// or in what they read.
func compareDecoders(t *testing.T, name string, data []byte) {
	t.Helper()
	ours, theirs, err1, err2 := requestDecoders[name](bytes.Clone(data))
	if (err1 != nil) != (err2 != nil) {
		t.Fatalf("%s % x: our error %v, proto's %v", name, data, err1, err2)
	}
	if err1 != nil {
		return
	}
	if a, b := canonical(ours), canonical(theirs); !bytes.Equal(a, b) {
		t.Fatalf("%s % x:\nours  % x\nproto % x", name, data, a, b)
	}
}

// canonical is the store's own encoding, in which equal requests are equal bytes.
func canonical(v any) []byte {
	var op store.RequestOp
	switch r := v.(type) {
	case store.RangeRequest:
		op.Range = &r
	case store.PutRequest:
		op.Put = &r
	case store.DeleteRangeRequest:
		op.DeleteRange = &r
	case store.TxnRequest:
		op.Txn = &r
	case int64:
		return binary.AppendVarint(nil, r)
	}
	return (&store.TxnRequest{Success: []store.RequestOp{op}}).AppendTo(nil)
}

// seedRequests are well-formed requests that set every field.
func seedRequests() map[string][]proto.Message {
	everyCompare := []*pb.Compare{
		{Key: bs("a"), RangeEnd: bs("b"), Result: pb.Compare_NOT_EQUAL, Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{Version: 1}},
		{Key: bs("a"), Target: pb.Compare_CREATE, TargetUnion: &pb.Compare_CreateRevision{CreateRevision: -1}},
		{Key: bs("a"), Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{ModRevision: 1 << 40}},
		{Key: bs("a"), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: bs("v")}},
		{Key: bs("a"), Target: pb.Compare_LEASE, TargetUnion: &pb.Compare_Lease{Lease: 5}},
		{Key: bs("a"), Target: pb.Compare_LEASE, TargetUnion: &pb.Compare_Version{Version: 5}},
		{Key: bs("a"), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Lease{Lease: 5}},
		{Key: bs("a"), Target: 77, Result: 99, TargetUnion: &pb.Compare_Value{}},
		{},
	}
	fullRange := &pb.RangeRequest{Key: bs("k"), RangeEnd: bs("\x00"), Limit: 1, Revision: 2, SortOrder: 2, SortTarget: 4,
		Serializable: true, KeysOnly: true, CountOnly: true, MinModRevision: 3, MaxModRevision: -4,
		MinCreateRevision: 5, MaxCreateRevision: 6}
	fullPut := &pb.PutRequest{Key: bs("k"), Value: bs("v"), Lease: 1 << 62, PrevKv: true, IgnoreValue: true, IgnoreLease: true}
	fullDelete := &pb.DeleteRangeRequest{Key: bs("k"), RangeEnd: bs("l"), PrevKv: true}
	wrap := func(m any) *pb.RequestOp {
		switch m := m.(type) {
		case *pb.RangeRequest:
			return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: m}}
		case *pb.PutRequest:
			return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: m}}
		case *pb.DeleteRangeRequest:
			return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: m}}
		}
		return &pb.RequestOp{}
	}
	inner := ops(wrap(fullRange), wrap(fullPut), wrap(fullDelete), &pb.RequestOp{})
	return map[string][]proto.Message{
		"Range":          {&pb.RangeRequest{}, fullRange, &pb.RangeRequest{SortOrder: -1, SortTarget: 1 << 30}},
		"Put":            {&pb.PutRequest{}, fullPut},
		"DeleteRange":    {&pb.DeleteRangeRequest{}, fullDelete},
		"Txn":            {&pb.TxnRequest{}, &pb.TxnRequest{Compare: everyCompare, Success: inner, Failure: ops(opTxn(inner, inner))}},
		"LeaseKeepAlive": {&pb.LeaseKeepAliveRequest{}, &pb.LeaseKeepAliveRequest{ID: -7}},
	}
}

func mustMarshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Well-formed requests, every prefix of them, every byte changed, two in a row (which
// means merged), and with unknown fields between.
func TestRequestsMatchProto(t *testing.T) {
	unknown := []byte{0xf8, 0x07, 0x05, 0xfa, 0x07, 0x02, 'h', 'i', 0xfb, 0x07, 0x08, 0x01, 0xfc, 0x07} // fields 127, one a group
	for name, messages := range seedRequests() {
		for _, m := range messages {
			data := mustMarshal(t, m)
			for i := range len(data) + 1 {
				compareDecoders(t, name, data[:i])
			}
			compareDecoders(t, name, append(bytes.Clone(data), data...))
			compareDecoders(t, name, append(bytes.Clone(unknown), append(data, unknown...)...))
			for i := range data {
				for _, b := range []byte{0, 1, 0x7f, 0x80, 0xff, data[i] ^ 1, data[i] + 8} {
					changed := bytes.Clone(data)
					changed[i] = b
					compareDecoders(t, name, changed)
				}
			}
		}
	}
}

// A union whose member comes twice is merged; one whose members alternate keeps the last.
func TestUnionsMergeAsInProto(t *testing.T) {
	put := func(m *pb.PutRequest) []byte { return field(2, mustMarshal(t, m)) }
	get := func(m *pb.RangeRequest) []byte { return field(1, mustMarshal(t, m)) }
	txn := func(m *pb.TxnRequest) []byte { return field(4, mustMarshal(t, m)) }
	for _, parts := range [][][]byte{
		{put(&pb.PutRequest{Key: bs("a"), Lease: 1}), put(&pb.PutRequest{Value: bs("b")})},
		{put(&pb.PutRequest{Key: bs("a"), Lease: 1}), get(&pb.RangeRequest{Limit: 1}), put(&pb.PutRequest{Value: bs("b")})},
		{txn(&pb.TxnRequest{Success: ops(opGet("a"))}), txn(&pb.TxnRequest{Success: ops(opPut("b"))})},
	} {
		compareDecoders(t, "Txn", field(2, bytes.Join(parts, nil)))
	}
}

func field(number byte, payload []byte) []byte {
	out := []byte{number<<3 | wireBytes}
	for n := len(payload); ; n >>= 7 {
		if n < 0x80 {
			out = append(out, byte(n))
			break
		}
		out = append(out, byte(n)|0x80)
	}
	return append(out, payload...)
}

// Nesting beyond proto's limit is refused as proto does, and never overflows the stack.
func TestDeepNesting(t *testing.T) {
	nested := func(levels int) []byte {
		w := wireWriter{buf: make([]byte, 10*levels)}
		w.at = len(w.buf)
		for range levels {
			w.message(4, len(w.buf))
			w.message(2, len(w.buf))
		}
		return w.buf[w.at:]
	}
	data := nested(2 * nestingMax)
	var r txnRequest
	if err := r.decode(data); err == nil && !r.tooMany {
		t.Fatal("accepted")
	}
	compareDecoders(t, "Txn", nested(200))
}

// Many tiny operations do not make us allocate many times the request.
func TestTinyOperationsAreBounded(t *testing.T) {
	data := bytes.Repeat([]byte{2<<3 | wireBytes, 0}, 1<<20)
	var r txnRequest
	if err := r.decode(data); err != nil || !r.tooMany {
		t.Fatalf("decode = %v, too many %v", err, r.tooMany)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r = txnRequest{}
	r.decode(data)
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 4*uint64(len(data)) {
		t.Fatalf("%d bytes allocated for a request of %d", got, len(data))
	}
}

var kvFull = store.KeyValue{Key: bs("key"), Value: bs("value"), CreateRevision: 2, ModRevision: 1 << 40, Version: 3, Lease: -1}

func kvProto(kv *store.KeyValue) *mvccpb.KeyValue {
	if kv == nil {
		return nil
	}
	return &mvccpb.KeyValue{Key: kv.Key, Value: kv.Value, CreateRevision: kv.CreateRevision,
		ModRevision: kv.ModRevision, Version: kv.Version, Lease: kv.Lease}
}

func kvsProto(kvs []store.KeyValue) (out []*mvccpb.KeyValue) {
	for i := range kvs {
		out = append(out, kvProto(&kvs[i]))
	}
	return out
}

func rangeProto(h *pb.ResponseHeader, r *store.RangeResponse) *pb.RangeResponse {
	return &pb.RangeResponse{Header: h, Kvs: kvsProto(r.KVs), More: r.More, Count: r.Count}
}

func txnProto(h *pb.ResponseHeader, r *store.TxnResponse) *pb.TxnResponse {
	out := &pb.TxnResponse{Header: h, Succeeded: r.Succeeded}
	for _, op := range r.Responses {
		m := &pb.ResponseOp{}
		switch {
		case op.Range != nil:
			m.Response = &pb.ResponseOp_ResponseRange{ResponseRange: rangeProto(&pb.ResponseHeader{Revision: op.Range.Revision}, op.Range)}
		case op.Put != nil:
			m.Response = &pb.ResponseOp_ResponsePut{ResponsePut: &pb.PutResponse{
				Header: &pb.ResponseHeader{Revision: op.Put.Revision}, PrevKv: kvProto(op.Put.PrevKV)}}
		case op.DeleteRange != nil:
			m.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: &pb.DeleteRangeResponse{
				Header:  &pb.ResponseHeader{Revision: op.DeleteRange.Revision},
				Deleted: op.DeleteRange.Deleted, PrevKvs: kvsProto(op.DeleteRange.PrevKVs)}}
		case op.Txn != nil:
			m.Response = &pb.ResponseOp_ResponseTxn{ResponseTxn: txnProto(&pb.ResponseHeader{Revision: op.Txn.Revision}, op.Txn)}
		}
		out.Responses = append(out.Responses, m)
	}
	return out
}

// encode is what the codec does with a reply.
func encode(r reply) []byte {
	buf := make([]byte, r.size())
	writeReply(r, buf)
	return buf
}

// Replies are byte for byte what proto writes for the same message.
func TestRepliesMatchProto(t *testing.T) {
	h := header{cluster: 1<<63 + 1, member: 300, revision: 127, term: 1}
	hp := h.proto()
	kvs := []store.KeyValue{kvFull, {}, {Key: bs("k")}}
	put := &store.PutResponse{Revision: 4, PrevKV: &kvFull}
	del := &store.DeleteRangeResponse{Revision: 5, Deleted: 3, PrevKVs: kvs}
	get := &store.RangeResponse{Revision: 6, KVs: kvs, More: true, Count: 1 << 33}
	txn := &store.TxnResponse{Succeeded: true, Responses: []store.ResponseOp{
		{Put: put}, {Range: get}, {DeleteRange: del}, {Put: &store.PutResponse{}}, {},
		{Txn: &store.TxnResponse{Responses: []store.ResponseOp{{Range: &store.RangeResponse{Revision: 1}}}}},
	}}
	event := &mvcc.Event{KV: kvFull, Prev: &store.KeyValue{Key: bs("key"), ModRevision: 1}}
	gone := &mvcc.Event{Delete: true, KV: store.KeyValue{Key: bs("key"), ModRevision: 9}}
	eventProto := &mvccpb.Event{Kv: kvProto(&kvFull), PrevKv: kvProto(event.Prev)}
	goneProto := &mvccpb.Event{Type: mvccpb.Event_DELETE, Kv: kvProto(&gone.KV)}
	events := &watchReply{header: h, id: 3, fragment: true}
	events.add(encodeEvent(event, true))
	events.add(encodeEvent(gone, true))
	events.add(encodeEvent(event, false))
	for name, test := range map[string]struct {
		ours   reply
		theirs proto.Message
	}{
		"put":          {&putReply{h, put}, &pb.PutResponse{Header: hp, PrevKv: kvProto(&kvFull)}},
		"bare put":     {&putReply{header{}, &store.PutResponse{}}, &pb.PutResponse{Header: &pb.ResponseHeader{}}},
		"delete":       {&deleteRangeReply{h, del}, &pb.DeleteRangeResponse{Header: hp, Deleted: 3, PrevKvs: kvsProto(kvs)}},
		"range":        {&rangeReply{h, get}, rangeProto(hp, get)},
		"txn":          {&txnReply{h, txn}, txnProto(hp, txn)},
		"keep-alive":   {&keepAliveReply{h, -5, 60}, &pb.LeaseKeepAliveResponse{Header: hp, ID: -5, TTL: 60}},
		"stream part":  {&rangeStreamReply{nil, *get}, &pb.RangeStreamResponse{RangeResponse: rangeProto(nil, get)}},
		"stream end":   {&rangeStreamReply{&h, *get}, &pb.RangeStreamResponse{RangeResponse: rangeProto(hp, get)}},
		"watch events": {events, &pb.WatchResponse{Header: hp, WatchId: 3, Fragment: true, Events: []*mvccpb.Event{eventProto, goneProto, {Kv: kvProto(&kvFull)}}}},
		"watch control": {&watchReply{header: h, id: -1, created: true, canceled: true, compacted: 8, reason: "why"},
			&pb.WatchResponse{Header: hp, WatchId: -1, Created: true, Canceled: true, CompactRevision: 8, CancelReason: "why"}},
	} {
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(test.theirs)
		if err != nil {
			t.Fatal(err)
		}
		if got := encode(test.ours); !bytes.Equal(got, want) {
			t.Errorf("%s:\nours  % x\nproto % x", name, got, want)
		}
	}
}

// sizeUvarint is right at every length's edge.
func TestSizeUvarint(t *testing.T) {
	for bits := range 64 {
		for _, v := range []uint64{1 << bits, 1<<bits - 1, 1<<bits + 1} {
			w := wireWriter{buf: make([]byte, 16), at: 16}
			w.uvarint(v)
			if got, want := sizeUvarint(v), 16-w.at; got != want {
				t.Fatalf("sizeUvarint(%d) = %d, written %d", v, got, want)
			}
			r := wireReader{rest: w.buf[w.at:]}
			if got := r.uvarint(); got != v || r.err != nil || len(r.rest) != 0 {
				t.Fatalf("read %d (%v), want %d", got, r.err, v)
			}
		}
	}
}
