package mvcc

import (
	"fmt"
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
}
