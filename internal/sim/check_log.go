package sim

import (
	"github.com/cespare/xxhash/v2"

	"github.com/quorate/quorate/consensus"
)

type shadowEntry struct {
	epoch consensus.Epoch
	hash  uint64
}

// shadowLog is a log reduced to epochs and hashes; base is the last index no
// longer in it.
type shadowLog struct {
	base      consensus.Index
	baseEpoch consensus.Epoch
	entries   []shadowEntry
}

func (l *shadowLog) last() consensus.Index { return l.base + consensus.Index(len(l.entries)) }

func (l *shadowLog) at(i consensus.Index) (shadowEntry, bool) {
	if i <= l.base || i > l.last() {
		return shadowEntry{}, false
	}
	return l.entries[i-l.base-1], true
}

func (l *shadowLog) epochAt(i consensus.Index) (consensus.Epoch, bool) {
	if i == l.base {
		return l.baseEpoch, true
	}
	e, ok := l.at(i)
	return e.epoch, ok
}

// has reports whether the entry of an epoch is or was in the log.
func (l *shadowLog) has(i consensus.Index, epoch consensus.Epoch) bool {
	e, ok := l.at(i)
	return i <= l.base || ok && e.epoch == epoch
}

func (l *shadowLog) truncate(from consensus.Index) {
	if from <= l.last() && from > l.base {
		l.entries = l.entries[:from-l.base-1]
	}
}

func (l *shadowLog) release(to consensus.Index) {
	if to <= l.base || to > l.last() {
		return
	}
	epoch, _ := l.epochAt(to)
	l.entries = append([]shadowEntry(nil), l.entries[to-l.base:]...)
	l.base, l.baseEpoch = to, epoch
}

func (l *shadowLog) reset(base consensus.Index, epoch consensus.Epoch) {
	*l = shadowLog{base: base, baseEpoch: epoch}
}

func (l *shadowLog) clone() shadowLog {
	d := *l
	d.entries = append([]shadowEntry(nil), l.entries...)
	return d
}

func entryHash(e *consensus.Entry) uint64 { return xxhash.Sum64(e.Data) ^ uint64(e.Kind) }

// superseded reports whether a restart rightly gave up the rest of a log: the
// engine had applied past a truncation that the crash took back.
func superseded(was, found *shadowLog) bool {
	e, ok := was.at(found.base)
	return ok && e.epoch != found.baseEpoch
}
