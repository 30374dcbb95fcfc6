package store

import (
	"encoding/binary"
	"fmt"
)

// The bodies of commands. Every body starts with a flags byte that names the
// fields which follow; numbers are varints, bytes are preceded by their length.
// Decoded slices alias the input. A kind whose encoding has to change gets a new
// number, since the envelope's version covers the envelope alone.

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

func bit(set bool, b byte) byte {
	if set {
		return b
	}
	return 0
}

// decoder reads fields and remembers failure, so that callers check once.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) fail() { d.bad, d.b = true, nil }

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail()
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

// count reads the number of elements that follow, each of at least one byte, so
// that no length field makes us allocate more than the input deserves.
func (d *decoder) count() int {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.fail()
		return 0
	}
	return int(n)
}

// flags reads a flags byte of which only known bits may be set.
func (d *decoder) flags(known byte) byte {
	f := d.byte()
	if f&^known != 0 {
		d.fail()
	}
	return f
}

// end returns an error unless all input was used.
func (d *decoder) end(what string) error {
	if d.bad || len(d.b) != 0 {
		return fmt.Errorf("%w: %s", ErrMalformed, what)
	}
	return nil
}

const (
	putLease       = 1 << 0
	putPrevKV      = 1 << 1
	putIgnoreValue = 1 << 2
	putIgnoreLease = 1 << 3
)

// AppendTo encodes the request as the body of a KindPut.
func (r *PutRequest) AppendTo(dst []byte) []byte {
	dst = append(dst, bit(r.Lease != 0, putLease)|bit(r.PrevKV, putPrevKV)|
		bit(r.IgnoreValue, putIgnoreValue)|bit(r.IgnoreLease, putIgnoreLease))
	if r.Lease != 0 {
		dst = binary.AppendVarint(dst, r.Lease)
	}
	return appendBytes(appendBytes(dst, r.Key), r.Value)
}

func (d *decoder) put(r *PutRequest) {
	f := d.flags(putLease | putPrevKV | putIgnoreValue | putIgnoreLease)
	r.PrevKV, r.IgnoreValue, r.IgnoreLease = f&putPrevKV != 0, f&putIgnoreValue != 0, f&putIgnoreLease != 0
	if f&putLease != 0 {
		r.Lease = d.varint()
	}
	r.Key = d.bytes()
	r.Value = d.bytes()
}

const deletePrevKV = 1 << 0

// AppendTo encodes the request as the body of a KindDeleteRange.
func (r *DeleteRangeRequest) AppendTo(dst []byte) []byte {
	dst = append(dst, bit(r.PrevKV, deletePrevKV))
	return appendBytes(appendBytes(dst, r.Key), r.RangeEnd)
}

func (d *decoder) deleteRange(r *DeleteRangeRequest) {
	r.PrevKV = d.flags(deletePrevKV)&deletePrevKV != 0
	r.Key = d.bytes()
	r.RangeEnd = d.bytes()
}

const (
	rangeSerializable = 1 << 0
	rangeKeysOnly     = 1 << 1
	rangeCountOnly    = 1 << 2
	rangeSorted       = 1 << 3 // order and target follow
	rangeBounded      = 1 << 4 // the four revision bounds follow
)

func (r *RangeRequest) appendTo(dst []byte) []byte {
	sorted := r.SortOrder != 0 || r.SortTarget != 0
	bounded := r.hasRevisionBounds()
	dst = append(dst, bit(r.Serializable, rangeSerializable)|bit(r.KeysOnly, rangeKeysOnly)|
		bit(r.CountOnly, rangeCountOnly)|bit(sorted, rangeSorted)|bit(bounded, rangeBounded))
	dst = appendBytes(appendBytes(dst, r.Key), r.RangeEnd)
	dst = binary.AppendVarint(dst, r.Limit)
	dst = binary.AppendVarint(dst, r.Revision)
	if sorted {
		dst = binary.AppendVarint(dst, int64(r.SortOrder))
		dst = binary.AppendVarint(dst, int64(r.SortTarget))
	}
	if bounded {
		for _, v := range []int64{r.MinModRevision, r.MaxModRevision, r.MinCreateRevision, r.MaxCreateRevision} {
			dst = binary.AppendVarint(dst, v)
		}
	}
	return dst
}

func (d *decoder) rangeRequest(r *RangeRequest) {
	f := d.flags(rangeSerializable | rangeKeysOnly | rangeCountOnly | rangeSorted | rangeBounded)
	r.Serializable, r.KeysOnly, r.CountOnly = f&rangeSerializable != 0, f&rangeKeysOnly != 0, f&rangeCountOnly != 0
	r.Key = d.bytes()
	r.RangeEnd = d.bytes()
	r.Limit = d.varint()
	r.Revision = d.varint()
	if f&rangeSorted != 0 {
		r.SortOrder = SortOrder(d.varint())
		r.SortTarget = SortTarget(d.varint())
	}
	if f&rangeBounded != 0 {
		for _, v := range []*int64{&r.MinModRevision, &r.MaxModRevision, &r.MinCreateRevision, &r.MaxCreateRevision} {
			*v = d.varint()
		}
	}
}
