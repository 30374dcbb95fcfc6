package mvcc

import (
	"errors"

	"github.com/quorate/quorate/internal/engine"
)

// reader reads one engine state as versions. rev is the newest revision in it.
type reader struct {
	engine.Reader
	keys keyspace
	rev  int64
	// cache, when not nil, holds for some keys a record that is the newest at rev
	// or newer.
	cache *Cache
	salt  uint64
	key   []byte // scratch for engine keys
	val   []byte // scratch for values
}

// get finds the version of key at revision at. It reports false when the key does
// not exist there. The version aliases key and the reader's scratch: it is valid
// until the next call.
func (r *reader) get(key []byte, at int64, v *version) (bool, error) {
	if r.cache != nil {
		if val, ok := r.cache.get(r.salt, key, r.val); ok {
			r.val = val
			if hit, err := decodeCached(val, at, v); hit || err != nil {
				v.Key = key
				return !v.tombstone, err
			}
		}
	}
	r.key = r.keys.current(r.key, key)
	val, ok, err := r.Get(r.key, r.val)
	if err != nil {
		return false, err
	}
	if ok {
		r.val = val
		if err := decodeRecord(val, v); err != nil {
			return false, err
		}
		if v.ModRevision <= at {
			v.Key = key
			return true, nil
		}
	}
	if at >= r.rev {
		return false, nil
	}
	return r.getHistory(key, at, v)
}

