package server

import "google.golang.org/protobuf/encoding/protowire"

// wireWriter writes a message from its end to its beginning. The length of a nested
// message, which stands before it, is then known when it is needed: nothing is measured
// twice, however deep messages nest. The buffer has exactly the size that the size
// functions announce; writing past it panics.
type wireWriter struct {
	buf []byte
	at  int // buf[at:] is written
}

func (w *wireWriter) uvarint(v uint64) {
	if v < 0x80 {
		w.at--
		w.buf[w.at] = byte(v)
		return
	}
	w.at -= sizeUvarint(v)
	b := w.buf[w.at:]
	i := 0
	for v >= 0x80 {
		b[i] = byte(v) | 0x80
		v >>= 7
		i++
	}
	b[i] = byte(v)
}

// tag writes a tag; the fields of the hot replies all have numbers below 16.
func (w *wireWriter) tag(field, kind byte) {
	w.at--
	w.buf[w.at] = field<<3 | kind
}

// varint writes an integer field, unless it is zero.
func (w *wireWriter) varint(field byte, v uint64) {
	if v != 0 {
		w.uvarint(v)
		w.tag(field, wireVarint)
	}
}

func (w *wireWriter) bool(field byte, v bool) {
	if v {
		w.at--
		w.buf[w.at] = 1
		w.tag(field, wireVarint)
	}
}

// bytes writes a bytes field, unless it is empty.
func (w *wireWriter) bytes(field byte, v []byte) {
	if len(v) != 0 {
		w.raw(v)
		w.uvarint(uint64(len(v)))
		w.tag(field, wireBytes)
	}
}

// raw writes bytes that are encoded already.
func (w *wireWriter) raw(v []byte) {
	w.at -= len(v)
	copy(w.buf[w.at:], v)
}

// message makes everything written since end a message field, also when that is
// nothing: a message that is present is not the same as one that is absent.
func (w *wireWriter) message(field byte, end int) {
	w.uvarint(uint64(end - w.at))
	w.tag(field, wireBytes)
}

// The sizes of what the writer writes.

func sizeUvarint(v uint64) int { return protowire.SizeVarint(v) }

func sizeVarint(v uint64) int {
	if v == 0 {
		return 0
	}
	return 1 + sizeUvarint(v)
}

func sizeBool(v bool) int {
	if v {
		return 2
	}
	return 0
}

func sizeBytes(n int) int {
	if n == 0 {
		return 0
	}
	return sizeMessage(n)
}

func sizeMessage(n int) int { return 1 + sizeUvarint(uint64(n)) + n }
