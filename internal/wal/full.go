package wal

import (
	"errors"
	"fmt"
	"slices"

	"github.com/quorate/quorate/consensus"
)

// A full disk. A batch with entries is taken only while a segment beyond it is ready:
// the reserve. When none can be had, such batches are refused before anything is
// written, and the reserve is left to what gives space back: releases, and moving the
// live rest of the oldest segment so that its file can be used again.
const (
	// relieveStepBytes bounds one batch of moves, relieveSteps how many of them one
	// refused batch may set off.
	relieveStepBytes = 4 << 20
	relieveSteps     = 4
	// relieveMarginBytes of the reserve are never spent on moves: releases and hard
	// states must fit.
	relieveMarginBytes = 1 << 20
)

// makeRoomFor makes room for a batch, if need be by freeing some.
func (l *Log) makeRoomFor(b *Batch) error {
	ordinary := b.entries > 0
	err := l.makeRoom(b.Size(), ordinary)
	if ordinary && errors.Is(err, ErrFull) {
		if err := l.Relieve(b); err != nil {
			return err
		}
		err = l.makeRoom(b.Size(), ordinary)
	}
	return err
}

// makeRoom makes sure that size bytes fit into the active segment. Only a batch that is
// not ordinary may use up the reserve.
func (l *Log) makeRoom(size int, ordinary bool) error {
	if ordinary {
		if err := l.openNext(); err != nil {
			return l.full(err)
		}
	}
	if l.offset+int64(size) <= l.active().size {
		return nil
	}
	if ordinary {
		if err := l.space.makeSpare(); err != nil {
			return l.full(err)
		}
	}
	if err := l.openNext(); err != nil {
		return l.full(err)
	}
	l.mu.Lock()
	l.mu.segments = append(l.mu.segments, l.mu.next)
	l.mu.next = nil
	l.mu.Unlock()
	l.offset = segmentDataStart
	if err := l.openNext(); err != nil && !isScarce(err) {
		return l.full(err)
	}
	return nil
}

// full says that space is missing, unless the reason is worse: a disk that cannot
// write a new segment for any other reason will not get better by waiting.
func (l *Log) full(err error) error {
	if errors.Is(err, ErrFailed) {
		return l.fail(fmt.Errorf("wal: %w", err))
	}
	if !isScarce(err) {
		return l.fail(fmt.Errorf("wal: %w: %w", ErrFailed, err))
	}
	l.mu.Lock()
	l.mu.stats.Full++
	l.mu.Unlock()
	return fmt.Errorf("wal: %w: %w", ErrFull, err)
}

// Relieve gives back what space it can while the disk is full. It takes the releases
// out of batches that could not be written yet, and the space that they and earlier
// ones leave behind. The batches stay as they are; releasing twice changes nothing.
// Write does this for the batch that it refuses; a caller that has more batches
// waiting behind that one hands them in, or the release that would end the wait waits
// with them. Relieve may sync.
func (l *Log) Relieve(batches ...*Batch) error {
	if l.failed != nil {
		return l.failed
	}
	var releases Batch
	for i := range batches {
		l.takeReleases(batches[:i+1], &releases)
	}
	if !releases.Empty() {
		l.stageReleases(&releases)
		if err := l.commitAndSync(); err != nil {
			return err
		}
	}
	for range relieveSteps {
		if moved, err := l.relieveStep(); err != nil || !moved {
			return err
		}
	}
	return nil
}

// takeReleases copies the releases of the last of some waiting batches that make sense
// before any of them is written.
func (l *Log) takeReleases(waiting []*Batch, releases *Batch) {
	b := waiting[len(waiting)-1]
	for i := range b.parts {
		p := &b.parts[i]
		g := l.mu.groups[p.group]
		index := p.target.released
		if g == nil || p.set&setReleased == 0 || index <= g.released || index > g.entries.last() {
			continue
		}
		if !slices.ContainsFunc(waiting, func(w *Batch) bool { return w.touches(p.group, index) }) {
			releases.Release(p.group, index, p.target.releasedEpoch)
		}
	}
}

// touches reports whether the batch changes an entry of a group at or below index.
func (b *Batch) touches(id consensus.GroupID, index consensus.Index) bool {
	i, ok := b.at[id]
	if !ok {
		return false
	}
	p := &b.parts[i]
	return p.set&(setInstalled|setRemoved) != 0 ||
		slices.ContainsFunc(p.records, func(r record) bool { return r.index <= index })
}

// stageReleases stages a batch without entries.
func (l *Log) stageReleases(b *Batch) {
	l.reclaim.reset()
	l.stage(b)
}

// commitAndSync writes what is staged, makes it durable and says so in a further batch,
// so that segments are freed at once.
func (l *Log) commitAndSync() error {
	if err := l.makeRoom(l.stagedBytes(), false); err != nil {
		return err
	}
	if err := l.commit(); err != nil {
		return err
	}
	return l.settleBatches()
}

// stagedBytes is an upper bound of the staged batch.
func (l *Log) stagedBytes() int {
	n := batchHeaderSize + batchAlign
	for i := range l.writer.sections {
		sec := &l.writer.sections[i]
		n += sectionBytesMax + recordBytesMax*len(sec.records) + int(sec.dataBytes())
	}
	return n
}

// relieveStep moves something out of the oldest segment, if all that is live in it fits
// into what is left of the reserve: otherwise moving would use up space and free none.
func (l *Log) relieveStep() (moved bool, err error) {
	if l.used() < 2 {
		return false, nil
	}
	margin := min(relieveMarginBytes, l.space.size/8)
	need := l.liveIn(l.oldestLive()) + margin
	if need > l.space.size-segmentDataStart {
		return false, nil
	}
	if l.offset+need > l.active().size {
		if l.mu.next == nil {
			return false, nil
		}
		if err := l.makeRoom(int(need), false); err != nil {
			return false, err
		}
	}
	l.reclaim.reset()
	l.stageMoves(relieveStepBytes, int(l.active().size-l.offset-margin))
	l.writer.sections = append(l.writer.sections[:0], l.reclaim.move[:l.reclaim.used]...)
	return true, l.commitAndSync()
}

// liveIn is an upper bound of what moving everything live out of a segment takes.
func (l *Log) liveIn(seg *segment) (n int64) {
	seen := make(map[consensus.GroupID]bool, len(seg.groups))
	for _, id := range seg.groups {
		g := l.mu.groups[id]
		if g == nil || seen[id] {
			continue
		}
		seen[id] = true
		n += sectionBytesMax
		for k := range g.entries.runs {
			r := &g.entries.runs[k]
			for i := r.first; i < r.end(); i++ {
				if s := r.at(i); s.segment == uint32(seg.number) {
					n += int64(s.size) + recordBytesMax
				}
			}
		}
	}
	return n + batchHeaderSize + batchAlign
}
