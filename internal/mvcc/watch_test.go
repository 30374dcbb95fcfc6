package mvcc

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/quorate/quorate/internal/engine"
)

// history is what watchers are measured against: every event ever made.
type history struct {
	rev, compacted int64
	events         []histEvent
	values         map[string][]histEvent // versions by key
}

type histEvent struct {
	rev     int64
	sub     uint32
	key     string
	value   string
	deleted bool
}

// before returns the version of key before revision rev, if it existed.
func (h *history) before(key string, rev int64) (value string, ok bool) {
	for _, v := range h.values[key] {
		if v.rev < rev {
			value, ok = v.value, !v.deleted
		}
	}
	return value, ok
}

func (h *history) add(e histEvent) {
	h.events = append(h.events, e)
	h.values[e.key] = append(h.values[e.key], e)
}

// watched is a watcher and what it has delivered.
type watched struct {
	w       *Watcher
	req     WatchRequest
	next    int   // index in history.events of the first event not yet checked
	last    int64 // revision of the last event delivered
	partial bool
	idle    bool // the last Next said that there is nothing more
	woken   int
	ended   bool
}

func (x *watched) wants(e histEvent) bool {
	return e.rev >= x.req.Start && NewRange(x.req.Key, x.req.End).Contains([]byte(e.key)) &&
		!(e.deleted && x.req.NoDelete) && !(!e.deleted && x.req.NoPut)
}

// watchRig drives a DB and many watchers in one goroutine.
type watchRig struct {
	t        *rapid.T
	db       *DB
	h        history
	watchers []*watched
}

var (
	watchKeys = []string{"a", "b", "ba", "bb", "c"}
	genWKey   = rapid.SampledFrom(watchKeys)
	genWEnd   = rapid.SampledFrom([]string{"", "", "b", "bb", "c", "d", "\x00"})
)

// Goal: M6 and M7, for any mix of watchers, overflow, compaction, physical removal
// and replacement of the state. Method: random steps in one goroutine with tiny
// buffers, so that every source of events is used; what was delivered is compared
// with the list of all events.
func TestWatchersSeeEveryEventOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		db, err := Open(engine.NewMemory(), []byte("p"), Options{
			RecentBytes:   rapid.SampledFrom([]int64{1, 1500, 1 << 20}).Draw(t, "recent"),
			PendingEvents: rapid.SampledFrom([]int{1, 4, 100}).Draw(t, "pending"),
		})
		if err != nil {
			t.Fatal(err)
		}
		r := &watchRig{t: t, db: db, h: history{rev: 1, compacted: -1, values: map[string][]histEvent{}}}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			r.step()
		}
		for _, x := range r.watchers {
			for x.idle = false; !x.ended && !x.idle; {
				r.pull(x)
			}
			r.checkComplete(x)
		}
	})
}

func (r *watchRig) step() {
	switch rapid.IntRange(0, 12).Draw(r.t, "step") {
	case 0, 1, 2, 3:
		r.write()
	case 4, 5:
		r.watch()
	case 6:
		r.compact()
	case 7:
		var fail error
		if rapid.Bool().Draw(r.t, "fail") {
			fail = errors.New("install failed")
		}
		if err := r.db.Replace(func() error { return fail }); !errors.Is(err, fail) {
			r.t.Fatal(err)
		}
	case 8:
		r.db.Cool()
	default:
		if len(r.watchers) > 0 {
			x := rapid.SampledFrom(r.watchers).Draw(r.t, "watcher")
			r.pull(x)
			r.progress(x)
		}
	}
}

// write makes a batch of revisions of several changes each.
func (r *watchRig) write() {
	w := r.db.Writer()
	w.Begin()
	for range rapid.IntRange(1, 4).Draw(r.t, "revisions") {
		for sub := range rapid.IntRange(1, 3).Draw(r.t, "changes") {
			key := genWKey.Draw(r.t, "key")
			_, exists, err := w.Get([]byte(key))
			e := histEvent{rev: r.h.rev + 1, sub: uint32(sub), key: key, value: fmt.Sprint(len(r.h.events))}
			if exists && rapid.IntRange(0, 2).Draw(r.t, "delete") == 0 {
				e.deleted, e.value = true, ""
				_, err = w.Delete([]byte(key))
			} else if err == nil {
				_, err = w.Put([]byte(key), []byte(e.value), 0)
			}
			if err != nil {
				r.t.Fatal(err)
			}
			r.h.add(e)
		}
		rev, err := w.EndRevision()
		if err != nil || rev != r.h.rev+1 {
			r.t.Fatalf("revision %d %v, want %d", rev, err, r.h.rev+1)
		}
		r.h.rev = rev
	}
	if err := w.Commit(); err != nil {
		r.t.Fatal(err)
	}
	for _, x := range r.watchers {
		r.checkWoken(x)
	}
}

