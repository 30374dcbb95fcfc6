package server

import (
	"context"
	"sort"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// One target per request message: arbitrary bytes never panic, never are accepted when
// proto refuses them, and for the messages that the codec reads itself mean what proto
// reads.

func FuzzRange(f *testing.F) { fuzzMethod(f, "KV/Range", &pb.RangeRequest{Key: bs("k"), Limit: 3}) }
func FuzzRangeStream(f *testing.F) {
	fuzzMethod(f, "KV/RangeStream", &pb.RangeRequest{Key: bs("k"), RangeEnd: bs("\x00")})
}
func FuzzPut(f *testing.F) {
	fuzzMethod(f, "KV/Put", &pb.PutRequest{Key: bs("k"), Value: bs("v"), PrevKv: true})
}
func FuzzDeleteRange(f *testing.F) {
	fuzzMethod(f, "KV/DeleteRange", &pb.DeleteRangeRequest{Key: bs("k")})
}
func FuzzTxn(f *testing.F) {
	fuzzMethod(f, "KV/Txn", &pb.TxnRequest{Success: ops(opPut("a"), opGet("b"))})
}
func FuzzCompact(f *testing.F) { fuzzMethod(f, "KV/Compact", &pb.CompactionRequest{Revision: 1}) }
func FuzzLeaseGrant(f *testing.F) {
	fuzzMethod(f, "Lease/LeaseGrant", &pb.LeaseGrantRequest{TTL: 5, ID: -1})
}
func FuzzLeaseRevoke(f *testing.F) { fuzzMethod(f, "Lease/LeaseRevoke", &pb.LeaseRevokeRequest{ID: 5}) }
func FuzzLeaseKeepAlive(f *testing.F) {
	fuzzMethod(f, "Lease/LeaseKeepAlive", &pb.LeaseKeepAliveRequest{ID: 5})
}
func FuzzLeaseTimeToLive(f *testing.F) {
	fuzzMethod(f, "Lease/LeaseTimeToLive", &pb.LeaseTimeToLiveRequest{ID: 5, Keys: true})
}
func FuzzLeaseLeases(f *testing.F) { fuzzMethod(f, "Lease/LeaseLeases", &pb.LeaseLeasesRequest{}) }
func FuzzMemberList(f *testing.F) {
	fuzzMethod(f, "Cluster/MemberList", &pb.MemberListRequest{Linearizable: true})
}
func FuzzMemberAdd(f *testing.F) {
	fuzzMethod(f, "Cluster/MemberAdd", &pb.MemberAddRequest{PeerURLs: []string{"http://h:1"}, IsLearner: true})
}
func FuzzMemberRemove(f *testing.F) {
	fuzzMethod(f, "Cluster/MemberRemove", &pb.MemberRemoveRequest{ID: 2})
}
func FuzzMemberUpdate(f *testing.F) {
	fuzzMethod(f, "Cluster/MemberUpdate", &pb.MemberUpdateRequest{ID: 2, PeerURLs: []string{"http://h:1"}})
}
func FuzzMemberPromote(f *testing.F) {
	fuzzMethod(f, "Cluster/MemberPromote", &pb.MemberPromoteRequest{ID: 2})
}
func FuzzStatus(f *testing.F) { fuzzMethod(f, "Maintenance/Status", &pb.StatusRequest{}) }
func FuzzHash(f *testing.F)   { fuzzMethod(f, "Maintenance/Hash", &pb.HashRequest{}) }
func FuzzHashKV(f *testing.F) { fuzzMethod(f, "Maintenance/HashKV", &pb.HashKVRequest{Revision: 1}) }
func FuzzMoveLeader(f *testing.F) {
	fuzzMethod(f, "Maintenance/MoveLeader", &pb.MoveLeaderRequest{TargetID: 2})
}
func FuzzWatch(f *testing.F) {
	fuzzMethod(f, "Watch/Watch", &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
		CreateRequest: &pb.WatchCreateRequest{Key: bs("k"), RangeEnd: bs("l"), StartRevision: 1, Fragment: true, PrevKv: true,
			Filters: []pb.WatchCreateRequest_FilterType{0, 1, 7}}}})
}

// FuzzRequestDecoders is the quick one: our decoders against proto, without a server.
func FuzzRequestDecoders(f *testing.F) {
	var names []string
	for name := range requestDecoders {
		names = append(names, name)
	}
	sort.Strings(names)
	for i, name := range names {
		for _, m := range seedRequests()[name] {
			f.Add(uint8(i), mustMarshal(f, m))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		compareDecoders(t, names[int(which)%len(names)], data)
	})
}

// FuzzUnimplemented sends arbitrary bytes to the methods without a target of their own:
// none of them answers, whatever it is asked.
func FuzzUnimplemented(f *testing.F) {
	r := newRig(f)
	var methods []etcdMethod
	for _, m := range etcdMethods(f) {
		if status.Code(r.call(context.Background(), m, nil)) == codes.Unimplemented {
			methods = append(methods, m)
		}
	}
	for i := range methods {
		f.Add(uint8(i), []byte{0x0a, 1, 'x', 0x10, 1})
	}
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		m := methods[int(which)%len(methods)]
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if code := status.Code(r.call(ctx, m, data)); code != codes.Unimplemented && code != codes.Internal {
			t.Fatalf("%s with % x: %v", m.full, data, code)
		}
	})
}

// decoderOf names the decoder of ours that a method uses.
var decoderOf = map[string]string{
	"KV/Range": "Range", "KV/RangeStream": "Range", "KV/Put": "Put", "KV/DeleteRange": "DeleteRange",
	"KV/Txn": "Txn", "Lease/LeaseKeepAlive": "LeaseKeepAlive",
}

func fuzzMethod(f *testing.F, name string, seed proto.Message) {
	data := mustMarshal(f, seed)
	f.Add(data)
	f.Add([]byte{})
	f.Add(append(data, data...))
	for _, m := range seedRequests()[decoderOf[name]] {
		f.Add(mustMarshal(f, m))
	}
	r := newRig(f)
	r.put("k", "v")
	full := "/etcdserverpb." + name
	var method etcdMethod
	for _, m := range etcdMethods(f) {
		if m.full == full {
			method = m
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if decoder := decoderOf[name]; decoder != "" {
			compareDecoders(t, decoder, data)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		err := r.call(ctx, method, data)
		refused := proto.Unmarshal(data, proto.Clone(seed)) != nil
		if got := status.Code(err); refused && name != "Watch/Watch" && got != codes.Internal {
			t.Fatalf("% x is no message, but the answer is %v", data, err)
		}
		if got := status.Code(err); got == codes.Unknown || (!refused && got == codes.Internal) {
			t.Fatalf("% x: %v", data, err)
		}
	})
}
