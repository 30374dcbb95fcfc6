package server

import (
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/internal/store"
)

var (
	errStreamSort   = status.Error(codes.Unimplemented, "RangeStream does not support custom sort orders")
	errStreamFilter = status.Error(codes.Unimplemented, "RangeStream does not support revision filters")
)

// rangeStream answers a range in messages of bounded size, all of one revision, and
// says how many keys there are in the last one.
//
// etcd reads each message afresh and pins only the revision, so that a compaction may
// end the stream with an error. Ours is one walk over one View, which nothing ends.
func (s *kvServer) rangeStream(_ any, stream grpc.ServerStream) error {
	var r rangeRequest
	if err := stream.RecvMsg(&r); err != nil {
		return err
	}
	if err := checkRangeStream(&r.RangeRequest); err != nil {
		return toStatus(err)
	}
	ctx := stream.Context()
	k := keyspaceOf(ctx)
	if err := waitReadable(ctx, k, r.Serializable); err != nil {
		return toStatus(err)
	}
	view, err := k.View()
	if err != nil {
		return toStatus(err)
	}
	defer view.Close()
	h := s.headers.at(k, view.Revision())
	if r.CountOnly {
		n, err := view.Count(r.Key, r.RangeEnd, r.Revision)
		if err != nil {
			return toStatus(err)
		}
		return stream.SendMsg(&rangeStreamReply{header: &h, RangeResponse: store.RangeResponse{Count: n}})
	}
	c := chunker{stream: stream, request: &r.RangeRequest, limit: r.Limit, bytesMax: s.limits.RequestBytesMax}
	if c.limit <= 0 {
		c.limit = math.MaxInt64
	}
	return toStatus(c.run(view, &h))
}

func checkRangeStream(r *store.RangeRequest) error {
	if err := r.Validate(); err != nil {
		return err
	}
	if r.SortOrder != store.SortNone && (r.SortOrder != store.SortAscend || r.SortTarget != store.SortByKey) {
		return errStreamSort
	}
	if r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0 {
		return errStreamFilter
	}
	return nil
}

// chunker cuts a scan into messages.
type chunker struct {
	stream   grpc.ServerStream
	request  *store.RangeRequest
	limit    int64 // keys to send in all
	bytesMax int   // of one message

	kvs   []store.KeyValue
	bytes int // keys and values of kvs
	sent  int64
	more  bool // the limit cut the range
}

// chunkKeysMax bounds the keys of one message, however small they are.
const chunkKeysMax = 4096

func (c *chunker) run(view *store.View, h *header) error {
	r := c.request
	if err := view.Scan(r.Key, r.RangeEnd, r.Revision, c.add); err != nil {
		return err
	}
	last := &rangeStreamReply{header: h}
	last.KVs, last.More, last.Count = c.kvs, c.more, c.sent+int64(len(c.kvs))
	if c.more {
		n, err := view.Count(r.Key, r.RangeEnd, r.Revision)
		if err != nil {
			return err
		}
		last.Count = n
	}
	return c.stream.SendMsg(last)
}

// add takes one key over from the scan.
func (c *chunker) add(kv *store.KeyValue) (bool, error) {
	if c.sent+int64(len(c.kvs)) >= c.limit {
		c.more = true
		return false, nil
	}
	if len(c.kvs) == chunkKeysMax || c.bytes >= c.bytesMax {
		if err := c.flush(); err != nil {
			return false, err
		}
	}
	out := *kv
	if c.request.KeysOnly {
		out.Value = nil
		if c.request.SortTarget != store.SortByValue {
			out.Lease = 0 // as etcd, which answers from its index
		}
	}
	data := append(append(make([]byte, 0, len(out.Key)+len(out.Value)), out.Key...), out.Value...)
	out.Key, out.Value = data[:len(out.Key):len(out.Key)], data[len(out.Key):]
	c.kvs = append(c.kvs, out)
	c.bytes += len(data)
	return true, nil
}

// flush sends what is there. SendMsg encodes before it returns, so the slice is free
// to be used again.
func (c *chunker) flush() error {
	m := &rangeStreamReply{}
	m.KVs = c.kvs
	if err := c.stream.SendMsg(m); err != nil {
		return err
	}
	c.sent += int64(len(c.kvs))
	clear(c.kvs)
	c.kvs, c.bytes = c.kvs[:0], 0
	return nil
}

var _ pb.KV_RangeStreamServer // the generated type that rangeStream stands in for
