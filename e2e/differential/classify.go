package differential

import (
	"bytes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

const (
	maxTxnOps       = 128       // etcd's --max-txn-ops
	maxRequestBytes = 1_572_864 // etcd's --max-request-bytes
	maxMessageBytes = maxRequestBytes + 512*1024
)

// unary marks what a request is, as seen from the model before it runs, and
// what came back.
func (m *mix) unary(before *model, req any, a answer) {
	switch q := req.(type) {
	case *pb.RangeRequest:
		m.rangeRequest(before, q, a)
	case *pb.PutRequest:
		m.put(before, q)
	case *pb.DeleteRangeRequest:
		m.deleteRange(before, q, a)
	case *pb.TxnRequest:
		m.txn(before, q, a)
	case *pb.CompactionRequest:
		m.markIf(map[string]bool{
			"compact/physical":           q.Physical && a.code == codes.OK,
			"compact/logical":            !q.Physical && a.code == codes.OK,
			"compact/revision 0 or less": q.Revision <= 0,
		})
	case *pb.LeaseGrantRequest:
		m.leaseGrant(before, q)
	case *pb.LeaseRevokeRequest, *pb.LeaseTimeToLiveRequest, *pb.LeaseLeasesRequest:
		m.leaseRequest(before, q)
	case *pb.MemberListRequest:
		m.mark("cluster/member list")
		m.markIf(map[string]bool{"cluster/member list linearizable": q.Linearizable})
	case *pb.StatusRequest:
		m.mark("cluster/status")
	case *pb.HashRequest:
		m.mark("cluster/hash")
	case *pb.HashKVRequest:
		m.markIf(map[string]bool{"cluster/hashkv current": q.Revision == 0, "cluster/hashkv at revision": q.Revision != 0})
	}
}

// shape names the form of a key range.
func shape(key, end []byte) string {
	switch {
	case len(key) == 0:
		return "empty key"
	case len(end) == 0:
		return "single key"
	case bytes.Equal(end, []byte{0}) && bytes.Equal(key, []byte{0}):
		return "everything"
	case bytes.Equal(end, []byte{0}):
		return "from key"
	case bytes.Compare(end, key) <= 0:
		return "reversed"
	case bytes.Equal(end, prefixEnd(key)):
		return "prefix"
	}
	return "range end"
}

// prefixEnd returns the end of the range of all keys that start with prefix.
func prefixEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return []byte{0}
}

// age names a revision's place in the history; "" for revision 0.
func (m *model) age(rev int64) string {
	switch {
	case rev == 0:
		return ""
	case rev < 0:
		return "negative"
	case rev > m.rev:
		return "future"
	case rev < m.compacted:
		return "compacted"
	case rev == m.compacted:
		return "at compacted"
	case rev == m.rev:
		return "current"
	}
	return "old"
}

func (m *mix) rangeRequest(before *model, q *pb.RangeRequest, a answer) {
	m.mark("range/"+shape(q.Key, q.RangeEnd), "range/"+sortMark(q.SortOrder, q.SortTarget))
	if age := before.age(q.Revision); age != "" {
		m.mark("range/revision " + age)
	}
	r, _ := a.resp.(*pb.RangeResponse)
	filtered := q.MinModRevision != 0 || q.MaxModRevision != 0 || q.MinCreateRevision != 0 || q.MaxCreateRevision != 0
	leased := false
	for _, kv := range r.GetKvs() {
		known := before.keys[string(kv.Key)]
		leased = leased || known != nil && known.Lease != 0
	}
	m.markIf(map[string]bool{
		"range/limit":                          q.Limit > 0,
		"range/limit negative":                 q.Limit < 0,
		"range/limit reached":                  r.GetMore(),
		"range/keys only":                      q.KeysOnly,
		"range/keys only with lease":           q.KeysOnly && leased,
		"range/count only":                     q.CountOnly,
		"range/min mod":                        q.MinModRevision != 0,
		"range/max mod":                        q.MaxModRevision != 0,
		"range/min create":                     q.MinCreateRevision != 0,
		"range/max create":                     q.MaxCreateRevision != 0,
		"range/filter and limit":               filtered && r.GetMore(),
		"range/serializable":                   q.Serializable,
		"range/linearizable":                   !q.Serializable,
		"range/empty result":                   r != nil && r.Count == 0,
		"range/target without order and limit": q.SortOrder == pb.RangeRequest_NONE && q.SortTarget != pb.RangeRequest_KEY && r.GetMore(),
	})
}

