package server

import (
	"slices"

	"github.com/quorate/quorate/internal/store"
)

// The requests of this file come often, so they are read from the wire straight into
// the store's types: no protobuf message in between, and keys and values alias the one
// buffer that holds the request. What proto would read, these read, field by field,
// repeated and merged messages included; TestRequestsMatchProto and the fuzz targets
// compare the two, TestEveryFieldIsKnown fails when etcd's API gains a field.

// request is a message that the codec reads itself.
type request interface {
	// decode reads b, which the request may keep.
	decode(b []byte) error
}

// rangeRequest, putRequest, deleteRangeRequest and txnRequest remember their size on
// the wire beside what the store needs.
type (
	rangeRequest struct{ store.RangeRequest }
	putRequest   struct {
		store.PutRequest
		size int
	}
	deleteRangeRequest struct {
		store.DeleteRangeRequest
		size int
	}
	txnRequest struct {
		store.TxnRequest
		size    int
		tooMany bool // there are more operations than were read
	}
	keepAliveRequest struct{ id int64 }
)

func (r *rangeRequest) decode(b []byte) error {
	return decodeRange(&r.RangeRequest, b)
}

func (r *putRequest) decode(b []byte) error {
	r.size = len(b)
	return decodePut(&r.PutRequest, b)
}

func (r *deleteRangeRequest) decode(b []byte) error {
	r.size = len(b)
	return decodeDeleteRange(&r.DeleteRangeRequest, b)
}

func (r *txnRequest) decode(b []byte) error {
	r.size = len(b)
	d := txnDecoder{left: max(partsFreeMax, len(b)/partBytesMin)}
	err := d.txn(&r.TxnRequest, b, nestingMax-1)
	r.tooMany = d.tooMany
	return err
}

func (r *keepAliveRequest) decode(b []byte) error {
	w := wireReader{rest: b}
	for w.next() {
		switch w.field {
		case 1:
			w.int64(&r.id)
		default:
			w.skip()
		}
	}
	return w.err
}

func decodeRange(r *store.RangeRequest, b []byte) error {
	w := wireReader{rest: b}
	for w.next() {
		switch w.field {
		case 1:
			w.bytesTo(&r.Key)
		case 2:
			w.bytesTo(&r.RangeEnd)
		case 3:
			w.int64(&r.Limit)
		case 4:
			w.int64(&r.Revision)
		case 5:
			w.enum((*int32)(&r.SortOrder))
		case 6:
			w.enum((*int32)(&r.SortTarget))
		case 7:
			w.bool(&r.Serializable)
		case 8:
			w.bool(&r.KeysOnly)
		case 9:
			w.bool(&r.CountOnly)
		case 10:
			w.int64(&r.MinModRevision)
		case 11:
			w.int64(&r.MaxModRevision)
		case 12:
			w.int64(&r.MinCreateRevision)
		case 13:
			w.int64(&r.MaxCreateRevision)
		default:
			w.skip()
		}
	}
	return w.err
}

func decodePut(r *store.PutRequest, b []byte) error {
	w := wireReader{rest: b}
	for w.next() {
		switch w.field {
		case 1:
			w.bytesTo(&r.Key)
		case 2:
			w.bytesTo(&r.Value)
		case 3:
			w.int64(&r.Lease)
		case 4:
			w.bool(&r.PrevKV)
		case 5:
			w.bool(&r.IgnoreValue)
		case 6:
			w.bool(&r.IgnoreLease)
		default:
			w.skip()
		}
	}
	return w.err
}

func decodeDeleteRange(r *store.DeleteRangeRequest, b []byte) error {
	w := wireReader{rest: b}
	for w.next() {
		switch w.field {
		case 1:
			w.bytesTo(&r.Key)
		case 2:
			w.bytesTo(&r.RangeEnd)
		case 3:
			w.bool(&r.PrevKV)
		default:
			w.skip()
		}
	}
	return w.err
}

// txnDecoder reads a txn and all that is nested in it.
//
// An operation takes about thirty times the memory of the shortest one on the wire. A
// request may have partsFreeMax parts (operations, what they do, comparisons) however
// short they are; beyond that the decoder stops at one for every partBytesMin bytes, so
// that nobody fills our memory with tiny messages. etcd's limit on operations allows
// such a txn only by deep nesting.
type txnDecoder struct {
	left    int  // parts that may still be read
	tooMany bool // there were more
}

const (
	partsFreeMax = 2048
	partBytesMin = 24
	// reserveBytesMin is the size of a txn from which it pays to count before reading.
	reserveBytesMin = 1024
)

