package wal

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
)

// replay rebuilds the index from the segments and finds the log's end. It changes
// nothing on disk.
//
// Batches are taken in the order of their numbers. When the next one does not
// verify, everything behind is searched for a witness: a batch that verifies, or the
// header of a cut, that says up to where the log was durable when it was written.
// Up to the witness a batch that does not verify is lost (W5); behind it, it is the
// torn end (W2).
type replay struct {
	log      *Log
	segments []*segment
	window   window
	section  section // reused

	number  batchNumber   // of the last batch taken, or known lost
	content batchNumber   // of the last batch taken that was not empty
	oldest  segmentNumber // as the last batch taken says
	last    int           // index of the segment that holds it; -1: none
	tail    int           // index of the segment where the log goes on: last, or a cut
	offset  int64         // in tail
	witness batchNumber   // the highest number known to have been durable
	torn    bool          // something behind the end verifies: it must be cut off

	searched bool // witness knows of everything that verifies
	loss     batchNumber
	lossAt   *segment                             // the last good batch before the first loss is here
	doubts   map[consensus.GroupID]consensus.Span // what losses leave unknown
}

func (r *replay) run() error {
	r.last, r.offset = -1, segmentDataStart
	for i, done := 0, false; i < len(r.segments) && !done; i++ {
		var err error
		if done, err = r.takeSegment(i); err != nil {
			return err
		}
	}
	if err := r.end(); err != nil {
		return err
	}
	return r.finish()
}

// takeSegment takes the batches of segment i. It reports true when the log ends there.
func (r *replay) takeSegment(i int) (done bool, err error) {
	seg := r.segments[i]
	r.window.reset(seg)
	if seg.cut != 0 {
		if r.number < seg.cut-1 && (i > 0 || seg.bearsLoss()) {
			r.lose(seg.cut - 1)
		}
		r.tail, r.offset, r.number = i, segmentDataStart, seg.cut-1
	}
	void := r.void(i)
	for offset := int64(segmentDataStart); ; offset = r.offset {
		at, h, ok := r.window.find(offset, void)
		if !ok {
			return false, nil // the next batch is in a later segment, or there is none
		}
		fresh := i == 0 && r.last < 0 && at == segmentDataStart && seg.cut == 0
		if !fresh && h.number <= r.number {
			return false, fmt.Errorf("%w: segment %v offset %d: batch %d behind batch %d", ErrCorrupt, seg.number, at, h.number, r.number)
		}
		if !fresh && h.number != r.number+1 {
			r.search()
			if r.witness+1 < h.number || mutant.On(mutant.WALTruncateCorrupt) {
				return true, nil // end tells what is lost from what is torn
			}
			r.lose(h.number - 1)
		}
		if taken, err := r.take(i, at, &h); err != nil || !taken {
			return true, err
		}
	}
}

// void is the first batch number that a later cut makes void in segment i (W2).
func (r *replay) void(i int) batchNumber {
	void := never
	for _, seg := range r.segments[i+1:] {
		if seg.cut != 0 {
			void = min(void, seg.cut)
		}
	}
	return void
}

// cutWitness is what a cut declares durable.
func (s *segment) cutWitness() batchNumber {
	if s.cut == 0 {
		return 0
	}
	return s.cut - 1
}

// bearsLoss reports whether the segment's header alone says that batches were lost: it
// begins the log, and the log did not begin with it. (What a first segment with a
// predecessor does not know of was moved out of that one.)
func (s *segment) bearsLoss() bool { return s.previous == 0 && s.cut > 1 }

// lose notes that the batches up to last were durable and cannot be read.
func (r *replay) lose(last batchNumber) {
	if r.last < 0 && r.segments[r.tail].cut == 0 {
		r.number = last - 1 // how many there were before is not known
	}
	r.log.mu.stats.LostBatches += uint64(last - r.number)
	if r.lossAt == nil {
		r.lossAt = r.segments[r.tail]
		r.doubts = make(map[consensus.GroupID]consensus.Span)
	}
	r.number, r.loss = last, last
}

// search looks at everything behind the last batch taken for a witness.
func (r *replay) search() {
	if !r.searched {
		r.searched = true
		r.searchBehind(&window{})
	}
}

// searchBehind reports whether a batch behind the last one taken verifies.
func (r *replay) searchBehind(w *window) (found bool) {
	for i := r.tail; i < len(r.segments); i++ {
		seg := r.segments[i]
		w.seg, w.buf = seg, w.buf[:0]
		r.witness = max(r.witness, seg.cutWitness())
		offset := int64(segmentDataStart)
		if i == r.tail {
			offset = r.offset
		}
		for void := r.void(i); ; {
			at, h, ok := w.find(offset, void)
			if !ok {
				break
			}
			found = true
			r.witness = max(r.witness, h.durable)
			offset = at + int64(h.size)
		}
	}
	return found
}

// end decides what lies behind the last batch taken.
func (r *replay) end() error {
	var w window
	r.torn = r.searchBehind(&w)
	if w.unreadable != nil {
		return fmt.Errorf("cannot tell where the log ends: %w", w.unreadable)
	}
	if r.witness > r.number && !mutant.On(mutant.WALTruncateCorrupt) {
		r.lose(r.witness)
	}
	return nil
}

