package wal

import (
	"slices"

	"github.com/quorate/quorate/consensus"
)

// slot says where an entry is and what a machine wants to know of it without
// reading it. A slot of entry kind zero is empty.
type slot struct {
	epoch     consensus.Epoch
	orig      consensus.Epoch
	segment   uint32 // low half of the segment number; see Log.segment
	offset    uint32 // of the data in the segment
	size      uint32
	crc       uint32
	entryKind consensus.EntryKind
	lost      bool // the data cannot be read back (W5)
}

// slotBytes is what a live entry counts for beyond its data: the price of moving
// it to another segment.
const slotBytes = recordBytesMax

// run is a stretch of entries with neighbouring indexes.
type run struct {
	first consensus.Index // index of slots[head]
	head  int             // slots before it are released
	slots []slot
}

func (r *run) len() int                   { return len(r.slots) - r.head }
func (r *run) end() consensus.Index       { return r.first + consensus.Index(r.len()) }
func (r *run) at(i consensus.Index) *slot { return &r.slots[r.head+int(i-r.first)] }

// dropFront forgets the first n slots. Memory follows: at most half of the slots
// that are kept are dead.
func (r *run) dropFront(n int) {
	r.first += consensus.Index(n)
	r.head += n
	if r.head*2 > len(r.slots) {
		kept := copy(r.slots, r.slots[r.head:])
		r.slots, r.head = r.slots[:kept], 0
		if cap(r.slots) > 64 && kept*4 < cap(r.slots) {
			r.slots = append(make([]slot, 0, max(16, 2*kept)), r.slots...)
		}
	}
}

// entryIndex finds a group's live entries. Raft's are one run; Paxos' may have
// holes. Memory is proportional to entries, not to the indexes they span.
type entryIndex struct {
	// runs are ascending and do not touch. Only the first may be empty, and then
	// it is the only one: it is kept for its memory.
	runs  []run
	count int
	bytes int64 // data and slotBytes of all entries
}

// find returns the slot of an entry, or nil.
func (x *entryIndex) find(i consensus.Index) *slot {
	k := x.search(i)
	if k < 0 || i >= x.runs[k].end() {
		return nil
	}
	return x.runs[k].at(i)
}

// search returns the last run that starts at or below i, or -1.
func (x *entryIndex) search(i consensus.Index) int {
	hi := len(x.runs) - 1
	if hi < 0 || x.runs[hi].first <= i {
		return hi // the newest run is the usual answer
	}
	lo := 0
	for lo < hi {
		if mid := (lo + hi) / 2; x.runs[mid].first > i {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo - 1
}

// last returns the highest index present, or zero.
func (x *entryIndex) last() consensus.Index {
	if x.count == 0 {
		return 0
	}
	return x.runs[len(x.runs)-1].end() - 1
}

// put stores an entry, replacing one at the same index.
func (x *entryIndex) put(i consensus.Index, s slot) {
	k := x.search(i)
	if k >= 0 && i < x.runs[k].end() {
		old := x.runs[k].at(i)
		x.bytes += int64(s.size) - int64(old.size)
		*old = s
		return
	}
	x.count++
	x.bytes += int64(s.size) + slotBytes
	if k >= 0 && i == x.runs[k].end() {
		x.runs[k].slots = append(x.runs[k].slots, s)
		x.join(k)
		return
	}
	if len(x.runs) == 1 && x.runs[0].len() == 0 {
		x.runs[0].first = i
		x.runs[0].slots = append(x.runs[0].slots, s)
		return
	}
	x.runs = slices.Insert(x.runs, k+1, run{first: i, slots: []slot{s}})
	x.join(k + 1)
}

// join merges run k with its successor when they touch.
func (x *entryIndex) join(k int) {
	if k+1 >= len(x.runs) || x.runs[k].end() != x.runs[k+1].first {
		return
	}
	next := &x.runs[k+1]
	x.runs[k].slots = append(x.runs[k].slots, next.slots[next.head:]...)
	x.runs = slices.Delete(x.runs, k+1, k+2)
}

// truncate removes the entries at or above from.
func (x *entryIndex) truncate(from consensus.Index) {
	for k := len(x.runs) - 1; k >= 0; k-- {
		r := &x.runs[k]
		if r.end() <= from {
			return
		}
		keep := 0
		if r.first < from {
			keep = int(from - r.first)
		}
		x.forget(r.slots[r.head+keep:])
		r.slots = r.slots[:r.head+keep]
		x.dropEmpty(k)
	}
}

// release removes the entries at or below through.
func (x *entryIndex) release(through consensus.Index) {
	for len(x.runs) > 0 {
		r := &x.runs[0]
		if r.len() == 0 || r.first > through {
			return
		}
		n := r.len()
		if r.end()-1 > through {
			n = int(through - r.first + 1)
		}
		x.forget(r.slots[r.head : r.head+n])
		r.dropFront(n)
		if !x.dropEmpty(0) {
			return
		}
	}
}

// dropEmpty removes run k if it is empty and not the only one; it reports whether
// it did.
func (x *entryIndex) dropEmpty(k int) bool {
	if x.runs[k].len() > 0 || len(x.runs) == 1 {
		return false
	}
	x.runs = slices.Delete(x.runs, k, k+1)
	return true
}

func (x *entryIndex) forget(slots []slot) {
	x.count -= len(slots)
	for i := range slots {
		x.bytes -= int64(slots[i].size) + slotBytes
	}
}

// group is what the log knows of one group. It is guarded by Log.mu.
type group struct {
	meta
	step    uint32
	home    segmentNumber // of the newest section: where meta stands
	last    batchNumber   // of the newest section
	entries entryIndex
}

// mend narrows what is unknown by what a record makes certain.
func (m *meta) mend(r *record) {
	if m.unknown.Empty() {
		return
	}
	switch r.kind {
	case recordEntry:
		if r.index == m.unknown.Lo {
			m.unknown.Lo++
		}
	case recordTruncate:
		m.unknown.Hi = min(m.unknown.Hi, r.index)
	case recordInstall, recordRemove:
		m.unknown = consensus.Span{}
	}
	m.normalize()
}

// normalize drops what is released from unknown.
func (m *meta) normalize() {
	m.unknown.Lo = max(m.unknown.Lo, m.released+1)
	if m.unknown.Empty() {
		m.unknown = consensus.Span{}
	}
}
