package wal

import "fmt"

// rewrite moves everything live out of the segments that Open found, after a loss in
// them, and gives them up. From then on the loss is known from the marks of the groups
// alone. What a later Open finds damaged is therefore new, and puts in doubt whoever it
// may concern: a mark that was settled in between says nothing about it (W5).
func (l *Log) rewrite() error {
	upTo := l.active().number
	if err := l.roll(); err != nil {
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
		if err := l.commit(); err != nil {
			return err
		}
	}
	if err := l.Sync(); err != nil {
		return err
	}
	return l.sign()
}

// roll goes on in a new segment.
func (l *Log) roll() error {
	return l.makeRoom(int(l.active().size-l.offset)+1, false)
}
