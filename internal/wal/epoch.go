package wal

import "github.com/quorate/quorate/consensus"

// EpochAt returns the epoch of a live entry, from memory. Any goroutine may call it.
func (l *Log) EpochAt(id consensus.GroupID, i consensus.Index) (consensus.Epoch, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	g := l.mu.groups[id]
	if g == nil {
		return 0, false
	}
	if i == g.released {
		return g.releasedEpoch, true
	}
	s := g.entries.find(i)
	if s == nil || s.entryKind == 0 {
		return 0, false
	}
	return s.epoch, true
}
