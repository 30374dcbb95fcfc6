package differential

import (
	"bytes"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// futureFillMax is how many filler writes may be made to reach the start
// revision of a watch in the future. Watches further away stay blocked.
const futureFillMax = 64

// model is what the generator knows about the store: enough to aim requests
// at interesting states, not enough to predict answers. It is updated from
// the reference's answers.
type model struct {
	rev       int64
	compacted int64          // -1 while nothing has been compacted, as etcd has it
	points    map[int64]bool // revisions that were compacted at
	keys      map[string]*mvccpb.KeyValue
	leases    []leaseInfo
	streams   map[int]*streamInfo
}

type leaseInfo struct {
	id     int64 // as the reference knows it
	chosen bool  // by the client, so equal on both servers
}

type streamInfo struct {
	watches    map[int64]watchInfo
	lastCreate int64 // revision of the store when the last watch was created
}

type watchInfo struct {
	start     int64 // requested start revision
	compacted bool  // start was compacted when it was created
}

func newModel() *model {
	return &model{compacted: -1, points: make(map[int64]bool), keys: make(map[string]*mvccpb.KeyValue), streams: make(map[int]*streamInfo)}
}

// blockedUntil returns the highest start revision of a stream's watches, and
// whether the stream can answer a progress request at all.
func (s *streamInfo) blockedUntil() (rev int64, forever bool) {
	for _, w := range s.watches {
		rev = max(rev, w.start)
		forever = forever || w.compacted
	}
	return rev, forever
}

// observe updates the model after a unary request that the reference served.
func (m *model) observe(req, resp proto.Message) {
	switch q := req.(type) {
	case *pb.RangeRequest:
		m.observeRange(q, resp.(*pb.RangeResponse))
	case *pb.PutRequest:
		m.rev = resp.(*pb.PutResponse).Header.Revision
		m.put(q)
	case *pb.DeleteRangeRequest:
		m.rev = resp.(*pb.DeleteRangeResponse).Header.Revision
		m.delete(q)
	case *pb.TxnRequest:
		r := resp.(*pb.TxnResponse)
		m.rev = r.Header.Revision
		m.txn(q, r)
	case *pb.CompactionRequest:
		m.compacted = q.Revision
		m.points[q.Revision] = true
	case *pb.LeaseGrantRequest:
		m.leases = append(m.leases, leaseInfo{id: resp.(*pb.LeaseGrantResponse).ID, chosen: q.ID != 0})
	case *pb.LeaseRevokeRequest:
		m.rev = resp.(*pb.LeaseRevokeResponse).Header.Revision
		m.dropLease(q.ID)
	}
}

// observeRange takes a full read of the store as the truth about its keys.
func (m *model) observeRange(q *pb.RangeRequest, r *pb.RangeResponse) {
	if !proto.Equal(q, readEverything) {
		return
	}
	m.rev = r.Header.Revision
	clear(m.keys)
	for _, kv := range r.Kvs {
		m.keys[string(kv.Key)] = kv
	}
}

func (m *model) put(q *pb.PutRequest) {
	kv := &mvccpb.KeyValue{Key: q.Key, CreateRevision: m.rev}
	if old := m.keys[string(q.Key)]; old != nil {
		kv = old
	}
	kv.Version++
	kv.ModRevision = m.rev
	if !q.IgnoreValue {
		kv.Value = q.Value
	}
	if !q.IgnoreLease {
		kv.Lease = q.Lease
	}
	m.keys[string(q.Key)] = kv
}

func (m *model) delete(q *pb.DeleteRangeRequest) {
	for k := range m.keys {
		if inRange([]byte(k), q.Key, q.RangeEnd) {
			delete(m.keys, k)
		}
	}
}

func (m *model) txn(q *pb.TxnRequest, r *pb.TxnResponse) {
	ops := q.Success
	if !r.Succeeded {
		ops = q.Failure
	}
	for i, op := range ops {
		switch o := op.Request.(type) {
		case *pb.RequestOp_RequestPut:
			m.put(o.RequestPut)
		case *pb.RequestOp_RequestDeleteRange:
			m.delete(o.RequestDeleteRange)
		case *pb.RequestOp_RequestTxn:
			m.txn(o.RequestTxn, r.Responses[i].GetResponseTxn())
		}
	}
}

func (m *model) dropLease(id int64) {
	m.leases = slices.DeleteFunc(m.leases, func(l leaseInfo) bool { return l.id == id })
	for k, kv := range m.keys {
		if kv.Lease == id {
			delete(m.keys, k)
		}
	}
}

func (m *model) hasLease(id int64) bool {
	return slices.ContainsFunc(m.leases, func(l leaseInfo) bool { return l.id == id })
}

func (m *model) stream(n int) *streamInfo {
	s := m.streams[n]
	if s == nil {
		s = &streamInfo{watches: make(map[int64]watchInfo)}
		m.streams[n] = s
	}
	return s
}

// inRange says whether key lies in etcd's range [from, end): an empty end
// means the single key, "\0" everything from there on.
func inRange(key, from, end []byte) bool {
	switch {
	case len(end) == 0:
		return bytes.Equal(key, from)
	case len(end) == 1 && end[0] == 0:
		return bytes.Compare(key, from) >= 0
	}
	return bytes.Compare(key, from) >= 0 && bytes.Compare(key, end) < 0
}

var readEverything = &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}
