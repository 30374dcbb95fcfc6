package server

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/internal/placement"
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
		// missing counts, for keyspaces that were asked for a leader, the ticks without one.
		missing map[Keyspace]int
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
	s.mu.missing = make(map[Keyspace]int)
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

// leaderlessTicks is how many election timeouts a keyspace may be without a leader before
// the streams that asked for one are ended. Reconnecting costs a client more than waiting,
// therefore not at once.
const leaderlessTicks = 3

// leaderless reports whether a keyspace has had no leader for that long. A new stream has
// the patience of an open one: clients come here from a leader that has just died, which
// is while its successor is being elected, and etcd's client ends a watch for good when it
// is told that there is no leader.
func (s *streams) leaderless(k Keyspace) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.mu.missing[k]; !known {
		s.mu.missing[k] = 0
	}
	return s.mu.missing[k] >= leaderlessTicks && k.Status().Leader == 0
}

// watchLeaders calls endLeaderless and endDeleted once per election timeout.
func (s *streams) watchLeaders(ctx context.Context, election time.Duration) {
	ticker := time.NewTicker(election)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.endLeaderless()
			s.endDeleted()
		}
	}
}

// endDeleted ends the streams of keyspaces that were deleted or have moved: nothing would come any
// more, and a lease would be kept alive.
func (s *streams) endDeleted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for o := range s.mu.open {
		if o.keyspace == nil {
			continue // the member that it was passed on to ends it
		}
		switch st := o.keyspace.Status(); {
		case st.Deleted:
			o.cancel(catalogStatus(fmt.Errorf("%w: %q: undelete it first", placement.ErrDeleted, st.Keyspace)))
		case st.Elsewhere: // clients go on with another member
			o.cancel(status.Errorf(codes.Unavailable, "quorate: keyspace %q has moved to another member: try again", st.Keyspace))
		}
	}
}

// endLeaderless counts the ticks without a leader of each keyspace that was ever asked for
// one, and ends the streams that need it at the limit.
func (s *streams) endLeaderless() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.mu.missing {
		s.mu.missing[k]++
		switch st := k.Status(); {
		case st.Deleted || st.Elsewhere: // nobody asks for it any more
			delete(s.mu.missing, k)
		case st.Leader != 0:
			s.mu.missing[k] = 0
		}
	}
	for o := range s.mu.open {
		if o.needsLeader && s.mu.missing[o.keyspace] >= leaderlessTicks {
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
