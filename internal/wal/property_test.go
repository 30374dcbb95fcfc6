package wal

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
)

// Goal: the log holds what the model holds, through rolls, reclaiming and restarts.
// Method: many random batches over eight groups in segments of 32 KiB, compared
// after each restart.
func TestLogMatchesModel(t *testing.T) {
	for seed := range uint64(10 * *rounds) {
		fs := vfs.NewMem()
		l, err := openTiny(fs)
		if err != nil {
			t.Fatal(err)
		}
		w := newWorkload(seed)
		var b Batch
		var most int
		for i := range 400 {
			w.draw(&b)
			if err := l.Write(&b); err != nil {
				t.Fatal(err)
			}
			b.Reset()
			if w.rng.IntN(2) == 0 {
				if err := l.Sync(); err != nil {
					t.Fatal(err)
				}
			}
			most = max(most, l.Stats().Segments)
			if i%40 != 39 {
				continue
			}
			if diff := cmp.Diff(w.model.String(), describeLog(t, l)); diff != "" {
				t.Fatalf("seed %d batch %d: model and log differ:\n%s", seed, i, diff)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if l, err = openTiny(fs); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(w.model.String(), describeLog(t, l)); diff != "" {
				t.Fatalf("seed %d batch %d: model and reopened log differ:\n%s", seed, i, diff)
			}
		}
		t.Logf("seed %d: at most %d segments, %+v", seed, most, l.Stats())
	}
}
