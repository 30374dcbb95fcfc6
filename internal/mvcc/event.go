package mvcc

import "sync/atomic"

// Event is one change as watchers see it. Events are shared by all watchers and
// never modified; they may alias the bytes of the command that made them.
type Event struct {
	// Delete tells a deletion from a put.
	Delete bool
	// KV is the new version; of a deletion only Key and ModRevision are set.
	KV KeyValue
	// Prev is the version before the event's revision, when it was asked for and
	// is neither missing nor compacted.
	Prev *KeyValue

	sub        uint32
	kind       changeKind
	prevKnown  bool // Prev is final
	superseded bool
	prevStamp  stamp
	garbage    int64
	wire       [2]atomic.Pointer[[]byte] // without and with Prev
}

// Wire returns the event's encoded form, which build makes on first use: however
// many watchers there are, an event is encoded once, or twice when some of them
// want the previous version. build must be a pure function of the event.
func (e *Event) Wire(prev bool, build func(e *Event, prev bool) []byte) []byte {
	slot := &e.wire[0]
	if prev {
		slot = &e.wire[1]
	}
	if p := slot.Load(); p != nil {
		return *p
	}
	b := build(e, prev)
	slot.Store(&b)
	return b
}

// Create reports whether the event brought its key into being.
func (e *Event) Create() bool { return e.kind == changeCreate }

func (e *Event) stamp() stamp { return stamp{e.KV.ModRevision, e.sub} }

// delta is the event's effect on the number of keys.
func (e *Event) delta() int64 {
	switch e.kind {
	case changeCreate:
		return 1
	case changeDelete:
		return -1
	}
	return 0
}

// bytes estimates the memory that an event keeps alive.
func (e *Event) bytes() int64 {
	n := eventOverheadBytes + len(e.KV.Key) + len(e.KV.Value)
	if e.Prev != nil {
		n += len(e.Prev.Key) + len(e.Prev.Value)
	}
	return int64(n)
}

// eventOverheadBytes is the size of an Event and its place in the ring.
const eventOverheadBytes = 232

// recent holds the newest events in order, without a gap up to the head. It is
// where watchers that fell a little behind catch up, and what counts at slightly
// old revisions are computed from.
type recent struct {
	events   []*Event // events[first:] are held
	first    int
	bytes    int64
	bytesMax int64
	// from is the revision since which no event is missing: all events with a
	// revision >= from are held. Whole revisions are dropped.
	from int64
}

func (r *recent) reset(bytesMax, head int64) {
	*r = recent{bytesMax: bytesMax, from: head + 1}
}

// append adds the events of whole revisions.
func (r *recent) append(events []*Event) {
	r.events = append(r.events, events...)
	for _, e := range events {
		r.bytes += e.bytes()
	}
	r.trim()
}

// trim drops what is beyond the bound.
func (r *recent) trim() {
	for r.bytes > r.bytesMax {
		r.dropRevision()
	}
	if r.first > 1024 && r.first > len(r.events)/2 {
		n := copy(r.events, r.events[r.first:])
		clear(r.events[n:])
		r.events, r.first = r.events[:n], 0
	}
}

// dropRevision drops the oldest revision.
func (r *recent) dropRevision() {
	rev := r.events[r.first].KV.ModRevision
	for r.first < len(r.events) && r.events[r.first].KV.ModRevision == rev {
		r.bytes -= r.events[r.first].bytes()
		r.events[r.first] = nil
		r.first++
	}
	r.from = rev + 1
}

// since returns the held events at or after s, and false when some are missing.
func (r *recent) since(s stamp) ([]*Event, bool) {
	if s.rev < r.from {
		return nil, false
	}
	held := r.events[r.first:]
	lo, hi := 0, len(held)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if held[mid].stamp().less(s) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return held[lo:], true
}
