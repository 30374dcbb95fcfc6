package mvcc

import (
	"encoding/binary"
	"errors"

	"github.com/cespare/xxhash/v2"
)

// HashKV hashes what a reader could still see at or below revision rev (zero or
// less: the newest). It is a function of that revision and of the compacted one,
// the same on every replica however far physical compaction has come there (M4).
// Its value is our own, not etcd's.
func (v *View) HashKV(rev int64) (hash uint32, err error) {
	switch {
	case rev > v.shared.head.Revision:
		return 0, ErrFutureRevision
	case rev > 0 && rev < v.shared.head.Compacted:
		return 0, ErrCompacted
	case rev <= 0:
		rev = v.shared.head.Revision
	}
	h := hasher{digest: xxhash.New(), rev: rev, compacted: v.shared.head.Compacted}
	if err := v.fence(v.r.versions(h.add)); err != nil {
		return 0, err
	}
	sum := h.digest.Sum64()
	return uint32(sum) ^ uint32(sum>>32), nil
}

// hasher selects the versions that belong to a state and adds them up.
type hasher struct {
	digest         *xxhash.Digest
	rev, compacted int64
	key            []byte // the key whose versions are being visited
	done           bool   // the rest of that key's versions is compacted
	buf            []byte
}

// add is called with the versions of each key, newest first.
func (h *hasher) add(v *version) error {
	if string(v.Key) != string(h.key) || h.key == nil {
		h.key, h.done = append(h.key[:0], v.Key...), false
	}
	if h.done || v.ModRevision > h.rev {
		return nil
	}
	if v.ModRevision <= h.compacted {
		h.done = true
		if v.tombstone {
			return nil
		}
	}
	h.buf = binary.AppendUvarint(h.buf[:0], uint64(len(v.Key)))
	h.buf = append(h.buf, v.Key...)
	h.buf = binary.AppendUvarint(h.buf, uint64(v.ModRevision))
	h.buf = appendRecord(h.buf, v)
	h.buf = binary.AppendUvarint(h.buf, uint64(len(v.Value)))
	_, err := h.digest.Write(h.buf)
	return err
}

// versions calls fn with every version that is physically there, tombstones
// included, by key and for each key newest first.
func (r *reader) versions(fn func(v *version) error) error {
	cur, err := r.NewIter(r.keys.currentSpan(nil, nil))
	if err != nil {
		return err
	}
	hist, err := r.NewIter(r.keys.historySpan(nil, nil))
	if err != nil {
		return errors.Join(err, cur.Close())
	}
	m := &merge{r: r, cur: cur, hist: hist}
	m.cur.First()
	m.hist.First()
	err = m.decodeHist()
	for err == nil && (m.cur.Valid() || m.histOK) {
		err = m.nextVersion(fn)
	}
	return errors.Join(err, cur.Error(), hist.Error(), cur.Close(), hist.Close())
}

// nextVersion visits the next version of either table. At equal keys the current
// table has the newer one.
func (m *merge) nextVersion(fn func(v *version) error) error {
	var v version
	if m.cur.Valid() {
		key := m.r.keys.currentKey(m.cur.Key())
		if !m.histOK || string(key) <= string(m.histKey) {
			val, err := m.cur.Value()
			if err == nil {
				err = decodeRecord(val, &v)
			}
			if err == nil {
				v.Key = key
				err = fn(&v)
			}
			m.cur.Next()
			return err
		}
	}
	val, err := m.hist.Value()
	if err == nil {
		err = decodeRecord(val, &v)
	}
	if err == nil {
		v.Key, v.ModRevision, v.sub = m.histKey, m.histStamp.rev, m.histStamp.sub
		err = fn(&v)
	}
	if err != nil {
		return err
	}
	m.hist.Next()
	return m.decodeHist()
}
