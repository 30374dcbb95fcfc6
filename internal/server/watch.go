package server

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
)

// watchServer is etcd's Watch service.
type watchServer struct {
	headers  *headers
	metrics  *metrics
	limits   Limits
	interval time.Duration // of progress notifications
}

func (s *Server) watchService() *grpc.ServiceDesc {
	w := &watchServer{
		headers: s.headers, metrics: s.metrics, limits: s.config.Limits, interval: s.config.ProgressInterval,
	}
	return describe(pb.Watch_ServiceDesc, nil, map[string]grpc.StreamHandler{"Watch": w.watch})
}

// watchRequestsMax is how many of a client's requests are read ahead of their answers.
// A client that does not read its answers is not read any further either.
const watchRequestsMax = 16

// watch serves one stream with two goroutines however many watchers it has: a second
// one reads requests, this one owns all the rest (I7).
func (s *watchServer) watch(_ any, stream grpc.ServerStream) error {
	ctx := stream.Context()
	w := newWatchStream(s, stream, keyspaceOf(ctx))
	defer w.close()
	s.metrics.watchStreams.Add(1)
	defer s.metrics.watchStreams.Add(-1)

	failed := make(chan error, 1)
	done := make(chan struct{})
	defer close(done)
	go func() {
		if err := w.receive(done); err != nil {
			s.metrics.streamFailed(ctx, err, "receive", "watch")
			failed <- err
		}
	}()
	err := w.run(ctx, failed)
	if errors.Is(err, context.Canceled) {
		return rpctypes.ErrGRPCWatchCanceled
	}
	return err
}

// receive hands requests over. A client that has nothing more to say is no error: it
// may still listen.
func (w *watchStream) receive(done <-chan struct{}) error {
	for {
		req := new(pb.WatchRequest)
		if err := w.stream.RecvMsg(req); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		select {
		case w.requests <- req:
		case <-done:
			return nil
		}
	}
}

// run answers requests and delivers events until the stream ends.
func (w *watchStream) run(ctx context.Context, failed <-chan error) error {
	// The jitter keeps clients that started together from being notified together.
	interval := w.server.interval
	ticker := time.NewTicker(interval + rand.N(interval/10+1))
	defer ticker.Stop()
	for {
		var err error
		select {
		case req := <-w.requests:
			err = w.handle(req)
		case <-w.woken:
			err = w.deliver(ctx)
		case <-ticker.C:
			err = w.notifyProgress()
		case err = <-failed:
		case <-ctx.Done():
			err = endOf(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// handle answers one request. Requests of unknown kinds are ignored, as in etcd.
func (w *watchStream) handle(req *pb.WatchRequest) error {
	switch r := req.RequestUnion.(type) {
	case *pb.WatchRequest_CreateRequest:
		return w.create(r.CreateRequest)
	case *pb.WatchRequest_CancelRequest:
		return w.cancel(r.CancelRequest.GetWatchId())
	case *pb.WatchRequest_ProgressRequest:
		w.progressWanted = true
		return w.answerProgress()
	}
	return nil
}
