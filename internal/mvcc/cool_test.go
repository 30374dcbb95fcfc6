package mvcc

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quorate/quorate/internal/engine"
)

// fill writes n values of a kilobyte, one revision each.
func fill(t *testing.T, db *DB, n int) {
	t.Helper()
	w := db.Writer()
	for i := range n {
		w.Begin()
		if _, err := w.Put(fmt.Appendf(nil, "key-%05d", i), make([]byte, 1024), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := w.EndRevision(); err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
	}
}

// Goal: what Cool lets go of is gone. That nothing else is, the other tests of this package show,
// which call it at random.
func TestCoolLetsGo(t *testing.T) {
	db, err := Open(engine.NewMemory(), []byte("p"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, db, 3000)
	view, err := db.View()
	if err != nil {
		t.Fatal(err)
	}
	if n, err := view.Count(Range{}, view.Head().Revision); n != 3000 || err != nil {
		t.Fatalf("%d keys, %v", n, err)
	}
	if err := view.Close(); err != nil {
		t.Fatal(err)
	}
	if db.mu.recent.bytes < 1<<20 || !db.mu.counts.built || len(db.filter.layers) == 0 {
		t.Fatalf("nothing is held that could be let go of: %d bytes of events", db.mu.recent.bytes)
	}
	db.Cool()
	if db.mu.recent.bytes != 0 || cap(db.mu.recent.events) != 0 || db.mu.counts.built || len(db.filter.layers) != 0 {
		t.Errorf("cold: %d bytes of %d events, counts %v, %d layers of the filter", db.mu.recent.bytes, cap(db.mu.recent.events), db.mu.counts.built, len(db.filter.layers))
	}
}

// between is an engine beside whose next iterator something happens.
type between struct {
	engine.Engine
	happens func()
}

func (e *between) NewIter(lower, upper []byte) (engine.Iterator, error) {
	it, err := e.Engine.NewIter(lower, upper)
	if happens := e.happens; happens != nil {
		e.happens = nil
		happens()
	}
	return it, err
}

// Goal: a filter that is being read when its DB goes cold is never complete without the keys that
// were read before (M11). Method: all that has to happen beside one step of reading does: the filter is
// dropped, and so many keys are missed that another reading begins.
func TestCoolBesideReadingFilter(t *testing.T) {
	e := &between{Engine: engine.NewMemory()}
	db, err := Open(e, []byte("p"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, db, 3000)
	if db, err = Open(e, []byte("p"), Options{}); err != nil {
		t.Fatal(err)
	}
	miss := func() {
		for range filterWanted {
			db.filter.missed()
		}
	}
	miss()
	for step := 0; !db.filter.complete; step++ {
		if step == 2 {
			e.happens = func() {
				db.Cool()
				miss()
			}
		}
		if !db.WantsPrune() {
			t.Fatal("nobody reads the keys any more")
		}
		if _, err := db.Prune(20); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3000 {
		if key := fmt.Appendf(nil, "key-%05d", i); db.filter.rulesOut(key) {
			t.Fatalf("%s exists and is ruled out", key)
		}
	}
}

// Goal: what may be read of events at any time beside the rest is whole while they are let go of. Meant for
// the race detector.
func TestCoolBesideReaders(t *testing.T) {
	db, err := Open(engine.NewMemory(), []byte("p"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, db, 100)
	var readers sync.WaitGroup
	readers.Go(func() {
		for range 200 {
			view, err := db.View()
			if err != nil {
				t.Error(err)
				return
			}
			n, err := view.Count(NewRange([]byte{0}, []byte{0}), view.Head().Revision)
			if err = errors.Join(err, view.Close()); err != nil || n != 100 {
				t.Errorf("%d keys, %v", n, err)
			}
			if _, err := db.Prune(10); err != nil {
				t.Error(err)
			}
			db.Trim()
		}
	})
	for range 200 {
		db.Cool()
		for range filterWanted {
			db.filter.missed()
		}
	}
	readers.Wait()
}

// Goal: the share of the newest events bounds them, also once it has become smaller.
func TestRecentShare(t *testing.T) {
	var share atomic.Int64
	share.Store(100 << 10)
	db, err := Open(engine.NewMemory(), []byte("p"), Options{RecentShare: &share})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int64{100 << 10, 20 << 10, 200 << 10} {
		share.Store(want)
		fill(t, db, 300)
		if got := db.mu.recent.bytes; got > want || got < want-3000 {
			t.Errorf("%d bytes of events are held, %d may be", got, want)
		}
	}
	share.Store(50 << 10)
	db.Trim()
	if got := db.mu.recent.bytes; got > 50<<10 {
		t.Errorf("%d bytes of events are held after they were trimmed to %d", got, 50<<10)
	}
}
