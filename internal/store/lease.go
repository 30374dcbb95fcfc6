package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/quorate/quorate/consensus/mutant"
	"github.com/quorate/quorate/internal/engine"
)

const leaseVersion = 1

func appendLease(dst []byte, l Lease) []byte {
	dst = binary.AppendVarint(append(dst, leaseVersion), l.TTLSeconds)
	return binary.AppendVarint(dst, l.RemainingSeconds)
}

func decodeLease(id int64, b []byte) (Lease, error) {
	d := decoder{b: b}
	if v := d.byte(); v != leaseVersion {
		return Lease{}, fmt.Errorf("%w: lease record %d", ErrVersion, v)
	}
	l := Lease{ID: id, TTLSeconds: d.varint(), RemainingSeconds: d.varint()}
	return l, d.end("lease record")
}

// scanLeases calls fn for each lease, by id as an unsigned number, until it returns
// false.
func scanLeases(r engine.Reader, keys keyspace, fn func(l Lease) bool) error {
	lower := keys.table(nil, tableLeases)
	it, err := r.NewIter(lower, keys.table(nil, tableLeases+1))
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil; ok = ok && it.Next() {
		var val []byte
		var l Lease
		if val, err = it.Value(); err == nil && len(it.Key()) != len(lower)+8 {
			err = fmt.Errorf("%w: lease key % x", ErrCorrupt, it.Key())
		}
		if err == nil {
			l, err = decodeLease(int64(binary.BigEndian.Uint64(it.Key()[len(lower):])), val)
		}
		if err == nil {
			ok = fn(l)
		}
	}
	return errors.Join(err, it.Error(), it.Close())
}

// Leases calls fn for each lease in no particular order, for the lessor of a new
// leader.
func (s *Store) Leases(fn func(l Lease)) {
	for _, l := range s.leases {
		fn(l)
	}
}

// Lease returns one lease. Like Leases it is for the goroutine that calls Apply.
func (s *Store) Lease(id int64) (Lease, bool) {
	l, ok := s.leases[id]
	return l, ok
}

func (c *command) leaseGrant(r *LeaseGrantRequest) (*LeaseGrantResponse, error) {
	switch {
	case c.overQuota(leaseCostBytes):
		return nil, ErrNoSpace
	case r.ID == 0:
		return nil, ErrLeaseNotFound
	case r.TTLSeconds > LeaseTTLMaxSeconds:
		return nil, ErrLeaseTTLTooLarge
	}
	if _, ok := c.s.leases[r.ID]; ok {
		return nil, ErrLeaseExists
	}
	if quota := c.s.quota.Leases; quota > 0 && int64(len(c.s.leases)) >= quota {
		return nil, ErrTooManyLeases
	}
	l := Lease{ID: r.ID, TTLSeconds: max(r.TTLSeconds, r.TTLMinSeconds)}
	if err := c.writeLease(l); err != nil {
		return nil, err
	}
	return &LeaseGrantResponse{Revision: c.w.Revision(), ID: l.ID, TTLSeconds: l.TTLSeconds}, nil
}

func (c *command) writeLease(l Lease) error {
	c.s.leases[l.ID] = l
	c.lease = l.ID
	c.s.keyBuf = c.s.keys.lease(c.s.keyBuf, l.ID)
	c.s.valBuf = appendLease(c.s.valBuf[:0], l)
	return c.w.Batch().Set(c.s.keyBuf, c.s.valBuf)
}

func (c *command) leaseRevoke(r *LeaseRevokeRequest) (*LeaseRevokeResponse, error) {
	return c.revoke(r.ID)
}

// leaseExpire revokes a lease whose time is over. The proposer measured that time
// as leader of an epoch; if another epoch decided the entry, it had been deposed
// and the lease may have been renewed at its successor (etcd #12528, #15247).
func (c *command) leaseExpire(r *LeaseExpireRequest) (*LeaseRevokeResponse, error) {
	if r.Epoch != c.epoch && !mutant.On(mutant.StoreExpireAlways) {
		return nil, ErrLeaseExpireVoid
	}
	return c.revoke(r.ID)
}

// revoke deletes a lease and its keys, in key order, at one revision.
func (c *command) revoke(id int64) (*LeaseRevokeResponse, error) {
	if _, ok := c.s.leases[id]; !ok {
		return nil, ErrLeaseNotFound
	}
	keys, err := c.attached(id)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if _, err := c.w.Delete(key); err != nil {
			return nil, err
		}
	}
	delete(c.s.leases, id)
	c.lease = id
	c.s.keyBuf = c.s.keys.lease(c.s.keyBuf, id)
	if err := c.w.Batch().Delete(c.s.keyBuf); err != nil {
		return nil, err
	}
	if err := c.w.Batch().DeleteRange(c.s.keys.leaseKeys(id)); err != nil {
		return nil, err
	}
	return &LeaseRevokeResponse{Revision: c.w.Revision()}, nil
}

// attached returns the keys of a lease in order. The engine does not show what the
// batch under way changed: keys written since Begin are judged by their newest
// version.
func (c *command) attached(id int64) ([][]byte, error) {
	var keys [][]byte
	err := scanLeaseKeys(c.s.engine, c.s.keys, id, func(key []byte) error {
		kv, ok, err := c.w.Get(key)
		if err == nil && ok && kv.Lease == id {
			keys = append(keys, bytes.Clone(key))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	c.w.Touched(func(kv *KeyValue) {
		if kv.Lease == id {
			keys = append(keys, kv.Key)
		}
	})
	slices.SortFunc(keys, bytes.Compare)
	return slices.CompactFunc(keys, bytes.Equal), nil
}

// scanLeaseKeys calls fn with each key attached to a lease, in order. The key is
// valid only during the call.
func scanLeaseKeys(r engine.Reader, keys keyspace, id int64, fn func(key []byte) error) error {
	lower, upper := keys.leaseKeys(id)
	it, err := r.NewIter(lower, upper)
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil; ok = ok && err == nil && it.Next() {
		err = fn(it.Key()[len(lower):])
	}
	return errors.Join(err, it.Error(), it.Close())
}

func (c *command) leaseCheckpoint(r *LeaseCheckpointRequest) (*LeaseCheckpointResponse, error) {
	if l, ok := c.s.leases[r.ID]; ok {
		l.RemainingSeconds = r.RemainingSeconds
		if err := c.writeLease(l); err != nil {
			return nil, err
		}
	}
	return &LeaseCheckpointResponse{Revision: c.w.Revision()}, nil
}
