package client

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
)

// ownDeadlineWait is how long a write waits for its own deadline after the node has counted
// it down already.
const ownDeadlineWait = 50 * time.Millisecond

// routing sends the calls of one client to the right nodes. It is inside of etcd's retries:
// each attempt passes it anew.
type routing struct {
	guide *guide
	// routed is the connection whose calls are routed, the one to all endpoints; nil at
	// first. Those that etcd's client makes to a single endpoint pass.
	routed atomic.Pointer[grpc.ClientConn]
}

func newRouting() *routing {
	start := time.Now()
	return &routing{guide: newGuide(func() time.Duration { return time.Since(start) })}
}

// dialOptions put it to work. The resolver of etcd's client asks for round_robin, and only
// service configs of resolvers can be switched off.
func (r *routing) dialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithChainUnaryInterceptor(r.unary),
		grpc.WithChainStreamInterceptor(r.stream),
	}
}

// want is what a call wants of the policy, as far as is known now.
func (r *routing) want(c call) *want {
	k := r.guide.known.Load()
	w := &want{avoid: k.without}
	if c.leads {
		w.prefer = k.leader
	}
	return w
}

func (r *routing) passes(cc *grpc.ClientConn, method string) bool {
	return cc != r.routed.Load() || !strings.HasPrefix(method, etcdPrefix)
}

// unary is around each attempt of a unary call.
func (r *routing) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if p, ok := ctx.Value(probeKey{}).(*probe); ok {
		p.err = invoke(withWant(ctx, p.want), method, req, reply, cc, opts...)
		return nil
	}
	if r.passes(cc, method) {
		return invoke(ctx, method, req, reply, cc, opts...)
	}
	r.guide.called()
	c := callOf(method, req)
	w := r.want(c)
	err := invoke(withWant(ctx, w), method, req, reply, cc, opts...)
	r.heed(w, reply, err)
	if c.reads {
		return err
	}
	return settle(ctx, cc, err)
}

// heed learns from how a call ended.
func (r *routing) heed(w *want, reply any, err error) {
	e := w.took.Load()
	r.guide.sawEndpoints(e)
	switch {
	case err == nil:
		h, ok := reply.(interface{ GetHeader() *pb.ResponseHeader })
		if ok && h.GetHeader().GetRaftTerm() > r.guide.known.Load().term {
			r.guide.doubt()
		}
	case e != nil && speaksOfLeader(err):
		r.guide.failedAt(e.address)
	}
}

// speaksOfLeader reports whether an error may be due to a leader that is gone or has moved.
func speaksOfLeader(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded:
		return true
	}
	return errors.Is(err, rpctypes.ErrGRPCNotLeader)
}

// settle keeps a write from being sent again by etcd's client, which takes DeadlineExceeded
// and Canceled for its own while the context is alive (L4).
func settle(ctx context.Context, cc *grpc.ClientConn, err error) error {
	code := status.Code(err)
	if code != codes.DeadlineExceeded && code != codes.Canceled || ctx.Err() != nil || cc.GetState() == connectivity.Shutdown {
		return err
	}
	if _, ok := ctx.Deadline(); ok && code == codes.DeadlineExceeded {
		// The node has been told the caller's deadline and counts it, too. The caller is to
		// see an end of its own context as such.
		timer := time.NewTimer(ownDeadlineWait)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return err
		case <-timer.C:
		}
	}
	return status.Errorf(codes.Unavailable, "quorate: the node gave up on the request, which may have been carried out: %s", status.Convert(err).Message())
}

// stream is around each stream.
func (r *routing) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if r.passes(cc, method) {
		return open(ctx, desc, cc, method, opts...)
	}
	r.guide.called()
	w := r.want(callOf(method, nil))
	s, err := open(withWant(ctx, w), desc, cc, method, opts...)
	if err != nil {
		r.heed(w, nil, err)
		return nil, err
	}
	return &routedStream{ClientStream: s, routing: r, want: w}, nil
}

// routedStream learns from how a stream ends.
type routedStream struct {
	grpc.ClientStream
	routing *routing
	want    *want
}

// RecvMsg implements grpc.ClientStream.
func (s *routedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err != nil {
		s.routing.heed(s.want, nil, err)
	}
	return err
}
