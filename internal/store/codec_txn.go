package store

import "encoding/binary"

// txnDepthMax bounds the nesting of transactions that are encoded, decoded and
// run by recursion. The limit on operations binds first unless it was raised.
const txnDepthMax = 512

const (
	opRange       = 1
	opPut         = 2
	opDeleteRange = 3
	opTxn         = 4
)

// AppendTo encodes the request as the body of a KindTxn.
func (r *TxnRequest) AppendTo(dst []byte) []byte {
	dst = append(dst, 0) // flags, none yet
	dst = binary.AppendUvarint(dst, uint64(len(r.Compare)))
	for i := range r.Compare {
		dst = r.Compare[i].appendTo(dst)
	}
	for _, ops := range [][]RequestOp{r.Success, r.Failure} {
		dst = binary.AppendUvarint(dst, uint64(len(ops)))
		for i := range ops {
			dst = ops[i].appendTo(dst)
		}
	}
	return dst
}

func (d *decoder) txn(r *TxnRequest, depth int) {
	if depth > txnDepthMax {
		d.fail()
		return
	}
	d.flags(0)
	if n := d.count(); n > 0 {
		r.Compare = make([]Compare, n)
		for i := range r.Compare {
			d.compare(&r.Compare[i])
		}
	}
	for _, ops := range []*[]RequestOp{&r.Success, &r.Failure} {
		if n := d.count(); n > 0 {
			*ops = make([]RequestOp, n)
			for i := range *ops {
				d.op(&(*ops)[i], depth)
			}
		}
	}
}

func (c *Compare) appendTo(dst []byte) []byte {
	dst = binary.AppendVarint(dst, int64(c.Result))
	dst = binary.AppendVarint(dst, int64(c.Target))
	dst = appendBytes(appendBytes(dst, c.Key), c.RangeEnd)
	if c.Target == CompareValue {
		return appendBytes(dst, c.Value)
	}
	return binary.AppendVarint(dst, c.Number)
}

func (d *decoder) compare(c *Compare) {
	c.Result = CompareResult(d.varint())
	c.Target = CompareTarget(d.varint())
	c.Key = d.bytes()
	c.RangeEnd = d.bytes()
	if c.Target == CompareValue {
		c.Value = d.bytes()
		return
	}
	c.Number = d.varint()
}

func (op *RequestOp) appendTo(dst []byte) []byte {
	switch {
	case op.Range != nil:
		return op.Range.appendTo(append(dst, opRange))
	case op.Put != nil:
		return op.Put.AppendTo(append(dst, opPut))
	case op.DeleteRange != nil:
		return op.DeleteRange.AppendTo(append(dst, opDeleteRange))
	case op.Txn != nil:
		return op.Txn.AppendTo(append(dst, opTxn))
	}
	return append(dst, 0) // Validate refuses it; the decoder does, too
}

func (d *decoder) op(op *RequestOp, depth int) {
	switch d.byte() {
	case opRange:
		op.Range = &RangeRequest{}
		d.rangeRequest(op.Range)
	case opPut:
		op.Put = &PutRequest{}
		d.put(op.Put)
	case opDeleteRange:
		op.DeleteRange = &DeleteRangeRequest{}
		d.deleteRange(op.DeleteRange)
	case opTxn:
		op.Txn = &TxnRequest{}
		d.txn(op.Txn, depth+1)
	default:
		d.fail()
	}
}

const compactPhysical = 1 << 0

// AppendTo encodes the request as the body of a KindCompact.
func (r *CompactRequest) AppendTo(dst []byte) []byte {
	return binary.AppendVarint(append(dst, bit(r.Physical, compactPhysical)), r.Revision)
}

func (d *decoder) compact(r *CompactRequest) {
	r.Physical = d.flags(compactPhysical)&compactPhysical != 0
	r.Revision = d.varint()
}

// AppendTo encodes the request as the body of a KindLeaseGrant.
func (r *LeaseGrantRequest) AppendTo(dst []byte) []byte {
	dst = binary.AppendVarint(append(dst, 0), r.ID)
	return binary.AppendVarint(binary.AppendVarint(dst, r.TTLSeconds), r.TTLMinSeconds)
}

func (d *decoder) leaseGrant(r *LeaseGrantRequest) {
	d.flags(0)
	r.ID, r.TTLSeconds, r.TTLMinSeconds = d.varint(), d.varint(), d.varint()
}

// AppendTo encodes the request as the body of a KindLeaseRevoke.
func (r *LeaseRevokeRequest) AppendTo(dst []byte) []byte {
	return binary.AppendVarint(append(dst, 0), r.ID)
}

func (d *decoder) leaseRevoke(r *LeaseRevokeRequest) {
	d.flags(0)
	r.ID = d.varint()
}

// AppendTo encodes the request as the body of a KindLeaseExpire.
func (r *LeaseExpireRequest) AppendTo(dst []byte) []byte {
	return binary.AppendUvarint(binary.AppendVarint(append(dst, 0), r.ID), r.Epoch)
}

func (d *decoder) leaseExpire(r *LeaseExpireRequest) {
	d.flags(0)
	r.ID, r.Epoch = d.varint(), d.uvarint()
}

// AppendTo encodes the request as the body of a KindLeaseCheckpoint.
func (r *LeaseCheckpointRequest) AppendTo(dst []byte) []byte {
	return binary.AppendVarint(binary.AppendVarint(append(dst, 0), r.ID), r.RemainingSeconds)
}

func (d *decoder) leaseCheckpoint(r *LeaseCheckpointRequest) {
	d.flags(0)
	r.ID, r.RemainingSeconds = d.varint(), d.varint()
}

const (
	quotaKeys   = 1 << 0
	quotaLeases = 1 << 1
)

// AppendTo encodes the request as the body of a KindSetQuota.
func (r *SetQuotaRequest) AppendTo(dst []byte) []byte {
	dst = append(dst, bit(r.Keys != 0, quotaKeys)|bit(r.Leases != 0, quotaLeases))
	dst = binary.AppendVarint(dst, r.Bytes)
	for _, n := range []int64{r.Keys, r.Leases} {
		if n != 0 {
			dst = binary.AppendVarint(dst, n)
		}
	}
	return dst
}

func (d *decoder) setQuota(r *SetQuotaRequest) {
	f := d.flags(quotaKeys | quotaLeases)
	r.Bytes = d.varint()
	if f&quotaKeys != 0 {
		r.Keys = d.limit()
	}
	if f&quotaLeases != 0 {
		r.Leases = d.limit()
	}
}

// limit reads a limit that is there.
func (d *decoder) limit() int64 {
	n := d.varint()
	if n <= 0 {
		d.fail()
	}
	return n
}
