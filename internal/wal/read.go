package wal

import (
	"errors"
	"fmt"

	"github.com/quorate/quorate/consensus"
)

// readGapBytes is how many bytes between two entries are read along rather than
// read around.
const readGapBytes = 4 << 10

// GroupState is what the log holds of a group.
type GroupState struct {
	HardState     consensus.HardState
	Released      consensus.Index
	ReleasedEpoch consensus.Epoch
	Decided       consensus.Index // the highest of Batch.Decided
	// Entries describes the positions Released+1, Released+2, ... up to the last
	// entry. A position without an entry has kind zero. The data of membership
	// entries is filled in.
	Entries []consensus.EntryInfo
	// Faulty are positions whose entries were durable and cannot be read, ascending
	// (W5). Where Entries describes such a position, its epoch and kind are certain
	// and only the data is gone. The last span may be open-ended (Hi is the highest
	// index there is): a batch was lost that may have held more, or replaced some.
	Faulty []consensus.Span
	// Suspect says that a newer hard state may have been lost: the replica must not
	// vote or promise before Batch.Repaired.
	Suspect bool
}

// State returns what the log holds of a group. A group that it does not know has a
// zero state, except that Suspect and Faulty are set when the log lost a batch that
// may have held it.
func (l *Log) State(id consensus.GroupID) (GroupState, error) {
	st, memberships := l.describe(id)
	for _, i := range memberships {
		entries, err := l.Read(id, consensus.Span{Lo: i, Hi: i + 1}, 0, nil)
		if errors.Is(err, ErrFaulty) {
			st.Faulty = mergeSpan(st.Faulty, consensus.Span{Lo: i, Hi: i + 1})
			continue
		}
		if err != nil {
			return st, err
		}
		st.Entries[i-st.Released-1].Data = entries[0].Data
	}
	return st, nil
}

// describe is State without the data of membership entries, whose indexes it returns.
func (l *Log) describe(id consensus.GroupID) (st GroupState, memberships []consensus.Index) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	m, _ := l.baseOf(id)
	st.HardState, st.Suspect = m.hardState, m.suspect
	st.Released, st.ReleasedEpoch, st.Decided = m.released, m.releasedEpoch, m.decided
	g := l.mu.groups[id]
	if g != nil && g.entries.count > 0 {
		st.Entries = make([]consensus.EntryInfo, g.entries.last()-m.released)
		for k := range g.entries.runs {
			r := &g.entries.runs[k]
			for i := r.first; i < r.end(); i++ {
				s := r.at(i)
				st.Entries[i-m.released-1] = consensus.EntryInfo{Epoch: s.epoch, Orig: s.orig, Kind: s.entryKind, Size: s.size}
				if s.lost {
					st.Faulty = appendSpan(st.Faulty, consensus.Span{Lo: i, Hi: i + 1})
				} else if s.entryKind == consensus.EntryMembership {
					memberships = append(memberships, i)
				}
			}
		}
	}
	if !m.unknown.Empty() {
		st.Faulty = mergeSpan(st.Faulty, m.unknown)
	}
	return st, memberships
}

// HighestOrig returns the highest first epoch of a span's entries, from memory, and false
// unless the log holds them all. Any goroutine may call it.
func (l *Log) HighestOrig(id consensus.GroupID, span consensus.Span) (highest consensus.Epoch, ok bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	g := l.mu.groups[id]
	if g == nil {
		return 0, false
	}
	for i := span.Lo; i < span.Hi; i++ {
		s := g.entries.find(i)
		if s == nil {
			return 0, false
		}
		highest = max(highest, s.orig)
	}
	return highest, true
}

// Holds reports whether the log has an entry of this epoch at an index, from memory. Any
// goroutine may call it.
func (l *Log) Holds(id consensus.GroupID, i consensus.Index, epoch consensus.Epoch) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	g := l.mu.groups[id]
	if g == nil {
		return false
	}
	s := g.entries.find(i)
	return s != nil && s.epoch == epoch
}

// appendSpan adds a span that is not below the last one.
func appendSpan(spans []consensus.Span, s consensus.Span) []consensus.Span {
	if n := len(spans); n > 0 && spans[n-1].Hi >= s.Lo {
		spans[n-1].Hi = max(spans[n-1].Hi, s.Hi)
		return spans
	}
	return append(spans, s)
}

