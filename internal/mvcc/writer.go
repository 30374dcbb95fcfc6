package mvcc

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"github.com/quorate/quorate/consensus/mutant"
	"github.com/quorate/quorate/internal/engine"
)

// VersionOverheadBytes is charged for each version beside its key and value: what
// the tables and the event index add, rounded up.
const VersionOverheadBytes = 64

// Writer changes a DB. Its owner calls Begin, then for each command any number of
// reads and changes followed by EndRevision, then Commit. All of it reaches the
// engine in one batch (M1). Reads see the writer's own changes.
//
// The batch itself is write-only: an indexed batch would sort every write a second
// time. What was changed since Begin is few keys, and they wait in overlay.
type Writer struct {
	db     *DB
	batch  engine.Batch
	r      reader        // the engine's state at Begin; nobody else writes it
	lookup engine.Lookup // of the same state; made when first needed
	head   Head          // the state with the writer's changes
	keys   int64         // how many exist in it

	overlay  map[string]*cell // newest version of each key changed since Begin
	touched  []*cell          // the same, in the order of their first change
	events   []*Event         // since Begin
	first    int              // events[first:] belong to the revision under way
	wantPrev bool             // some watcher wants previous versions

	cells    slab[cell]
	spare    []*cell // cells to be used again
	slab     slab[Event]
	keyBuf   []byte
	valueBuf []byte
	oldBuf   []byte // the value that find returned
}

// cell is an overlay entry.
type cell struct {
	version
	event int // index in Writer.events of the change that made it
}

// slab allocates values in chunks: one allocation for many, addresses stay.
type slab[T any] struct{ free []T }

func (s *slab[T]) next() *T {
	if len(s.free) == 0 {
		s.free = make([]T, 64)
	}
	v := &s.free[0]
	s.free = s.free[1:]
	return v
}

// prior is the version that a change finds.
type prior struct {
	version
	ok   bool
	raw  []byte // encoded, when it came from the engine
	cell *cell  // when it came from the overlay
}

func (w *Writer) init(db *DB) {
	w.db = db
	w.overlay = map[string]*cell{}
	w.r = reader{Reader: db.engine, keys: db.keys}
}

// Writer returns the DB's writer. There is one; it is for one goroutine.
func (db *DB) Writer() *Writer { return &db.writer }

// Begin starts a batch of changes.
func (w *Writer) Begin() {
	w.batch = w.db.engine.NewBatch()
	w.db.mu.Lock()
	w.head = w.db.mu.head
	w.wantPrev = w.db.mu.hub.prevWatchers > 0
	w.db.mu.Unlock()
	w.r.rev = w.head.Revision
	w.keys = w.db.tally
}

// Batch is the engine batch under way, for the tables of the store above.
func (w *Writer) Batch() engine.Batch { return w.batch }

// Head is the state with the changes made so far, the revision under way aside.
func (w *Writer) Head() Head { return w.head }

// Changed reports whether the revision under way has a change yet.
func (w *Writer) Changed() bool { return len(w.events) > w.first }

// Revision is what a read sees now: it counts the revision under way once that has
// a change.
func (w *Writer) Revision() int64 {
	if w.Changed() {
		return w.head.Revision + 1
	}
	return w.head.Revision
}

// find returns the newest version of key. Its value is valid until the next call.
func (w *Writer) find(key []byte) (p prior, err error) {
	if c := w.overlay[string(key)]; c != nil {
		return prior{version: c.version, ok: !c.tombstone, cell: c}, nil
	}
	if val, ok := w.db.opts.Cache.get(w.r.salt, key, w.oldBuf); ok {
		w.oldBuf = val
		_, err = decodeCached(val, w.head.Revision, &p.version)
		p.Key, p.ok, p.raw = key, !p.tombstone, val[8:]
		return p, err
	}
	if w.db.filter.rulesOut(key) {
		return prior{}, nil
	}
	w.keyBuf = w.r.keys.current(w.keyBuf, key)
	if w.lookup == nil {
		if w.lookup, err = w.db.engine.NewLookup(); err != nil {
			return prior{}, err
		}
	}
	raw, ok, err := w.lookup.Get(w.keyBuf, w.oldBuf)
	if err != nil {
		return prior{}, err
	}
	if !ok {
		w.db.filter.missed()
		return prior{}, nil
	}
	w.oldBuf = raw
	p.ok, p.raw = true, raw
	err = decodeRecord(raw, &p.version)
	p.Key = key
	return p, err
}

