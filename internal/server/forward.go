package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/internal/limit"
	"github.com/quorate/quorate/internal/placement"
)

// A call for a keyspace that this node does not carry is passed on to a member that does, its
// messages as they came, so that a client needs no more than one member's address. What the
// answer says of a member, as its header does, is about the one that answered.
//
// A write must not run twice. A call is therefore tried at another member only where it is
// certain that the first did nothing: no connection was there to begin it on, or, of a unary
// call, the member said by its trailer that the keyspace is not there. Everything else goes to
// the client.

const (
	// forwardedMetadata marks a call that a member has passed on: who gets it answers it.
	forwardedMetadata = "quorate-forwarded"
	// notHereTrailer marks the answer to such a call that did not find its keyspace.
	notHereTrailer = "quorate-not-here"

	// A keyspace that has just been created is opened by its members at their own pace, and a
	// connection may be between two attempts: a call tries so often, so far apart. Together that is a second.
	roundsMax  = 20
	roundPause = 50 * time.Millisecond
)

// away is the context of a call whose keyspace is not on this node.
type away struct {
	context.Context
	name string
	// members carry the keyspace.
	members []uint64
	// err is set if the call cannot be passed on, and why.
	err error
}

// route finds a call's keyspace: here, or where else.
func (s *Server) route(ctx context.Context) (Keyspace, *away) {
	name, err := s.chosen(ctx)
	if err != nil {
		return nil, &away{Context: ctx, err: err}
	}
	if k, ok := s.node.Keyspace(name); ok {
		return k, nil
	}
	a := &away{Context: ctx, name: name}
	a.members, err = s.node.Carriers(ctx, name)
	forwarded := len(metadata.ValueFromIncomingContext(ctx, forwardedMetadata)) > 0
	switch {
	case errors.Is(err, placement.ErrDeleted):
		a.err = status.Error(codes.FailedPrecondition, "quorate: "+err.Error())
	case err != nil && !errors.Is(err, placement.ErrNotFound):
		a.err = toStatus(err)
	case forwarded:
		// It is not open yet, or not any more; or it is gone, and the client hears that next time.
		grpc.SetTrailer(ctx, metadata.Pairs(notHereTrailer, "1"))
		a.err = status.Errorf(codes.Unavailable, "quorate: keyspace %q is not on the member that should carry it: try again", name)
	case err != nil:
		a.err = status.Errorf(codes.NotFound, "quorate: keyspace %q not found", name)
	case len(a.members) == 0: // it is this member's alone, and about to be opened
		if k, ok := s.opened(ctx, name); ok {
			return k, nil
		}
	}
	return nil, a
}

// opened waits for a keyspace to be opened here, as long as a call looks for it elsewhere.
func (s *Server) opened(ctx context.Context, name string) (Keyspace, bool) {
	for range roundsMax {
		select {
		case <-ctx.Done():
			return nil, false
		case <-time.After(roundPause):
		}
		if k, ok := s.node.Keyspace(name); ok {
			return k, true
		}
	}
	return nil, false
}

// forwarder passes calls on.
type forwarder struct {
	*connections
	outcomes [outcomes]prometheus.Counter
	penalty  limit.Penalty // of calls that other members have refused
}

// outcome is what became of a call that was to be passed on.
type outcome int

const (
	succeeded   outcome = iota
	failed              // the other member's answer is an error, or its connection broke
	unreachable         // no member that carries the keyspace could be reached
	outcomes
)

func newForwarder(node Node, config *Config, reg *prometheus.Registry, log *slog.Logger) *forwarder {
	f := &forwarder{connections: newConnections(node, config, log)}
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "quorate_forwarded_calls_total",
		Help: "Calls for keyspaces on other members that were passed on, by what became of them."}, []string{"outcome"})
	for o, label := range [outcomes]string{"ok", "error", "unreachable"} {
		f.outcomes[o] = vec.WithLabelValues(label)
	}
	reg.MustRegister(vec)
	return f
}

