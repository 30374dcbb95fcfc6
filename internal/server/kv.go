package server

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/quorate/quorate/internal/mvcc"
	"github.com/quorate/quorate/internal/router"
	"github.com/quorate/quorate/internal/store"
)

// kvServer is etcd's KV service.
type kvServer struct {
	headers *headers
	limits  Limits
}

func (s *Server) kvService() *grpc.ServiceDesc {
	kv := &kvServer{headers: s.headers, limits: s.config.Limits}
	return describe(pb.KV_ServiceDesc, map[string]grpc.MethodHandler{
		"Range":       unaryMethod(s, pb.KV_Range_FullMethodName, kv.rangeKeys),
		"Put":         unaryMethod(s, pb.KV_Put_FullMethodName, kv.put),
		"DeleteRange": unaryMethod(s, pb.KV_DeleteRange_FullMethodName, kv.deleteRange),
		"Txn":         unaryMethod(s, pb.KV_Txn_FullMethodName, kv.txn),
		"Compact":     unaryMethod(s, pb.KV_Compact_FullMethodName, kv.compact),
	}, map[string]grpc.StreamHandler{
		"RangeStream": kv.rangeStream,
	})
}

// rangeKeys runs in the call's goroutine on a View: reads queue behind nothing.
func (s *kvServer) rangeKeys(ctx context.Context, r *rangeRequest) (any, error) {
	if err := r.Validate(); err != nil {
		return nil, toStatus(err)
	}
	k := keyspaceOf(ctx)
	if err := waitReadable(ctx, k, r.Serializable); err != nil {
		return nil, toStatus(err)
	}
	resp, ok := k.RangeNewest(&r.RangeRequest)
	if !ok {
		err := withView(k, func(view *store.View) (err error) {
			resp, err = view.Range(&r.RangeRequest)
			return err
		})
		if err != nil {
			return nil, toStatus(err)
		}
	}
	return &rangeReply{s.headers.at(k, resp.Revision), resp}, nil
}

// waitReadable returns when a view may be taken: at once for a serializable read (I2).
func waitReadable(ctx context.Context, k Keyspace, serializable bool) error {
	if serializable {
		return nil
	}
	return k.Barrier(ctx)
}

// viewTries bounds how often a read begins again because a snapshot was installed under
// it. Snapshots are rare; two in a row mean that something else is wrong.
const viewTries = 3

// withView runs a read on a view.
func withView(k Keyspace, read func(*store.View) error) error {
	for try := 1; ; try++ {
		view, err := k.View()
		if err == nil {
			err = read(view)
			view.Close()
		}
		if try == viewTries || !errors.Is(err, mvcc.ErrReplaced) {
			return err
		}
	}
}

func (s *kvServer) put(ctx context.Context, r *putRequest) (any, error) {
	k := keyspaceOf(ctx)
	if err := r.Validate(); err != nil {
		return nil, refusal(k, err)
	}
	if s.limits.tooLarge(r.size) {
		return nil, refusal(k, router.ErrRequestTooLarge)
	}
	result, err := k.Propose(ctx, store.KindPut, r.AppendTo(make([]byte, 0, r.size+bodySlack)))
	if err != nil {
		return nil, toStatus(err)
	}
	if result.Err != nil {
		return nil, toStatus(result.Err)
	}
	resp := result.Response.(*store.PutResponse)
	return &putReply{s.headers.at(k, resp.Revision), resp}, nil
}

func (s *kvServer) deleteRange(ctx context.Context, r *deleteRangeRequest) (any, error) {
	k := keyspaceOf(ctx)
	if err := r.Validate(); err != nil {
		return nil, toStatus(err)
	}
	if s.limits.tooLarge(r.size) {
		return nil, refusal(k, router.ErrRequestTooLarge)
	}
	result, err := k.Propose(ctx, store.KindDeleteRange, r.AppendTo(make([]byte, 0, r.size+bodySlack)))
	if err != nil {
		return nil, toStatus(err)
	}
	if result.Err != nil {
		return nil, toStatus(result.Err)
	}
	resp := result.Response.(*store.DeleteRangeResponse)
	return &deleteRangeReply{s.headers.at(k, resp.Revision), resp}, nil
}

func (s *kvServer) txn(ctx context.Context, r *txnRequest) (any, error) {
	k := keyspaceOf(ctx)
	if err := s.validateTxn(r); err != nil {
		return nil, refusal(k, err)
	}
	if r.ReadOnly() {
		return s.readTxn(ctx, k, r)
	}
	if s.limits.tooLarge(r.size) {
		return nil, refusal(k, router.ErrRequestTooLarge)
	}
	result, err := k.Propose(ctx, store.KindTxn, r.AppendTo(make([]byte, 0, r.size+bodySlack)))
	if err != nil {
		return nil, toStatus(err)
	}
	if result.Err != nil {
		return nil, toStatus(result.Err)
	}
	resp := result.Response.(*store.TxnResponse)
	return &txnReply{s.headers.at(k, resp.Revision), resp}, nil
}

func (s *kvServer) validateTxn(r *txnRequest) error {
	if r.tooMany {
		return store.ErrTooManyOps
	}
	return r.Validate(s.limits.TxnOpsMax)
}

// readTxn answers a txn that only reads without replicating it.
func (s *kvServer) readTxn(ctx context.Context, k Keyspace, r *txnRequest) (any, error) {
	if err := waitReadable(ctx, k, r.Serializable()); err != nil {
		return nil, toStatus(err)
	}
	var resp *store.TxnResponse
	err := withView(k, func(view *store.View) (err error) {
		resp, err = view.Txn(&r.TxnRequest)
		return err
	})
	if err != nil {
		return nil, toStatus(err)
	}
	return &txnReply{s.headers.at(k, resp.Revision), resp}, nil
}

func (s *kvServer) compact(ctx context.Context, r *pb.CompactionRequest) (any, error) {
	k := keyspaceOf(ctx)
	body := (&store.CompactRequest{Revision: r.Revision, Physical: r.Physical}).AppendTo(nil)
	result, err := k.Propose(ctx, store.KindCompact, body)
	if err != nil {
		return nil, toStatus(err)
	}
	if result.Err != nil {
		return nil, toStatus(result.Err)
	}
	return &pb.CompactionResponse{Header: s.headers.proto(k, revisionOf(k))}, nil
}

// refusal translates the error of a write that is not worth proposing. etcd looks at
// the quota before it looks at the request, so that of two reasons it names that one.
func refusal(k Keyspace, err error) error {
	if full, viewErr := overQuota(k); viewErr == nil && full {
		return toStatus(store.ErrNoSpace)
	}
	return toStatus(err)
}

func overQuota(k Keyspace) (full bool, err error) {
	err = withView(k, func(view *store.View) error {
		quota, err := view.Quota()
		full = quota.Bytes > 0 && view.LogicalBytes() >= quota.Bytes
		return err
	})
	return full, err
}

// bodySlack is what a request may grow when it is encoded for the log.
const bodySlack = 16