// Get returns the newest version of key. It is valid until the next call.
func (w *Writer) Get(key []byte) (kv KeyValue, ok bool, err error) {
	p, err := w.find(key)
	return p.KeyValue, p.ok, err
}

// Put makes a new version of key at the revision under way, and returns the lease
// that the key was attached to before. Key and value are kept and must not change
// any more.
func (w *Writer) Put(key, value []byte, lease int64) (oldLease int64, err error) {
	p, err := w.find(key)
	if err != nil {
		return 0, err
	}
	next := version{sub: uint32(len(w.events) - w.first)}
	next.KeyValue = KeyValue{
		Key: key, Value: value, ModRevision: w.head.Revision + 1,
		CreateRevision: w.head.Revision + 1, Version: 1, Lease: lease,
	}
	kind := changeCreate
	if p.ok {
		kind = changeUpdate
		next.CreateRevision, next.Version = p.CreateRevision, p.Version+1
		oldLease = p.Lease
	}
	return oldLease, w.change(kind, next, &p)
}

// Delete removes key, which must exist, and returns the lease that it was attached
// to.
func (w *Writer) Delete(key []byte) (oldLease int64, err error) {
	p, err := w.find(key)
	if err != nil {
		return 0, err
	}
	if !p.ok {
		return 0, fmt.Errorf("mvcc: delete of %q, which does not exist", key)
	}
	return p.Lease, w.remove(key, &p)
}

func (w *Writer) remove(key []byte, p *prior) error {
	next := version{sub: uint32(len(w.events) - w.first), tombstone: true}
	next.KeyValue = KeyValue{Key: key, ModRevision: w.head.Revision + 1}
	return w.change(changeDelete, next, p)
}

// DeleteRange removes the keys of rg in key order and calls each for every one
// with its last version, which is valid only during the call. It returns their
// number.
func (w *Writer) DeleteRange(rg Range, each func(kv *KeyValue) error) (n int64, err error) {
	err = w.scan(rg, w.Revision(), func(v *version) (bool, error) {
		if err := each(&v.KeyValue); err != nil {
			return false, err
		}
		n++
		p := prior{version: *v, ok: true, cell: w.overlay[string(v.Key)]}
		return true, w.remove(bytes.Clone(v.Key), &p)
	})
	return n, err
}

// change records next as the successor of p: in the tables, in the overlay and as
// an event.
func (w *Writer) change(kind changeKind, next version, p *prior) error {
	if p.ok && !p.stamp().less(next.stamp()) {
		return fmt.Errorf("%w: %q has version %v before %v", ErrCorrupt, next.Key, p.stamp(), next.stamp())
	}
	if err := w.writeTables(next, p); err != nil {
		return err
	}
	w.head.Written += versionBytes(&next)
	if p.ok {
		w.head.Garbage += versionBytes(&p.version)
	}
	if next.tombstone {
		w.head.Garbage += versionBytes(&next)
	}
	e := w.slab.next()
	e.Delete, e.KV, e.sub, e.kind, e.garbage = next.tombstone, next.KeyValue, next.sub, kind, w.head.Garbage
	w.linkPrior(e, p)
	w.events = append(w.events, e)
	w.keys += e.delta()

	c := p.cell
	if c == nil {
		c = w.newCell()
		w.touched = append(w.touched, c)
		w.overlay[unsafe.String(unsafe.SliceData(next.Key), len(next.Key))] = c
	}
	*c = cell{version: next, event: len(w.events) - 1}
	return nil
}