// checkWoken: a watcher that was idle must have been woken for what it wants.
func (r *watchRig) checkWoken(x *watched) {
	for _, e := range r.h.events[x.next:] {
		if x.idle && !x.ended && x.wants(e) && x.woken == 0 {
			r.t.Fatalf("watcher %+v was not woken for %+v", x.req, e)
		}
	}
}

func (r *watchRig) watch() {
	x := &watched{req: WatchRequest{
		Key: []byte(genWKey.Draw(r.t, "key")), End: []byte(genWEnd.Draw(r.t, "end")),
		Start:  rapid.SampledFrom([]int64{0, 1, 2, r.h.rev - 3, r.h.rev, r.h.rev + 1, r.h.rev + 4}).Draw(r.t, "start"),
		PrevKV: rapid.Bool().Draw(r.t, "prev"), NoPut: rapid.IntRange(0, 5).Draw(r.t, "noPut") == 0,
		NoDelete: rapid.IntRange(0, 5).Draw(r.t, "noDelete") == 0,
	}}
	x.req.Start = max(x.req.Start, 0)
	var err error
	x.w, err = r.db.Watch(x.req, func() { x.woken++ })
	if NewRange(x.req.Key, x.req.End).Empty() {
		if !errors.Is(err, ErrEmptyWatchRange) {
			r.t.Fatalf("empty range: %v", err)
		}
		return
	}
	if err != nil {
		r.t.Fatal(err)
	}
	if x.req.Start == 0 {
		x.next = len(r.h.events)
	}
	r.watchers = append(r.watchers, x)
}

func (r *watchRig) compact() {
	w := r.db.Writer()
	w.Begin()
	rev := rapid.Int64Range(0, r.h.rev).Draw(r.t, "compact")
	err := w.Compact(rev)
	if (err == nil) != (rev > r.h.compacted) {
		r.t.Fatalf("compact to %d behind %d: %v", rev, r.h.compacted, err)
	}
	r.h.compacted = max(r.h.compacted, rev)
	if err := w.Commit(); err != nil {
		r.t.Fatal(err)
	}
	for range rapid.IntRange(0, 3).Draw(r.t, "prune") {
		if _, err := r.db.Prune(rapid.IntRange(1, 9).Draw(r.t, "limit")); err != nil {
			r.t.Fatal(err)
		}
	}
}

// pull calls Next once and checks the batch.
func (r *watchRig) pull(x *watched) {
	if x.ended {
		return
	}
	x.woken = 0
	b, err := x.w.Next(rapid.IntRange(1, 6).Draw(r.t, "limit"))
	if errors.Is(err, ErrCompacted) {
		if b.CompactRevision != r.h.compacted || x.last >= r.h.compacted {
			r.t.Fatalf("cancelled at %d behind revision %d, compacted %d", b.CompactRevision, x.last, r.h.compacted)
		}
		x.ended = true
		return
	}
	if err != nil {
		r.t.Fatal(err)
	}
	x.idle = !b.More
	for i, e := range b.Events {
		if i == 0 && !x.partial && e.KV.ModRevision <= x.last {
			r.t.Fatalf("revision %d goes on in a second batch", x.last)
		}
		r.checkEvent(x, e)
	}
	x.partial = b.Partial
	if n := len(b.Events); n > 0 && b.Revision != b.Events[n-1].KV.ModRevision {
		r.t.Fatalf("batch revision %d", b.Revision)
	}
}

// checkEvent compares an event with the next one that the watcher wants.
func (r *watchRig) checkEvent(x *watched, e *Event) {
	for x.next < len(r.h.events) {
		want := r.h.events[x.next]
		x.next++
		if !x.wants(want) {
			continue
		}
		got := histEvent{e.KV.ModRevision, e.sub, string(e.KV.Key), string(e.KV.Value), e.Delete}
		// At the compacted revision only the last of several changes of a key may be
		// left.
		if got != want && want.rev <= r.h.compacted && r.superseded(x.next-1) {
			continue
		}
		if got != want {
			r.t.Fatalf("watcher %+v: event %+v, want %+v", x.req, got, want)
		}
		x.last = e.KV.ModRevision
		r.checkPrev(x, e, want)
		return
	}
	r.t.Fatalf("watcher %+v: event %+v, which never happened", x.req, e)
}