// take applies the batch at an offset of segment i, which is the next one. It
// reports false when the batch belongs to the torn end.
func (r *replay) take(i int, at int64, h *batchHeader) (bool, error) {
	seg := r.segments[i]
	batch := r.window.view(at, int(h.size))
	table := batch[batchHeaderSize:h.tableSize]
	readable := r.window.sum.placed(seg.number, at, table) == h.tableCRC
	intact := false
	if readable {
		var err error
		if intact, err = r.verify(seg, at, h, batch); err != nil {
			return false, err
		}
	}
	if !intact {
		if r.search(); h.number > r.witness || mutant.On(mutant.WALTruncateCorrupt) {
			return false, r.window.unreadable // not torn if the disk only cannot read it
		}
	}
	if readable {
		r.apply(seg, at, h, batch, intact)
	} else {
		r.lose(h.number)
	}
	seg.last = h.number
	r.witness = max(r.witness, h.durable)
	r.number, r.oldest = h.number, h.oldest
	r.last, r.tail, r.offset = i, i, at+int64(h.size)
	return true, nil
}

// apply takes a batch into the index.
func (r *replay) apply(seg *segment, at int64, h *batchHeader, batch []byte, intact bool) {
	t := tableReader{rest: batch[batchHeaderSize:h.tableSize]}
	offset := at + int64(h.tableSize)
	for t.section(&r.section) {
		sec := &r.section
		offset = r.checkData(seg.number, sec, offset, batch, at, !intact)
		for k := range sec.records {
			if sec.records[k].damaged {
				r.log.mu.stats.FaultyEntries++
			}
		}
		r.doubt(sec)
		r.log.apply(sec, seg, h.number)
		r.content = h.number
	}
}

// verify reports whether all data of a batch matches its checksums. It returns
// ErrCorrupt for a table that no writer wrote.
func (r *replay) verify(seg *segment, at int64, h *batchHeader, batch []byte) (intact bool, err error) {
	t := tableReader{rest: batch[batchHeaderSize:h.tableSize]}
	intact = true
	end := at + int64(h.tableSize)
	for t.section(&r.section) {
		sec := &r.section
		begin := end
		if end += sec.dataBytes(); end > at+int64(h.size) {
			t.bad = true
			break
		}
		r.checkData(seg.number, sec, begin, batch, at, true)
		for k := range sec.records {
			intact = intact && !sec.records[k].damaged
		}
	}
	if t.bad || alignUp(int(end-at)) != int(h.size) || h.oldest > seg.number {
		return false, fmt.Errorf("%w: segment %v offset %d: batch %d verifies and has an impossible table", ErrCorrupt, seg.number, at, h.number)
	}
	return intact, nil
}

// dataBytes is the size of the section's data behind the table.
func (s *section) dataBytes() (n int64) {
	for i := range s.records {
		if s.records[i].kind == recordEntry {
			n += int64(s.records[i].size)
		}
	}
	return n
}

// checkData fills in where the data of each entry of a section is, beginning at
// offset, and marks damaged entries if asked to. It returns the offset behind.
func (r *replay) checkData(number segmentNumber, sec *section, offset int64, batch []byte, at int64, check bool) int64 {
	for i := range sec.records {
		rec := &sec.records[i]
		if rec.kind != recordEntry {
			continue
		}
		rec.offset = uint32(offset)
		if check {
			data := batch[offset-at : offset-at+int64(rec.size)]
			rec.damaged = r.window.sum.entry(number, sec.group, rec, data) != rec.crc
		}
		offset += int64(rec.size)
	}
	return offset
}

// doubt keeps account of what losses leave unknown about a group, before its next
// section is applied. Steps without gap prove that the group lost nothing.
func (r *replay) doubt(sec *section) {
	if r.loss == 0 {
		return
	}
	span, doubted := r.doubts[sec.group]
	g := r.log.mu.groups[sec.group]
	if g != nil && sec.step != g.step+1 || g == nil && sec.step != 1 {
		span, doubted = consensus.Span{Lo: 1, Hi: maxIndex}, true
	}
	if !doubted {
		return
	}
	m := meta{released: sec.meta.released, unknown: span}
	for i := range sec.records {
		m.mend(&sec.records[i])
	}
	m.normalize()
	if m.unknown.Empty() {
		delete(r.doubts, sec.group)
		return
	}
	r.doubts[sec.group] = m.unknown
}

// finish completes the groups with what is in doubt about them, and checks what the
// index relies on.
func (r *replay) finish() error {
	groups := r.log.mu.groups
	for _, seg := range r.segments {
		// After a loss it is not certain that all was moved: look again.
		if seg.number < r.oldest && r.loss == 0 {
			seg.freeAt = r.number
		}
	}
	if r.oldest != 0 && r.oldest < r.segments[0].number {
		return fmt.Errorf("%w: segments from %v to %v are missing: restore the files, or rejoin this node with an empty directory",
			ErrCorrupt, r.oldest, r.segments[0].number-1)
	}
	for id, g := range groups {
		if g.entries.count > 0 && uint64(g.entries.last()-g.released) > uint64(g.entries.count)+2*holesMax {
			return fmt.Errorf("%w: group %d: entry %d is impossibly far above %d", ErrCorrupt, id, g.entries.last(), g.released)
		}
	}
	if r.loss == 0 {
		return nil
	}
	if groups[everyGroup] == nil {
		groups[everyGroup] = &group{home: r.lossAt.number}
		r.lossAt.groups = append(r.lossAt.groups, everyGroup)
	}
	for id, g := range groups {
		// What was settled for the groups that the log did not know was settled before this
		// loss: rewrite leaves no damage that is older.
		if g.last < r.loss || id == everyGroup {
			g.suspect = true
			g.unknown = consensus.Span{Lo: g.released + 1, Hi: maxIndex}
		} else if span, ok := r.doubts[id]; ok {
			g.unknown = hull(g.unknown, span)
		}
	}
	return nil
}

// hull is the smallest span that holds both.
func hull(a, b consensus.Span) consensus.Span {
	if a.Empty() {
		return b
	}
	if b.Empty() {
		return a
	}
	return consensus.Span{Lo: min(a.Lo, b.Lo), Hi: max(a.Hi, b.Hi)}
}
