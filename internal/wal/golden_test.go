package wal

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/quorate/quorate/consensus"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
)

// rewrite makes the golden files anew. A change of a file whose version is in use is a
// change of the format: raise formatVersion instead.
var rewrite = flag.Bool("wal.rewrite", false, "write the golden files of the log")

// golden compares text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: the bytes are not those of format version %d:\n%s", name, formatVersion, diff)
	}
}

// dump prints a file as hexdump -C does, without lines of zeros.
func dump(name string, data []byte) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s %d bytes\n", name, len(data))
	for at := 0; at < len(data); at += 16 {
		row := data[at:min(at+16, len(data))]
		if slices.ContainsFunc(row, func(b byte) bool { return b != 0 }) {
			fmt.Fprintf(&s, "%08x", at)
			s.WriteString(strings.TrimPrefix(hex.Dump(row), "00000000"))
		}
	}
	return s.String()
}

// undump is the inverse of dump, for one or more files.
func undump(t *testing.T, text string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	var data []byte
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if fields := strings.Fields(line); len(fields) == 3 && fields[2] == "bytes" {
			size, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			data = make([]byte, size)
			files[fields[0]] = data
			continue
		}
		at, err := strconv.ParseInt(line[:8], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		columns, _, _ := strings.Cut(line[8:], "|")
		row, err := hex.DecodeString(strings.Join(strings.Fields(columns), ""))
		if err != nil {
			t.Fatal(err)
		}
		copy(data[at:], row)
	}
	return files
}

// Goal: the bytes of a batch do not change. Method: one batch with every kind of
// record and every flag, byte for byte, and read back.
func TestGoldenBatch(t *testing.T) {
	sections := []section{
		{group: 1, step: 7, meta: meta{hardState: consensus.HardState{Epoch: 5, Vote: 0x1234567890}, released: 300, releasedEpoch: 4}, records: []record{
			{kind: recordTruncate, index: 302},
			{kind: recordEntry, entryKind: consensus.EntryCommand, index: 302, epoch: 5, orig: 5, size: 5, data: []byte("hello")},
			{kind: recordEntry, entryKind: consensus.EntryBarrier, index: 303, epoch: 5, orig: 4},
			{kind: recordLost, entryKind: consensus.EntryMembership, index: 301, epoch: 4, orig: 3, size: 99},
		}},
		{group: 2, step: 1, meta: meta{released: 9, releasedEpoch: 2, suspect: true, unknown: consensus.Span{Lo: 10, Hi: maxIndex}}, records: []record{{kind: recordInstall}}},
		{group: 3, step: 1 << 31, gone: true, records: []record{{kind: recordRemove}}},
		{group: 1 << 60, step: 2},
	}
	w := writer{sections: sections}
	h := batchHeader{number: 10, durable: 8, oldest: 3}
	buf := w.encode(5, segmentDataStart, &h)
	golden(t, "batch_v1.txt", dump("batch", buf))

	got, ok := decodeBatchHeader(&w.sum, buf, 5, segmentDataStart, 1<<20)
	if !ok || got != h || w.sum.placed(5, segmentDataStart, buf[batchHeaderSize:h.tableSize]) != h.tableCRC {
		t.Fatalf("%+v is read back as %+v", h, got)
	}
	r := tableReader{rest: buf[batchHeaderSize:h.tableSize]}
	var sec section
	for i := 0; r.section(&sec); i++ {
		want := sections[i]
		for k := range want.records {
			want.records[k].data, want.records[k].crcAt, want.records[k].offset = nil, 0, 0
		}
		if fmt.Sprintf("%+v", want) != fmt.Sprintf("%+v", sec) {
			t.Errorf("section\n%+v is read back as\n%+v", want, sec)
		}
	}
	if r.bad {
		t.Error("the table does not parse")
	}
	if _, ok := decodeBatchHeader(&w.sum, buf, 6, segmentDataStart, 1<<20); ok {
		t.Error("the batch verifies in another segment")
	}
	if _, ok := decodeBatchHeader(&w.sum, buf, 5, segmentDataStart+8, 1<<20); ok {
		t.Error("the batch verifies at another offset")
	}
}

