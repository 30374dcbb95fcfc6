package differential

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
)

// runWatch sends one message on a watch stream of both servers and, if it has
// an answer of its own, waits for it and compares.
func (r *runner) runWatch(ctx context.Context, s step) *failure {
	req := s.req.(*pb.WatchRequest)
	if f := r.beforeWatch(ctx, s, req); f != nil {
		return f
	}
	var errs [2]error
	r.both(func(side *side) {
		w, err := side.openWatch(ctx, s.stream)
		if err == nil {
			err = w.stream.Send(req)
		}
		errs[index(side == r.tested)] = err
	})
	if errs != [2]error{} {
		return &failure{step: s, want: fmt.Sprint(errs[0]), got: fmt.Sprint(errs[1]), diff: "send on the watch stream"}
	}
	info := r.model.stream(s.stream)
	switch u := req.RequestUnion.(type) {
	case *pb.WatchRequest_CreateRequest:
		return r.watchCreated(s, u.CreateRequest, info)
	case *pb.WatchRequest_CancelRequest:
		id := u.CancelRequest.WatchId
		if _, live := info.watches[id]; !live {
			r.mix.mark("watch/cancel unknown id")
			return nil // neither server answers
		}
		return r.watchCanceled(s, id, info)
	case *pb.WatchRequest_ProgressRequest:
		r.mix.mark("watch/progress request")
	}
	return nil
}

// beforeWatch drains the stream ahead of a cancel, which drops what is under
// way (keeps I4).
func (r *runner) beforeWatch(ctx context.Context, s step, req *pb.WatchRequest) *failure {
	if req.GetCancelRequest() == nil || r.model.streams[s.stream] == nil {
		return nil
	}
	return r.drainStream(ctx, s, s.stream)
}

func (r *runner) watchCreated(s step, req *pb.WatchCreateRequest, info *streamInfo) *failure {
	resp, f := r.control(s)
	if f != nil {
		return f
	}
	r.mix.watchCreate(r.model, req, info, resp)
	if resp.Canceled {
		return nil
	}
	info.lastCreate = r.model.rev
	info.watches[resp.WatchId] = watchInfo{
		start:     req.StartRevision,
		compacted: req.StartRevision > 0 && req.StartRevision < r.model.compacted,
	}
	return nil
}

func (r *runner) watchCanceled(s step, id int64, info *streamInfo) *failure {
	if info.watches[id].compacted {
		r.mix.mark("watch/cancel after compaction")
	} else {
		r.mix.mark("watch/cancel")
	}
	if _, f := r.control(s); f != nil {
		return f
	}
	delete(info.watches, id)
	r.reference.watches[s.stream].takeEventsOf(id)
	r.tested.watches[s.stream].takeEventsOf(id)
	return nil
}

// awaitCompact waits for the message that ends a watch whose start revision
// is compacted. The watch id stays in use until the client cancels it.
func (r *runner) awaitCompact(s step) *failure {
	for _, w := range r.model.stream(s.stream).watches {
		if w.compacted {
			_, f := r.control(s)
			return f
		}
	}
	return nil
}

// control takes the next created or canceled message from both servers and
// compares them.
func (r *runner) control(s step) (*pb.WatchResponse, *failure) {
	var resps [2]*pb.WatchResponse
	var errs [2]error
	r.both(func(side *side) {
		i := index(side == r.tested)
		resps[i], errs[i] = side.watches[s.stream].nextControl()
	})
	if errs != [2]error{} {
		return nil, &failure{step: s, want: fmt.Sprint(text(resps[0]), errs[0]), got: fmt.Sprint(text(resps[1]), errs[1]), diff: "control message of the watch"}
	}
	r.mix.answered(answer{code: codes.OK, resp: resps[0]})
	if d := compareMessages(resps[0], resps[1], r.leases); d != "" {
		return nil, &failure{step: s, want: text(resps[0]), got: text(resps[1]), diff: d}
	}
	return resps[0], nil
}

// takeEventsOf forgets the events of one watch.
func (w *watchStream) takeEventsOf(id int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.events, id)
}
