package server

import "github.com/quorate/quorate/internal/store"

// The replies of this file are written from the store's types straight onto the wire,
// as proto would write the message of the same name.

// reply is a message that the codec writes itself.
type reply interface {
	// size is the exact number of bytes that encode writes.
	size() int
	// encode fills buf from its end and returns how many bytes are left at its beginning.
	// It makes its own wireWriter, which then stays on the stack.
	encode(buf []byte) int
}

// header is etcd's ResponseHeader. Inside a txn only the revision is set.
type header struct {
	cluster, member uint64
	revision        int64
	term            uint64
}

func (h *header) size() int {
	return sizeVarint(h.cluster) + sizeVarint(h.member) + sizeVarint(uint64(h.revision)) + sizeVarint(h.term)
}

func (h *header) write(w *wireWriter) {
	w.varint(4, h.term)
	w.varint(3, uint64(h.revision))
	w.varint(2, h.member)
	w.varint(1, h.cluster)
}

// writeField writes the header as field 1 of its message, as all responses have it.
func (h *header) writeField(w *wireWriter) {
	end := w.at
	h.write(w)
	w.message(1, end)
}

func (h *header) sizeField() int { return sizeMessage(h.size()) }

func sizeKV(kv *store.KeyValue) int {
	return sizeBytes(len(kv.Key)) + sizeVarint(uint64(kv.CreateRevision)) + sizeVarint(uint64(kv.ModRevision)) +
		sizeVarint(uint64(kv.Version)) + sizeBytes(len(kv.Value)) + sizeVarint(uint64(kv.Lease))
}

func writeKV(w *wireWriter, kv *store.KeyValue) {
	w.varint(6, uint64(kv.Lease))
	w.bytes(5, kv.Value)
	w.varint(4, uint64(kv.Version))
	w.varint(3, uint64(kv.ModRevision))
	w.varint(2, uint64(kv.CreateRevision))
	w.bytes(1, kv.Key)
}

func sizeKVs(kvs []store.KeyValue) int {
	n := 0
	for i := range kvs {
		n += sizeMessage(sizeKV(&kvs[i]))
	}
	return n
}

func writeKVs(w *wireWriter, field byte, kvs []store.KeyValue) {
	for i := len(kvs) - 1; i >= 0; i-- {
		end := w.at
		writeKV(w, &kvs[i])
		w.message(field, end)
	}
}

type rangeReply struct {
	header header
	*store.RangeResponse
}

func (r *rangeReply) size() int { return sizeRange(&r.header, r.RangeResponse) }

func (r *rangeReply) encode(buf []byte) int {
	w := wireWriter{buf: buf, at: len(buf)}
	writeRange(&w, &r.header, r.RangeResponse)
	return w.at
}

func sizeRange(h *header, r *store.RangeResponse) int {
	return h.sizeField() + sizeKVs(r.KVs) + sizeBool(r.More) + sizeVarint(uint64(r.Count))
}

func writeRange(w *wireWriter, h *header, r *store.RangeResponse) {
	w.varint(4, uint64(r.Count))
	w.bool(3, r.More)
	writeKVs(w, 2, r.KVs)
	h.writeField(w)
}

// rangeStreamReply is one message of a streamed range; only the last has a header.
type rangeStreamReply struct {
	header *header
	store.RangeResponse
}

func (r *rangeStreamReply) size() int { return sizeMessage(r.sizeInner()) }

func (r *rangeStreamReply) sizeInner() int {
	n := sizeKVs(r.KVs) + sizeBool(r.More) + sizeVarint(uint64(r.Count))
	if r.header != nil {
		n += r.header.sizeField()
	}
	return n
}

func (r *rangeStreamReply) encode(buf []byte) int {
	w := wireWriter{buf: buf, at: len(buf)}
	w.varint(4, uint64(r.Count))
	w.bool(3, r.More)
	writeKVs(&w, 2, r.KVs)
	if r.header != nil {
		r.header.writeField(&w)
	}
	w.message(1, len(buf))
	return w.at
}

type putReply struct {
	header header
	*store.PutResponse
}

func (r *putReply) size() int { return sizePut(&r.header, r.PutResponse) }

