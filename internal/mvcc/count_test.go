package mvcc

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/quorate/quorate/internal/engine"
)

// Goal: counts are exact, at the newest and at older revisions, while the index is
// built, split and joined. Method: tens of thousands of random creations and
// deletions; at times compare random ranges with brute force.
func TestCountsAgreeWithBruteForce(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	db, err := Open(engine.NewMemory(), []byte("p"), Options{RecentBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	alive := map[string]bool{}
	old := map[int64]map[string]bool{} // the keys as they were at some revisions
	w := db.Writer()
	key := func() []byte { return fmt.Appendf(nil, "%c%05d", 'a'+rng.IntN(3), rng.IntN(15_000)) }
	for round := range 30 {
		w.Begin()
		for range 1200 {
			k := key()
			// The first half of the rounds grows, the second shrinks.
			if grow := rng.IntN(30) > round; alive[string(k)] && !grow {
				_, err = w.Delete(k)
				delete(alive, string(k))
			} else if grow {
				_, err = w.Put(k, []byte("value"), 0)
				alive[string(k)] = true
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.EndRevision(); err != nil {
				t.Fatal(err)
			}
		}
		checkCounts(t, rng, w.Count, w.Revision(), alive, old)
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		if round%5 == 4 {
			db.Cool()
		}
		v, err := db.View()
		if err != nil {
			t.Fatal(err)
		}
		checkCounts(t, rng, v.Count, v.Head().Revision, alive, old)
		if round%7 == 0 {
			old[v.Head().Revision] = maps.Clone(alive)
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(db.mu.counts.chunks); n < 2 || n > 64 {
		t.Fatalf("%d chunks for %d keys", n, len(alive))
	}
}

func checkCounts(t *testing.T, rng *rand.Rand, count func(Range, int64) (int64, error), rev int64, alive map[string]bool, old map[int64]map[string]bool) {
	t.Helper()
	states := map[int64]map[string]bool{rev: alive}
	for at := range old { // any one of them
		states[at] = old[at]
		break
	}
	for at, keys := range states {
		lo, hi := fmt.Appendf(nil, "%c%05d", 'a'+rng.IntN(3), rng.IntN(15_000)), []byte{0}
		switch rng.IntN(3) {
		case 0:
			lo = []byte{0}
		case 1:
			hi = fmt.Appendf(nil, "%c%05d", 'a'+rng.IntN(3), rng.IntN(15_000))
		}
		rg := NewRange(lo, hi)
		var want int64
		for k := range keys {
			if rg.Contains([]byte(k)) {
				want++
			}
		}
		got, err := count(rg, at)
		if err != nil || got != want {
			t.Fatalf("count of [%q, %q) at %d of %d: %d %v, want %d", lo, hi, at, rev, got, err, want)
		}
	}
}

// Goal: the index stays right when it is built and used beside a writer.
func TestCountsBesideWriter(t *testing.T) {
	db, err := Open(engine.NewMemory(), []byte("p"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	const total = 20_000
	done := make(chan error, 1)
	go func() {
		w := db.Writer()
		for i := 0; i < total; {
			w.Begin()
			for range 100 {
				if _, err := w.Put(fmt.Appendf(nil, "k%06d", (i*7919)%total), nil, 0); err != nil {
					done <- err
					return
				}
				i++
			}
			_, _ = w.EndRevision()
			if err := w.Commit(); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for {
		v, err := db.View()
		if err != nil {
			t.Fatal(err)
		}
		// Each revision makes 100 keys.
		n, err := v.Count(NewRange([]byte{0}, []byte{0}), v.Head().Revision)
		if want := (v.Head().Revision - 1) * 100; err != nil || n != want {
			t.Fatalf("count at %d: %d %v, want %d", v.Head().Revision, n, err, want)
		}
		_ = v.Close()
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			return
		default:
		}
	}
}