// goldenModel is what the log of TestGoldenLog holds.
func goldenModel() model {
	entries := map[consensus.Index]Entry{
		2: command(2, 1, "two"),
		3: {Index: 3, Epoch: 2, Orig: 1, Kind: consensus.EntryMembership, Data: []byte("members")},
		4: {Index: 4, Epoch: 2, Orig: 2, Kind: consensus.EntryBarrier},
		7: command(7, 2, "seven"),
	}
	return model{
		1: {hs: consensus.HardState{Epoch: 2, Vote: 0xabcdef}, released: 1, releasedEpoch: 1, entries: entries},
		5: {released: 100, releasedEpoch: 9, entries: map[consensus.Index]Entry{}},
	}
}

// Goal: this build reads what version 1 wrote, and writes the same bytes. Method: files
// of a small log with a torn end and a cut, written anew and compared; the kept ones are
// opened.
func TestGoldenLog(t *testing.T) {
	mem := vfs.NewMem()
	opts := Options{SegmentBytes: tinySegment, Identity: [16]byte([]byte("0123456789abcdef"))}
	l, err := Open(mem, "wal", opts)
	if err != nil {
		t.Fatal(err)
	}
	m := goldenModel()
	var b Batch
	b.HardState(1, m[1].hs)
	b.Append(1, []Entry{command(1, 1, "one"), m[1].entries[2], command(3, 1, "three")})
	b.Install(5, 100, 9)
	b.Append(6, []Entry{command(1, 1, "gone soon")})
	mustWrite(t, l, &b)
	b.Truncate(1, 3)
	b.Append(1, []Entry{m[1].entries[3], m[1].entries[4], m[1].entries[7]})
	b.Remove(6)
	mustWrite(t, l, &b)
	torn := l.offset
	b.Append(1, []Entry{command(8, 2, "torn")})
	mustWrite(t, l, &b)
	clear(contents(t, mem, l.active().name)[torn+batchHeaderSize : torn+batchHeaderSize+8])
	if err := mem.RemoveAll("wal/" + lockName); err != nil {
		t.Fatal(err)
	}
	disk := copyDir(t, mem)
	if l, err = Open(disk, "wal", opts); err != nil || !l.Stats().Torn {
		t.Fatal(err)
	}
	b.Release(1, 1, 1)
	mustWrite(t, l, &b)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	names, err := disk.List("wal")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	for _, name := range names {
		if strings.HasSuffix(name, segmentSuffix) {
			text.WriteString(dump(name, contents(t, disk, "wal/"+name)))
		}
	}
	golden(t, "log_v1.txt", text.String())
	openGolden(t, opts)
}

// openGolden opens the kept files.
func openGolden(t *testing.T, opts Options) {
	t.Helper()
	kept, err := os.ReadFile(filepath.Join("testdata", "log_v1.txt"))
	if err != nil {
		t.Fatal(err)
	}
	mem := vfs.NewMem()
	if err := mem.MkdirAll("wal", 0o700); err != nil {
		t.Fatal(err)
	}
	for name, data := range undump(t, string(kept)) {
		writeFile(t, mem, "wal/"+name, data)
	}
	l, err := Open(mem, "wal", opts)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(goldenModel().String(), describeLog(t, l)); diff != "" {
		t.Errorf("the kept log holds something else:\n%s", diff)
	}
}

func writeFile(t *testing.T, mem *vfs.MemFS, name string, data []byte) {
	t.Helper()
	f, err := mem.Create(name, diskCategory)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(bytes.Clone(data)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// copyDir copies the files of a log.
func copyDir(t *testing.T, mem *vfs.MemFS) *vfs.MemFS {
	t.Helper()
	disk := vfs.NewMem()
	if err := disk.MkdirAll("wal", 0o700); err != nil {
		t.Fatal(err)
	}
	names, err := mem.List("wal")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		writeFile(t, disk, "wal/"+name, contents(t, mem, "wal/"+name))
	}
	return disk
}
