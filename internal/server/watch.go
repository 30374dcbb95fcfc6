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

	done := make(chan struct{})
	defer close(done)
	go w.receive(done)
	err := w.run(ctx)
	if errors.Is(err, context.Canceled) {
		return rpctypes.ErrGRPCWatchCanceled
	}
	return err
}

// received is what the receiving goroutine hands over: a request, or its own end.
type received struct {
	request *pb.WatchRequest
	err     error
}

// receive hands requests over. A client that has nothing more to say is no error: it
// may still listen.
func (w *watchStream) receive(done <-chan struct{}) {
	for {
		next := received{request: new(pb.WatchRequest)}
		next.err = w.stream.RecvMsg(next.request)
		if errors.Is(next.err, io.EOF) {
			return
		}
		select {
		case w.received <- next:
		case <-done:
			return
		}
		if next.err != nil {
			return
		}
	}
}

// run answers requests and delivers events until the stream ends.
//
// It waits on two channels, because this wait is paid for every event of every stream
// and a select costs by the channel. The end of the context and the timer therefore
// come in as wakings, too.
func (w *watchStream) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, w.signal)
	defer stop()
	// The jitter keeps clients that started together from being notified together.
	interval := w.server.interval + rand.N(w.server.interval/10+1)
	timer := time.AfterFunc(interval, func() {
		w.tick.Store(true)
		w.signal()
	})
	defer timer.Stop()
	for {
		var err error
		select {
		case next := <-w.received:
			if next.err != nil {
				w.server.metrics.streamFailed(ctx, next.err, "receive", "watch")
				return endOf(ctx, next.err)
			}
			err = w.handle(next.request)
		case <-w.woken:
			err = w.deliver(ctx)
			if err == nil && w.tick.Swap(false) {
				err = w.notifyProgress()
				timer.Reset(interval)
			}
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
