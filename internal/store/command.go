package store

import (
	"bytes"
	"cmp"
	"fmt"

	"github.com/quorate/quorate/internal/mvcc"
)

// command is one command being run. Its methods return a response, or a rejection,
// or a failure; a rejection leaves no trace in the state.
type command struct {
	s     *Store
	w     *mvcc.Writer
	epoch uint64 // of the entry
	want  bool   // build the response
	lease int64  // granted or revoked, for Result.Lease
	// putRequest is the request of a KindPut: the one kind that is common enough to
	// spare an allocation.
	putRequest PutRequest
}

func (c *command) run(kind Kind, body []byte) (any, error) {
	d := decoder{b: body}
	switch kind {
	case KindPut:
		d.put(&c.putRequest)
		if err := d.end("put"); err != nil {
			return nil, err
		}
		resp, err := c.put(&c.putRequest)
		if err != nil || resp == nil {
			return nil, err
		}
		return resp, nil
	case KindDeleteRange:
		var r DeleteRangeRequest
		d.deleteRange(&r)
		return decoded(c, &d, kind, &r, c.deleteRange)
	case KindTxn:
		var r TxnRequest
		d.txn(&r, 0)
		return decoded(c, &d, kind, &r, c.txn)
	case KindCompact:
		var r CompactRequest
		d.compact(&r)
		return decoded(c, &d, kind, &r, c.compact)
	case KindLeaseGrant:
		var r LeaseGrantRequest
		d.leaseGrant(&r)
		return decoded(c, &d, kind, &r, c.leaseGrant)
	case KindLeaseRevoke:
		var r LeaseRevokeRequest
		d.leaseRevoke(&r)
		return decoded(c, &d, kind, &r, c.leaseRevoke)
	case KindLeaseExpire:
		var r LeaseExpireRequest
		d.leaseExpire(&r)
		return decoded(c, &d, kind, &r, c.leaseExpire)
	case KindLeaseCheckpoint:
		var r LeaseCheckpointRequest
		d.leaseCheckpoint(&r)
		return decoded(c, &d, kind, &r, c.leaseCheckpoint)
	case KindSetQuota:
		var r SetQuotaRequest
		d.setQuota(&r)
		return decoded(c, &d, kind, &r, c.setQuota)
	}
	return nil, fmt.Errorf("%w: kind %d", ErrUnknownKind, kind)
}

// decoded runs a command whose body decoded well.
func decoded[Req, Resp any](c *command, d *decoder, kind Kind, r *Req, run func(*Req) (*Resp, error)) (any, error) {
	if err := d.end(kind.String()); err != nil {
		return nil, err
	}
	resp, err := run(r)
	if err != nil || resp == nil || !c.want {
		return nil, err
	}
	return resp, nil
}

// Costs against the quota, as in etcd: a guess of what a put or lease takes beside
// its bytes.
const (
	putCostBytes   = 256
	leaseCostBytes = 64
)

// overQuota reports whether something of that cost no longer fits.
func (c *command) overQuota(cost int64) bool {
	quota := c.s.quota.Bytes
	return quota >= 0 && cost > 0 && c.w.Head().LogicalBytes()+cost >= quota
}

// keysFit reports whether so many keys more are within the quota.
func (c *command) keysFit(more int64) bool {
	quota := c.s.quota.Keys
	return quota == 0 || c.w.Keys()+more <= quota
}

// creates reports whether a put makes a key that is not there.
func (c *command) creates(r *PutRequest) (bool, error) {
	_, ok, err := c.w.Get(r.Key)
	return !ok, err
}

func putCost(r *PutRequest) int64 { return putCostBytes + int64(len(r.Key)+len(r.Value)) }

func (c *command) put(r *PutRequest) (*PutResponse, error) {
	if c.overQuota(putCost(r)) {
		return nil, ErrNoSpace
	}
	if !c.keysFit(1) {
		if creates, err := c.creates(r); err != nil || creates {
			return nil, cmp.Or(err, ErrNoSpace)
		}
	}
	if err := c.checkPut(r); err != nil {
		return nil, err
	}
	return c.runPut(r)
}