// getHistory finds the newest version of key at or below revision at in the
// history table.
func (r *reader) getHistory(key []byte, at int64, v *version) (bool, error) {
	lower := r.keys.history(nil, key, stamp{at, ^uint32(0)})
	upper := append(r.keys.historyKey(nil, key), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	it, err := r.NewIter(lower, upper)
	if err != nil {
		return false, err
	}
	ok := it.First()
	if ok {
		var val []byte
		if val, err = it.Value(); err == nil {
			r.val = append(r.val[:0], val...)
			err = decodeRecord(r.val, v)
		}
	}
	if err := errors.Join(err, it.Error(), it.Close()); err != nil {
		return false, err
	}
	v.Key = key
	return ok && !v.tombstone, nil
}

// visit is called with each version in key order; it returns false to stop. The
// version is valid only during the call.
type visit func(v *version) (bool, error)

// scan visits the keys of rg that exist at revision at.
func (r *reader) scan(rg Range, at int64, fn visit) error {
	if rg.Empty() {
		return nil
	}
	if at >= r.rev {
		return r.scanCurrent(rg, fn)
	}
	return r.scanMerged(rg, at, fn)
}

func (r *reader) scanCurrent(rg Range, fn visit) error {
	it, err := r.NewIter(r.keys.currentSpan(rg.lo, rg.hi))
	if err != nil {
		return err
	}
	var v version
	for ok := it.First(); ok && err == nil; ok = ok && err == nil && it.Next() {
		ok, err = r.visitCurrent(it, &v, fn)
	}
	return errors.Join(err, it.Error(), it.Close())
}

func (r *reader) visitCurrent(it engine.Iterator, v *version, fn visit) (bool, error) {
	val, err := it.Value()
	if err != nil {
		return false, err
	}
	if err := decodeRecord(val, v); err != nil {
		return false, err
	}
	v.Key = r.keys.currentKey(it.Key())
	return fn(v)
}

// merge walks the current and the history table side by side in key order.
type merge struct {
	r         *reader
	at        int64
	cur, hist engine.Iterator
	histKey   []byte // user key under hist, when histOK
	histStamp stamp
	histOK    bool
	seek      []byte
}

// scanMerged visits the keys that exist at an older revision: what the current
// table shows is right unless it is newer; then the history has it.
func (r *reader) scanMerged(rg Range, at int64, fn visit) error {
	cur, err := r.NewIter(r.keys.currentSpan(rg.lo, rg.hi))
	if err != nil {
		return err
	}
	hist, err := r.NewIter(r.keys.historySpan(rg.lo, rg.hi))
	if err != nil {
		return errors.Join(err, cur.Close())
	}
	m := &merge{r: r, at: at, cur: cur, hist: hist}
	err = m.run(fn)
	return errors.Join(err, cur.Error(), hist.Error(), cur.Close(), hist.Close())
}

func (m *merge) run(fn visit) error {
	m.cur.First()
	m.hist.First()
	if err := m.decodeHist(); err != nil {
		return err
	}
	more := true
	for more && (m.cur.Valid() || m.histOK) {
		var err error
		if more, err = m.step(fn); err != nil {
			return err
		}
	}
	return nil
}

// step handles the smaller of the two keys.
func (m *merge) step(fn visit) (bool, error) {
	var curKey []byte
	if m.cur.Valid() {
		curKey = m.r.keys.currentKey(m.cur.Key())
	}
	onlyHist := curKey == nil || (m.histOK && string(m.histKey) < string(curKey))
	more := true
	var v version
	if !onlyHist {
		same := m.histOK && string(m.histKey) == string(curKey)
		val, err := m.cur.Value()
		if err != nil {
			return false, err
		}
		if err := decodeRecord(val, &v); err != nil {
			return false, err
		}
		if v.ModRevision <= m.at {
			v.Key = curKey
			if more, err = fn(&v); err != nil {
				return false, err
			}
			if same {
				err = m.skipHist()
			}
		} else if same {
			more, err = m.visitHist(&v, fn)
		}
		m.cur.Next()
		return more, err
	}
	return m.visitHist(&v, fn)
}

// visitHist visits the newest version at or below m.at of the key under hist, and
// moves on to the next key.
func (m *merge) visitHist(v *version, fn visit) (bool, error) {
	more := true
	if m.histStamp.rev > m.at {
		m.seek = m.r.keys.history(m.seek, m.histKey, stamp{m.at, ^uint32(0)})
		key := string(m.histKey)
		m.hist.SeekGE(m.seek)
		if err := m.decodeHist(); err != nil {
			return false, err
		}
		if !m.histOK || string(m.histKey) != key {
			return true, nil
		}
	}
	val, err := m.hist.Value()
	if err != nil {
		return false, err
	}
	if err := decodeRecord(val, v); err != nil {
		return false, err
	}
	if !v.tombstone {
		v.Key = m.histKey
		if more, err = fn(v); err != nil {
			return false, err
		}
	}
	return more, m.skipHist()
}

// histNextMax is how many versions of a key are stepped over before a seek is
// cheaper.
const histNextMax = 4

// skipHist moves hist to the first version of the next key.
func (m *merge) skipHist() error {
	m.seek = m.r.keys.historyKey(m.seek, m.histKey)
	n := len(m.seek)
	for range histNextMax {
		if !m.hist.Next() || len(m.hist.Key()) < n || string(m.hist.Key()[:n]) != string(m.seek) {
			return m.decodeHist()
		}
	}
	m.seek = append(m.seek, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	m.hist.SeekGE(m.seek)
	return m.decodeHist()
}

func (m *merge) decodeHist() (err error) {
	m.histOK = m.hist.Valid()
	if m.histOK {
		m.histKey, m.histStamp, err = m.r.keys.decodeHistory(m.hist.Key(), m.histKey)
	}
	return err
}

// countCurrent counts the keys of rg in the current table, up to max (less than
// zero: all), without touching a value. It returns the key after the last one
// counted when it stopped at max, and nil otherwise.
func (r *reader) countCurrent(rg Range, max int64) (n int64, next []byte, err error) {
	if rg.Empty() {
		return 0, nil, nil
	}
	it, err := r.NewIter(r.keys.currentSpan(rg.lo, rg.hi))
	if err != nil {
		return 0, nil, err
	}
	for ok := it.First(); ok; ok = it.Next() {
		if n == max {
			next = append([]byte{}, r.keys.currentKey(it.Key())...)
			break
		}
		n++
	}
	return n, next, errors.Join(it.Error(), it.Close())
}
