package limit

import (
	"sync/atomic"
	"time"
)

// burst is how much may come at once after a pause, as the time in which the rate grants it.
const burst = time.Second

// bucket is a token bucket without a timer to fill it. Its one number is the time up to which
// what has passed is paid for: each request pays for the time that the rate gives it, and no
// more than a burst may be paid in advance. It counts in time and not in tokens so that a
// changed rate holds from the next request on.
type bucket struct{ paid atomic.Int64 } // ns of the monotonic clock

// cost is how much time the rate gives n of what it counts.
func cost(n int, perSecond int64) time.Duration {
	return time.Duration(int64(n) * int64(time.Second) / perSecond)
}

// wait is how long nothing may be charged; zero: something may now, because less than a burst
// is paid in advance.
func (b *bucket) wait(now time.Duration) time.Duration {
	return max(0, time.Duration(b.paid.Load())-now-burst+1)
}

// take lets pass what costs so much, a burst at most, or says how long that may not.
func (b *bucket) take(now, cost time.Duration) time.Duration {
	for {
		paid := b.paid.Load()
		next := max(paid, int64(now)) + int64(cost)
		if wait := time.Duration(next) - now - burst; wait > 0 {
			return wait
		}
		if b.paid.CompareAndSwap(paid, next) {
			return 0
		}
	}
}

// charge lets pass whatever it costs.
func (b *bucket) charge(now, cost time.Duration) {
	for {
		paid := b.paid.Load()
		if b.paid.CompareAndSwap(paid, max(paid, int64(now))+int64(cost)) {
			return
		}
	}
}
