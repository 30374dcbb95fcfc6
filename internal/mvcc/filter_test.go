package mvcc

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/quorate/quorate/internal/engine"
)

// Goal: M11, through growth, deletion, overflow, restarts and reading beside a writer.
// Method: create and delete random keys, restart or pretend that the filter is full now
// and then, let Prune read in small steps between batches; whatever exists must never be
// ruled out.
func TestFilterNeverRulesOutWhatExists(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	e := engine.NewMemory()
	db, err := Open(e, []byte("p"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	alive := map[string]bool{}
	completed, restarts := 0, 0
	for round := range 300 {
		w := db.Writer()
		w.Begin()
		for range rng.IntN(60) {
			k := fmt.Sprintf("key-%05d", rng.IntN(6000))
			if alive[k] && rng.IntN(3) == 0 {
				_, err = w.Delete([]byte(k))
				delete(alive, k)
			} else {
				_, err = w.Put([]byte(k), nil, 0)
				alive[k] = true
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
		if rng.IntN(40) == 0 {
			restarts++
			if db.Cool(); rng.IntN(2) == 0 {
				if db, err = Open(e, []byte("p"), Options{}); err != nil {
					t.Fatal(err)
				}
			}
			for range filterWanted {
				db.filter.missed()
			}
		}
		if db.filter.complete && rng.IntN(40) == 0 {
			restarts++
			db.filter.keys = filterKeysMax
			for i := 0; db.filter.complete; i++ {
				db.filter.add(fmt.Appendf(nil, "more-%d", i))
			}
			for range filterWanted {
				db.filter.missed()
			}
		}
		if rng.IntN(2) == 0 {
			before := db.filter.complete
			if _, err := db.Prune(1 + rng.IntN(40)); err != nil {
				t.Fatal(err)
			}
			if !before && db.filter.complete {
				completed++
			}
		}
		for k := range alive {
			if db.filter.rulesOut([]byte(k)) {
				t.Fatalf("round %d: %s exists and is ruled out", round, k)
			}
		}
	}
	if completed < 2 || restarts < 4 {
		t.Fatalf("%d restarts, completed %d times", restarts, completed)
	}
}

// Goal: the filter is worth its memory: it rules out nearly everything that does not
// exist, whatever its size.
func TestFilterRulesOutMostOthers(t *testing.T) {
	var f filter
	f.reset(true)
	for i := range 200_000 {
		f.add(fmt.Appendf(nil, "key-%d", i))
	}
	wrong := 0
	const probes = 50_000
	for i := range probes {
		if !f.rulesOut(fmt.Appendf(nil, "other-%d", i)) {
			wrong++
		}
	}
	if wrong > probes/20 {
		t.Fatalf("%d of %d are not ruled out", wrong, probes)
	}
	bytes := 0
	for _, l := range f.layers {
		bytes += len(l.blocks) * 64
	}
	if bytes > 200_000*8 {
		t.Fatalf("%d bytes for 200,000 keys", bytes)
	}
	t.Logf("%.2f%% not ruled out, %d bytes in %d layers", 100*float64(wrong)/probes, bytes, len(f.layers))
}

// Goal: keys that come and go do not fill the filter, and too many keys end the reading
// for good. Method: create the same keys again; overflow while it is being read.
func TestFilterIsBounded(t *testing.T) {
	var f filter
	f.reset(true)
	for i := range 100_000 {
		f.add(fmt.Appendf(nil, "key-%d", i%100))
	}
	if f.keys > 100 {
		t.Errorf("100 keys count as %d", f.keys)
	}
	f.reset(false)
	miss := func() {
		for range filterWanted {
			f.missed()
		}
	}
	if miss(); !f.wanted() {
		t.Fatal("nobody reads the keys")
	}
	f.keys = filterKeysMax
	f.add([]byte("one more"))
	if miss(); f.wanted() || f.layers != nil || f.rulesOut([]byte("a key")) {
		t.Errorf("with too many keys: %+v", &f)
	}
}
