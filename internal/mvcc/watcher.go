package mvcc

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/quorate/quorate/consensus/mutant"
	"github.com/quorate/quorate/internal/engine"
)

// Watcher delivers the events of a range in order, each once, without a gap (M6).
//
// It is live or behind. A live one is handed events as they are committed, into a
// bounded queue. One that starts in the past, or whose queue overflowed, is behind:
// it reads from its position in the ring of recent events or, further back, in the
// event index, a bounded step at a time, and becomes live under the lock that
// publishes events, at the moment when nothing is left between its position and
// the head. So there is neither gap nor duplicate.
type Watcher struct {
	db              *DB
	rng             Range
	start           int64
	prevKV          bool
	noPut, noDelete bool
	wake            func()
	slot, slotAll   int // places in the hub's groups

	// The rest is guarded by DB.mu; behind and pos are moved by Next alone once
	// behind is set.
	pending []*Event // live: whole revisions, oldest first
	next    int64    // live: events below this revision are not wanted
	behind  bool
	pos     stamp // behind: the first change not yet looked at
	woken   bool  // wake was called since the last Next
	err     error // the watcher has ended
	// taken was taken from the sources above, but could not be completed because the
	// state was being replaced. It comes first.
	taken *WatchBatch
}

// WatchBatch is what Next returns.
type WatchBatch struct {
	// Events are in order and belong to whole revisions, except as Partial says.
	Events []*Event
	// Revision is that of the last event, or zero without events.
	Revision int64
	// Partial: the last event's revision goes on in the next batch. Only revisions
	// too large for one batch are cut.
	Partial bool
	// More: call Next again, there is more to look at; wake will not be called.
	More bool
	// CompactRevision is set with ErrCompacted: what the watcher still needs is
	// gone below it.
	CompactRevision int64
}

const (
	// catchUpChangesMax and catchUpBytesMax bound one step of catching up.
	catchUpChangesMax = 1000
	catchUpBytesMax   = 1 << 20
	// revisionEventsMax is where one revision is cut into several batches.
	revisionEventsMax = 10_000
)

// offer queues an event for a live watcher and reports whether to wake it.
func (w *Watcher) offer(e *Event) bool {
	if w.behind && !mutant.On("mvcc-watch-join-twice") || e.KV.ModRevision < w.next || !w.wants(e) {
		return false
	}
	n := len(w.pending)
	if n > 0 && n >= w.db.opts.PendingEvents {
		if rev := e.KV.ModRevision; w.pending[n-1].KV.ModRevision != rev || n >= 2*w.db.opts.PendingEvents {
			w.fallBehind(rev)
			return w.wakeOnce()
		}
	}
	w.pending = append(w.pending, e)
	return w.wakeOnce()
}

// fallBehind drops the queued part of revision rev and catches up from there.
func (w *Watcher) fallBehind(rev int64) {
	n := len(w.pending)
	for n > 0 && w.pending[n-1].KV.ModRevision == rev {
		n--
		w.pending[n] = nil
	}
	w.pending = w.pending[:n]
	w.behind, w.pos = true, stamp{rev: rev}
}

func (w *Watcher) wakeOnce() bool {
	first := !w.woken
	w.woken = true
	return first
}

// wants applies the filters.
func (w *Watcher) wants(e *Event) bool {
	return !(e.Delete && w.noDelete) && !(!e.Delete && w.noPut)
}

// rewind sends the watcher back to the tables; seen is the newest revision that it
// was offered while live.
func (w *Watcher) rewind(seen int64) {
	if !w.behind {
		w.behind, w.pos = true, stamp{rev: max(w.next, seen+1)}
	}
	if len(w.pending) > 0 {
		w.pos = stamp{rev: w.pending[0].KV.ModRevision}
		w.pending = nil
	}
}

// Close ends the watcher.
func (w *Watcher) Close() {
	w.db.mu.Lock()
	defer w.db.mu.Unlock()
	if w.err == nil {
		w.end(ErrWatchClosed)
	}
}

func (w *Watcher) end(err error) {
	w.err, w.pending, w.taken = err, nil, nil
	w.db.mu.hub.remove(w)
}

