package wal

import (
	"errors"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
)

// Reclaiming keeps the log short although every group may leave something in every
// segment: what is live in the oldest segment is written again at the end, until
// nothing is left in it (W4). It rides on the batches that are written anyway, in
// steps bounded by their size, and costs no sync of its own.
//
// Segments are emptied in the order of their age. Choosing the emptiest one instead
// would move less, but then replay could not start at one place, and a record that
// says "truncated" would have to outlive all that it truncates.
const (
	// A step may move twice what the batch itself takes, plus reclaimStepBytes:
	// the log holds at most twice what is live (see wanted), so moving as much as
	// is written would already keep up.
	reclaimStepFactor = 2
	reclaimStepBytes  = 64 << 10
	// reclaimGroups bounds how many groups a step looks at.
	reclaimGroups = 1024
	// metaBytes is about what a group costs to move besides its entries.
	metaBytes = 48
)

// reclaimer is where reclaiming stands in the oldest segment, and its memory.
type reclaimer struct {
	at   cursor
	plan cursor    // where it will stand once the staged batch is written
	done *segment  // emptied by the staged batch
	used int       // of moves
	move []section // staged
	part []located
	data []byte
	by   map[consensus.GroupID]int // into move
}

// cursor is a place in a segment's list of groups.
type cursor struct {
	group int
	index consensus.Index // the group's entries below it are done
}

// oldestLive returns the first segment that is not waiting to be freed.
func (l *Log) oldestLive() *segment {
	for _, seg := range l.mu.segments {
		if seg.freeAt == 0 && seg != l.reclaim.done {
			return seg
		}
	}
	panic("wal: the active segment is being freed")
}

// wanted reports whether the oldest segment should be emptied: the segments in use
// hold more than about twice what is live.
func (l *Log) wanted() bool {
	live := l.mu.live + metaBytes*int64(len(l.mu.groups))
	return int64(l.used()) > 2+2*live/(l.space.size-segmentDataStart)
}

// used counts the segments that are not waiting to be freed.
func (l *Log) used() (n int) {
	for _, seg := range l.mu.segments {
		if seg.freeAt == 0 {
			n++
		}
	}
	return n
}

// planMoves stages what should be moved out of the oldest segment together with a
// batch of size bytes. Nothing is final before the batch is written: see moved.
func (l *Log) planMoves(size int) {
	l.reclaim.reset()
	if l.wanted() {
		room := int(l.active().size-l.offset) - size
		l.stageMoves(reclaimStepFactor*size+min(reclaimStepBytes, int(l.space.size/8)), room)
	}
}

// reset forgets what was staged.
func (rc *reclaimer) reset() {
	rc.plan, rc.done, rc.used, rc.data = rc.at, nil, 0, rc.data[:0]
	clear(rc.by)
}

// stageMoves stages moves of about budget bytes that fit into room.
func (l *Log) stageMoves(budget, room int) {
	rc := &l.reclaim
	seg := l.oldestLive()
	for range reclaimGroups {
		if rc.plan.group == len(seg.groups) {
			rc.plan, rc.done = cursor{}, seg
			return
		}
		cost, more := l.moveGroup(seg, seg.groups[rc.plan.group], min(budget, room), room)
		budget, room = budget-cost, room-cost
		if more || budget < sectionBytesMax || room < sectionBytesMax {
			return
		}
		rc.plan.group++
		rc.plan.index = 0
	}
}

