package wal

import (
	"encoding/binary"

	"github.com/quorate/quorate/consensus"
)

// recordKind says what a record of the table does to its group.
type recordKind uint8

const (
	recordEntry    recordKind = 1 // an entry; its data stands behind the table
	recordLost     recordKind = 2 // an entry whose data was damaged before it was moved
	recordTruncate recordKind = 3 // entries at or above index are gone
	recordInstall  recordKind = 4 // all entries are gone, the log restarts behind the released index
	recordRemove   recordKind = 5 // the group as it was is gone
)

// record is one line of a batch's table.
type record struct {
	kind      recordKind
	entryKind consensus.EntryKind
	index     consensus.Index
	epoch     consensus.Epoch
	orig      consensus.Epoch
	size      uint32 // bytes of data
	offset    uint32 // of the data in the segment
	crc       uint32
	data      []byte // only while writing
	crcAt     uint32 // only while writing: where crc stands in the batch
	damaged   bool   // only while reading: the data does not match crc
}

// meta is the part of a group's state that stands in front of its records in every
// batch that touches the group, as it is after the batch.
type meta struct {
	hardState     consensus.HardState
	released      consensus.Index
	releasedEpoch consensus.Epoch
	// decided is up to where the engine has said that what the log holds is decided.
	decided consensus.Index

	// suspect is set when a batch that may have held a newer hard state was lost.
	suspect bool
	// unknown holds the indexes whose entries may have been lost or replaced by a
	// batch that was lost. Hi may be maxIndex.
	unknown consensus.Span
}

const maxIndex = consensus.Index(1<<64 - 1)

// section is what a batch holds for one group.
type section struct {
	group   consensus.GroupID
	step    uint32 // counts the group's sections, so that a missing one shows
	meta    meta
	gone    bool // the group does not exist after this section
	records []record
}

const (
	flagSuspect = 1 << 0
	flagUnknown = 1 << 1
	flagGone    = 1 << 2
	flagDecided = 1 << 3
	flagsKnown  = flagSuspect | flagUnknown | flagGone | flagDecided
)

// Upper bounds of what a section and a record cost in the table.
const (
	sectionBytesMax = 10 + 4 + 1 + 4*10 + 2*10 + 10 + 10
	recordBytesMax  = 1 + 3*10 + 1 + 5 + 4
)

func appendSection(dst []byte, s *section) []byte {
	m := &s.meta
	dst = binary.AppendUvarint(dst, uint64(s.group))
	dst = binary.LittleEndian.AppendUint32(dst, s.step)
	var flags byte
	if m.suspect {
		flags |= flagSuspect
	}
	if !m.unknown.Empty() {
		flags |= flagUnknown
	}
	if s.gone {
		flags |= flagGone
	}
	if m.decided != 0 {
		flags |= flagDecided
	}
	dst = append(dst, flags)
	dst = binary.AppendUvarint(dst, uint64(m.hardState.Epoch))
	dst = binary.AppendUvarint(dst, uint64(m.hardState.Vote))
	dst = binary.AppendUvarint(dst, uint64(m.released))
	dst = binary.AppendUvarint(dst, uint64(m.releasedEpoch))
	if flags&flagUnknown != 0 {
		dst = binary.AppendUvarint(dst, uint64(m.unknown.Lo))
		dst = binary.AppendUvarint(dst, uint64(m.unknown.Hi))
	}
	if flags&flagDecided != 0 {
		dst = binary.AppendUvarint(dst, uint64(m.decided))
	}
	dst = binary.AppendUvarint(dst, uint64(len(s.records)))
	for i := range s.records {
		dst = appendRecord(dst, &s.records[i])
	}
	return dst
}

// appendRecord encodes r and notes where an entry's checksum stands.
func appendRecord(dst []byte, r *record) []byte {
	dst = append(dst, byte(r.kind))
	switch r.kind {
	case recordEntry, recordLost:
		dst = binary.AppendUvarint(dst, uint64(r.index))
		dst = binary.AppendUvarint(dst, uint64(r.epoch))
		dst = binary.AppendUvarint(dst, uint64(r.orig))
		dst = append(dst, byte(r.entryKind))
		dst = binary.AppendUvarint(dst, uint64(r.size))
		if r.kind == recordEntry {
			r.crcAt = uint32(len(dst))
			dst = binary.LittleEndian.AppendUint32(dst, r.crc)
		}
	case recordTruncate:
		dst = binary.AppendUvarint(dst, uint64(r.index))
	}
	return dst
}

// tableReader reads what appendSection wrote; bad latches the first failure.
type tableReader struct {
	rest []byte
	bad  bool
}

func (t *tableReader) uvarint() uint64 {
	v, n := binary.Uvarint(t.rest)
	if n <= 0 {
		t.bad = true
		t.rest = nil
		return 0
	}
	t.rest = t.rest[n:]
	return v
}

func (t *tableReader) byte() byte {
	if len(t.rest) < 1 {
		t.bad = true
		return 0
	}
	b := t.rest[0]
	t.rest = t.rest[1:]
	return b
}

func (t *tableReader) uint32() uint32 {
	if len(t.rest) < 4 {
		t.bad = true
		return 0
	}
	v := binary.LittleEndian.Uint32(t.rest)
	t.rest = t.rest[4:]
	return v
}

// section reads the next section into s, whose records it reuses. It reports false
// at the end of the table and for anything that appendSection cannot have written.
func (t *tableReader) section(s *section) bool {
	if t.bad || len(t.rest) == 0 {
		return false
	}
	*s = section{records: s.records[:0]}
	s.group = consensus.GroupID(t.uvarint())
	s.step = t.uint32()
	flags := t.byte()
	m := &s.meta
	m.hardState.Epoch = consensus.Epoch(t.uvarint())
	m.hardState.Vote = consensus.ReplicaID(t.uvarint())
	m.released = consensus.Index(t.uvarint())
	m.releasedEpoch = consensus.Epoch(t.uvarint())
	m.suspect = flags&flagSuspect != 0
	s.gone = flags&flagGone != 0
	if flags&flagUnknown != 0 {
		m.unknown.Lo = consensus.Index(t.uvarint())
		m.unknown.Hi = consensus.Index(t.uvarint())
		t.bad = t.bad || m.unknown.Empty()
	}
	if flags&flagDecided != 0 {
		m.decided = consensus.Index(t.uvarint())
		t.bad = t.bad || m.decided == 0
	}
	count := t.uvarint()
	// A record takes at least one byte: a larger count is refused before it costs memory.
	if t.bad || flags&^flagsKnown != 0 || count > uint64(len(t.rest)) || m.released == maxIndex {
		t.bad = true
		return false
	}
	for range count {
		s.records = append(s.records, t.record())
		if t.bad {
			return false
		}
	}
	return true
}

func (t *tableReader) record() record {
	r := record{kind: recordKind(t.byte())}
	switch r.kind {
	case recordEntry, recordLost:
		r.index = consensus.Index(t.uvarint())
		r.epoch = consensus.Epoch(t.uvarint())
		r.orig = consensus.Epoch(t.uvarint())
		r.entryKind = consensus.EntryKind(t.byte())
		size := t.uvarint()
		if size > segmentBytesMax || r.entryKind == 0 || r.index == 0 || r.index == maxIndex {
			t.bad = true
		}
		r.size = uint32(size)
		if r.kind == recordEntry {
			r.crc = t.uint32()
		}
	case recordTruncate:
		r.index = consensus.Index(t.uvarint())
		t.bad = t.bad || r.index == 0
	case recordInstall, recordRemove:
	default:
		t.bad = true
	}
	return r
}