// Next returns what is there for the watcher, about limit events at most, and does
// not wait. An empty batch without More means: wait for wake. One goroutine calls
// it. It returns ErrCompacted, with CompactRevision set, when the history that the
// watcher still needs was compacted; the watcher has then ended.
func (w *Watcher) Next(limit int) (WatchBatch, error) {
	w.db.mu.Lock()
	w.woken = false
	switch {
	case w.err != nil:
		defer w.db.mu.Unlock()
		return WatchBatch{}, w.err
	case w.taken != nil:
		batch := *w.taken
		w.taken = nil
		batch.More = w.behind || len(w.pending) > 0
		w.db.mu.Unlock()
		return w.complete(batch)
	case len(w.pending) > 0:
		batch := w.takePending(limit)
		w.db.mu.Unlock()
		return w.complete(batch)
	case !w.behind:
		w.db.mu.Unlock()
		return WatchBatch{}, nil
	}
	return w.catchUp(limit)
}

// takePending takes whole revisions from the queue.
func (w *Watcher) takePending(limit int) WatchBatch {
	n := len(w.pending)
	if n > limit {
		n = limit
		for n < len(w.pending) && n > 0 && w.pending[n].KV.ModRevision == w.pending[n-1].KV.ModRevision {
			n++
		}
	}
	b := WatchBatch{Events: w.pending[:n:n]}
	if w.pending = w.pending[n:]; len(w.pending) == 0 {
		w.pending = nil
	}
	b.More = w.behind || len(w.pending) > 0
	return b
}

// catchUp makes one step for a watcher that is behind. It is called with the lock
// held and releases it.
func (w *Watcher) catchUp(limit int) (WatchBatch, error) {
	db := w.db
	head := db.mu.head
	if w.pos.rev < head.Compacted {
		defer db.mu.Unlock()
		w.end(ErrCompacted)
		return WatchBatch{CompactRevision: head.Compacted}, ErrCompacted
	}
	recent, ok := db.mu.recent.since(w.pos)
	if !ok {
		db.mu.Unlock()
		return w.catchUpFromIndex(limit, head.Revision)
	}
	batch := w.takeRecent(recent, limit, head.Compacted)
	if !batch.More {
		w.behind, w.next = false, max(head.Revision+1, w.pos.rev)
		if mutant.On("mvcc-watch-join-gap") {
			w.next++
		}
	}
	db.mu.Unlock()
	return w.complete(batch)
}

// takeRecent filters events from the ring and moves the position behind them. At
// the compacted revision only the last of several changes of a key is left, as in
// the event index.
func (w *Watcher) takeRecent(recent []*Event, limit int, compacted int64) WatchBatch {
	var b WatchBatch
	for i, e := range recent {
		newRevision := i == 0 || e.KV.ModRevision != recent[i-1].KV.ModRevision
		if newRevision && (len(b.Events) >= limit || i >= catchUpChangesMax) {
			w.pos, b.More = e.stamp(), true
			return b
		}
		if e.KV.ModRevision <= compacted && e.superseded {
			continue
		}
		if w.rng.Contains(e.KV.Key) && w.wants(e) {
			b.Events = append(b.Events, e)
		}
	}
	if n := len(recent); n > 0 {
		w.pos = stamp{rev: recent[n-1].KV.ModRevision + 1}
	}
	return b
}

// complete adds what the request asked for beside the bare events. If the state is
// replaced meanwhile, the batch waits for the next call.
func (w *Watcher) complete(b WatchBatch) (WatchBatch, error) {
	if n := len(b.Events); n > 0 {
		b.Revision = b.Events[n-1].KV.ModRevision
	}
	if !w.prevKV {
		return b, nil
	}
	err := w.addPrev(b.Events)
	if errors.Is(err, ErrReplaced) {
		w.db.mu.Lock()
		w.taken = &b
		w.db.mu.Unlock()
		return w.later(), nil
	}
	return b, err
}

// later is the empty answer of a watcher that met a replacement: load wakes it when
// that is still under way.
func (w *Watcher) later() WatchBatch { return WatchBatch{More: !w.db.replacing()} }

// addPrev replaces events by copies with the version before, where that is not at
// hand or no longer to be shown.
func (w *Watcher) addPrev(events []*Event) error {
	var view *View
	compacted := w.db.Head().Compacted
	for i, e := range events {
		if e.prevKnown && (e.Prev == nil || e.KV.ModRevision-1 >= compacted) {
			continue
		}
		if view == nil {
			var err error
			if view, err = w.db.View(); err != nil {
				return err
			}
			defer view.Close()
		}
		full, err := view.withPrev(e)
		if err != nil {
			return err
		}
		events[i] = full
	}
	return nil
}

