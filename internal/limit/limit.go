// Package limit keeps the limits of one keyspace on one node that are the node's to keep: the
// rates of its requests, and how many watchers it has here.
//
//	B1  Nobody waits for a turn: a call passes or is refused, so a keyspace above its limit
//	    holds nothing that its neighbours need. Answers of refused calls may be held back.
//	B2  What is refused costs nothing of a rate.
//	B3  In any time t at most rate × (t + 1 s) requests pass, and of bytes no more than one
//	    request above that.
//	B4  Without limits, a call costs one load.
//
// Keys and leases are not here: replicas must agree on what is above those limits, see S8 of
// package store.
//
// Deliberately absent: clocks, timers, goroutines and locks. Now comes as an argument, from
// one monotonic clock.
package limit

import (
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/internal/placement"
)

// Kind is what a limit is on.
type Kind int

// The kinds in the order of Counts. Leases are counted here and refused by package store.
const (
	Requests Kind = iota
	Bytes
	Watchers
	Leases
	kinds
)

// String names the kind as the metric's label does.
func (k Kind) String() string { return [kinds]string{"requests", "bytes", "watchers", "leases"}[k] }

// Counts says how often each limit has refused something.
type Counts [kinds]uint64

// Limiter keeps a keyspace's limits. The zero value has none. Its methods are safe from any
// goroutine.
type Limiter struct {
	limits   atomic.Pointer[placement.Limits] // nil: none
	requests bucket
	bytes    bucket
	watchers atomic.Int64
	refused  [kinds]atomic.Uint64
	Penalty
}

// Set replaces the limits. What is above them stays and is not added to.
func (l *Limiter) Set(limits placement.Limits) {
	if limits == (placement.Limits{}) {
		l.limits.Store(nil)
		return
	}
	l.limits.Store(&limits)
}

// Get returns them.
func (l *Limiter) Get() placement.Limits {
	if limits := l.limits.Load(); limits != nil {
		return *limits
	}
	return placement.Limits{}
}

// Limited reports whether there is any limit.
func (l *Limiter) Limited() bool { return l.limits.Load() != nil }

// Admit lets a request pass, or says that it may not and counts that. The size of a request is
// asked for only if it counts.
func (l *Limiter) Admit(now time.Duration, size func() int) bool {
	limits := l.limits.Load()
	if limits == nil {
		return true
	}
	kind, wait := l.take(limits, now, size)
	if wait > 0 {
		l.Refused(kind)
	}
	return wait == 0
}

// Pace is Admit for what must not be refused, such as the renewal of a lease: it tells how long
// to wait before the next try, zero if it may pass.
func (l *Limiter) Pace(now time.Duration, size func() int) time.Duration {
	limits := l.limits.Load()
	if limits == nil {
		return 0
	}
	_, wait := l.take(limits, now, size)
	return wait
}

// take lets a request pass, or says which limit is in the way, and for how long.
func (l *Limiter) take(limits *placement.Limits, now time.Duration, size func() int) (Kind, time.Duration) {
	// Bytes are looked at first and taken last (B2). Two calls may both see the last ones:
	// that is the request which B3 allows.
	if limits.BytesPerSecond > 0 {
		if wait := l.bytes.wait(now); wait > 0 {
			return Bytes, wait
		}
	}
	if limits.RequestsPerSecond > 0 {
		if wait := l.requests.take(now, cost(1, limits.RequestsPerSecond)); wait > 0 {
			return Requests, wait
		}
	}
	if limits.BytesPerSecond > 0 {
		l.bytes.charge(now, cost(size(), limits.BytesPerSecond))
	}
	return 0, 0
}

// Watch adds a watcher, or says that there are as many as may be and counts that.
func (l *Limiter) Watch() bool {
	n := l.watchers.Add(1)
	if limits := l.limits.Load(); limits != nil && limits.Watchers > 0 && n > limits.Watchers {
		l.watchers.Add(-1)
		l.Refused(Watchers)
		return false
	}
	return true
}

// Unwatch takes watchers away.
func (l *Limiter) Unwatch(n int) { l.watchers.Add(-int64(n)) }

// Refused counts what a limit has refused.
func (l *Limiter) Refused(k Kind) { l.refused[k].Add(1) }

// Counts returns the counters.
func (l *Limiter) Counts() (c Counts) {
	for k := range c {
		c[k] = l.refused[k].Load()
	}
	return c
}
