package wal

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
)

// holesMax bounds the empty positions between a group's released index and its last
// entry: GroupState.Entries has one element for each position, and an engine's
// window of open slots is far smaller.
const holesMax = 1 << 20

// keptBufferBytes bounds the memory that is kept between writes.
const keptBufferBytes = 4 << 20

// everyGroup is the pseudo group whose meta says what is in doubt for every group
// that the log does not know (W5).
const everyGroup consensus.GroupID = 0

// writer is the memory that Write uses again and again.
type writer struct {
	sections []section
	buf      []byte
	sum      checksummer
}

// Write appends the batch to the log. It is durable after the next Sync. On
// ErrFull and ErrInvalid nothing was written; any other error is final.
func (l *Log) Write(b *Batch) error {
	if l.failed != nil {
		return l.failed
	}
	if b.Empty() {
		return nil
	}
	if err := l.check(b); err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	if err := l.makeRoomFor(b); err != nil {
		return err
	}
	l.planMoves(b.Size())
	l.stage(b)
	if err := l.commit(); err != nil {
		return err
	}
	if mutant.On(mutant.WALFreeEarly) {
		return l.freeSegments()
	}
	return nil
}

// sign writes a batch without sections: it declares the batches before it durable.
func (l *Log) sign() error {
	if err := l.makeRoom(batchHeaderSize, false); err != nil {
		return err
	}
	l.writer.sections = l.writer.sections[:0]
	l.reclaim.reset()
	if err := l.commit(); err != nil {
		return err
	}
	return l.Sync()
}

// check refuses a batch that breaks what the index relies on.
func (l *Log) check(b *Batch) error {
	if b.Size() > l.MaxBatchBytes() {
		return fmt.Errorf("%w: %d bytes, at most %d fit", ErrInvalid, b.Size(), l.MaxBatchBytes())
	}
	for i := range b.parts {
		if p := &b.parts[i]; len(p.records) > 0 {
			if err := p.check(l.mu.groups[p.group]); err != nil {
				return fmt.Errorf("group %d: %w", p.group, err)
			}
		}
	}
	return nil
}

// check compares the part's entries with the group as it is; g may be nil.
func (p *part) check(g *group) error {
	var floor consensus.Index
	count := 0
	if g != nil {
		floor, count = g.released, g.entries.count
	}
	// Entries may stand in front of the release that makes them needless.
	low := floor
	if p.set&setReleased != 0 {
		low = max(low, p.target.released)
	}
	for i := range p.records {
		r := &p.records[i]
		switch r.kind {
		case recordInstall:
			floor, count = r.index, 0
			low = max(low, floor)
		case recordRemove:
			floor, count = 0, 0
		case recordEntry:
			count++
			if r.index <= floor {
				return fmt.Errorf("%w: entry at index %d, released is %d", ErrInvalid, r.index, floor)
			}
			if r.index > low && uint64(r.index-low) > uint64(count)+holesMax {
				return fmt.Errorf("%w: entry at index %d leaves more than %d positions empty", ErrInvalid, r.index, holesMax)
			}
		}
	}
	return nil
}

// stage turns the batch into sections: what changes in a group's meta becomes its
// whole meta. What is moved goes first: it is the group's state before the batch.
func (l *Log) stage(b *Batch) {
	w, rc := &l.writer, &l.reclaim
	w.sections = append(w.sections[:0], rc.move[:rc.used]...)
	for i := range b.parts {
		p := &b.parts[i]
		base, step := l.baseOf(p.group)
		p.step = step + 1
		p.meta = p.result(base)
		p.gone = p.set == setRemoved && p.records[len(p.records)-1].kind == recordRemove
		if k, ok := rc.by[p.group]; ok {
			rc.move[k].records = append(rc.move[k].records, p.records...)
			w.sections[k] = p.section
			w.sections[k].records = rc.move[k].records
			continue
		}
		w.sections = append(w.sections, p.section)
	}
}

// baseOf returns what a new section of the group starts from.
func (l *Log) baseOf(id consensus.GroupID) (meta, uint32) {
	if g := l.mu.groups[id]; g != nil {
		return g.meta, g.step
	}
	if g := l.mu.groups[everyGroup]; g != nil {
		return g.meta, 0
	}
	return meta{}, 0
}

// result is the group's meta after the part.
func (p *part) result(base meta) meta {
	m := base
	if p.set&setRemoved != 0 {
		m = meta{}
	}
	if p.set&setHardState != 0 {
		m.hardState = p.target.hardState
	}
	if p.set&setRepaired != 0 {
		m.suspect, m.unknown = false, consensus.Span{}
	}
	if p.set&setSuspect != 0 {
		m.suspect = true
	}
	if p.set&setInstalled != 0 || p.set&setReleased != 0 && p.target.released > m.released {
		m.released, m.releasedEpoch = p.target.released, p.target.releasedEpoch
	}
	if p.set&setDecided != 0 {
		m.decided = max(m.decided, p.target.decided)
	}
	for i := range p.records {
		m.mend(&p.records[i])
	}
	m.normalize()
	return m
}

