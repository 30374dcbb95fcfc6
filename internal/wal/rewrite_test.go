package wal

import (
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/quorate/quorate/consensus"
)

// Goal: a crash at any operation of an Open that gives damaged segments up loses neither
// an entry nor a mark, and the damage is gone once that Open has ended. Method: lose a
// batch in the middle, or the last of two groups; open, and open again what a crash at
// each operation leaves.
func TestCrashDuringRewrite(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, lost := range []int{4, 13} {
		mem := rotten(t, 5)
		info := batchesOf(t, mem)[lost]
		contents(t, mem, info.name)[info.offset+60] ^= 1
		mem = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rng}) // the damage lasts
		var crashed []*vfs.MemFS
		fs := &faultFS{FS: mem, before: func(op *fileOp) error {
			if op.mutates() {
				for _, percent := range []int{0, 50, 100} {
					crashed = append(crashed, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}))
				}
			}
			return nil
		}}
		l, err := openTiny(fs)
		if err != nil {
			t.Fatal(err)
		}
		if l.Stats().LostBatches != 1 || len(crashed) < 10 {
			t.Fatalf("%+v, %d crashes", l.Stats(), len(crashed))
		}
		for k, disk := range crashed {
			again, err := openTiny(disk)
			if err != nil {
				t.Fatalf("lost %d, crash %d: %v", lost, k, err)
			}
			sameOrMoreDoubt(t, l, again)
		}
		fs.unlock()
		again, err := openTiny(mem.CrashClone(vfs.CrashCloneCfg{}))
		if err != nil {
			t.Fatal(err)
		}
		sameOrMoreDoubt(t, l, again)
		if again.Stats().LostBatches != 0 {
			t.Errorf("lost %d: the damage is still there: %+v", lost, again.Stats())
		}
	}
}

// sameOrMoreDoubt compares what two logs say of every group: what one marks the other
// marks, and what it does not mark is equal or marked.
func sameOrMoreDoubt(t *testing.T, want, got *Log) {
	t.Helper()
	for id := consensus.GroupID(1); id <= 4; id++ {
		w, err := want.State(id)
		if err != nil {
			t.Fatal(err)
		}
		g, err := got.State(id)
		if err != nil {
			t.Fatal(err)
		}
		if w.Suspect && !g.Suspect || !g.Suspect && g.HardState != w.HardState || g.Released != w.Released {
			t.Fatalf("group %d: %+v, want %+v", id, g, w)
		}
		for i := w.Released + 1; i <= w.Released+12; i++ {
			if marked(w.Faulty, i) && !marked(g.Faulty, i) {
				t.Fatalf("group %d: entry %d has lost its mark: %+v, want %+v", id, i, g, w)
			}
			k := int(i - w.Released - 1)
			if !marked(g.Faulty, i) && k < len(w.Entries) && (k >= len(g.Entries) || g.Entries[k].Epoch != w.Entries[k].Epoch) {
				t.Fatalf("group %d: entry %d is missing", id, i)
			}
		}
	}
}

func marked(spans []consensus.Span, i consensus.Index) bool {
	for _, s := range spans {
		if s.Lo <= i && i < s.Hi {
			return true
		}
	}
	return false
}
