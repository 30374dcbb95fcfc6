package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/quorate/quorate/consensus"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// closedLog returns a disk with a small log that was closed, and the names of its segments.
func closedLog(t *testing.T, entries int, opts Options) (*vfs.MemFS, []string) {
	t.Helper()
	mem := vfs.NewMem()
	opts.SegmentBytes = tinySegment
	l, err := Open(mem, "wal", opts)
	if err != nil {
		t.Fatal(err)
	}
	var b Batch
	for i := range consensus.Index(entries) {
		b.Append(1, []Entry{command(i+1, 1, strings.Repeat("x", 3000))})
		mustWrite(t, l, &b)
	}
	var names []string
	for _, seg := range l.mu.segments {
		names = append(names, seg.name)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return mem, names
}

// setHeader changes both copies of a segment's header and makes them verify.
func setHeader(t *testing.T, mem *vfs.MemFS, name string, change func(h []byte)) {
	data := contents(t, mem, name)
	for _, at := range []int{0, segmentHeaderCopy} {
		h := data[at : at+segmentHeaderSize]
		change(h)
		binary.LittleEndian.PutUint32(h[76:], crc32.Checksum(h[:76], castagnoli))
	}
}

// refusals are the reasons for which Open refuses a log that is fine otherwise.
var refusals = []struct {
	name   string
	want   error
	damage func(t *testing.T, mem *vfs.MemFS, names []string) error
}{
	{"a newer format", ErrVersion, func(t *testing.T, mem *vfs.MemFS, names []string) error {
		setHeader(t, mem, names[1], func(h []byte) { h[8] = 2 })
		return nil
	}},
	{"an encrypted segment", ErrVersion, func(t *testing.T, mem *vfs.MemFS, names []string) error {
		setHeader(t, mem, names[1], func(h []byte) { h[12] = 9 })
		return nil
	}},
	{"another node's log", ErrForeign, func(t *testing.T, mem *vfs.MemFS, names []string) error {
		setHeader(t, mem, names[0], func(h []byte) { h[48] ^= 1 })
		return nil
	}},
	{"a missing middle segment", ErrCorrupt, func(_ *testing.T, mem *vfs.MemFS, names []string) error {
		return mem.Remove(names[1])
	}},
	{"a missing first segment", ErrCorrupt, func(_ *testing.T, mem *vfs.MemFS, names []string) error {
		return mem.Remove(names[0])
	}},
	{"a renamed segment", ErrCorrupt, func(_ *testing.T, mem *vfs.MemFS, names []string) error {
		return mem.Rename(names[1], "wal/00000000000000ff.wal")
	}},
	{"a segment without header", ErrCorrupt, func(t *testing.T, mem *vfs.MemFS, names []string) error {
		clear(contents(t, mem, names[1])[:segmentDataStart])
		return nil
	}},
}

// Goal: what Open refuses, it refuses with its own error, one sentence, and without
// touching anything. Method: each refusal on a copy of a log; compare the files.
func TestOpenRefuses(t *testing.T) {
	opts := Options{Identity: [16]byte{1, 2, 3}, MustExist: true}
	intact, names := closedLog(t, 40, Options{Identity: opts.Identity})
	for _, c := range refusals {
		mem := copyDir(t, intact)
		if err := c.damage(t, mem, names); err != nil {
			t.Fatal(err)
		}
		before := copyDir(t, mem)
		_, err := Open(mem, "wal", opts)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		t.Logf("%s: %v", c.name, err)
		files, err := before.List("wal")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if !bytes.Equal(contents(t, before, "wal/"+name), contents(t, mem, "wal/"+name)) {
				t.Errorf("%s: Open changed %s", c.name, name)
			}
		}
	}
	if l, err := Open(intact, "wal", opts); err != nil || l.Stats().Entries != 40 || l.Stats().LostBatches != 0 {
		t.Errorf("undamaged: %v", err)
	}
}

// Goal: one damaged copy of a segment's header costs nothing.
func TestOneHeaderCopyIsEnough(t *testing.T) {
	for _, at := range []int{0, segmentHeaderCopy} {
		mem, names := closedLog(t, 20, Options{})
		for _, name := range names {
			clear(contents(t, mem, name)[at : at+sectorBytes])
		}
		l, err := openTiny(mem)
		if err != nil || l.Stats().Entries != 20 {
			t.Fatal(err)
		}
	}
}