func (w *Writer) newCell() *cell {
	n := len(w.spare)
	if n == 0 {
		return w.cells.next()
	}
	c := w.spare[n-1]
	w.spare = w.spare[:n-1]
	return c
}

// linkPrior tells an event what it replaced.
func (w *Writer) linkPrior(e *Event, p *prior) {
	if p.cell != nil && p.cell.ModRevision == e.KV.ModRevision {
		w.events[p.cell.event].superseded = true
	}
	e.prevKnown = e.kind == changeCreate
	if !p.ok {
		return
	}
	e.prevStamp = p.stamp()
	// Watchers want the version before the revision, not one that the same revision
	// made; in that rare case whoever asks finds it in the tables.
	if w.wantPrev && p.ModRevision < e.KV.ModRevision {
		prev := p.KeyValue
		prev.Key = e.KV.Key
		if p.cell == nil {
			prev.Value = bytes.Clone(prev.Value)
		}
		e.Prev, e.prevKnown = &prev, true
	}
}

func (w *Writer) writeTables(next version, p *prior) error {
	if p.ok {
		raw := p.raw
		if raw == nil {
			w.valueBuf = appendRecord(w.valueBuf[:0], &p.version)
			raw = w.valueBuf
		}
		w.keyBuf = w.r.keys.history(w.keyBuf, next.Key, p.stamp())
		if err := w.batch.Set(w.keyBuf, raw); err != nil {
			return err
		}
	}
	w.valueBuf = appendRecord(w.valueBuf[:0], &next)
	if next.tombstone {
		w.keyBuf = w.r.keys.history(w.keyBuf, next.Key, next.stamp())
		if err := w.batch.Set(w.keyBuf, w.valueBuf); err != nil {
			return err
		}
		w.keyBuf = w.r.keys.current(w.keyBuf, next.Key)
		return w.batch.Delete(w.keyBuf)
	}
	w.keyBuf = w.r.keys.current(w.keyBuf, next.Key)
	return w.batch.Set(w.keyBuf, w.valueBuf)
}

// versionBytes is what a version counts for in Head.Written and Head.Garbage.
func versionBytes(v *version) int64 {
	return int64(len(v.Key)+len(v.Value)) + VersionOverheadBytes
}

// EndRevision closes the revision under way. Without a change there is none, and
// the revision stays. It returns the revision reached.
func (w *Writer) EndRevision() (int64, error) {
	if !w.Changed() {
		return w.head.Revision, nil
	}
	w.first = len(w.events)
	w.head.Revision++
	return w.head.Revision, nil
}

// Events are the changes of the revision under way, in order.
func (w *Writer) Events() []*Event { return w.events[w.first:] }

// Compact gives up what only reads below rev need (M5). It is logical: space comes
// back through DB.Prune.
func (w *Writer) Compact(rev int64) error {
	switch {
	case rev <= w.head.Compacted:
		return ErrCompacted
	case rev > w.head.Revision:
		return ErrFutureRevision
	}
	garbage, err := w.garbageAt(rev)
	if err != nil {
		return err
	}
	w.head.Compacted = rev
	w.head.Freed = garbage
	return nil
}

// garbageAt is Head.Garbage as it was at revision rev.
func (w *Writer) garbageAt(rev int64) (int64, error) {
	i, _ := slices.BinarySearchFunc(w.events, rev+1, func(e *Event, rev int64) int {
		return int(e.KV.ModRevision - rev)
	})
	if i > 0 {
		return w.events[i-1].garbage, nil
	}
	c, ok, err := w.r.lastChange(rev)
	if err != nil || !ok {
		return w.head.Freed, err
	}
	return c.garbage, nil
}

