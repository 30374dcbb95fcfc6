package mvcc

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/quorate/quorate/internal/engine"
)

// The tally is how many keys exist, exactly and at any moment, for the limit on them.
// Counting them for every command would cost what count.go saves, and counting them once
// when they are first asked for stops the writer, which other shards share, for as long as
// millions of keys take. So it is written with every batch that has changes, and read at Open.
//
// The record says of which revision it is. One that is not the head's was left behind by a
// build that does not write it: the keys are counted then, at Open, where nobody waits.
//
//	byte     format version
//	uvarint  revision
//	uvarint  keys that exist at it

const tallyVersion = 1

func appendTally(dst []byte, revision, keys int64) []byte {
	dst = binary.AppendUvarint(append(dst, tallyVersion), uint64(revision))
	return binary.AppendUvarint(dst, uint64(keys))
}

func decodeTally(b []byte) (revision, keys int64, err error) {
	d := decoder{b: b}
	if v := d.byte(); v != tallyVersion {
		return 0, 0, fmt.Errorf("%w: tally % x", ErrVersion, b)
	}
	revision, keys = int64(d.uvarint()), int64(d.uvarint())
	if d.bad || len(d.b) != 0 || revision < 1 || keys < 0 {
		return 0, 0, fmt.Errorf("%w: tally % x", ErrCorrupt, b)
	}
	return revision, keys, nil
}

// readTally is the number of keys at a head.
func readTally(r engine.Reader, k keyspace, head Head) (keys int64, err error) {
	if head.Written == 0 {
		return 0, nil
	}
	val, ok, err := r.Get(k.table(nil, tableTally), nil)
	if err != nil {
		return 0, err
	}
	if ok {
		revision, keys, err := decodeTally(val)
		if err != nil || revision == head.Revision {
			return keys, err
		}
	}
	it, err := r.NewIter(k.currentSpan(nil, nil))
	if err != nil {
		return 0, err
	}
	for ok := it.First(); ok; ok = it.Next() {
		keys++
	}
	return keys, errors.Join(it.Error(), it.Close())
}

// Keys is the number of keys that exist with the changes made so far.
func (w *Writer) Keys() int64 { return w.keys }

// writeTally writes it for the head that is about to be committed.
func (w *Writer) writeTally() error {
	w.keyBuf = w.r.keys.table(w.keyBuf, tableTally)
	w.valueBuf = appendTally(w.valueBuf[:0], w.head.Revision, w.keys)
	return w.batch.Set(w.keyBuf, w.valueBuf)
}
