package store

import (
	"encoding/binary"
	"errors"

	"github.com/cespare/xxhash/v2"

	"github.com/quorate/quorate/internal/mvcc"
)

// View reads one point of the shard's history (S4). It is for one goroutine; any
// number may be open beside Apply. Close it soon.
type View struct {
	v    *mvcc.View
	keys keyspace
}

// View returns a view of the newest applied state.
func (s *Store) View() (*View, error) {
	v, err := s.db.View()
	if err != nil {
		return nil, err
	}
	return &View{v: v, keys: s.keys}, nil
}

// RangeNewest answers a range of one key at the newest revision from memory, when it
// can, and false otherwise: then a View can. It is safe from any goroutine. The
// request was accepted by Validate, and its key is kept.
func (s *Store) RangeNewest(r *RangeRequest) (*RangeResponse, bool) {
	if len(r.RangeEnd) != 0 || r.Revision > 0 {
		return nil, false
	}
	n, ok := s.db.Newest(r.Key)
	if !ok {
		return nil, false
	}
	resp := &RangeResponse{Revision: n.Revision}
	if n.Exists {
		resp.addKey(r, &n.KV)
	}
	return resp, true
}

// Close releases the view.
func (v *View) Close() error { return v.v.Close() }

// Revision is the newest revision.
func (v *View) Revision() int64 { return v.v.Head().Revision }

// CompactRevision is the revision of the last compaction, -1 before the first.
func (v *View) CompactRevision() int64 { return v.v.Head().Compacted }

// LogicalBytes is the size that the quota sees.
func (v *View) LogicalBytes() int64 { return v.v.Head().LogicalBytes() }

// Applied says how far the viewed state was applied.
func (v *View) Applied() (Applied, error) {
	a, err := readApplied(v.v.Snapshot(), v.keys)
	return a, v.v.Fence(err)
}

// Quota is what the shard may hold.
func (v *View) Quota() (Quota, error) {
	q, err := readQuota(v.v.Snapshot(), v.keys)
	return q, v.v.Fence(err)
}

// Range answers a range request that Validate accepted. It returns ErrCompacted or
// ErrFutureRevision for revisions outside the history.
func (v *View) Range(r *RangeRequest) (*RangeResponse, error) { return runRange(v.v, r) }

// Txn answers a transaction whose ReadOnly is true.
func (v *View) Txn(r *TxnRequest) (*TxnResponse, error) { return runReadTxn(v.v, r) }

// Scan visits the keys of a range at a revision (zero: the newest) in key order,
// until fn returns false. A visited KeyValue is valid only during the call. It is
// what a streamed range is made of.
func (v *View) Scan(key, end []byte, revision int64, fn func(kv *KeyValue) (bool, error)) error {
	at, err := v.v.Head().Resolve(revision)
	if err != nil {
		return err
	}
	return v.v.Scan(mvcc.NewRange(key, end), at, fn)
}

// Count returns the number of keys of a range at a revision (zero: the newest).
func (v *View) Count(key, end []byte, revision int64) (int64, error) {
	at, err := v.v.Head().Resolve(revision)
	if err != nil {
		return 0, err
	}
	return v.v.Count(mvcc.NewRange(key, end), at)
}

// Leases calls fn for each lease, by id as an unsigned number, until it returns
// false.
func (v *View) Leases(fn func(l Lease) bool) error {
	return v.v.Fence(scanLeases(v.v.Snapshot(), v.keys, fn))
}

// Lease returns a lease, and with withKeys the keys attached to it in key order.
func (v *View) Lease(id int64, withKeys bool) (l Lease, keys [][]byte, ok bool, err error) {
	val, ok, err := v.v.Snapshot().Get(v.keys.lease(nil, id), nil)
	if err != nil || !ok {
		return l, nil, false, v.v.Fence(err)
	}
	if l, err = decodeLease(id, val); err == nil && withKeys {
		err = scanLeaseKeys(v.v.Snapshot(), v.keys, id, func(key []byte) error {
			keys = append(keys, append([]byte{}, key...))
			return nil
		})
	}
	return l, keys, err == nil, v.v.Fence(err)
}

// HashKV hashes the history up to a revision (zero: the newest): a function of that
// and of CompactRevision, which the caller reports beside it.
func (v *View) HashKV(revision int64) (uint32, error) { return v.v.HashKV(revision) }

// Hash hashes the whole replicated state: history, leases, quota, configuration
// and applied index. Replicas at the same applied index agree on it.
func (v *View) Hash() (uint64, error) {
	kv, err := v.v.HashKV(0)
	if err != nil {
		return 0, err
	}
	applied, err := v.Applied()
	if err != nil {
		return 0, err
	}
	quota, err := v.Quota()
	if err != nil {
		return 0, err
	}
	head := v.v.Head()
	buf := binary.BigEndian.AppendUint32(nil, kv)
	for _, n := range []int64{head.Revision, head.Compacted, head.LogicalBytes(), quota.Bytes} {
		buf = binary.BigEndian.AppendUint64(buf, uint64(n))
	}
	if quota.Keys != 0 || quota.Leases != 0 { // else the hash is that of earlier builds
		buf = appendQuota(buf, &quota)
	}
	buf = appendApplied(buf, &applied)
	h := xxhash.New()
	_, _ = h.Write(buf)
	snap := v.v.Snapshot()
	err = scanLeases(snap, v.keys, func(l Lease) bool {
		_, _ = h.Write(appendLease(binary.BigEndian.AppendUint64(buf[:0], uint64(l.ID)), l))
		return true
	})
	it, iterErr := snap.NewIter(v.keys.table(nil, tableLeaseKeys), v.keys.table(nil, tableLeaseKeys+1))
	if err = errors.Join(err, iterErr); err != nil {
		return 0, v.v.Fence(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		_, _ = h.Write(appendBytes(buf[:0], it.Key()))
	}
	return h.Sum64(), v.v.Fence(errors.Join(it.Error(), it.Close()))
}
