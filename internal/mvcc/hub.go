package mvcc

import "github.com/quorate/quorate/consensus/mutant"

// hub knows all watchers and hands them new events. It lives under DB.mu.
type hub struct {
	all          group
	byKey        map[string]*group
	byRange      intervals
	prevWatchers int // watchers that want previous versions
	wakes        []*Watcher
}

func (h *hub) init() { h.byKey = map[string]*group{} }

// WatchRequest asks for a watcher.
type WatchRequest struct {
	// Key and End name the keys as in a range request (NewRange).
	Key, End []byte
	// Start is the first revision wanted; zero means after the current one. It may
	// lie in the past (the watcher catches up) or in the future (older events are
	// kept from it, etcd #20221).
	Start int64
	// PrevKV asks for the versions before each event.
	PrevKV bool
	// NoPut and NoDelete leave out events of that kind.
	NoPut, NoDelete bool
}

// Watch registers a watcher. wake is called, from any goroutine and without locks
// held, when Next has something new after it had nothing; it must not block.
func (db *DB) Watch(req WatchRequest, wake func()) (*Watcher, error) {
	r := NewRange(req.Key, req.End)
	if r.Empty() {
		return nil, ErrEmptyWatchRange
	}
	w := &Watcher{
		db: db, rng: r, start: req.Start, prevKV: req.PrevKV,
		noPut: req.NoPut, noDelete: req.NoDelete, wake: wake,
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	head := db.mu.head.Revision
	if req.Start > 0 && req.Start <= head {
		w.behind, w.pos = true, stamp{rev: req.Start}
	} else {
		w.next = max(head+1, req.Start)
	}
	db.mu.hub.add(w)
	return w, nil
}

func (h *hub) add(w *Watcher) {
	h.all.add(w, &w.slotAll)
	h.groupOf(w, true).add(w, &w.slot)
	if w.prevKV {
		h.prevWatchers++
	}
}

func (h *hub) groupOf(w *Watcher, create bool) *group {
	key, single := w.rng.SingleKey()
	if !single {
		return h.byRange.at(w.rng, create)
	}
	g := h.byKey[string(key)]
	if g == nil && create {
		g = &group{}
		h.byKey[string(key)] = g
	}
	return g
}

func (h *hub) remove(w *Watcher) {
	h.all.remove(w.slotAll, func(w *Watcher, slot int) { w.slotAll = slot })
	g := h.groupOf(w, false)
	g.remove(w.slot, func(w *Watcher, slot int) { w.slot = slot })
	if len(g.watchers) == 0 {
		if key, single := w.rng.SingleKey(); single {
			delete(h.byKey, string(key))
		} else {
			h.byRange.remove(w.rng)
		}
	}
	if w.prevKV {
		h.prevWatchers--
	}
}

// publish offers the events of whole revisions to the watchers and returns those to
// wake. The result is valid until the next call.
func (h *hub) publish(events []*Event) []*Watcher {
	h.wakes = h.wakes[:0]
	if len(h.all.watchers) == 0 {
		return nil
	}
	for _, e := range events {
		if g := h.byKey[string(e.KV.Key)]; g != nil {
			h.offer(g, e)
		}
		h.byRange.stab(e.KV.Key, func(g *group) { h.offer(g, e) })
	}
	return append([]*Watcher(nil), h.wakes...)
}

func (h *hub) offer(g *group, e *Event) {
	for _, w := range g.watchers {
		if w.offer(e) {
			h.wakes = append(h.wakes, w)
		}
	}
}

// rewind sends every watcher back to catching up from where it is; seen is the
// newest revision that the live ones have been offered.
func (h *hub) rewind(seen int64) {
	for _, w := range h.all.watchers {
		w.rewind(seen)
	}
}

// Progress returns the revision up to which all the watchers have been given every
// event through Next, and false when one of them still has something to come or
// starts later. It is what a progress notification may say (M7).
func (db *DB) Progress(watchers ...*Watcher) (rev int64, ok bool) {
	db.mu.Lock()
	defer db.mu.Unlock()
	head := db.mu.head.Revision
	for _, w := range watchers {
		if w.behind && !mutant.On("mvcc-progress-ahead") || len(w.pending) > 0 || w.taken != nil || w.err != nil || w.start > head {
			return 0, false
		}
	}
	return head, true
}