// moveGroup stages what a group has in seg, within budget bytes; a single entry only
// has to fit into room. It returns what was used up and whether something is left.
func (l *Log) moveGroup(seg *segment, id consensus.GroupID, budget, room int) (cost int, more bool) {
	rc := &l.reclaim
	g := l.mu.groups[id]
	if g == nil {
		return 0, false
	}
	if budget < sectionBytesMax {
		return 0, true
	}
	more = l.collect(g, seg, budget-sectionBytesMax, room-sectionBytesMax)
	if len(rc.part) == 0 && (more || g.home != seg.number) {
		return 0, more
	}
	sec := rc.section(id)
	sec.meta, sec.step = g.meta, g.step+1
	cost = sectionBytesMax
	for i := range rc.part {
		e := &rc.part[i]
		r, err := l.copyOf(id, seg, e)
		if err != nil {
			// The entry stays where it is and pins its segment: a disk that
			// cannot read may still be able to tomorrow.
			return cost, true
		}
		sec.records = append(sec.records, r)
		cost += recordBytesMax + int(e.size)
		rc.plan.index = e.index + 1
	}
	return cost, more
}

// collect finds a group's entries in seg from the cursor on, within budget.
func (l *Log) collect(g *group, seg *segment, budget, room int) (more bool) {
	rc := &l.reclaim
	rc.part = rc.part[:0]
	l.mu.RLock() // against markLost
	defer l.mu.RUnlock()
	for k := range g.entries.runs {
		r := &g.entries.runs[k]
		for i := max(r.first, rc.plan.index); i < r.end(); i++ {
			s := r.at(i)
			if s.segment != uint32(seg.number) {
				continue
			}
			cost := recordBytesMax + int(s.size)
			if cost > budget && (len(rc.part) > 0 || cost > room) {
				return true
			}
			budget -= cost
			rc.part = append(rc.part, located{i, *s})
		}
	}
	return false
}

// copyOf reads an entry for moving it. One that does not verify moves as lost.
func (l *Log) copyOf(id consensus.GroupID, seg *segment, e *located) (record, error) {
	rc := &l.reclaim
	r := record{
		kind: recordLost, entryKind: e.entryKind, index: e.index, epoch: e.epoch, orig: e.orig,
		size: e.size, offset: e.offset,
	}
	if e.lost {
		return r, nil
	}
	from := len(rc.data)
	rc.data = append(rc.data, make([]byte, e.size)...)
	data := rc.data[from:]
	if err := seg.readAt(data, int64(e.offset)); err != nil {
		return r, err
	}
	if l.writer.sum.entry(seg.number, id, &r, data) != e.crc {
		l.markLost(id, e)
		return r, nil
	}
	r.kind, r.data = recordEntry, data
	return r, nil
}

// section starts the staged section of a group.
func (rc *reclaimer) section(id consensus.GroupID) *section {
	if rc.by == nil {
		rc.by = make(map[consensus.GroupID]int)
	}
	rc.by[id] = rc.used
	if rc.used == len(rc.move) {
		rc.move = append(rc.move, section{})
	}
	sec := &rc.move[rc.used]
	*sec = section{group: id, records: sec.records[:0]}
	rc.used++
	return sec
}

// moved makes final what planMoves staged; number is the batch that it is in.
// REQUIRES: l.mu is held.
func (l *Log) moved(number batchNumber) {
	rc := &l.reclaim
	rc.at = rc.plan
	if rc.done != nil {
		rc.done.freeAt = number
		rc.done = nil
	}
	l.mu.stats.Reclaimed += uint64(len(rc.data))
	rc.used = 0
	if cap(rc.data) > keptBufferBytes {
		rc.data = nil
	}
	if len(rc.by) > keptParts {
		rc.by, rc.move = nil, nil
	}
}

// freeSegments hands back the segments that nothing needs any more. A segment waits
// until the batch that emptied it has a witness: were that batch lost, the loss would
// show (W4).
func (l *Log) freeSegments() error {
	for {
		seg := l.mu.segments[0]
		if seg.freeAt == 0 || seg.freeAt > l.witness && !mutant.On(mutant.WALFreeEarly) {
			return nil
		}
		if err := l.space.recycle(seg); err != nil {
			if errors.Is(err, ErrFailed) {
				return l.fail(err)
			}
			return nil // tried again after the next sync
		}
		l.mu.Lock()
		l.mu.segments = l.mu.segments[1:]
		l.mu.Unlock()
	}
}