// mergeSpan adds a span anywhere.
func mergeSpan(spans []consensus.Span, s consensus.Span) []consensus.Span {
	var merged []consensus.Span
	placed := false
	for _, t := range spans {
		if !placed && t.Lo > s.Lo {
			merged, placed = appendSpan(merged, s), true
		}
		merged = appendSpan(merged, t)
	}
	if !placed {
		merged = appendSpan(merged, s)
	}
	return merged
}

// located is a slot with its index.
type located struct {
	index consensus.Index
	slot
}

// Read appends the entries of span to dst, from its first index on, as long as they
// follow each other without gap and their data fits into maxBytes; one entry is
// returned whatever its size. Any goroutine may call it. The data belongs to the
// caller.
func (l *Log) Read(id consensus.GroupID, span consensus.Span, maxBytes int, dst []Entry) ([]Entry, error) {
	var found [64]located
	start, room := len(dst), maxBytes
	for lo := span.Lo; lo < span.Hi; {
		seg, part, err := l.locate(id, consensus.Span{Lo: lo, Hi: span.Hi}, room, len(dst) == start, found[:0])
		if err == nil && len(part) == 0 {
			break // maxBytes
		}
		if err == nil {
			dst, err = l.readPart(id, seg, part, dst)
		}
		if err != nil {
			if len(dst) > start {
				return dst, nil // the caller asks again and meets the error first
			}
			return dst, fmt.Errorf("wal: read group %d index %d: %w", id, lo, err)
		}
		for i := range part {
			room -= int(part[i].size)
		}
		lo = dst[len(dst)-1].Index + 1
	}
	return dst, nil
}

// locate finds the entries at the beginning of span that one read can fetch, within
// room bytes, and pins their segment.
func (l *Log) locate(id consensus.GroupID, span consensus.Span, room int, first bool, found []located) (*segment, []located, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.mu.closed {
		return nil, nil, ErrClosed
	}
	g := l.mu.groups[id]
	if g == nil {
		return nil, nil, ErrNotFound
	}
	if span.Lo <= g.released {
		return nil, nil, ErrReleased
	}
	for i := span.Lo; i < span.Hi && len(found) < cap(found); i++ {
		s := g.entries.find(i)
		if s == nil || s.lost {
			if len(found) > 0 {
				break
			}
			if s != nil || i >= g.unknown.Lo && i < g.unknown.Hi {
				return nil, nil, ErrFaulty
			}
			return nil, nil, ErrNotFound
		}
		if n := len(found); n > 0 {
			end := found[n-1].offset + found[n-1].size
			if s.segment != found[0].segment || s.offset < end || s.offset-end > readGapBytes {
				break
			}
		}
		if room -= int(s.size); room < 0 && !(first && len(found) == 0) {
			break
		}
		found = append(found, located{i, *s})
	}
	if len(found) == 0 {
		return nil, nil, nil
	}
	seg := l.segment(found[0].segment)
	seg.pins.RLock()
	return seg, found, nil
}

// readPart fetches what locate found and lets go of the segment. It returns the
// entries in front of the first that does not verify.
func (l *Log) readPart(id consensus.GroupID, seg *segment, part []located, dst []Entry) ([]Entry, error) {
	from := int64(part[0].offset)
	last := &part[len(part)-1]
	buf := make([]byte, int64(last.offset)+int64(last.size)-from)
	err := seg.readAt(buf, from)
	seg.pins.RUnlock()
	if err != nil {
		// The disk may answer next time: the entry is not marked.
		return dst, fmt.Errorf("%w: segment %v offset %d: %w", ErrFaulty, seg.number, from, err)
	}
	var sum checksummer
	for i := range part {
		e := &part[i]
		at := int64(e.offset) - from
		data := buf[at : at+int64(e.size) : at+int64(e.size)]
		r := record{index: e.index, epoch: e.epoch, orig: e.orig, entryKind: e.entryKind, offset: e.offset}
		if sum.entry(seg.number, id, &r, data) != e.crc {
			l.markLost(id, e)
			return dst, fmt.Errorf("%w: segment %v offset %d", ErrFaulty, seg.number, e.offset)
		}
		dst = append(dst, Entry{Index: e.index, Epoch: e.epoch, Orig: e.orig, Kind: e.entryKind, Data: data})
	}
	return dst, nil
}

// markLost remembers that an entry does not verify, unless it has moved meanwhile.
func (l *Log) markLost(id consensus.GroupID, e *located) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if g := l.mu.groups[id]; g != nil {
		if s := g.entries.find(e.index); s != nil && *s == e.slot {
			s.lost = true
			l.mu.stats.FaultyEntries++
		}
	}
}
