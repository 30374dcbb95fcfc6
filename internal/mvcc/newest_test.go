package mvcc

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/quorate/quorate/internal/engine"
)

// Goal: what Newest answers is what a View says. Method: random changes with a cache
// that forgets, and every key asked both ways after each commit.
func TestNewestIsWhatViewsSay(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	db, err := Open(engine.NewMemory(), []byte("p"), Options{Cache: NewCache(0)})
	if err != nil {
		t.Fatal(err)
	}
	answered, tombstones := 0, 0
	for round := range 400 {
		w := db.Writer()
		w.Begin()
		for range 1 + rng.IntN(20) {
			key := fmt.Appendf(nil, "key-%02d", rng.IntN(60))
			if _, ok, _ := w.Get(key); ok && rng.IntN(3) == 0 {
				_, err = w.Delete(key)
			} else {
				_, err = w.Put(key, make([]byte, rng.IntN(2*cacheEntryMax)/(1+round%50)), 0)
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.EndRevision(); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		view, err := db.View()
		if err != nil {
			t.Fatal(err)
		}
		for i := range 60 {
			key := fmt.Appendf(nil, "key-%02d", i)
			want, exists, err := view.Get(key, view.Head().Revision)
			if err != nil {
				t.Fatal(err)
			}
			n, ok := db.Newest(key)
			if !ok {
				continue
			}
			answered++
			if !exists {
				tombstones++
			}
			if n.Exists != exists || n.Revision != view.Head().Revision ||
				exists && (string(n.KV.Value) != string(want.Value) || n.KV.ModRevision != want.ModRevision ||
					n.KV.CreateRevision != want.CreateRevision || n.KV.Version != want.Version) {
				t.Fatalf("round %d: %s is %+v, want %+v (%v)", round, key, n, want, exists)
			}
		}
		if err := view.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if answered < 1000 || tombstones == 0 {
		t.Fatalf("%d answers, %d of them of deleted keys: the test tests nothing", answered, tombstones)
	}
}

// Goal: whoever has seen a revision in a View sees no earlier one in Newest, and a key
// never goes back, whatever the writer does meanwhile. Method: one key counts up; every
// reader looks both ways by turns. Meant for the race detector, too.
func TestNewestNeverGoesBack(t *testing.T) {
	db, err := Open(engine.NewMemory(), []byte("p"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	key := []byte("counter")
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			var revision, version int64
			see := func(how string, r int64, kv *KeyValue) {
				if r < revision || kv.Version < version {
					t.Errorf("%s shows revision %d and version %d after %d and %d", how, r, kv.Version, revision, version)
				}
				revision, version = r, kv.Version
			}
			for {
				select {
				case <-done:
					return
				default:
				}
				if n, ok := db.Newest(key); ok {
					see("Newest", n.Revision, &n.KV)
				}
				view, err := db.View()
				if err != nil {
					t.Error(err)
					return
				}
				kv, _, err := view.Get(key, view.Head().Revision)
				if err != nil {
					t.Error(err)
				}
				see("View", view.Head().Revision, &kv)
				_ = view.Close()
			}
		})
	}
	for range 3000 {
		w := db.Writer()
		w.Begin()
		for _, k := range [][]byte{key, []byte("other")} {
			if _, err := w.Put(k, []byte("value"), 0); err != nil {
				t.Fatal(err)
			}
			if _, err := w.EndRevision(); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	readers.Wait()
}

// asking is an engine in which Newest is asked during every read.
type asking struct {
	engine.Engine
	ask func()
}

func (e *asking) Get(key, dst []byte) ([]byte, bool, error) {
	if e.ask != nil {
		e.ask()
	}
	return e.Engine.Get(key, dst)
}

// Goal: while the state is being replaced, Views may be at the new one already; then
// Newest does not answer from the old one. Method: ask it inside the install and when the
// new head is read, which is the last moment before the new state is published.
func TestNewestIsSilentDuringReplace(t *testing.T) {
	e := &asking{Engine: engine.NewMemory()}
	db, err := Open(e, []byte("p"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := db.Writer()
	w.Begin()
	if _, err := w.Put([]byte("k"), []byte("v"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := w.EndRevision(); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	if _, ok := db.Newest([]byte("k")); !ok {
		t.Fatal("no answer before: the test tests nothing")
	}
	asked := 0
	e.ask = func() {
		asked++
		if n, ok := db.Newest([]byte("k")); ok {
			t.Errorf("answer %d during the replacement: %+v", asked, n)
		}
	}
	if err := db.Replace(func() error { e.ask(); return nil }); err != nil {
		t.Fatal(err)
	}
	if asked < 2 {
		t.Errorf("asked %d times", asked)
	}
}
