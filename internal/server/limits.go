package server

import (
	"context"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/quorate/quorate/internal/limit"
)

// The rates of a keyspace are kept where its calls are answered: by each node for itself.
// Asking another node would cost every call of every keyspace a round trip to protect it from
// calls that are cheaper than that. A call counts once, where it is answered: the node that
// passes it on knows nothing of the keyspace's rates.

// admit refuses a call that is above its keyspace's rates.
func (s *Server) admit(c *call, req any) error {
	if c.keyspace == nil {
		return nil
	}
	l := c.keyspace.Limiter()
	if !l.Limited() || l.Admit(s.clock.Monotonic(), func() int { return sizeOf(req) }) {
		return nil
	}
	// A connection between nodes has calls of many keyspaces: those held back would take its
	// streams from the others. The node that has passed the call on holds the answer.
	if len(metadata.ValueFromIncomingContext(c.Context, forwardedMetadata)) == 0 {
		hold(c.Context, &l.Penalty)
	}
	return rpctypes.ErrGRPCRequestTooManyRequests
}

// hold holds the answer of a refused call back.
func hold(ctx context.Context, p *limit.Penalty) {
	if d := p.Enter(); d > 0 {
		pause(ctx, d)
	}
	p.Leave()
}

// passedOn holds the answer of a call back that another node has refused.
func (s *Server) passedOn(ctx context.Context, err error) {
	if err != nil && status.Convert(err).Message() == rpctypes.ErrorDesc(rpctypes.ErrGRPCRequestTooManyRequests) {
		hold(ctx, &s.forward.penalty)
	}
}

// sizeOf is what a request takes on the wire, or near enough where that was not kept.
func sizeOf(req any) int {
	switch r := req.(type) {
	case *putRequest:
		return r.size
	case *txnRequest:
		return r.size
	case *deleteRangeRequest:
		return r.size
	case *rangeRequest:
		return len(r.Key) + len(r.RangeEnd)
	case proto.Message:
		return proto.Size(r)
	}
	return 0 // none, a stream's opening, or a renewal
}

// paced is a stream whose messages wait for its keyspace's rates. They are not refused: that
// would end the stream, and with it watchers and, after a while, leases of clients that ask for
// little. Who sends too much is slowed down by its own window of flow control.
type paced struct {
	grpc.ServerStream
	ctx    context.Context // the call's
	server *Server
	limits *limit.Limiter
}

// RecvMsg implements grpc.ServerStream.
func (p *paced) RecvMsg(m any) error {
	if err := p.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	for p.limits.Limited() {
		wait := p.limits.Pace(p.server.clock.Monotonic(), func() int { return sizeOf(m) })
		if wait == 0 {
			return nil
		}
		if !pause(p.ctx, min(wait, paceMax)) {
			return endOf(p.ctx, p.ctx.Err())
		}
	}
	return nil
}

// paceMax is how long a message waits before it looks whether the limits are the same.
const paceMax = time.Second