func (m *mix) rangeStream(before *model, q *pb.RangeRequest, a answer, chunks int) {
	r, _ := a.resp.(*pb.RangeResponse)
	m.markIf(map[string]bool{
		"stream/single key":         len(q.Key) > 0 && len(q.RangeEnd) == 0,
		"stream/range":              len(q.Key) > 0 && len(q.RangeEnd) > 0,
		"stream/empty key":          len(q.Key) == 0,
		"stream/limit":              q.Limit > 0,
		"stream/limit reached":      r.GetMore(),
		"stream/keys only":          q.KeysOnly,
		"stream/count only":         q.CountOnly,
		"stream/revision old":       before.age(q.Revision) == "old",
		"stream/revision compacted": before.age(q.Revision) == "compacted",
		"stream/revision future":    before.age(q.Revision) == "future",
		"stream/serializable":       q.Serializable,
		"stream/several chunks":     chunks > 1,
		"stream/empty result":       r != nil && r.Count == 0,
		"stream/custom sort":        q.SortOrder == pb.RangeRequest_DESCEND,
		"stream/ascending by key":   q.SortOrder == pb.RangeRequest_ASCEND && q.SortTarget == pb.RangeRequest_KEY,
		"stream/revision filter":    q.MinModRevision != 0 || q.MaxModRevision != 0 || q.MinCreateRevision != 0 || q.MaxCreateRevision != 0,
	})
}

func (m *mix) put(before *model, q *pb.PutRequest) {
	old := before.keys[string(q.Key)]
	size := proto.Size(q)
	m.markIf(map[string]bool{
		"put/new key":                 old == nil && len(q.Key) > 0,
		"put/overwrite":               old != nil,
		"put/prev_kv":                 q.PrevKv && old != nil,
		"put/prev_kv of new key":      q.PrevKv && old == nil,
		"put/empty value":             len(q.Value) == 0 && !q.IgnoreValue,
		"put/lease":                   q.Lease != 0 && before.hasLease(q.Lease),
		"put/lease unknown":           q.Lease != 0 && !before.hasLease(q.Lease),
		"put/lease replaced":          old != nil && old.Lease != 0 && q.Lease != old.Lease && !q.IgnoreLease,
		"put/ignore_value":            q.IgnoreValue && old != nil,
		"put/ignore_value with value": q.IgnoreValue && len(q.Value) > 0,
		"put/ignore_value on new key": q.IgnoreValue && old == nil,
		"put/ignore_lease":            q.IgnoreLease && old != nil,
		"put/ignore_lease with lease": q.IgnoreLease && q.Lease != 0,
		"put/ignore_lease on new key": q.IgnoreLease && old == nil,
		"put/empty key":               len(q.Key) == 0,
		"put/too large":               size > maxRequestBytes && size < maxMessageBytes,
		"put/too large for gRPC":      size > maxMessageBytes,
	})
}

func (m *mix) deleteRange(before *model, q *pb.DeleteRangeRequest, a answer) {
	form := shape(q.Key, q.RangeEnd)
	r, _ := a.resp.(*pb.DeleteRangeResponse)
	old := before.keys[string(q.Key)]
	m.markIf(map[string]bool{
		"delete/single key":   form == "single key",
		"delete/missing key":  form == "single key" && r != nil && r.Deleted == 0,
		"delete/range":        form == "range end" || form == "prefix",
		"delete/from key":     form == "from key" || form == "everything",
		"delete/reversed":     form == "reversed",
		"delete/empty key":    form == "empty key",
		"delete/prev_kv":      q.PrevKv,
		"delete/leased key":   form == "single key" && old != nil && old.Lease != 0,
		"delete/several keys": r.GetDeleted() > 1,
	})
}

func (m *mix) leaseGrant(before *model, q *pb.LeaseGrantRequest) {
	m.markIf(map[string]bool{
		"lease/grant chosen id":     q.ID > 0,
		"lease/grant negative id":   q.ID < 0,
		"lease/grant generated id":  q.ID == 0,
		"lease/grant existing id":   before.hasLease(q.ID),
		"lease/grant ttl too large": q.TTL > 9_000_000_000,
		"lease/grant minimum ttl":   q.TTL < 2,
	})
}

func (m *mix) leaseRequest(before *model, req any) {
	switch q := req.(type) {
	case *pb.LeaseRevokeRequest:
		attached := false
		for _, kv := range before.keys {
			attached = attached || kv.Lease == q.ID
		}
		m.markIf(map[string]bool{
			"lease/revoke":           before.hasLease(q.ID),
			"lease/revoke with keys": before.hasLease(q.ID) && attached,
			"lease/revoke unknown":   !before.hasLease(q.ID),
		})
	case *pb.LeaseTimeToLiveRequest:
		m.markIf(map[string]bool{
			"lease/time to live":           before.hasLease(q.ID),
			"lease/time to live with keys": before.hasLease(q.ID) && q.Keys,
			"lease/time to live unknown":   !before.hasLease(q.ID),
		})
	case *pb.LeaseLeasesRequest:
		m.mark("lease/leases")
	}
}

func (m *mix) keepAlive(before *model, q *pb.LeaseKeepAliveRequest) {
	m.markIf(map[string]bool{
		"lease/keep alive":         before.hasLease(q.ID),
		"lease/keep alive unknown": !before.hasLease(q.ID),
	})
}
