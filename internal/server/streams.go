package server

import (
	"context"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// streams keeps the streaming calls that are open, so that they can be ended from our
// side: those that require a leader after it is gone for a while, and all of them when
// the server stops. Without the second a graceful stop would wait for every watch.
type streams struct {
	max int // open at the same time

	mu struct {
		sync.Mutex
		stopped bool
		open    map[*openStream]struct{}
	}
}

type openStream struct {
	keyspace    Keyspace
	needsLeader bool
	ctx         context.Context
	cancel      context.CancelCauseFunc
}

func newStreams(max int) *streams {
	s := &streams{max: max}
	s.mu.open = make(map[*openStream]struct{})
	return s
}

// enter registers a stream. Its context ends with the call's, or with our reason as
// the cause.
func (s *streams) enter(c *call, needsLeader bool) (*openStream, error) {
	o := &openStream{keyspace: c.keyspace, needsLeader: needsLeader}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.stopped {
		return nil, rpctypes.ErrGRPCStopped
	}
	if len(s.mu.open) >= s.max {
		return nil, rpctypes.ErrGRPCRequestTooManyRequests
	}
	o.ctx, o.cancel = context.WithCancelCause(c.Context)
	s.mu.open[o] = struct{}{}
	return o, nil
}

func (s *streams) leave(o *openStream) {
	o.cancel(nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.open, o)
}

// stop ends all streams and refuses new ones. Unavailable is what makes a client take
// its watch to another member at once.
func (s *streams) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.stopped = true
	for o := range s.mu.open {
		o.cancel(rpctypes.ErrGRPCStopped)
	}
}

// leaderless is called once per election timeout. A keyspace that has had no leader
// for leaderlessTicks of them loses its streams that asked for one. Reconnecting costs
// a client more than waiting, therefore not at once.
const leaderlessTicks = 3

func (s *streams) watchLeaders(ctx context.Context, election time.Duration) {
	ticker := time.NewTicker(election)
	defer ticker.Stop()
	missing := make(map[Keyspace]int)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.endLeaderless(missing)
		}
	}
}

// endLeaderless counts, for each keyspace with a stream that needs a leader, the ticks
// without one, and ends those streams at the limit.
func (s *streams) endLeaderless(missing map[Keyspace]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := make(map[Keyspace]bool, len(missing))
	for o := range s.mu.open {
		if !o.needsLeader || seen[o.keyspace] {
			continue
		}
		seen[o.keyspace] = true
		if o.keyspace.Status().Leader != 0 {
			missing[o.keyspace] = 0
		} else {
			missing[o.keyspace]++
		}
	}
	for k := range missing {
		if !seen[k] {
			delete(missing, k)
		}
	}
	for o := range s.mu.open {
		if o.needsLeader && missing[o.keyspace] >= leaderlessTicks {
			o.cancel(rpctypes.ErrGRPCNoLeader)
		}
	}
}

// endOf says why a stream ends that met err: for our own reason, if we ended it.
func endOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}
