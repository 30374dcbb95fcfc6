package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/quorate/quorate/internal/engine"
)

// A snapshot of a shard is a header and then its pairs in key order:
//
//	header   byte version (1), uvarint shard, then the Applied record
//	pair     key without the shard's prefix, value
//
// How the pieces are framed on the wire is the transport's business. What physical
// compaction has not removed yet travels along, with the mark of how far it came.

const snapshotVersion = 1

// SnapshotHeader describes an exported state.
type SnapshotHeader struct {
	Shard   ShardID
	Applied Applied
}

// AppendTo encodes the header.
func (h *SnapshotHeader) AppendTo(dst []byte) []byte {
	dst = binary.AppendUvarint(append(dst, snapshotVersion), uint64(h.Shard))
	return appendApplied(dst, &h.Applied)
}

// DecodeSnapshotHeader decodes what AppendTo wrote.
func DecodeSnapshotHeader(b []byte) (SnapshotHeader, error) {
	d := decoder{b: b}
	if v := d.byte(); v != snapshotVersion {
		return SnapshotHeader{}, fmt.Errorf("%w: snapshot %d", ErrVersion, v)
	}
	h := SnapshotHeader{Shard: ShardID(d.uvarint())}
	if d.bad {
		return SnapshotHeader{}, fmt.Errorf("%w: snapshot header", ErrMalformed)
	}
	var err error
	h.Applied, err = decodeApplied(d.b)
	return h, err
}

// Header describes the viewed state for Export.
func (v *View) Header(shard ShardID) (SnapshotHeader, error) {
	a, err := v.Applied()
	return SnapshotHeader{Shard: shard, Applied: a}, err
}

// Export yields every pair of the viewed state in key order, keys without the
// shard's prefix; both are valid only during the call.
func (v *View) Export(yield func(key, value []byte) error) error {
	span := v.keys.span()
	it, err := v.v.Snapshot().NewIter(span.Lo, span.Hi)
	if err != nil {
		return v.v.Fence(err)
	}
	for ok := it.First(); ok && err == nil; ok = ok && err == nil && it.Next() {
		var val []byte
		if val, err = it.Value(); err == nil {
			err = yield(it.Key()[len(span.Lo):], val)
		}
	}
	return v.v.Fence(errors.Join(err, it.Error(), it.Close()))
}

// Import replaces the state of the shard, atomically and durably, by what src yields
// as Export did, and takes it up: Applied is then the header's. Views that are open
// answer mvcc.ErrReplaced; watchers go on from where they are. When src fails, the
// old state stays. The goroutine that calls Apply calls it, and no Prune may run.
func (s *Store) Import(h SnapshotHeader, src func(yield func(key, value []byte) error) error) error {
	if h.Shard != s.shard {
		return fmt.Errorf("import shard %d: %w: snapshot of shard %d", s.shard, ErrMalformed, h.Shard)
	}
	err := s.db.Replace(func() error {
		return s.engine.Ingest(s.keys.span(), s.pairs(h, src))
	})
	if err == nil {
		err = s.load()
	}
	if err != nil {
		return fmt.Errorf("import shard %d at index %d: %w", s.shard, h.Applied.Index, err)
	}
	return nil
}

// pairs puts the prefix back before keys, and checks that the pairs belong to the
// header: a state must never be taken up under another's index.
func (s *Store) pairs(h SnapshotHeader, src func(yield func(key, value []byte) error) error) engine.Source {
	return func(yield func(key, value []byte) error) error {
		seen := false
		buf := append([]byte{}, s.keys.prefix...)
		err := src(func(key, value []byte) error {
			if len(key) == 1 && key[0] == tableApplied {
				a, err := decodeApplied(value)
				if err != nil {
					return err
				}
				if a.Index != h.Applied.Index || a.Epoch != h.Applied.Epoch || a.Chain != h.Applied.Chain {
					return fmt.Errorf("%w: snapshot of index %d under header of index %d",
						ErrMalformed, a.Index, h.Applied.Index)
				}
				seen = true
			}
			buf = append(buf[:len(s.keys.prefix)], key...)
			return yield(buf, value)
		})
		if err == nil && !seen && h.Applied.Index != 0 {
			return fmt.Errorf("%w: snapshot without applied record", ErrMalformed)
		}
		return err
	}
}
