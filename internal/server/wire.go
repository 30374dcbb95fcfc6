package server

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// Protocol buffers on the wire, as far as the hot messages need it: a message is a
// sequence of fields, a field is a tag (number<<3 | type) and a payload.
//
//	type 0   varint, 7 bits a byte, least significant first, at most 10 bytes
//	type 1   8 bytes
//	type 2   varint length, then that many bytes
//	type 5   4 bytes
//
// Types 3 and 4 bracket groups, which no message here has, but which an unknown field
// may be.
const (
	wireVarint = 0
	wireBytes  = 2
)

// errMalformed is returned for bytes that are no protobuf message of the wanted type.
var errMalformed = errors.New("proto: cannot parse invalid wire-format data")

// nestingMax bounds how deep messages may nest; proto has the same limit.
const nestingMax = protowire.DefaultRecursionLimit

// wireReader reads the fields of one message in order:
//
//	for r.next() {
//		switch r.field { case ...: r.bytes() ... default: r.skip() }
//	}
//	return r.err
//
// Whatever next announces must be consumed by exactly one of the other methods. After
// an error all methods return zero values and next returns false.
type wireReader struct {
	rest  []byte
	field uint64 // number of the current field
	kind  uint64 // wire type of the current field
	depth int    // levels of messages that may be nested in this one
	err   error
}

func (r *wireReader) next() bool {
	if len(r.rest) == 0 || r.err != nil {
		return false
	}
	tag := r.uvarint()
	r.field, r.kind = tag>>3, tag&7
	if r.field == 0 || r.field > uint64(protowire.MaxValidNumber) {
		r.fail()
	}
	return r.err == nil
}

func (r *wireReader) fail() {
	r.err, r.rest = errMalformed, nil
}

func (r *wireReader) uvarint() uint64 {
	b := r.rest
	if len(b) > 0 && b[0] < 0x80 {
		r.rest = b[1:]
		return uint64(b[0])
	}
	var v uint64
	for i := 0; i < len(b) && i < 10; i++ {
		v |= uint64(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			if i == 9 && b[i] > 1 {
				break // more than 64 bits
			}
			r.rest = b[i+1:]
			return v
		}
	}
	r.fail()
	return 0
}

// varint reads the current field, which must be a varint. A field of another type is
// skipped as an unknown one, as proto does, and the second result is false.
func (r *wireReader) varint() (uint64, bool) {
	if r.kind != wireVarint {
		r.skip()
		return 0, false
	}
	v := r.uvarint()
	return v, r.err == nil
}

func (r *wireReader) int64(to *int64) {
	if v, ok := r.varint(); ok {
		*to = int64(v)
	}
}

func (r *wireReader) bool(to *bool) {
	if v, ok := r.varint(); ok {
		*to = v != 0
	}
}

// enum reads an enum, which is an int32 whatever its length on the wire.
func (r *wireReader) enum(to *int32) {
	if v, ok := r.varint(); ok {
		*to = int32(v)
	}
}

// bytes reads the current field, which must be of type 2. The result shares memory
// with the message.
func (r *wireReader) bytes() ([]byte, bool) {
	if r.kind != wireBytes {
		r.skip()
		return nil, false
	}
	n := r.uvarint()
	if r.err != nil || n > uint64(len(r.rest)) {
		r.fail()
		return nil, false
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b, true
}

func (r *wireReader) bytesTo(to *[]byte) {
	if b, ok := r.bytes(); ok {
		*to = b
	}
}

// message reads the current field, which must be a message one level down.
func (r *wireReader) message() ([]byte, bool) {
	b, ok := r.bytes()
	if ok && r.depth <= 0 {
		r.fail()
		return nil, false
	}
	return b, ok
}

// check takes over the error of a nested message.
func (r *wireReader) check(err error) {
	if err != nil {
		r.fail()
	}
}

// skip passes over the current field, whatever it is.
func (r *wireReader) skip() {
	n := protowire.ConsumeFieldValue(protowire.Number(r.field), protowire.Type(r.kind), r.rest)
	if n < 0 {
		r.fail()
		return
	}
	r.rest = r.rest[n:]
}
