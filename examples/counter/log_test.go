package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/quorate/quorate/consensus"
)

// appends are what a machine may ask for: a truncation, a hole, and an entry that fills it.
var appends = []consensus.Append{
	{Seq: 1, HardState: &consensus.HardState{Epoch: 1, Vote: 2}},
	{Seq: 2, Entries: []consensus.Entry{
		{Index: 1, Epoch: 1, Orig: 1, Kind: consensus.EntryBarrier},
		{Index: 2, Epoch: 1, Orig: 1, Kind: consensus.EntryCommand, Data: command(7, -3)},
	}},
	{Seq: 3, HardState: &consensus.HardState{Epoch: 3}, Truncate: 2},
	{Seq: 4, Entries: []consensus.Entry{{Index: 4, Epoch: 3, Orig: 3, Kind: consensus.EntryCommand, Data: command(8, 4)}}},
	{Seq: 5, Entries: []consensus.Entry{{Index: 2, Epoch: 3, Orig: 2, Kind: consensus.EntryBarrier}}, Decided: 2},
}

// writeLog writes the appends, and returns the file's bytes and the length after each line.
func writeLog(t *testing.T, path string) (text []byte, ends []int) {
	t.Helper()
	l := mustOpen(t, path)
	defer l.file.Close()
	for k := -1; k < len(appends); k++ {
		if k >= 0 {
			if err := l.write(record{Append: appends[k]}); err != nil {
				t.Fatal(err)
			}
		}
		var err error
		if text, err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, len(text))
	}
	return text, ends
}

func mustOpen(t *testing.T, path string) *logFile {
	t.Helper()
	l, err := openLog(path, "owner")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// same reports whether a log holds what the first n appends leave.
func same(l *logFile, n int) bool {
	var want logFile
	for k := range appends[:n] {
		want.keep(&appends[k])
	}
	return l.hard == want.hard && l.decided == want.decided && len(l.entries) == len(want.entries) &&
		(len(want.entries) == 0 || reflect.DeepEqual(l.entries, want.entries))
}

// Goal: what was written is read back: the truncation has taken its entry, the later of two
// entries counts, and the hole is one.
func TestReadBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	writeLog(t, path)
	l := mustOpen(t, path)
	defer l.file.Close()
	want := []consensus.Entry{appends[1].Entries[0], appends[4].Entries[0], {}, appends[3].Entries[0]}
	if l.hard != (consensus.HardState{Epoch: 3}) || l.decided != 2 || !reflect.DeepEqual(l.entries, want) {
		t.Fatalf("read %+v, want entries %+v", l, want)
	}
	l.keep(&appends[2])
	if !reflect.DeepEqual(l.entries, want[:1]) {
		t.Fatalf("truncated at 2: %+v", l.entries)
	}
}

// Goal: a crash in the middle of a line takes that line and nothing before it, and the log
// goes on behind. Method: every length of the file, every second one with zeros
// behind it.
func TestTornLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	text, ends := writeLog(t, path)
	for size := range text {
		whole := 0 // lines
		for whole < len(ends) && ends[whole] <= size {
			whole++
		}
		torn := append(bytes.Clone(text[:size]), make([]byte, 5*(size%2))...)
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		n := max(0, whole-1) // the first line is no append
		l := mustOpen(t, path)
		if !same(l, n) {
			t.Fatalf("cut at %d, %d lines were whole: %+v", size, whole, l)
		}
		if err := l.write(record{Append: appends[n]}); err != nil {
			t.Fatal(err)
		}
		l.file.Close()
		again := mustOpen(t, path)
		again.file.Close()
		if !same(again, n+1) {
			t.Fatalf("cut at %d, then one append: %+v", size, again)
		}
	}
}

// Goal: what was durable and is damaged is an error, and the file stays as it is. Method:
// each byte of all lines but the last two, whose common newline may be the one.
func TestDamagedLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	text, ends := writeLog(t, path)
	for at := range ends[len(ends)-3] {
		bad := bytes.Clone(text)
		bad[at] ^= 1 << (at % 8)
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if l, err := openLog(path, "owner"); err == nil {
			t.Fatalf("byte %d damaged: the log opens with %+v", at, l)
		}
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, bad) {
			t.Fatalf("byte %d damaged: the file has changed (%v)", at, err)
		}
	}
}

// Goal: a log is not taken for another replica's, group's or engine's.
func TestForeignLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	writeLog(t, path)
	if l, err := openLog(path, "other"); err == nil {
		t.Fatalf("opened: %+v", l)
	}
}

// Goal: of what the log does not have, it says so: a message with that must not leave (C5).
func TestEntry(t *testing.T) {
	var l logFile
	for k := range appends {
		l.keep(&appends[k])
	}
	for i, want := range map[consensus.Index]bool{0: false, 1: true, 2: true, 3: false, 4: true, 5: false} {
		if e, ok := l.entry(i); ok != want || ok && e.Index != i {
			t.Errorf("index %d: %v, %+v", i, ok, e)
		}
	}
}