// commit writes the staged sections as one batch and takes them into the index.
func (l *Log) commit() error {
	seg := l.active()
	h := batchHeader{number: l.number + 1, durable: l.durable, oldest: l.oldestLive().number}
	buf := l.writer.encode(seg.number, l.offset, &h)
	if _, err := seg.file.WriteAt(buf, l.offset); err != nil {
		if isNoSpace(err) {
			// Whatever reached the file is overwritten by the next batch.
			return l.full(err)
		}
		return l.fail(fmt.Errorf("wal: %w: write %d bytes at %d of segment %v: %w", ErrFailed, len(buf), l.offset, seg.number, err))
	}
	l.number, l.witness = h.number, h.durable
	if len(l.writer.sections) > 0 {
		l.content = h.number
	}
	l.offset += int64(len(buf))
	seg.dirty = true
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.writer.sections {
		l.apply(&l.writer.sections[i], seg, h.number)
	}
	l.moved(h.number)
	l.mu.stats.Batches++
	l.mu.stats.Written += uint64(len(buf))
	if cap(l.writer.buf) > keptBufferBytes {
		l.writer.buf = nil
	}
	return nil
}

// encode lays the staged sections out as one batch for a place in a segment, fills
// in offset and checksum of every entry, and completes h.
func (w *writer) encode(segment segmentNumber, offset int64, h *batchHeader) []byte {
	buf := append(w.buf[:0], make([]byte, batchHeaderSize)...)
	for i := range w.sections {
		buf = appendSection(buf, &w.sections[i])
	}
	h.tableSize = uint32(len(buf))
	for i := range w.sections {
		sec := &w.sections[i]
		for k := range sec.records {
			r := &sec.records[k]
			if r.kind != recordEntry {
				continue
			}
			r.offset = uint32(offset) + uint32(len(buf))
			buf = append(buf, r.data...)
			r.crc = w.sum.entry(segment, sec.group, r, r.data)
			binary.LittleEndian.PutUint32(buf[r.crcAt:], r.crc)
		}
	}
	for len(buf)%batchAlign != 0 {
		buf = append(buf, 0)
	}
	h.size = uint32(len(buf))
	h.tableCRC = w.sum.placed(segment, offset, buf[batchHeaderSize:h.tableSize])
	h.put(&w.sum, buf, segment, offset)
	w.buf = buf
	return buf
}

// apply takes a section that stands in seg into the index. REQUIRES: l.mu is held.
func (l *Log) apply(sec *section, seg *segment, number batchNumber) {
	g := l.mu.groups[sec.group]
	if g == nil {
		if sec.gone {
			return
		}
		g = &group{}
		l.mu.groups[sec.group] = g
	}
	before := g.entries.bytes
	for i := range sec.records {
		r := &sec.records[i]
		switch r.kind {
		case recordEntry, recordLost:
			lost := r.kind == recordLost || r.damaged
			g.entries.put(r.index, slot{
				epoch: r.epoch, orig: r.orig, segment: uint32(seg.number), offset: r.offset,
				size: r.size, crc: r.crc, entryKind: r.entryKind, lost: lost,
			})
		case recordTruncate:
			g.entries.truncate(r.index)
		case recordInstall, recordRemove:
			g.entries = entryIndex{}
		}
	}
	g.meta, g.step, g.last = sec.meta, sec.step, number
	g.entries.release(g.released)
	if mutant.On(mutant.WALReleaseBeyond) {
		g.entries.release(g.released + 1)
	}
	l.mu.live += g.entries.bytes - before
	if sec.gone {
		delete(l.mu.groups, sec.group)
		return
	}
	if g.home != seg.number {
		g.home = seg.number
		seg.groups = append(seg.groups, sec.group)
	}
}

// segment returns the segment whose number ends in these 32 bits. Segments of a log
// never span that many numbers.
func (l *Log) segment(low uint32) *segment {
	segments := l.mu.segments
	// Numbers are usually consecutive: guess first.
	if i := int(int32(low - uint32(segments[0].number))); i >= 0 && i < len(segments) && uint32(segments[i].number) == low {
		return segments[i]
	}
	i := slices.IndexFunc(segments, func(s *segment) bool { return uint32(s.number) == low })
	if i < 0 {
		panic(fmt.Sprintf("wal: index names segment %08x, which is not in the log", low))
	}
	return segments[i]
}