// withPrev returns a copy of e with the version before its revision, or without one
// when that revision has been compacted: as in etcd, what a watcher is told does
// not depend on what physical compaction has removed yet.
func (v *View) withPrev(e *Event) (*Event, error) {
	full := &Event{Delete: e.Delete, KV: e.KV, sub: e.sub, kind: e.kind, prevKnown: true}
	at := e.KV.ModRevision - 1
	if e.kind == changeCreate || at < v.shared.head.Compacted {
		return full, nil
	}
	kv, ok, err := v.Get(e.KV.Key, at)
	if err == nil && ok {
		full.Prev = &kv
		full.Prev.Value = bytes.Clone(kv.Value)
	}
	return full, err
}

// catchUpFromIndex makes one step through the event index, up to revision upto,
// which is committed. The lock is not held: until the step ends nobody else moves
// the watcher.
func (w *Watcher) catchUpFromIndex(limit int, upto int64) (WatchBatch, error) {
	view, err := w.db.View()
	if errors.Is(err, ErrReplaced) {
		return w.later(), nil
	}
	if err != nil {
		return WatchBatch{}, err
	}
	defer view.Close()
	if w.pos.rev < view.shared.head.Compacted {
		return WatchBatch{More: true}, nil // the next call finds it under the lock
	}
	step := indexStep{w: w, view: view, limit: limit, upto: upto, pos: w.pos}
	if err := view.fence(step.run()); err != nil {
		if errors.Is(err, ErrReplaced) {
			return w.later(), nil
		}
		return WatchBatch{}, fmt.Errorf("mvcc: catch up from revision %d: %w", w.pos.rev, err)
	}
	w.db.mu.Lock()
	w.pos = step.pos
	w.db.mu.Unlock()
	step.batch.More = true
	return w.complete(step.batch)
}

// indexStep walks the event index for one watcher.
type indexStep struct {
	w     *Watcher
	view  *View
	limit int
	upto  int64
	pos   stamp // the next change to look at
	batch WatchBatch
	bytes int
	seen  int
}

func (s *indexStep) run() error {
	keys := s.view.r.keys
	it, err := s.view.r.NewIter(keys.event(nil, s.pos), keys.event(nil, stamp{rev: s.upto + 1}))
	if err != nil {
		return err
	}
	more := true
	for ok := it.First(); ok && more && err == nil; {
		if more, err = s.visit(it); more && err == nil {
			ok = it.Next()
		}
	}
	if more {
		s.pos = stamp{rev: s.upto + 1}
	}
	return errors.Join(err, it.Error(), it.Close())
}

// visit looks at one change; it returns false when the step has to end before it.
func (s *indexStep) visit(it engine.Iterator) (bool, error) {
	at, err := s.view.r.keys.decodeEvent(it.Key())
	if err != nil {
		return false, err
	}
	if s.full(at) {
		s.pos = at
		return false, nil
	}
	s.seen++
	s.pos = stamp{at.rev, at.sub + 1}
	val, err := it.Value()
	if err != nil {
		return false, err
	}
	c := change{stamp: at}
	if err := decodeChange(val, &c); err != nil {
		return false, err
	}
	// At the compacted revision only the last of several changes of a key is left.
	if !s.w.rng.Contains(c.key) || (c.superseded && at.rev <= s.view.shared.head.Compacted) {
		return true, nil
	}
	e := &Event{Delete: c.kind == changeDelete, sub: at.sub, kind: c.kind}
	e.KV.Key, e.KV.ModRevision = bytes.Clone(c.key), at.rev
	if !s.w.wants(e) {
		return true, nil
	}
	if !e.Delete {
		if err := s.view.r.getExact(at, e); err != nil {
			return false, err
		}
	}
	s.batch.Events = append(s.batch.Events, e)
	s.bytes += len(e.KV.Key) + len(e.KV.Value)
	return true, nil
}

// full reports whether the step ends before a change at stamp at.
func (s *indexStep) full(at stamp) bool {
	n := len(s.batch.Events)
	if n > 0 && s.batch.Events[n-1].KV.ModRevision == at.rev {
		if n >= revisionEventsMax {
			s.batch.Partial = true
			return true
		}
		return false
	}
	return n >= s.limit || s.bytes >= catchUpBytesMax || s.seen >= catchUpChangesMax
}
