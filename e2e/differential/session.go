package differential

import (
	"context"
	"fmt"
	"sync"

	"github.com/quorate/quorate/e2e/cluster"
)

// pair is the two clusters of a run.
type pair struct {
	reference, tested *cluster.Cluster
	member            int // of each cluster, to which requests go
	// moves, if not nil, is held while replicas and leaders of the tested one change.
	moves sync.Locker
}

// session is one run over a pair: a runner, a generator and what was done.
type session struct {
	runner    *runner
	generator *generator
	history   [][]step // turns
	progress  func(format string, args ...any)
}

func newSession(ctx context.Context, p pair, seed uint64) (*session, error) {
	reference, err := newSide("reference", p.reference, p.member)
	if err != nil {
		return nil, err
	}
	tested, err := newSide("tested", p.tested, p.member)
	if err != nil {
		return nil, err
	}
	for _, side := range []*side{reference, tested} {
		if err := side.served(ctx); err != nil {
			return nil, err
		}
	}
	r := newRunner(reference, tested)
	r.moves = p.moves
	if err := r.adopt(ctx); err != nil {
		return nil, err
	}
	return &session{runner: r, generator: newGenerator(seed, r.model), progress: func(string, ...any) {}}, nil
}

func (s *session) close() {
	s.runner.reference.disconnect()
	s.runner.tested.disconnect()
}

// run makes turns until the given number of requests is reached or a
// difference is found.
func (s *session) run(ctx context.Context, requests int) *failure {
	for report := requests / 10; s.runner.mix.requests < requests; {
		if err := ctx.Err(); err != nil {
			return &failure{diff: fmt.Sprintf("stopped after %d requests: %v", s.runner.mix.requests, err)}
		}
		if done := s.runner.mix.requests; requests >= 1000 && done >= report {
			s.progress("%d of %d requests, %d failed as they should, revision %d", done, requests, s.runner.mix.failed, s.runner.model.rev)
			report += requests / 10
		}
		turn := s.generator.next(s.runner.mix.requests)
		s.history = append(s.history, turn)
		if f := s.turn(ctx, turn); f != nil {
			return f
		}
	}
	return s.turn(ctx, []step{{kind: kindDrain}})
}

func (s *session) turn(ctx context.Context, turn []step) *failure {
	for _, st := range turn {
		if f := s.runner.run(ctx, st); f != nil {
			return f
		}
	}
	return nil
}

// replay runs recorded turns on fresh clusters.
func replay(ctx context.Context, p pair, turns [][]step) (*failure, error) {
	s, err := newSession(ctx, p, 0)
	if err != nil {
		return nil, err
	}
	defer s.close()
	for _, turn := range turns {
		if f := s.turn(ctx, turn); f != nil {
			return f, nil
		}
	}
	return s.turn(ctx, []step{{kind: kindDrain}}), nil
}

// shrink looks for a short list of turns that still fails, by leaving out
// ever smaller pieces. fails runs a candidate on fresh servers. It stops when
// nothing can be left out or the context is done.
func shrink(ctx context.Context, turns [][]step, fails func([][]step) bool) [][]step {
	for size := len(turns) / 2; size >= 1; {
		removed := false
		for at := 0; at+size <= len(turns)-1 && ctx.Err() == nil; {
			candidate := append(append([][]step{}, turns[:at]...), turns[at+size:]...)
			if fails(candidate) {
				turns, removed = candidate, true
			} else {
				at += size
			}
		}
		if ctx.Err() != nil {
			break
		}
		if size == 1 && !removed {
			break
		}
		size = max(1, min(size/2, len(turns)/2))
		if len(turns) < 2 {
			break
		}
	}
	return turns
}
