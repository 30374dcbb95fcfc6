package wal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"runtime"
	"strings"
	"testing"

	"github.com/quorate/quorate/consensus"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FuzzReplay feeds Open a segment of arbitrary bytes. It must not panic, not take
// memory out of proportion, and, if it opens, be able to go on. With mend the checksums
// are made right first, so that the decoder behind them is reached.
func FuzzReplay(f *testing.F) {
	mem := rotten(f, 3)
	whole := contents(f, mem, batchesOf(f, mem)[0].name)
	for _, n := range []int{0, 100, 2000, tinySegment - segmentDataStart} {
		f.Add(whole[segmentDataStart:segmentDataStart+n], false)
		f.Add(whole[segmentDataStart:segmentDataStart+n], true)
	}
	f.Fuzz(func(t *testing.T, data []byte, mend bool) {
		if len(data) > tinySegment-segmentDataStart {
			return
		}
		segment := make([]byte, tinySegment)
		header := segmentHeader{version: formatVersion, number: 1, size: tinySegment}
		copy(segment, appendSegmentHeader(nil, &header))
		copy(segment[segmentHeaderCopy:], segment[:segmentHeaderSize])
		copy(segment[segmentDataStart:], data)
		if mend {
			mendChecksums(segment)
		}
		openFuzzed(t, segment)
	})
}

func openFuzzed(t *testing.T, segment []byte) {
	mem := vfs.NewMem()
	if err := mem.MkdirAll("wal", 0o700); err != nil {
		t.Fatal(err)
	}
	file, err := mem.Create("wal/0000000000000001"+segmentSuffix, diskCategory)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write(segment); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	l, err := openTiny(mem)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 64*tinySegment {
		t.Fatalf("a segment of %d bytes took %d bytes of memory", tinySegment, used)
	}
	if err != nil {
		if !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		return
	}
	groups := l.Groups()
	for _, id := range groups[:min(len(groups), 4)] { // each may describe 2*holesMax positions
		if _, err := l.State(id); err != nil {
			t.Fatal(err)
		}
	}
	var b Batch
	b.Install(1<<63, 1, 1)
	b.Append(1<<63, []Entry{command(2, 1, "goes on")})
	mustWrite(t, l, &b)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = openTiny(mem); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Read(1<<63, consensus.Span{Lo: 2, Hi: 3}, 0, nil); err != nil || string(got[0].Data) != "goes on" {
		t.Fatal(got, err)
	}
}

// mendChecksums makes the checksums right of everything that looks like a batch.
func mendChecksums(segment []byte) {
	var sum checksummer
	for at := segmentDataStart; at+batchHeaderSize <= len(segment); {
		b := segment[at:]
		size, table := int64(binary.LittleEndian.Uint32(b[8:])), int64(binary.LittleEndian.Uint32(b[12:]))
		if binary.LittleEndian.Uint32(b) != batchMagic || size > int64(len(b)) || table < batchHeaderSize || table > size {
			at += batchAlign
			continue
		}
		binary.LittleEndian.PutUint32(b[40:], sum.placed(1, int64(at), b[batchHeaderSize:table]))
		binary.LittleEndian.PutUint32(b[4:], sum.placed(1, int64(at), b[8:batchHeaderSize]))
		at += int(max(size, batchAlign))
		at += -at & (batchAlign - 1)
	}
}

// FuzzSegmentHeader: the decoder takes only what the encoder writes.
func FuzzSegmentHeader(f *testing.F) {
	h := segmentHeader{version: 1, number: 5, size: 1 << 20, cut: 7, previous: 4, identity: [16]byte{1}}
	f.Add(appendSegmentHeader(nil, &h))
	f.Add([]byte(strings.Repeat("x", segmentHeaderSize)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < segmentHeaderSize {
			return
		}
		binary.LittleEndian.PutUint32(b[76:], crc32.Checksum(b[:76], castagnoli))
		if h, ok := decodeSegmentHeader(b); ok {
			if again, ok := decodeSegmentHeader(appendSegmentHeader(nil, &h)); !ok || again != h {
				t.Fatalf("%+v is read back as %+v", h, again)
			}
		}
	})
}