// txn reads a txn below which depth levels of messages may nest.
func (d *txnDecoder) txn(r *store.TxnRequest, b []byte, depth int) error {
	if len(b) >= reserveBytesMin {
		d.reserve(r, b)
	}
	w := wireReader{rest: b, depth: depth}
	for !d.tooMany && w.next() {
		switch w.field {
		case 1:
			if b, ok := w.message(); ok && d.take() {
				r.Compare = append(r.Compare, store.Compare{})
				w.check(decodeCompare(&r.Compare[len(r.Compare)-1], b))
			}
		case 2:
			d.appendOp(&w, &r.Success)
		case 3:
			d.appendOp(&w, &r.Failure)
		default:
			w.skip()
		}
	}
	return w.err
}

// reserve makes room for what the txn holds, so that no slice grows by copying.
func (d *txnDecoder) reserve(r *store.TxnRequest, b []byte) {
	var n [4]int
	for w := (wireReader{rest: b}); w.next(); w.skip() {
		if w.field < uint64(len(n)) {
			n[w.field]++
		}
	}
	left := d.left
	take := func(want int) int {
		got := min(want, left)
		left -= got
		return got
	}
	r.Compare = slices.Grow(r.Compare, take(n[1]))
	r.Success = slices.Grow(r.Success, take(n[2]))
	r.Failure = slices.Grow(r.Failure, take(n[3]))
}

func (d *txnDecoder) take() bool {
	d.left--
	d.tooMany = d.left < 0
	return !d.tooMany
}

func (d *txnDecoder) appendOp(w *wireReader, to *[]store.RequestOp) {
	if b, ok := w.message(); ok && d.take() {
		*to = append(*to, store.RequestOp{})
		w.check(d.op(&(*to)[len(*to)-1], b, w.depth-1))
	}
}

// op reads a union: of several members the last one counts, and a member that comes
// twice in a row is merged with itself.
func (d *txnDecoder) op(op *store.RequestOp, b []byte, depth int) error {
	w := wireReader{rest: b, depth: depth}
	for !d.tooMany && w.next() {
		if w.field < 1 || w.field > 4 {
			w.skip()
			continue
		}
		field := w.field
		b, ok := w.message()
		if !ok || !d.take() {
			continue
		}
		switch field {
		case 1:
			*op = store.RequestOp{Range: orNew(op.Range)}
			w.check(decodeRange(op.Range, b))
		case 2:
			*op = store.RequestOp{Put: orNew(op.Put)}
			w.check(decodePut(op.Put, b))
		case 3:
			*op = store.RequestOp{DeleteRange: orNew(op.DeleteRange)}
			w.check(decodeDeleteRange(op.DeleteRange, b))
		case 4:
			*op = store.RequestOp{Txn: orNew(op.Txn)}
			w.check(d.txn(op.Txn, b, w.depth-1))
		}
	}
	return w.err
}

func orNew[T any](p *T) *T {
	if p == nil {
		return new(T)
	}
	return p
}

// decodeCompare reads a comparison. The wire has a target and a union of operands,
// which need not agree; as in etcd an operand of another kind counts as zero or empty.
func decodeCompare(c *store.Compare, b []byte) error {
	w := wireReader{rest: b}
	var operand uint64 // field number of the union's member; 0 is none
	var number int64
	var value []byte
	for w.next() {
		switch w.field {
		case 1:
			w.enum((*int32)(&c.Result))
		case 2:
			w.enum((*int32)(&c.Target))
		case 3:
			w.bytesTo(&c.Key)
		case 4, 5, 6, 8:
			if v, ok := w.varint(); ok {
				operand, number = w.field, int64(v)
			}
		case 7:
			if v, ok := w.bytes(); ok {
				operand, value = w.field, v
			}
		case 64:
			w.bytesTo(&c.RangeEnd)
		default:
			w.skip()
		}
	}
	switch {
	case operand == 0 || operand != operandOf(c.Target):
	case c.Target == store.CompareValue:
		c.Value = value
	default:
		c.Number = number
	}
	return w.err
}

// operandOf is the number of the union's member that belongs to a target.
func operandOf(t store.CompareTarget) uint64 {
	switch t {
	case store.CompareVersion:
		return 4
	case store.CompareCreate:
		return 5
	case store.CompareMod:
		return 6
	case store.CompareValue:
		return 7
	case store.CompareLease:
		return 8
	}
	return 0
}