func (r *putReply) encode(buf []byte) int {
	w := wireWriter{buf: buf, at: len(buf)}
	writePut(&w, &r.header, r.PutResponse)
	return w.at
}

func sizePut(h *header, r *store.PutResponse) int {
	n := h.sizeField()
	if r.PrevKV != nil {
		n += sizeMessage(sizeKV(r.PrevKV))
	}
	return n
}

func writePut(w *wireWriter, h *header, r *store.PutResponse) {
	if r.PrevKV != nil {
		end := w.at
		writeKV(w, r.PrevKV)
		w.message(2, end)
	}
	h.writeField(w)
}

type deleteRangeReply struct {
	header header
	*store.DeleteRangeResponse
}

func (r *deleteRangeReply) size() int { return sizeDeleteRange(&r.header, r.DeleteRangeResponse) }

func (r *deleteRangeReply) encode(buf []byte) int {
	w := wireWriter{buf: buf, at: len(buf)}
	writeDeleteRange(&w, &r.header, r.DeleteRangeResponse)
	return w.at
}

func sizeDeleteRange(h *header, r *store.DeleteRangeResponse) int {
	return h.sizeField() + sizeVarint(uint64(r.Deleted)) + sizeKVs(r.PrevKVs)
}

func writeDeleteRange(w *wireWriter, h *header, r *store.DeleteRangeResponse) {
	writeKVs(w, 3, r.PrevKVs)
	w.varint(2, uint64(r.Deleted))
	h.writeField(w)
}

type txnReply struct {
	header header
	*store.TxnResponse
}

func (r *txnReply) size() int { return sizeTxn(&r.header, r.TxnResponse) }

func (r *txnReply) encode(buf []byte) int {
	w := wireWriter{buf: buf, at: len(buf)}
	writeTxn(&w, &r.header, r.TxnResponse)
	return w.at
}

func sizeTxn(h *header, r *store.TxnResponse) int {
	n := h.sizeField() + sizeBool(r.Succeeded)
	for i := range r.Responses {
		n += sizeMessage(sizeOp(&r.Responses[i]))
	}
	return n
}

func writeTxn(w *wireWriter, h *header, r *store.TxnResponse) {
	for i := len(r.Responses) - 1; i >= 0; i-- {
		end := w.at
		writeOp(w, &r.Responses[i])
		w.message(3, end)
	}
	w.bool(2, r.Succeeded)
	h.writeField(w)
}

// sizeOp and writeOp handle the answer to one operation, whose header holds the
// revision alone.
func sizeOp(op *store.ResponseOp) int {
	switch {
	case op.Range != nil:
		return sizeMessage(sizeRange(&header{revision: op.Range.Revision}, op.Range))
	case op.Put != nil:
		return sizeMessage(sizePut(&header{revision: op.Put.Revision}, op.Put))
	case op.DeleteRange != nil:
		return sizeMessage(sizeDeleteRange(&header{revision: op.DeleteRange.Revision}, op.DeleteRange))
	case op.Txn != nil:
		return sizeMessage(sizeTxn(&header{revision: op.Txn.Revision}, op.Txn))
	}
	return 0
}

func writeOp(w *wireWriter, op *store.ResponseOp) {
	end := w.at
	switch {
	case op.Range != nil:
		writeRange(w, &header{revision: op.Range.Revision}, op.Range)
		w.message(1, end)
	case op.Put != nil:
		writePut(w, &header{revision: op.Put.Revision}, op.Put)
		w.message(2, end)
	case op.DeleteRange != nil:
		writeDeleteRange(w, &header{revision: op.DeleteRange.Revision}, op.DeleteRange)
		w.message(3, end)
	case op.Txn != nil:
		writeTxn(w, &header{revision: op.Txn.Revision}, op.Txn)
		w.message(4, end)
	}
}

type keepAliveReply struct {
	header  header
	id, ttl int64
}

func (r *keepAliveReply) size() int {
	return r.header.sizeField() + sizeVarint(uint64(r.id)) + sizeVarint(uint64(r.ttl))
}

func (r *keepAliveReply) encode(buf []byte) int {
	w := wireWriter{buf: buf, at: len(buf)}
	w.varint(3, uint64(r.ttl))
	w.varint(2, uint64(r.id))
	r.header.writeField(&w)
	return w.at
}
