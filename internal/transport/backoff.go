package transport

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/quorate/quorate/internal/env"
)

// backoff spaces attempts to connect: at once, then from shortest doubling to longest, each
// wait shortened by up to a half so that nodes do not knock in step.
type backoff struct {
	shortest, longest time.Duration
	rand              *rand.Rand
	attempt           int
}

func newBackoff(shortest, longest time.Duration, seed, stream uint64) backoff {
	return backoff{shortest: shortest, longest: longest, rand: rand.New(rand.NewPCG(seed, stream))}
}

func (b *backoff) reset() { b.attempt = 0 }

// next is the wait before the next attempt.
func (b *backoff) next() time.Duration {
	b.attempt++
	if b.attempt == 1 {
		return 0
	}
	d := b.longest
	if shift := b.attempt - 2; shift < 32 && b.shortest<<shift < b.longest {
		d = b.shortest << shift
	}
	return d - time.Duration(b.rand.Int64N(int64(d)/2+1))
}

// wait sleeps for d or until kick, but after a kick for at least floor: two nodes that
// kick each other must not spin.
func wait(ctx context.Context, d, floor time.Duration, kick <-chan struct{}) {
	if d <= 0 {
		return
	}
	full := time.NewTimer(d)
	defer full.Stop()
	if d <= floor {
		kick = nil
	}
	least := time.NewTimer(min(d, floor))
	defer least.Stop()
	select {
	case <-ctx.Done():
		return
	case <-full.C:
		return
	case <-least.C:
	}
	select {
	case <-ctx.Done():
	case <-full.C:
	case <-kick:
	}
}

// limiter keeps log lines about a lasting problem rare: a line that says something new
// passes, up to burst of them per interval; the same again passes once per interval.
type limiter struct {
	burst int // zero: one

	text  string // of the last line that passed
	since time.Duration
	used  int // lines that passed since then; zero: none yet
	held  int // lines held back since the last that passed
}

// limiterInterval is the least time between two equal log lines.
const limiterInterval = time.Minute

// allow reports whether a line may pass now, and how many were held back before it.
func (l *limiter) allow(clock env.Clock, text string) (held int, ok bool) {
	now := clock.Monotonic()
	if l.used == 0 || now-l.since >= limiterInterval {
		l.since, l.used = now, 0
	} else if l.used >= max(l.burst, 1) || text == l.text {
		l.held++
		return 0, false
	}
	held = l.held
	l.text, l.held = text, 0
	l.used++
	return held, true
}
