package wal

import (
	"fmt"
	"maps"
	"slices"
)

// rewrite moves everything live out of the segments that Open found, after a loss in
// them, and gives them up. From then on the loss is known from the marks of the groups
// alone. What a later Open finds damaged is therefore new, and puts in doubt whoever it
// may concern: a mark that was settled in between says nothing about it (W5).
func (l *Log) rewrite() error {
	upTo := l.active().number
	if l.offset == segmentDataStart && !l.active().bearsLoss() {
		upTo-- // nothing is in it yet
	} else if err := l.roll(); err != nil {
		return err
	}
	if err := l.writeMarks(); err != nil {
		return err
	}
	for l.oldestLive().number <= upTo {
		l.reclaim.reset()
		l.stageMoves(relieveStepBytes, int(l.active().size-l.offset)-batchHeaderSize-batchAlign)
		if l.reclaim.plan == l.reclaim.at && l.reclaim.done == nil {
			if l.offset == segmentDataStart {
				return fmt.Errorf("%w: segment %v has a loss, and what else is in it cannot be read", ErrCorrupt, l.oldestLive().number)
			}
			if err := l.roll(); err != nil {
				return err
			}
			continue
		}
		l.writer.sections = append(l.writer.sections[:0], l.reclaim.move[:l.reclaim.used]...)
		emptied := l.reclaim.done != nil
		if err := l.commit(); err != nil {
			return err
		}
		if emptied {
			if err := l.settleBatches(); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeMarks writes all that is in doubt before any segment is freed: with the first
// one the loss may be gone that says so.
func (l *Log) writeMarks() error {
	l.reclaim.reset()
	marks := l.writer.sections[:0]
	for _, id := range slices.Sorted(maps.Keys(l.mu.groups)) {
		g := l.mu.groups[id]
		if !g.suspect && g.unknown.Empty() {
			continue
		}
		marks = append(marks, section{group: id, meta: g.meta, step: g.step + 1})
		if len(marks)*sectionBytesMax < l.MaxBatchBytes()/2 {
			continue
		}
		l.writer.sections = marks
		if err := l.commitAndSync(); err != nil {
			return err
		}
		marks = l.writer.sections[:0]
	}
	if len(marks) == 0 {
		return nil
	}
	l.writer.sections = marks
	return l.commitAndSync()
}

// settleBatches makes what is written durable and says so, which frees what was emptied.
func (l *Log) settleBatches() error {
	if err := l.Sync(); err != nil {
		return err
	}
	return l.sign()
}

// roll goes on in a new segment.
func (l *Log) roll() error {
	return l.makeRoom(int(l.active().size-l.offset)+1, false)
}
