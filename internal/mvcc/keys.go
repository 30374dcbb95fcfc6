package mvcc

import (
	"encoding/binary"
	"fmt"
)

// Tables of a shard, by the byte after its prefix. The store above has its own in
// the same space; docs/formats.md lists them all.
const (
	tableHead    = 0x01 // (nothing) -> Head
	tablePruned  = 0x02 // (nothing) -> progress of physical compaction; local
	tableTally   = 0x05 // (nothing) -> number of keys that exist
	tableCurrent = 0x10 // key -> newest version, if the key exists
	tableHistory = 0x11 // key, ^revision, ^sub -> older version or tombstone
	tableEvents  = 0x12 // revision, sub -> change
)

// TableLocal is the table that differs between replicas in the same state: exports
// carry it, hashes must not.
const TableLocal = tablePruned

// keyspace builds engine keys below one prefix.
type keyspace struct{ prefix []byte }

func (k keyspace) table(dst []byte, table byte) []byte {
	return append(append(dst[:0], k.prefix...), table)
}

func (k keyspace) current(dst, key []byte) []byte {
	return append(k.table(dst, tableCurrent), key...)
}

// currentKey returns the user key of an engine key of the current table.
func (k keyspace) currentKey(engineKey []byte) []byte { return engineKey[len(k.prefix)+1:] }

// currentSpan returns the bounds of [lo, hi) in the current table.
func (k keyspace) currentSpan(lo, hi []byte) (lower, upper []byte) {
	lower = k.current(nil, lo)
	if hi == nil {
		return lower, k.table(nil, tableCurrent+1)
	}
	return lower, k.current(nil, hi)
}

// Keys in the history table are followed by a stamp, so their end must show, and
// in an order-preserving way: 0x00 becomes 0x00 0xff, and 0x00 0x01 ends the key.
const (
	escape     = 0x00
	escapedNul = 0xff
	escapedEnd = 0x01
	stampBytes = 12
)

func appendEscaped(dst, key []byte) []byte {
	for _, b := range key {
		dst = append(dst, b)
		if b == escape {
			dst = append(dst, escapedNul)
		}
	}
	return dst
}

// historyKey is the prefix of all versions of key.
func (k keyspace) historyKey(dst, key []byte) []byte {
	dst = appendEscaped(k.table(dst, tableHistory), key)
	return append(dst, escape, escapedEnd)
}

// history is where the version of key with stamp s lies. Newer versions sort first.
func (k keyspace) history(dst, key []byte, s stamp) []byte {
	dst = k.historyKey(dst, key)
	dst = binary.BigEndian.AppendUint64(dst, ^uint64(s.rev))
	return binary.BigEndian.AppendUint32(dst, ^s.sub)
}

// historySpan returns the bounds of all versions of the keys in [lo, hi).
func (k keyspace) historySpan(lo, hi []byte) (lower, upper []byte) {
	lower = appendEscaped(k.table(nil, tableHistory), lo)
	if hi == nil {
		return lower, k.table(nil, tableHistory+1)
	}
	return lower, appendEscaped(k.table(nil, tableHistory), hi)
}

// decodeHistory splits an engine key of the history table. The user key is
// appended to dst[:0].
func (k keyspace) decodeHistory(engineKey, dst []byte) ([]byte, stamp, error) {
	dst = dst[:0]
	b := engineKey[len(k.prefix)+1:]
	for i := 0; i < len(b); i++ {
		if b[i] != escape {
			dst = append(dst, b[i])
			continue
		}
		i++
		switch {
		case i < len(b) && b[i] == escapedNul:
			dst = append(dst, escape)
		case i < len(b) && b[i] == escapedEnd && len(b)-i-1 == stampBytes:
			rest := b[i+1:]
			return dst, stamp{
				rev: int64(^binary.BigEndian.Uint64(rest)),
				sub: ^binary.BigEndian.Uint32(rest[8:]),
			}, nil
		default:
			return nil, stamp{}, fmt.Errorf("%w: history key % x", ErrCorrupt, engineKey)
		}
	}
	return nil, stamp{}, fmt.Errorf("%w: history key % x", ErrCorrupt, engineKey)
}

func (k keyspace) event(dst []byte, s stamp) []byte {
	dst = k.table(dst, tableEvents)
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.rev))
	return binary.BigEndian.AppendUint32(dst, s.sub)
}

func (k keyspace) decodeEvent(engineKey []byte) (stamp, error) {
	b := engineKey[len(k.prefix)+1:]
	if len(b) != stampBytes {
		return stamp{}, fmt.Errorf("%w: event key % x", ErrCorrupt, engineKey)
	}
	return stamp{int64(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint32(b[8:])}, nil
}

// Range is a range of user keys as the inside of this package sees it: [lo, hi),
// where a nil hi means no bound. A single key k is [k, k+"\x00").
type Range struct{ lo, hi []byte }

// NewRange translates etcd's key and range_end: an empty end means the key alone,
// "\x00" means every key from key on.
func NewRange(key, end []byte) Range {
	switch {
	case len(end) == 0:
		return Range{key, append(key[:len(key):len(key)], 0)}
	case len(end) == 1 && end[0] == 0:
		return Range{key, nil}
	default:
		return Range{key, end}
	}
}

// SingleKey returns the key when the range holds exactly one.
func (r Range) SingleKey() (key []byte, ok bool) {
	n := len(r.lo)
	if r.hi != nil && len(r.hi) == n+1 && r.hi[n] == 0 && string(r.hi[:n]) == string(r.lo) {
		return r.lo, true
	}
	return nil, false
}

// Contains reports whether key lies in the range.
func (r Range) Contains(key []byte) bool {
	return string(key) >= string(r.lo) && (r.hi == nil || string(key) < string(r.hi))
}

// Empty reports whether no key lies in the range.
func (r Range) Empty() bool { return r.hi != nil && string(r.lo) >= string(r.hi) }
