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
	sum        checksummer
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

// batchAt returns the header of the batch at offset if it verifies there.
func (w *window) batchAt(offset int64) (batchHeader, bool) {
	return decodeBatchHeader(&w.sum, w.view(offset, batchHeaderSize), w.seg.number, offset, w.seg.size-offset)
}

// find returns the offset of the first batch at or behind offset whose header
// verifies. A batch numbered void or above ends the search: numbers ascend.
func (w *window) find(offset int64, void batchNumber) (int64, batchHeader, bool) {
	for offset+batchHeaderSize <= w.seg.size {
		h, ok := w.batchAt(offset)
		if ok {
			return offset, h, h.number < void
		}
		offset = w.nextMagic(offset + batchAlign)
	}
	return 0, batchHeader{}, false
}

var batchMagicBytes = binary.LittleEndian.AppendUint32(nil, batchMagic)

// nextMagic returns the first aligned place at or behind offset where a batch may
// begin, or the segment's end.
func (w *window) nextMagic(offset int64) int64 {
	for offset < w.seg.size {
		piece := w.rest(offset)
		for at := 0; at < len(piece); at++ {
			i := bytes.Index(piece[at:], batchMagicBytes)
			if i < 0 {
				break
			}
			if at += i; at%batchAlign == 0 {
				return offset + int64(at)
			}
		}
		// No aligned place has its magic cut in two: pieces end at aligned places.
		offset += int64(len(piece))
	}
	return w.seg.size
}

// rest returns what the window holds from offset on, and fills it if that is nothing.
func (w *window) rest(offset int64) []byte {
	if end := w.from + int64(len(w.buf)); offset < w.from || offset >= end {
		w.fill(offset, windowBytes)
	}
	return w.buf[offset-w.from:]
}