// Goal: a second process is refused, and so is a missing log that should be there.
func TestInUseAndMissing(t *testing.T) {
	mem := vfs.NewMem()
	opts := Options{SegmentBytes: tinySegment, MustExist: true}
	if _, err := Open(mem, "wal", opts); !errors.Is(err, ErrMissing) {
		t.Fatal(err)
	}
	l, err := openTiny(mem)
	if err != nil {
		t.Fatal(err)
	}
	if !l.Stats().Created {
		t.Fatal("a new log does not say so")
	}
	if _, err := Open(mem, "wal", opts); !errors.Is(err, ErrInUse) {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = Open(mem, "wal", opts); err != nil || l.Stats().Created {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var b Batch
	b.Append(1, []Entry{command(1, 1, "x")})
	if err := l.Write(&b); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	if _, err := l.Read(1, consensus.Span{Lo: 1, Hi: 2}, 0, nil); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}

// Goal: batches that cannot be are refused before anything is written.
func TestInvalidBatches(t *testing.T) {
	mem := vfs.NewMem()
	l, err := openTiny(mem)
	if err != nil {
		t.Fatal(err)
	}
	var b Batch
	b.Install(1, 10, 1)
	mustWrite(t, l, &b)
	for name, fill := range map[string]func(){
		"released":  func() { b.Append(1, []Entry{command(10, 1, "x")}) },
		"too far":   func() { b.Append(1, []Entry{command(12+holesMax, 1, "x")}) },
		"too large": func() { b.Append(1, []Entry{command(11, 1, strings.Repeat("x", tinySegment))}) },
	} {
		b.Reset()
		fill()
		if err := l.Write(&b); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b.Reset()
	b.Append(1, []Entry{command(11, 1, strings.Repeat("x", l.MaxBatchBytes()-b.Size()-sectionBytesMax-recordBytesMax))})
	mustWrite(t, l, &b)
	if st, err := l.State(1); err != nil || len(st.Entries) != 1 {
		t.Fatal(err)
	}
}

// Goal: what an earlier use of a recycled file left behind is never taken for part of
// the log (W3). Method: batches of equal size, so that the new ones end exactly where
// old ones begin, in a file that is used several times; stop at every batch.
func TestRecycledBatchesStayDead(t *testing.T) {
	mem := vfs.NewCrashableMem()
	l, err := openTiny(mem)
	if err != nil {
		t.Fatal(err)
	}
	var b Batch
	recycled := 0
	for i := consensus.Index(1); i <= 120; i++ {
		b.Append(1, []Entry{command(i, 1, strings.Repeat("x", 2000))})
		b.Release(1, i-1, 1)
		mustWrite(t, l, &b)
		if int64(l.active().number) > 5 {
			recycled++
		}
		disk := mem.CrashClone(vfs.CrashCloneCfg{})
		after, err := openTiny(disk)
		if err != nil {
			t.Fatalf("batch %d: %v", i, err)
		}
		st, err := after.State(1)
		if err != nil || st.Released != i-1 || len(st.Entries) != 1 || st.Suspect || st.Faulty != nil || after.Stats().LostBatches != 0 || after.Stats().Torn {
			t.Fatalf("batch %d: %+v, %+v, %v", i, st, after.Stats(), err)
		}
	}
	if recycled < 50 {
		t.Fatalf("only %d batches were written to recycled files", recycled)
	}
}

// Goal: a batch that was written to the wrong place is not taken for the one that
// belongs there, and the one that it overwrote is missed (W3). Method: copy a batch to
// another offset of its segment, and to the same offset of another segment.
func TestMisdirectedWrites(t *testing.T) {
	for _, other := range []bool{false, true} {
		mem := rotten(t, 60)
		all := batchesOf(t, mem)
		from, to := all[10], all[20]
		if other {
			for _, info := range all {
				if info.name != from.name && info.offset == from.offset {
					to = info
				}
			}
			if to.name == from.name {
				t.Skip("no two segments have a batch at one offset")
			}
		}
		copy(contents(t, mem, to.name)[to.offset:], contents(t, mem, from.name)[from.offset:from.offset+from.size])
		l, err := openTiny(mem)
		if err != nil {
			t.Fatal(err)
		}
		if st := l.Stats(); st.LostBatches == 0 || st.Torn {
			t.Fatalf("%+v", st)
		}
	}
}
