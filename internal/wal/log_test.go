package wal

import (
	"bytes"
	"errors"
	"testing"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/env"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const smallSegment = 64 << 10

func mustOpen(t testing.TB, fs env.FS) *Log {
	t.Helper()
	l, err := Open(fs, "wal", Options{SegmentBytes: smallSegment})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func command(i consensus.Index, epoch consensus.Epoch, data string) Entry {
	return Entry{Index: i, Epoch: epoch, Orig: epoch, Kind: consensus.EntryCommand, Data: []byte(data)}
}

func mustWrite(t testing.TB, l *Log, b *Batch) {
	t.Helper()
	if err := l.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	b.Reset()
}

// Goal: what was written is read back, before and after a restart. Method: two
// groups, one of everything.
func TestWriteReadReopen(t *testing.T) {
	fs := vfs.NewMem()
	l := mustOpen(t, fs)
	var b Batch
	b.HardState(7, consensus.HardState{Epoch: 3, Vote: 2})
	b.Append(7, []Entry{command(1, 3, "a"), command(2, 3, "bb"), command(3, 3, "")})
	b.Append(9, []Entry{command(1, 1, "x")})
	mustWrite(t, l, &b)
	b.Truncate(7, 3)
	b.Append(7, []Entry{command(3, 4, "ccc"), {Index: 4, Epoch: 4, Orig: 4, Kind: consensus.EntryMembership, Data: []byte("m")}})
	b.Release(7, 1, 3)
	b.Install(9, 10, 2)
	mustWrite(t, l, &b)

	check := func(l *Log) {
		t.Helper()
		if got := l.Groups(); len(got) != 2 || got[0] != 7 || got[1] != 9 {
			t.Fatalf("groups %v", got)
		}
		st, err := l.State(7)
		if err != nil {
			t.Fatal(err)
		}
		if st.HardState != (consensus.HardState{Epoch: 3, Vote: 2}) || st.Released != 1 || st.ReleasedEpoch != 3 || len(st.Entries) != 3 || st.Suspect || st.Faulty != nil {
			t.Fatalf("state of group 7: %+v", st)
		}
		if e := st.Entries[2]; e.Epoch != 4 || e.Kind != consensus.EntryMembership || string(e.Data) != "m" {
			t.Fatalf("last entry %+v", e)
		}
		got, err := l.Read(7, consensus.Span{Lo: 2, Hi: 10}, 1<<20, nil)
		if err != nil || len(got) != 3 || string(got[0].Data) != "bb" || string(got[1].Data) != "ccc" {
			t.Fatalf("read %v, %v", got, err)
		}
		got, err = l.Read(7, consensus.Span{Lo: 2, Hi: 10}, 4, nil)
		if err != nil || len(got) != 1 {
			t.Fatalf("read with four bytes %v, %v", got, err)
		}
		if _, err = l.Read(7, consensus.Span{Lo: 1, Hi: 2}, 0, nil); !errors.Is(err, ErrReleased) {
			t.Fatal(err)
		}
		if _, err = l.Read(7, consensus.Span{Lo: 5, Hi: 6}, 0, nil); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		if st, err := l.State(9); err != nil || st.Released != 10 || len(st.Entries) != 0 {
			t.Fatalf("state of group 9: %+v, %v", st, err)
		}
	}
	check(l)
	for range 3 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = mustOpen(t, fs)
		check(l)
	}
	b.Remove(7)
	mustWrite(t, l, &b)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := mustOpen(t, fs).Groups(); len(got) != 1 || got[0] != 9 {
		t.Fatalf("groups after removal %v", got)
	}
}

// Goal: a log of many segments replays. Method: entries that fill ten segments.
func TestManySegments(t *testing.T) {
	fs := vfs.NewMem()
	l := mustOpen(t, fs)
	var b Batch
	data := bytes.Repeat([]byte{'d'}, 5000)
	const last = 150
	for i := consensus.Index(1); i <= last; i++ {
		b.Append(1, []Entry{{Index: i, Epoch: 1, Orig: 1, Kind: consensus.EntryCommand, Data: data}})
		mustWrite(t, l, &b)
	}
	for range 2 {
		got, err := l.Read(1, consensus.Span{Lo: 1, Hi: last + 1}, 1<<30, nil)
		if err != nil || len(got) != last {
			t.Fatalf("%d entries, %v", len(got), err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = mustOpen(t, fs)
	}
}
