package wal

import (
	"runtime"
	"strings"
	"testing"

	"github.com/quorate/quorate/consensus"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Goal: idle groups pin no segment and cost little memory (W4). Method: two thousand
// groups that write once and fall silent, and one that goes on for fifty segments.
func TestIdleGroupsPinNothing(t *testing.T) {
	const idle = 2000
	mem := vfs.NewMem()
	opts := Options{SegmentBytes: 1 << 20}
	l, err := Open(mem, "wal", opts)
	if err != nil {
		t.Fatal(err)
	}
	var b Batch
	for g := consensus.GroupID(2); g < 2+idle; g++ {
		b.HardState(g, consensus.HardState{Epoch: consensus.Epoch(g), Vote: 1})
		b.Install(g, 1000, 1)
		b.Append(g, []Entry{command(1001, 2, "idle"), command(1005, 2, "sparse")})
	}
	mustWrite(t, l, &b)
	for i := consensus.Index(1); i <= 5000; i++ {
		b.Append(1, []Entry{command(i, 1, strings.Repeat("x", 10_000))})
		if i > 3 {
			b.Release(1, i-3, 1)
		}
		mustWrite(t, l, &b)
		if n := l.Stats().Segments; n > 5 {
			t.Fatalf("%d segments after %d writes: %+v", n, i, l.Stats())
		}
	}
	st := l.Stats()
	if st.Reclaimed == 0 || float64(st.Written) > 1.1*5000*10_000 {
		t.Errorf("moving idle groups costs too much: %+v", st)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = nil
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	if l, err = Open(mem, "wal", opts); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if perGroup := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / idle; perGroup > 1500 {
		t.Errorf("an idle group takes %d bytes of memory", perGroup)
	}
	for g := consensus.GroupID(2); g < 2+idle; g++ {
		st, err := l.State(g)
		if err != nil || st.HardState.Epoch != consensus.Epoch(g) || st.Released != 1000 || len(st.Entries) != 5 || st.Entries[1].Kind != 0 {
			t.Fatalf("group %d: %+v, %v", g, st, err)
		}
	}
}
