package mvcc

import (
	"bytes"
	"errors"
	"fmt"
)

// lastChange returns the newest change at or below revision rev.
func (r *reader) lastChange(rev int64) (c change, ok bool, err error) {
	lower := r.keys.table(nil, tableEvents)
	it, err := r.NewIter(lower, r.keys.table(nil, tableEvents+1))
	if err != nil {
		return c, false, err
	}
	if it.SeekLT(r.keys.event(nil, stamp{rev: rev + 1})) {
		ok = true
		var val []byte
		if c.stamp, err = r.keys.decodeEvent(it.Key()); err == nil {
			if val, err = it.Value(); err == nil {
				err = decodeChange(bytes.Clone(val), &c)
			}
		}
	}
	return c, ok, errors.Join(err, it.Error(), it.Close())
}

// getExact fills e with the version of its key that was made at s.
func (r *reader) getExact(s stamp, e *Event) error {
	var v version
	r.key = r.keys.current(r.key, e.KV.Key)
	val, ok, err := r.Get(r.key, r.val)
	if err != nil {
		return err
	}
	if ok {
		r.val = val
		if err := decodeRecord(val, &v); err != nil {
			return err
		}
		ok = v.stamp() == s
	}
	if !ok {
		r.key = r.keys.history(r.key, e.KV.Key, s)
		if val, ok, err = r.Get(r.key, r.val); err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%w: no version of %q at revision %d", ErrCorrupt, e.KV.Key, s.rev)
		}
		r.val = val
		if err := decodeRecord(val, &v); err != nil {
			return err
		}
	}
	key := e.KV.Key
	e.KV = v.KeyValue
	e.KV.Key, e.KV.Value = key, bytes.Clone(v.Value)
	return nil
}
