package shard

import (
	"math"
	"slices"
	"testing"
	"time"
)

func newLessor(leases ...LeaseChange) *lessor {
	l := &lessor{leases: make(map[int64]*lease)}
	l.observe(leases, 0)
	return l
}

// H8: a lease expires at its deadline and not before; a renewal starts it anew.
func TestLessorDeadlines(t *testing.T) {
	l := newLessor(LeaseChange{ID: 1, TTL: 10}, LeaseChange{ID: 2, TTL: 5})
	if got := l.expired(time.Hour, 9); got != nil {
		t.Fatalf("expired without leading: %v", got)
	}
	l.promote(3, 100*time.Second)
	if got := l.expired(105*time.Second-1, 9); got != nil {
		t.Errorf("early: %v", got)
	}
	l.extend(l.leases[2], 104*time.Second)
	if got := l.expired(108*time.Second, 9); got != nil {
		t.Errorf("renewed lease expired: %v", got)
	}
	if got := l.expired(110*time.Second, 9); !slices.Equal(got, []int64{2, 1}) {
		t.Errorf("expired at 110 s: %v", got)
	}
	if got := l.expired(time.Hour, 9); got != nil {
		t.Errorf("expired twice: %v", got)
	}
}

// A deposed lessor expires nothing; a new leadership starts all time anew, also of
// leases whose expiry the last one had proposed.
func TestLessorDemotion(t *testing.T) {
	l := newLessor(LeaseChange{ID: 1, TTL: 1})
	l.promote(3, 0)
	if got := l.expired(time.Second, 9); len(got) != 1 {
		t.Fatalf("expired %v", got)
	}
	l.demote()
	if got := l.expired(time.Hour, 9); got != nil {
		t.Errorf("deposed lessor expired %v", got)
	}
	l.promote(5, time.Hour)
	if got := l.expired(time.Hour, 9); got != nil {
		t.Errorf("new leader expired at once: %v", got)
	}
	if got := l.expired(time.Hour+time.Second, 9); len(got) != 1 {
		t.Errorf("new leader forgot the lease: %v", got)
	}
}

// A grant that is refused its proposal is tried again; revoked leases are forgotten.
func TestLessorRetryAndRevoke(t *testing.T) {
	l := newLessor(LeaseChange{ID: 1, TTL: 1}, LeaseChange{ID: 2, TTL: math.MaxInt64})
	l.promote(1, 0)
	l.expired(time.Second, 9)
	l.retry(1)
	if got := l.expired(time.Second, 9); !slices.Equal(got, []int64{1}) {
		t.Errorf("not tried again: %v", got)
	}
	l.observe([]LeaseChange{{ID: 1, Revoked: true}, {ID: 2, Revoked: true}}, 0)
	l.retry(1)
	if got := l.expired(math.MaxInt64, 9); got != nil || len(l.leases) != 0 {
		t.Errorf("revoked leases remain: %v", got)
	}
}
