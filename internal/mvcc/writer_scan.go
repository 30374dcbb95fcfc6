package mvcc

import (
	"bytes"
	"slices"
)

// Scan visits the keys of rg at revision at, the writer's own changes included. A
// visited KeyValue is valid only during the call.
func (w *Writer) Scan(rg Range, at int64, fn func(kv *KeyValue) (bool, error)) error {
	return w.scan(rg, at, func(v *version) (bool, error) { return fn(&v.KeyValue) })
}

// scan merges the engine's state with the overlay as it stood at revision at.
func (w *Writer) scan(rg Range, at int64, fn visit) error {
	over := w.overlayAt(rg, at)
	stopped := false
	emit := func(v *version) error {
		if stopped || v.tombstone {
			return nil
		}
		more, err := fn(v)
		stopped = !more
		return err
	}
	err := w.r.scan(rg, at, func(v *version) (bool, error) {
		for len(over) > 0 && bytes.Compare(over[0].Key, v.Key) < 0 {
			if err := emit(&over[0]); err != nil {
				return false, err
			}
			over = over[1:]
		}
		if len(over) > 0 && bytes.Equal(over[0].Key, v.Key) {
			v = &over[0]
			over = over[1:]
		}
		err := emit(v)
		return !stopped, err
	})
	for ; err == nil && !stopped && len(over) > 0; over = over[1:] {
		err = emit(&over[0])
	}
	return err
}

// overlayAt returns the keys of rg that changed since Begin, in key order, as they
// stood at revision at.
func (w *Writer) overlayAt(rg Range, at int64) []version {
	var out []version
	if at >= w.Revision() {
		for _, c := range w.touched {
			if rg.Contains(c.Key) {
				out = append(out, c.version)
			}
		}
		slices.SortFunc(out, func(a, b version) int { return bytes.Compare(a.Key, b.Key) })
		return out
	}
	for _, e := range w.events {
		if e.KV.ModRevision <= at && rg.Contains(e.KV.Key) {
			out = append(out, version{KeyValue: e.KV, sub: e.sub, tombstone: e.Delete})
		}
	}
	slices.SortStableFunc(out, func(a, b version) int { return bytes.Compare(a.Key, b.Key) })
	// Of several changes of a key the last one counts.
	last := out[:0]
	for i := range out {
		if i+1 == len(out) || !bytes.Equal(out[i].Key, out[i+1].Key) {
			last = append(last, out[i])
		}
	}
	return last
}

// Count returns the number of keys of rg at revision at.
func (w *Writer) Count(rg Range, at int64) (int64, error) {
	n, err := w.db.count(&w.r, rg, min(at, w.r.rev))
	for _, e := range w.events {
		if e.KV.ModRevision <= at && rg.Contains(e.KV.Key) {
			n += e.delta()
		}
	}
	return n, err
}

// GetAt returns the version of key at revision at. It is valid until the next call.
func (w *Writer) GetAt(key []byte, at int64) (kv KeyValue, ok bool, err error) {
	if at >= w.Revision() {
		return w.Get(key)
	}
	for i := len(w.events) - 1; i >= 0; i-- {
		if e := w.events[i]; e.KV.ModRevision <= at && bytes.Equal(e.KV.Key, key) {
			return e.KV, !e.Delete, nil
		}
	}
	var found version
	ok, err = w.r.get(key, at, &found)
	return found.KeyValue, ok, err
}

// Touched calls fn with the newest version of each key that was changed since Begin
// and exists.
func (w *Writer) Touched(fn func(kv *KeyValue)) {
	for _, c := range w.touched {
		if !c.tombstone {
			fn(&c.KeyValue)
		}
	}
}