// count counts a call by its end.
func (f *forwarder) count(err error, reached bool) {
	o := succeeded
	switch {
	case !reached:
		o = unreachable
	case err != nil && codeOf(err) != codes.Canceled: // a watch ends so, as a rule
		o = failed
	}
	f.outcomes[o].Inc()
}

// errUnreachable answers a call of which no member has got anything.
func errUnreachable(name string) error {
	return status.Errorf(codes.Unavailable, "quorate: no member that carries keyspace %q can be reached: try again", name)
}

// unary passes one unary call on. The answer is a rawMessage.
func (f *forwarder) unary(a *away, method string, req any) (reply any, err error) {
	if a.err != nil {
		return nil, a.err
	}
	reached := false
	defer func() { f.count(err, reached) }()
	ctx := outgoing(a.Context, a.name)
	for range roundsMax {
		err = errUnreachable(a.name)
		for _, member := range a.members {
			answer, got := f.call(ctx, member, method, req)
			if got == reachedNobody {
				continue
			}
			if reached, err = true, answer.err; got != notHere {
				answer.decorate(a.Context)
				return answer.reply, err
			}
		}
		if !pause(ctx, roundPause) {
			break
		}
	}
	return nil, err
}

// reach is how far a call came at one member.
type reach int

const (
	reachedNobody reach = iota // nothing of it has left
	notHere                    // it was refused because the keyspace is not there
	answered                   // or may have been
)

// answer is what a member said.
type answer struct {
	reply           *rawMessage
	header, trailer metadata.MD
	err             error
}

// unaryDesc describes a call with one message each way.
var unaryDesc = &grpc.StreamDesc{}

// call makes a unary call of a member.
func (f *forwarder) call(ctx context.Context, member uint64, method string, req any) (answer, reach) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := f.forUnary(member)
	if err != nil {
		return answer{err: err}, reachedNobody
	}
	// As Invoke, but in two steps: an error of the first one leaves no doubt.
	stream, err := conn.NewStream(ctx, unaryDesc, method)
	if err != nil {
		return answer{err: err}, beforeStart(err)
	}
	var a answer
	if a.err = stream.SendMsg(req); a.err == nil || errors.Is(a.err, io.EOF) {
		a.reply = new(rawMessage)
		a.err = stream.RecvMsg(a.reply)
	}
	a.header, _ = stream.Header() // there is none after an error
	a.trailer = stream.Trailer()
	if a.err != nil && len(a.trailer[notHereTrailer]) > 0 {
		return a, notHere
	}
	return a, answered
}

// beforeStart tells, of calls that could not be begun, those that another member may take from
// those that are wrong themselves or out of time.
func beforeStart(err error) reach {
	if status.Code(err) == codes.Unavailable {
		return reachedNobody
	}
	return answered
}

// decorate gives the client what the member sent beside its message.
func (a *answer) decorate(ctx context.Context) {
	if h := withoutConnection(a.header); len(h) > 0 {
		grpc.SetHeader(ctx, h)
	}
	if t := withoutConnection(a.trailer); len(t) > 0 {
		grpc.SetTrailer(ctx, t)
	}
}

// pause waits, or reports that there is no time for it.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// outgoing is the context of a call as it is passed on: with what the client said, with its
// keyspace, and with the mark that keeps it from being passed on again.
func outgoing(ctx context.Context, keyspace string) context.Context {
	out, ok := metadata.FromIncomingContext(ctx) // a copy
	if !ok {
		out = make(metadata.MD)
	}
	out = withoutConnection(out)
	out[KeyspaceMetadata], out[forwardedMetadata] = []string{keyspace}, []string{"1"}
	return metadata.NewOutgoingContext(ctx, out)
}

// withoutConnection removes from md what gRPC says anew on each connection.
func withoutConnection(md metadata.MD) metadata.MD {
	maps.DeleteFunc(md, func(key string, _ []string) bool {
		return strings.HasPrefix(key, ":") || strings.HasPrefix(key, "grpc-") || key == "content-type" || key == "user-agent" || key == "te"
	})
	return md
}