// checkPut finds every reason to reject a put before anything is changed.
func (c *command) checkPut(r *PutRequest) error {
	if r.Lease != 0 {
		if _, ok := c.s.leases[r.Lease]; !ok {
			return ErrLeaseNotFound
		}
	}
	if r.IgnoreValue || r.IgnoreLease {
		_, ok, err := c.w.Get(r.Key)
		if err != nil {
			return err
		}
		if !ok {
			return ErrKeyNotFound
		}
	}
	return nil
}

func (c *command) runPut(r *PutRequest) (*PutResponse, error) {
	value, lease := r.Value, r.Lease
	var prev *KeyValue
	if r.IgnoreValue || r.IgnoreLease || (r.PrevKV && c.want) {
		old, ok, err := c.w.Get(r.Key)
		if err != nil {
			return nil, err
		}
		if r.IgnoreValue {
			value = bytes.Clone(old.Value)
		}
		if r.IgnoreLease {
			lease = old.Lease
		}
		if r.PrevKV && c.want && ok {
			prev = cloneKV(&old)
		}
	}
	oldLease, err := c.w.Put(r.Key, value, lease)
	if err != nil {
		return nil, err
	}
	if err := c.moveLease(r.Key, oldLease, lease); err != nil {
		return nil, err
	}
	if !c.want {
		return nil, nil
	}
	return &PutResponse{Revision: c.w.Revision(), PrevKV: prev}, nil
}

// cloneKV copies a KeyValue out of the store's buffers.
func cloneKV(kv *KeyValue) *KeyValue {
	c := *kv
	n := len(kv.Key)
	b := append(append(make([]byte, 0, n+len(kv.Value)), kv.Key...), kv.Value...)
	c.Key, c.Value = b[:n:n], b[n:]
	return &c
}

func (c *command) deleteRange(r *DeleteRangeRequest) (*DeleteRangeResponse, error) {
	resp := &DeleteRangeResponse{}
	n, err := c.w.DeleteRange(mvcc.NewRange(r.Key, r.RangeEnd), func(kv *KeyValue) error {
		if r.PrevKV && c.want {
			resp.PrevKVs = append(resp.PrevKVs, *cloneKV(kv))
		}
		return c.moveLease(kv.Key, kv.Lease, 0)
	})
	resp.Deleted, resp.Revision = n, c.w.Revision()
	return resp, err
}

// moveLease records that key is attached to another lease, or to none.
func (c *command) moveLease(key []byte, from, to int64) error {
	if from == to {
		return nil
	}
	if from != 0 {
		c.s.keyBuf = c.s.keys.leaseKey(c.s.keyBuf, from, key)
		if err := c.w.Batch().Delete(c.s.keyBuf); err != nil {
			return err
		}
	}
	if to != 0 {
		c.s.keyBuf = c.s.keys.leaseKey(c.s.keyBuf, to, key)
		return c.w.Batch().Set(c.s.keyBuf, nil)
	}
	return nil
}

func (c *command) compact(r *CompactRequest) (*CompactResponse, error) {
	if err := c.w.Compact(r.Revision); err != nil {
		return nil, err
	}
	return &CompactResponse{Revision: c.w.Revision()}, nil
}

func (c *command) setQuota(r *SetQuotaRequest) (*SetQuotaResponse, error) {
	quota := Quota(*r)
	if quota.Bytes == 0 {
		quota.Bytes = QuotaDefaultBytes
	}
	c.s.keyBuf = c.s.keys.table(c.s.keyBuf, tableQuota)
	c.s.valBuf = appendQuota(c.s.valBuf[:0], &quota)
	if err := c.w.Batch().Set(c.s.keyBuf, c.s.valBuf); err != nil {
		return nil, err
	}
	c.s.quota = quota
	return &SetQuotaResponse{Revision: c.w.Revision()}, nil
}
