package node

import (
	"sync"
	"time"

	"github.com/quorate/quorate/internal/env"
	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/shard"
)

// liveness knows which of the other nodes answer this one, and since when the others do not. It
// is safe for concurrent use.
type liveness struct {
	clock env.Clock
	self  shard.NodeID

	mu    sync.Mutex
	up    map[shard.NodeID]bool
	since map[shard.NodeID]time.Duration // when others fell silent, or were first heard of
}

func newLiveness(clock env.Clock, self shard.NodeID) *liveness {
	return &liveness{clock: clock, self: self, up: map[shard.NodeID]bool{self: true}, since: make(map[shard.NodeID]time.Duration)}
}

// hears notes that a node answers.
func (l *liveness) hears(node shard.NodeID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up[node] = true
	delete(l.since, node)
}

// misses notes that it does not, unless that was known.
func (l *liveness) misses(node shard.NodeID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.up, node)
	if _, known := l.since[node]; !known {
		l.since[node] = l.clock.Monotonic()
	}
}

// follow takes over which nodes there are. A new one is silent until it is heard.
func (l *liveness) follow(members []placement.Member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	still := map[shard.NodeID]bool{l.self: true}
	for _, m := range members {
		id := shard.NodeID(m.ID)
		still[id] = true
		if _, silent := l.since[id]; !silent && !l.up[id] {
			l.since[id] = l.clock.Monotonic()
		}
	}
	for id := range l.since {
		if !still[id] {
			delete(l.since, id)
		}
	}
	for id := range l.up {
		if !still[id] {
			delete(l.up, id)
		}
	}
}

// answers reports whether a node does.
func (l *liveness) answers(node uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up[shard.NodeID(node)]
}

// silent lists the nodes that do not answer, and those of them that have not for so long.
func (l *liveness) silent(after time.Duration) (silent, dead map[uint64]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.Monotonic()
	silent, dead = make(map[uint64]bool), make(map[uint64]bool)
	for id, since := range l.since {
		silent[uint64(id)] = true
		if now-since >= after {
			dead[uint64(id)] = true
		}
	}
	return silent, dead
}
