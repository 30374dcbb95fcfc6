package wal

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// windowBytes is how much of a segment is read at a time.
const windowBytes = 1 << 20

// readBlock is the smallest piece that is given up as unreadable.
const readBlock = 4096

// window reads a segment front to back. What the disk refuses to read counts as
// zeros, and unreadable remembers it: it never passes for a torn end.
type window struct {
	seg        *segment
	buf        []byte
	from       int64
	unreadable error
}

func (w *window) reset(seg *segment) { *w = window{seg: seg, buf: w.buf[:0]} }

// view returns n bytes at offset, fewer at the end of the segment. The slice is
// valid until the next call.
func (w *window) view(offset int64, n int) []byte {
	n = int(min(int64(n), w.seg.size-offset))
	if n <= 0 {
		return nil
	}
	if offset < w.from || offset+int64(n) > w.from+int64(len(w.buf)) {
		w.fill(offset, n)
	}
	at := offset - w.from
	return w.buf[at : at+int64(n)]
}

func (w *window) fill(offset int64, n int) {
	size := int(min(int64(max(n, windowBytes)), w.seg.size-offset))
	if cap(w.buf) < size {
		w.buf = make([]byte, size)
	}
	w.buf, w.from = w.buf[:size], offset
	if w.seg.readAt(w.buf, offset) == nil {
		return
	}
	for at := 0; at < size; at += readBlock {
		block := w.buf[at:min(at+readBlock, size)]
		if err := w.seg.readAt(block, offset+int64(at)); err != nil {
			clear(block)
			if w.unreadable == nil {
				w.unreadable = fmt.Errorf("read segment %v at %d: %w", w.seg.number, offset+int64(at), err)
			}
		}
	}
}

// batchAt returns the header of the batch at offset if it and its table verify there.
func (w *window) batchAt(offset int64) (h batchHeader, ok bool) {
	h, ok = parseBatchHeader(w.view(offset, batchHeaderSize), w.seg.size-offset)
	if !ok {
		return h, false
	}
	table := w.view(offset, int(h.tableSize))
	return h, binary.LittleEndian.Uint32(table[4:]) == tableChecksum(w.seg.number, offset, table)
}

// findLive is find for batches below void.
func (w *window) findLive(offset int64, void batchNumber) (int64, batchHeader, bool) {
	for {
		at, h, ok := w.find(offset)
		if !ok || h.number < void {
			return at, h, ok
		}
		offset = at + int64(h.size)
	}
}

var batchMagicBytes = binary.LittleEndian.AppendUint32(nil, batchMagic)

// find returns the offset of the first batch at or behind offset that verifies.
func (w *window) find(offset int64) (int64, batchHeader, bool) {
	for offset+batchHeaderSize <= w.seg.size {
		if h, ok := w.batchAt(offset); ok {
			return offset, h, true
		}
		offset = w.nextMagic(offset + batchAlign)
	}
	return 0, batchHeader{}, false
}

// nextMagic returns the first aligned place at or behind offset where a batch may
// begin, or the segment's end.
func (w *window) nextMagic(offset int64) int64 {
	for offset < w.seg.size {
		piece := w.view(offset, windowBytes)
		for at := 0; at < len(piece); {
			i := bytes.Index(piece[at:], batchMagicBytes)
			if i < 0 {
				break
			}
			if at += i; at%batchAlign == 0 {
				return offset + int64(at)
			}
			at++
		}
		// The magic may begin in the last bytes of this piece, but not at an
		// aligned place: pieces and places are multiples of batchAlign.
		offset += int64(len(piece))
	}
	return w.seg.size
}
