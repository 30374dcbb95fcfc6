package wal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
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
		l, crashed := openAndCrash(t, mem, rng)
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

// limited is a disk that has room for so many segments.
func limited(t *testing.T, mem *vfs.MemFS, segments int) *faultFS {
	return &faultFS{FS: mem, before: func(op *fileOp) error {
		if op.kind != "prealloc" {
			return nil
		}
		names, err := mem.List("wal")
		if err != nil {
			t.Fatal(err)
		}
		used := int64(0)
		for _, name := range names {
			info, err := mem.Stat(mem.PathJoin("wal", name))
			if err != nil {
				t.Fatal(err)
			}
			used += info.Size()
		}
		if used+tinySegment > int64(segments)*tinySegment {
			return syscall.ENOSPC
		}
		return nil
	}}
}

// filledDisk is a disk on which a log has written until it was refused, as a crash leaves
// it. All of the log is live.
func filledDisk(t *testing.T, segments int) *vfs.MemFS {
	t.Helper()
	mem := vfs.NewCrashableMem()
	l, err := openTiny(limited(t, mem, segments))
	if err != nil {
		t.Fatal(err)
	}
	var b Batch
	for i := consensus.Index(1); ; i++ {
		b.Reset()
		g := consensus.GroupID(1 + i%3)
		b.HardState(g, consensus.HardState{Epoch: consensus.Epoch(i), Vote: 1})
		b.Append(g, []Entry{command((i+2)/3, consensus.Epoch(i), strings.Repeat("x", 1500))})
		if i == 2 || i > 50 { // nothing in its sections says what the first one held
			b.HardState(4, consensus.HardState{Epoch: consensus.Epoch(i), Vote: 2})
		}
		if err := l.Write(&b); errors.Is(err, ErrFull) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	return mem.CrashClone(vfs.CrashCloneCfg{})
}

// Goal: a log on a full disk gives up damaged segments one after the other, in the room
// that it keeps in reserve; and a crash between two of them forgets no mark, although the
// loss itself is gone. Method: everything is live and the disk is full; lose a batch of
// each segment in turn, open, and open again what a crash at each operation leaves, which
// may have the reserve in use: there is room for one segment more.
func TestRewriteOnAFullDisk(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	const segments = 5
	full := filledDisk(t, segments)
	batches := batchesOf(t, full)
	for _, lost := range []int{1, len(batches) / 3, len(batches) / 2, len(batches) - 3} {
		mem := full.CrashClone(vfs.CrashCloneCfg{})
		contents(t, mem, batches[lost].name)[batches[lost].offset+20] ^= 1
		mem = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rng})
		fs := limited(t, mem, segments)
		var crashed []*vfs.MemFS
		room := fs.before
		fs.before = func(op *fileOp) error {
			if op.mutates() {
				crashed = append(crashed, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng}))
			}
			return room(op)
		}
		l, err := openTiny(fs)
		if err != nil {
			t.Fatalf("batch %d of %d is lost: %v", lost, len(batches), err)
		}
		if l.Stats().LostBatches != 1 || len(crashed) < 10 {
			t.Fatalf("%+v, %d crashes", l.Stats(), len(crashed))
		}
		for k, disk := range crashed {
			again, err := openTiny(limited(t, disk, segments+1))
			if err != nil {
				t.Fatalf("batch %d is lost, crash %d of %d: %v", lost, k, len(crashed), err)
			}
			sameOrMoreDoubt(t, l, again)
		}
	}
}

// Goal: when nothing durable can be read and the end is torn, the loss is not forgotten by
// a crash after the cut, and a log that has been told of it once says no more of it. With
// a full disk the witness of the loss is not given away for room. Method: batch 1 is
// durable and lost, 2 torn, 3 the witness of 1; open, and open again what a crash at each
// operation leaves.
func TestCutWithNothingKept(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	mem := vfs.NewCrashableMem()
	l, err := openTiny(mem)
	if err != nil {
		t.Fatal(err)
	}
	var b Batch
	for k := 1; k <= 3; k++ {
		b.Reset()
		b.HardState(1, consensus.HardState{Epoch: consensus.Epoch(k), Vote: 1})
		b.Append(1, []Entry{command(consensus.Index(k), consensus.Epoch(k), "x")})
		if err := l.Write(&b); err != nil {
			t.Fatal(err)
		}
		if k > 1 {
			continue
		}
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	mem = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rng})
	for _, info := range batchesOf(t, mem)[:2] {
		contents(t, mem, info.name)[info.offset+20] ^= 1
	}
	mem = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rng})

	full := mem.CrashClone(vfs.CrashCloneCfg{})
	if _, err := openTiny(limited(t, full, 1)); !errors.Is(err, ErrFull) {
		t.Errorf("with a full disk: %v", err)
	}
	l, crashed := openAndCrash(t, mem, rng)
	wantSuspect(t, l, "at first")
	for k, disk := range append(crashed, full.CrashClone(vfs.CrashCloneCfg{})) {
		again, err := openTiny(disk)
		if err != nil {
			t.Fatalf("crash %d: %v", k, err)
		}
		wantSuspect(t, again, fmt.Sprintf("after crash %d of %d", k, len(crashed)))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = openTiny(mem); err != nil || l.Stats().LostBatches != 0 {
		t.Fatalf("the loss is still there: %+v, %v", l.Stats(), err)
	}
	wantSuspect(t, l, "at the end")
}

// openAndCrash opens a log and returns what a crash at each operation of that leaves.
func openAndCrash(t *testing.T, mem *vfs.MemFS, rng *rand.Rand) (l *Log, crashed []*vfs.MemFS) {
	t.Helper()
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
	return l, crashed
}

func wantSuspect(t *testing.T, l *Log, when string) {
	t.Helper()
	s, err := l.State(1)
	if err != nil {
		t.Fatal(err)
	}
	if !s.Suspect {
		t.Errorf("%s: nothing is in doubt: %+v, %+v", when, s, l.Stats())
	}
}
