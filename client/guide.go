package client

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
)

const (
	// learnPeriod is the shortest time between two surveys (L5).
	learnPeriod = time.Second
	// relearnPeriod is the time after which what is known is asked for again, if there are
	// calls, though nothing speaks against it.
	relearnPeriod = 30 * time.Second
	// surveyTimeout bounds a survey: a node that hangs does not answer at all.
	surveyTimeout = 2 * time.Second
	// surveyNodesMax bounds the endpoints that a survey asks.
	surveyNodesMax = 64
)

// knowledge is what is known of the keyspace's nodes. It never changes: there is a new one.
type knowledge struct {
	leader string // the address of the leader's endpoint; "" unknown, or not among the endpoints
	named  bool   // a node has named the leader, whether it is among the endpoints or not
	term   uint64 // the newest term that a node was in
	// without has the addresses of nodes without the keyspace, which pass calls for it on.
	without map[string]bool
}

// guide keeps what is known of the keyspace's nodes, and sees to it that they are asked when
// that is in doubt. Calls only read what it knows, without a lock (L2).
type guide struct {
	clock     func() time.Duration // monotonic
	known     atomic.Pointer[knowledge]
	endpoints atomic.Pointer[[]string] // the addresses that the last call saw
	// notBefore is the time on the clock from which on a call starts a survey.
	notBefore atomic.Int64

	mu struct {
		sync.Mutex
		ctx     context.Context // ends with the client; nil before begin
		conn    grpc.ClientConnInterface
		began   time.Duration // when the last survey began
		running bool
		doubted bool // since the last survey began
		closed  bool
	}
	surveys sync.WaitGroup
}

func newGuide(clock func() time.Duration) *guide {
	g := &guide{clock: clock}
	g.known.Store(&knowledge{})
	return g
}

// begin starts the first survey.
func (g *guide) begin(ctx context.Context, conn grpc.ClientConnInterface) {
	g.mu.Lock()
	g.mu.ctx, g.mu.conn = ctx, conn
	g.mu.Unlock()
	g.called()
}

// called is told of every call, before it is made: a survey starts if it is time for one.
func (g *guide) called() {
	if int64(g.clock()) < g.notBefore.Load() {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.clock()
	if g.mu.closed || g.mu.running || int64(now) < g.notBefore.Load() {
		return
	}
	g.mu.running, g.mu.doubted, g.mu.began = true, false, now
	ctx, conn := g.mu.ctx, g.mu.conn
	g.surveys.Go(func() {
		g.survey(ctx, conn)
		g.surveyed()
	})
}

// surveyed sets the time of the next survey.
func (g *guide) surveyed() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.running = false
	wait := relearnPeriod
	if g.mu.doubted || !g.known.Load().named {
		wait = learnPeriod
	}
	g.notBefore.Store(int64(g.mu.began + wait))
}

// doubt makes the next call start a survey, if the last one is long enough ago.
func (g *guide) doubt() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.doubted {
		return
	}
	g.mu.doubted = true
	if !g.mu.running {
		g.notBefore.Store(int64(g.mu.began + learnPeriod))
	}
}

// failedAt takes back that a node leads, if it was believed of the one that just failed.
func (g *guide) failedAt(address string) {
	if k := g.known.Load(); address != "" && k.leader == address {
		without := *k
		without.leader, without.named = "", false
		g.known.CompareAndSwap(k, &without) // if that fails, something newer is known
	}
	g.doubt()
}

// sawEndpoints notes which endpoints there are.
func (g *guide) sawEndpoints(e *endpoint) {
	if e != nil && g.endpoints.Load() != e.all {
		g.endpoints.Store(e.all)
	}
}

// close waits for the survey that runs; its context has ended. There is none after it.
func (g *guide) close() {
	g.mu.Lock()
	g.mu.closed = true
	g.mu.Unlock()
	g.surveys.Wait()
}
