package engine

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"
)

// pebbleGet copies a value out, so that no caller has to mind Pebble's closers.
func pebbleGet(r pebble.Reader, key, dst []byte) ([]byte, bool, error) {
	v, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	dst = append(dst[:0], v...)
	return dst, true, closer.Close()
}

func pebbleIter(r pebble.Reader, lower, upper []byte) (Iterator, error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, err
	}
	return pebbleIterator{it}, nil
}

// pebbleIterator adapts *pebble.Iterator, whose Value hides errors.
type pebbleIterator struct{ *pebble.Iterator }

func (it pebbleIterator) Value() ([]byte, error) { return it.ValueAndErr() }

// pebbleLookup asks the filters of every level. Pebble's Get leaves out those of the
// last level, on the guess that the key is there; for a put of a new key that costs
// a block read. Positioning the iterators of all levels once, for a whole batch of
// keys, is the other half of what this saves.
type pebbleLookup struct{ it *pebble.Iterator }

func (l pebbleLookup) Get(key, dst []byte) ([]byte, bool, error) {
	if !l.it.SeekPrefixGE(key) || string(l.it.Key()) != string(key) {
		return nil, false, l.it.Error()
	}
	v, err := l.it.ValueAndErr()
	if err != nil {
		return nil, false, err
	}
	return append(dst[:0], v...), true, nil
}

func (l pebbleLookup) Close() error { return l.it.Close() }

type pebbleSnapshot struct{ *pebble.Snapshot }

func (s pebbleSnapshot) Get(key, dst []byte) ([]byte, bool, error) {
	return pebbleGet(s.Snapshot, key, dst)
}

func (s pebbleSnapshot) NewIter(lower, upper []byte) (Iterator, error) {
	return pebbleIter(s.Snapshot, lower, upper)
}

type pebbleBatch struct{ *pebble.Batch }

func (b pebbleBatch) Set(key, value []byte) error { return b.Batch.Set(key, value, nil) }
func (b pebbleBatch) Delete(key []byte) error     { return b.Batch.Delete(key, nil) }
func (b pebbleBatch) DeleteRange(lo, hi []byte) error {
	return b.Batch.DeleteRange(lo, hi, nil)
}

func (b pebbleBatch) Size() int {
	if b.Empty() {
		return 0
	}
	return b.Len()
}

func (b pebbleBatch) Commit() error { return b.Batch.Commit(pebble.NoSync) }

// closedSnapshot is what a closed engine hands out.
type closedSnapshot struct{}

func (closedSnapshot) Get([]byte, []byte) ([]byte, bool, error) { return nil, false, ErrClosed }
func (closedSnapshot) NewIter([]byte, []byte) (Iterator, error) { return nil, ErrClosed }
func (closedSnapshot) Close() error                             { return nil }