// superseded reports whether a later event of the same revision has the same key.
func (r *watchRig) superseded(i int) bool {
	for _, e := range r.h.events[i+1:] {
		if e.rev == r.h.events[i].rev && e.key == r.h.events[i].key {
			return true
		}
	}
	return false
}

func (r *watchRig) checkPrev(x *watched, e *Event, want histEvent) {
	value, ok := r.h.before(want.key, want.rev)
	if e.Prev == nil {
		// Like etcd, a put that brings its key into being has no previous version,
		// even when the same revision deleted one.
		if x.req.PrevKV && ok && want.rev-1 >= r.h.compacted && !e.Create() {
			r.t.Fatalf("event %+v has no previous version, want %q", want, value)
		}
		return
	}
	if !ok || string(e.Prev.Value) != value || string(e.Prev.Key) != want.key {
		r.t.Fatalf("event %+v has previous version %q, want %q %v", want, e.Prev.Value, value, ok)
	}
}

// progress checks M7.
func (r *watchRig) progress(x *watched) {
	rev, ok := r.db.Progress(x.w)
	if !ok {
		return
	}
	if rev < x.req.Start {
		r.t.Fatalf("progress %d of a watcher that starts at %d", rev, x.req.Start)
	}
	for _, e := range r.h.events[x.next:] {
		if e.rev <= rev && x.wants(e) {
			r.t.Fatalf("progress %d, but %+v was not delivered", rev, e)
		}
	}
}

func (r *watchRig) checkComplete(x *watched) {
	if x.ended {
		return
	}
	for i, e := range r.h.events[x.next:] {
		if x.wants(e) && !(e.rev <= r.h.compacted && r.superseded(x.next+i)) {
			r.t.Fatalf("watcher %+v misses %+v", x.req, e)
		}
	}
}

// Goal: a revision too large for one batch comes in several, marked Partial, whole
// and in order; no watcher's queue holds all of it. Method: delete 25,000 keys at
// once, before a live watcher and one that starts in the past.
func TestHugeRevisionIsDeliveredInParts(t *testing.T) {
	db, err := Open(engine.NewMemory(), []byte("p"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	const total = 25_000
	w := db.Writer()
	w.Begin()
	for i := range total {
		if _, err := w.Put(fmt.Appendf(nil, "k%06d", i), []byte("v"), 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.EndRevision(); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	all := WatchRequest{Key: []byte("k"), End: []byte("l"), PrevKV: true}
	live, err := db.Watch(all, func() {})
	if err != nil {
		t.Fatal(err)
	}
	w.Begin()
	n, err := w.DeleteRange(NewRange([]byte("k"), []byte("l")), func(*KeyValue) error { return nil })
	if err != nil || n != total {
		t.Fatalf("deleted %d %v", n, err)
	}
	if _, err := w.EndRevision(); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	if n := len(live.pending); n > 2*pendingEventsDefault {
		t.Fatalf("%d events wait for the watcher", n)
	}
	all.Start = 3
	past, err := db.Watch(all, func() {})
	if err != nil {
		t.Fatal(err)
	}
	for name, w := range map[string]*Watcher{"live": live, "past": past} {
		seen, parts := 0, 0
		for more := true; more; {
			b, err := w.Next(100)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range b.Events {
				if string(e.KV.Key) != fmt.Sprintf("k%06d", seen) || !e.Delete || e.KV.ModRevision != 3 || string(e.Prev.Value) != "v" {
					t.Fatalf("%s: event %d is %q of %d", name, seen, e.KV.Key, e.KV.ModRevision)
				}
				seen++
			}
			if b.Partial != (len(b.Events) > 0 && seen < total) {
				t.Fatalf("%s: partial %v behind %d events", name, b.Partial, seen)
			}
			if len(b.Events) > 0 {
				parts++
			}
			if _, ok := db.Progress(w); ok != (seen == total && !b.More) {
				t.Fatalf("%s: progress in the middle of a revision", name)
			}
			more = b.More
		}
		if seen != total || parts < 2 || parts > 4 {
			t.Fatalf("%s: %d events in %d parts", name, seen, parts)
		}
	}
}
