package differential

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

const (
	expiryTimeout = 30 * time.Second       // lease of 2 s to keys gone
	expiryPoll    = 100 * time.Millisecond // between two looks
)

// failure is the first difference of a run.
type failure struct {
	step      step
	want, got string // both answers as text
	diff      string // where they differ
}

func (f *failure) Error() string {
	return fmt.Sprintf("%s\n  request:   %v\n  reference: %s\n  tested:    %s", f.diff, f.step, f.want, f.got)
}

// runner sends steps to both servers, compares the answers and keeps the
// model and the mix.
type runner struct {
	reference, tested *side
	leases            *leaseMap
	model             *model
	mix               *mix
	moves             sync.Locker // see pair
}

func newRunner(reference, tested *side) *runner {
	return &runner{reference: reference, tested: tested, leases: newLeaseMap(), model: newModel(), mix: newMix()}
}

// adopt reads the state both servers are in, so that a run need not start
// from an empty store.
func (r *runner) adopt(ctx context.Context) error {
	if f := r.run(ctx, unary(methodRange, readEverything)); f != nil {
		return f
	}
	hash := r.reference.call(ctx, methodHashKV, &pb.HashKVRequest{})
	if hash.code != codes.OK {
		return fmt.Errorf("read the compacted revision: %v", hash)
	}
	r.model.compacted = hash.resp.(*pb.HashKVResponse).CompactRevision
	return nil
}

// run does one step on both servers.
func (r *runner) run(ctx context.Context, s step) *failure {
	r.mix.requests++
	switch s.kind {
	case kindUnary:
		return r.runUnary(ctx, s)
	case kindRangeStream:
		return r.runRangeStream(ctx, s)
	case kindKeepAlive:
		return r.runKeepAlive(ctx, s)
	case kindWatch:
		return r.runWatch(ctx, s)
	case kindCloseWatch:
		r.reference.closeWatch(s.stream)
		r.tested.closeWatch(s.stream)
		delete(r.model.streams, s.stream)
		r.mix.mark("watch/stream closed")
		return nil
	case kindAwaitCompact:
		return r.awaitCompact(s)
	case kindDrain:
		return r.drain(ctx, s)
	case kindRestart, kindKillRestart:
		return r.restart(ctx, s)
	case kindAwaitExpiry:
		return r.awaitExpiry(ctx, s)
	}
	panic(fmt.Sprintf("unknown step kind %d", s.kind))
}

// both runs f for each server at the same time.
func (r *runner) both(f func(*side)) {
	var wg sync.WaitGroup
	wg.Go(func() { f(r.reference) })
	f(r.tested)
	wg.Wait()
}

// ask sends a request to both and returns both answers, the reference's first.
func (r *runner) ask(req proto.Message, send func(*side, proto.Message) answer) (want, got answer) {
	mapped := forTest(req, r.leases)
	r.both(func(s *side) {
		if s == r.reference {
			want = send(s, proto.Clone(req))
		} else {
			got = send(s, mapped)
		}
	})
	return want, got
}

func (r *runner) runUnary(ctx context.Context, s step) *failure {
	if s.method == methodCompact {
		if f := r.settle(ctx); f != nil {
			return f
		}
	}
	want, got := r.ask(s.req, func(side *side, req proto.Message) answer { return side.call(ctx, s.method, req) })
	if g, ok := s.req.(*pb.LeaseGrantRequest); ok && g.ID == 0 && want.code == codes.OK && got.code == codes.OK {
		r.leases.learn(want.resp.(*pb.LeaseGrantResponse).ID, got.resp.(*pb.LeaseGrantResponse).ID)
	}
	r.mix.unary(r.model, s.req, want)
	if f := r.compare(s, want, got); f != nil {
		return f
	}
	if want.code == codes.OK {
		r.model.observe(s.req, want.resp)
	}
	return nil
}

func (r *runner) runRangeStream(ctx context.Context, s step) *failure {
	chunks := 0
	want, got := r.ask(s.req, func(side *side, req proto.Message) answer {
		a, n := side.rangeStream(ctx, req.(*pb.RangeRequest))
		if side == r.reference {
			chunks = n
		}
		return a
	})
	r.mix.rangeStream(r.model, s.req.(*pb.RangeRequest), want, chunks)
	return r.compare(s, want, got)
}

func (r *runner) runKeepAlive(ctx context.Context, s step) *failure {
	want, got := r.ask(s.req, func(side *side, req proto.Message) answer {
		return side.keepAliveOnce(ctx, req.(*pb.LeaseKeepAliveRequest))
	})
	r.mix.keepAlive(r.model, s.req.(*pb.LeaseKeepAliveRequest))
	return r.compare(s, want, got)
}

func (r *runner) compare(s step, want, got answer) *failure {
	r.mix.answered(want)
	diff := ""
	switch {
	case want.gone() || got.gone():
		diff = "no answer from a server"
	case want.code != got.code || want.text != got.text:
		diff = fmt.Sprintf("status: want %v %q, got %v %q", want.code, want.text, got.code, got.text)
	case want.code == codes.OK:
		if r.moves != nil {
			excuseRenewal(want.resp, got.resp)
		}
		diff = compareMessages(want.resp, got.resp, r.leases)
	}
	if diff == "" {
		return nil
	}
	return &failure{step: s, want: want.String(), got: got.String(), diff: diff}
}

// excuseRenewal takes a time that remains of a lease for equal if it is longer on the tested side: a new
// leader starts the time of every lease anew, there as in etcd, whose leader stays.
func excuseRenewal(want, got proto.Message) {
	w, isLease := want.(*pb.LeaseTimeToLiveResponse)
	g, both := got.(*pb.LeaseTimeToLiveResponse)
	if isLease && both && w.TTL >= 0 && w.TTL < g.TTL && g.TTL <= g.GrantedTTL {
		g.TTL = w.TTL
	}
}

