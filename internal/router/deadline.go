package router

import (
	"time"

	"github.com/quorate/quorate/internal/shard"
)

type deadlineKind uint8

const (
	deadlineRequest deadlineKind = iota
	deadlineCall
)

// deadline ends one request (P5).
type deadline struct {
	at    time.Duration
	kind  deadlineKind
	shard shard.ID
	id    uint64
}

// deadlineQueue is first in, first out: every request has the same time to live,
// so the oldest ends first.
type deadlineQueue struct {
	queue []deadline
	head  int
}

func (q *deadlineQueue) add(d deadline) { q.queue = append(q.queue, d) }

func (q *deadlineQueue) all() []deadline { return q.queue[q.head:] }

// due takes the oldest deadline if it has come.
func (q *deadlineQueue) due(now time.Duration) (deadline, bool) {
	if q.head == len(q.queue) || q.queue[q.head].at > now {
		return deadline{}, false
	}
	d := q.queue[q.head]
	q.head++
	if q.head > 1024 && q.head*2 > len(q.queue) {
		q.queue = append(q.queue[:0], q.queue[q.head:]...)
		q.head = 0
	}
	return d, true
}

// expire ends what has waited too long.
func (r *Router) expire() {
	for d, ok := r.deadlines.due(r.now); ok; d, ok = r.deadlines.due(r.now) {
		if x, ok := r.routes[d.shard]; ok && r.end(d, r.timeoutError(x)) {
			r.counters.TimedOut++
		} else if !ok && d.kind == deadlineCall {
			r.end(d, ErrUnknownKeyspace)
		}
	}
	for _, x := range r.busy {
		r.counters.TimedOut += uint64(x.reads.expire(r.now, r.timeoutError(x)))
	}
}

func (r *Router) end(d deadline, err error) bool {
	if d.kind == deadlineCall {
		return r.calls.end(d.id, 0, 0, err)
	}
	x, ok := r.routes[d.shard]
	return ok && x.waiters.End(d.id, nil, err) // of a shard that was removed nobody waits
}

// timeoutError says why a request may have waited so long.
func (r *Router) timeoutError(x *route) error {
	if x.changed != 0 && x.changed > r.now-r.cfg.Limits.Timeout {
		return ErrTimeoutLeaderFail
	}
	return ErrTimeout
}
