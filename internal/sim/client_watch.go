package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/quorate/quorate/internal/mvcc"
	"github.com/quorate/quorate/internal/shard"
)

// watch follows a range of a shard's keys for the whole run, at one node after the
// other, and compares every event with the shard's history: in order, each once,
// none missing.
type watch struct {
	s      *Sim
	name   string
	shard  shard.ID
	rng    *rand.Rand
	req    mvcc.WatchRequest
	rangec mvcc.Range

	node    *simNode
	life    int
	watcher *mvcc.Watcher
	polling bool
	from    int64 // the next revision that matters
	next    int   // position in the history's events
	got     int
}

func (s *Sim) newWatch(id shard.ID) *watch {
	w := &watch{s: s, name: fmt.Sprintf("w%d", id), shard: id, from: 1}
	w.rng = rand.New(rand.NewPCG(s.opts.Seed, uint64(1<<21)+uint64(id)))
	switch w.rng.IntN(3) {
	case 0:
		w.req.Key, w.req.End = []byte{0}, []byte{0}
	case 1:
		w.req.Key, w.req.End = []byte("k"), []byte("m3")
	default:
		w.req.Key = []byte("k00")
	}
	w.req.PrevKV = w.rng.IntN(2) == 0
	w.req.NoDelete = w.rng.IntN(5) == 0
	w.rangec = mvcc.NewRange(w.req.Key, w.req.End)
	w.attend()
	return w
}

// attend looks after the watch from time to time: it resumes at another node when
// its own is gone, and now and then for no reason.
func (w *watch) attend() {
	w.s.after(w.s.between(0, 400*time.Millisecond), func() {
		lost := w.watcher == nil || !w.node.up || w.node.boots != w.life || w.node.paused
		if lost || !w.s.healing && w.rng.IntN(20) == 0 {
			w.resume()
		}
		w.attend()
	})
}

// resume opens the watch at some node, from the revision after the last event.
func (w *watch) resume() {
	if w.watcher != nil {
		w.watcher.Close()
		w.watcher = nil
	}
	n := w.s.nodes[w.rng.IntN(len(w.s.nodes))]
	store, carries := n.stores[w.shard]
	if !n.up || n.paused || !carries || !n.serves(w.shard) || w.s.healing && !n.votes(w.shard) {
		return
	}
	w.node, w.life, w.polling = n, n.boots, false
	req := w.req
	req.Start = w.from
	var err error
	if w.watcher, err = store.DB().Watch(req, w.wake); err != nil {
		w.s.violate("watch", "%s shard %d: %v", w.name, w.shard, err)
	}
	w.s.report.count("op watch resume")
	w.s.trace.client(w.s.now, w.name, w.shard, "watch", "from revision %d at %s", w.from, n.name())
	w.wake()
}

// wake schedules a look at what there is, in the node's process.
func (w *watch) wake() {
	if w.polling {
		return
	}
	w.polling = true
	watcher := w.watcher
	w.node.later(w.s.between(0, 20*time.Millisecond), func() {
		if w.watcher == watcher && watcher != nil {
			w.polling = false
			w.poll()
		}
	})
}

func (w *watch) poll() {
	b, err := w.watcher.Next(1 + w.rng.IntN(50))
	if errors.Is(err, mvcc.ErrCompacted) {
		w.compacted(b.CompactRevision)
		return
	}
	if err != nil {
		w.s.violate("watch", "%s shard %d at %s: %v", w.name, w.shard, w.node.name(), err)
	}
	for _, e := range b.Events {
		w.event(e)
	}
	if len(b.Events) > 0 && !b.Partial {
		w.from = b.Revision + 1
		w.s.report.count("op watch batch")
	}
	if b.More {
		w.wake()
		return
	}
	if w.rng.IntN(4) == 0 {
		w.progress()
	}
}

// skip moves on to the next event of the history that this watch wants.
func (w *watch) skip() *mvcc.Event {
	events := w.s.check.shard(w.shard).oracle.events
	for ; w.next < len(events); w.next++ {
		e := events[w.next]
		if e.KV.ModRevision >= w.from && w.rangec.Contains(e.KV.Key) && !(e.Delete && w.req.NoDelete) {
			return e
		}
	}
	return nil
}

// event compares an event with the next one of the history.
func (w *watch) event(got *mvcc.Event) {
	want := w.skip()
	if want == nil {
		w.s.violate("watch", "%s shard %d at %s: event at revision %d on %q is not in the history", w.name, w.shard, w.node.name(), got.KV.ModRevision, got.KV.Key)
	}
	same := got.Delete == want.Delete && string(got.KV.Key) == string(want.KV.Key) && string(got.KV.Value) == string(want.KV.Value) &&
		got.KV.ModRevision == want.KV.ModRevision && got.KV.CreateRevision == want.KV.CreateRevision &&
		got.KV.Version == want.KV.Version && got.KV.Lease == want.KV.Lease
	if !same {
		w.s.violate("watch", "%s shard %d at %s: got event %+v, the history goes on with %+v", w.name, w.shard, w.node.name(), got.KV, want.KV)
	}
	if w.req.PrevKV && got.Prev != nil && (want.Prev == nil || got.Prev.ModRevision != want.Prev.ModRevision || string(got.Prev.Value) != string(want.Prev.Value)) {
		w.s.violate("watch", "%s shard %d at %s: event at revision %d has previous version %+v, the history has %+v", w.name, w.shard, w.node.name(), got.KV.ModRevision, got.Prev, want.Prev)
	}
	w.next++
	w.got++
}

// compacted goes on behind a compaction that overtook the watch.
func (w *watch) compacted(rev int64) {
	if rev <= w.from {
		w.s.violate("watch", "%s shard %d at %s: cancelled for compaction at %d, wants only what is from %d on", w.name, w.shard, w.node.name(), rev, w.from)
	}
	w.s.report.count("op watch compacted")
	w.watcher, w.from = nil, rev
}

// progress asks how far the watch is and checks that nothing is missing up to there.
func (w *watch) progress() {
	rev, ok := w.node.stores[w.shard].DB().Progress(w.watcher)
	if !ok {
		return
	}
	if e := w.skip(); e != nil && e.KV.ModRevision <= rev {
		w.s.violate("watch-progress", "%s shard %d at %s: progress says %d, the event at %d has not come", w.name, w.shard, w.node.name(), rev, e.KV.ModRevision)
	}
	w.from = max(w.from, rev+1)
	w.s.report.count("op watch progress")
}

// behind reports whether events of the history have not come yet.
func (w *watch) behind() bool { return w.skip() != nil }