// restart drains what can be drained, restarts both servers and forgets the
// watches: their streams are gone.
func (r *runner) restart(ctx context.Context, s step) *failure {
	if f := r.drain(ctx, s); f != nil {
		return f
	}
	kill := s.kind == kindKillRestart
	var want, got error
	r.both(func(side *side) {
		err := side.restart(ctx, kill)
		if side == r.reference {
			want = err
		} else {
			got = err
		}
	})
	if want != nil || got != nil {
		return &failure{step: s, want: fmt.Sprint(want), got: fmt.Sprint(got), diff: "a server does not come back"}
	}
	clear(r.model.streams)
	// What remains of a lease's time after a restart is the server's affair;
	// a renewal makes both sides equal again.
	for _, l := range r.model.leases {
		renew := step{kind: kindKeepAlive, req: &pb.LeaseKeepAliveRequest{ID: l.id}}
		if f := r.run(ctx, renew); f != nil {
			return f
		}
	}
	if kill {
		r.mix.mark("restart/SIGKILL")
	} else {
		r.mix.mark("restart/SIGTERM")
	}
	return nil
}

// awaitExpiry polls both servers until the keys in the request are gone. No
// other request is sent meanwhile, so the revision of the deletion is fixed.
func (r *runner) awaitExpiry(ctx context.Context, s step) *failure {
	if r.moves != nil {
		r.moves.Lock()
		defer r.moves.Unlock()
	}
	var errs [2]error
	r.both(func(side *side) {
		deadline := time.Now().Add(expiryTimeout)
		for {
			a := side.call(ctx, methodRange, s.req)
			if a.code == codes.OK && a.resp.(*pb.RangeResponse).Count == 0 {
				return
			}
			if time.Now().After(deadline) || ctx.Err() != nil {
				errs[index(side == r.tested)] = fmt.Errorf("keys are there after %v: %v", expiryTimeout, a)
				return
			}
			time.Sleep(expiryPoll)
		}
	})
	if errs != [2]error{} {
		return &failure{step: s, want: fmt.Sprint(errs[0]), got: fmt.Sprint(errs[1]), diff: "a lease does not expire"}
	}
	r.mix.mark("lease/expired")
	return r.run(ctx, unary(methodRange, readEverything))
}

func index(second bool) int {
	if second {
		return 1
	}
	return 0
}

// fill is a write whose only purpose is a new revision.
var fill = unary(methodPut, &pb.PutRequest{Key: []byte("fill")})

// settle makes every watch catch up, writing filler keys if a watch starts a
// little ahead: what follows may destroy what a late watch still needs.
func (r *runner) settle(ctx context.Context) *failure {
	for _, n := range slices.Sorted(maps.Keys(r.model.streams)) {
		until, _ := r.model.streams[n].blockedUntil()
		for r.model.rev < until && until <= r.model.rev+futureFillMax {
			if f := r.run(ctx, fill); f != nil {
				return f
			}
		}
	}
	return r.drain(ctx, step{kind: kindDrain})
}

// drain lets all streams that can catch up do so and compares the events.
func (r *runner) drain(ctx context.Context, s step) *failure {
	for _, n := range slices.Sorted(maps.Keys(r.model.streams)) {
		if f := r.drainStream(ctx, s, n); f != nil {
			return f
		}
	}
	return nil
}

// drainStream waits for an answer to a progress request that proves all
// watches of the stream to be up to date. An answer at a revision that was
// reached only after the last watch was created cannot be an old one; if there
// is no such revision yet, a filler write makes it.
func (r *runner) drainStream(ctx context.Context, s step, n int) *failure {
	info := r.model.streams[n]
	until, forever := info.blockedUntil()
	if len(info.watches) == 0 || forever || until > r.model.rev {
		return nil
	}
	if info.lastCreate == r.model.rev {
		if f := r.run(ctx, fill); f != nil {
			return f
		}
	}
	var errs [2]error
	r.both(func(side *side) {
		errs[index(side == r.tested)] = side.watches[n].drain(r.model.rev)
	})
	if errs != [2]error{} {
		return &failure{step: s, want: fmt.Sprint(errs[0]), got: fmt.Sprint(errs[1]), diff: fmt.Sprintf("watch stream %d does not catch up", n)}
	}
	return r.compareEvents(s, n)
}

func (r *runner) compareEvents(s step, n int) *failure {
	want, got := r.reference.watches[n].takeEvents(), r.tested.watches[n].takeEvents()
	ids := maps.Clone(want)
	maps.Copy(ids, got)
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		r.mix.events(want[id])
		if diff := compareEventLists(want[id], got[id], r.leases); diff != "" {
			return &failure{step: s, diff: fmt.Sprintf("stream %d watch %d: %s", n, id, diff), want: showEvents(want[id]), got: showEvents(got[id])}
		}
	}
	r.mix.fragments(r.reference.watches[n])
	return nil
}

func compareEventLists(want, got []*mvccpb.Event, leases *leaseMap) string {
	for i := range min(len(want), len(got)) {
		if d := compareMessages(want[i], got[i], leases); d != "" {
			return fmt.Sprintf("event %d: %s", i, d)
		}
	}
	if len(want) != len(got) {
		return fmt.Sprintf("want %d events, got %d", len(want), len(got))
	}
	return ""
}

func showEvents(events []*mvccpb.Event) string {
	out := fmt.Sprintf("%d events", len(events))
	for _, e := range events {
		out += "\n    " + text(e)
	}
	return shorten(out)
}