// Commit makes the batch visible to readers and its events to watchers. After an
// error the replica must stop.
func (w *Writer) Commit() error {
	if err := w.writeEvents(); err != nil {
		return err
	}
	if len(w.events) > 0 {
		if err := w.writeTally(); err != nil {
			return err
		}
	}
	w.keyBuf = w.r.keys.table(w.keyBuf, tableHead)
	w.valueBuf = appendHead(w.valueBuf[:0], w.head)
	if err := w.batch.Set(w.keyBuf, w.valueBuf); err != nil {
		return err
	}
	w.db.committing.Store(true)
	if err := w.batch.Commit(); err != nil {
		return err
	}
	for _, c := range w.touched {
		if c.tombstone && mutant.On("mvcc-cache-keeps-deleted") {
			continue
		}
		w.valueBuf = appendCached(w.valueBuf[:0], &c.version)
		w.db.opts.Cache.put(w.r.salt, c.Key, w.valueBuf)
	}
	for _, e := range w.events {
		if e.kind == changeCreate {
			w.db.filter.add(e.KV.Key)
		}
	}
	w.db.cached.Store(w.head.Revision)
	w.db.tally = w.keys
	batch := w.batch
	w.batch = nil
	w.db.publish(w.head, w.events)
	w.db.committing.Store(false)
	return errors.Join(batch.Close(), w.release())
}

// writeEvents fills the event index. All entries of the batch are written in one
// run: they are neighbours, and a memtable takes neighbours in at next to no cost.
func (w *Writer) writeEvents() error {
	for _, e := range w.events {
		c := change{
			stamp: e.stamp(), kind: e.kind, superseded: e.superseded,
			prev: e.prevStamp, garbage: e.garbage, key: e.KV.Key,
		}
		w.keyBuf = w.r.keys.event(w.keyBuf, c.stamp)
		w.valueBuf = appendChange(w.valueBuf[:0], &c)
		if err := w.batch.Set(w.keyBuf, w.valueBuf); err != nil {
			return err
		}
	}
	return nil
}

// Abort drops the batch under way.
func (w *Writer) Abort() error {
	if w.batch == nil {
		return nil
	}
	batch := w.batch
	w.batch = nil
	return errors.Join(batch.Close(), w.release())
}

// overlayKeep is the size up to which the overlay's memory is used again. An idle
// shard must not keep what one large transaction once needed.
const overlayKeep = 1024

// release lets go of what Begin and the changes gathered.
func (w *Writer) release() error {
	if len(w.touched) > overlayKeep {
		w.overlay, w.touched = map[string]*cell{}, nil
	}
	for _, c := range w.touched {
		*c = cell{}
	}
	if len(w.spare) < overlayKeep {
		w.spare = append(w.spare, w.touched...)
	}
	clear(w.overlay)
	clear(w.touched)
	w.touched = w.touched[:0]
	w.events, w.first = nil, 0
	if w.lookup == nil {
		return nil
	}
	lookup := w.lookup
	w.lookup = nil
	return lookup.Close()
}

// cool gives the memory back that is kept for the next batch.
func (w *Writer) cool() {
	w.overlay, w.touched, w.spare = map[string]*cell{}, nil, nil
	w.cells, w.slab = slab[cell]{}, slab[Event]{}
	w.keyBuf, w.valueBuf, w.oldBuf = nil, nil, nil
}

// publish makes a committed state known to all who wait for it.
func (db *DB) publish(head Head, events []*Event) {
	db.mu.Lock()
	if old := db.mu.head; head.Revision < old.Revision || head.Compacted < old.Compacted ||
		len(events) > 0 && events[0].KV.ModRevision != old.Revision+1 {
		panic(fmt.Sprintf("mvcc: publish %+v with %d events behind %+v", head, len(events), old)) // M3
	}
	db.mu.head, db.mu.shared = head, nil
	db.mu.recent.bytesMax = db.recentBytes()
	db.mu.recent.append(events)
	db.mu.counts.apply(events)
	wake := db.mu.hub.publish(events)
	db.mu.Unlock()
	for _, w := range wake {
		w.wake()
	}
}
