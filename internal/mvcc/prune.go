package mvcc

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/quorate/quorate/consensus/mutant"
	"github.com/quorate/quorate/internal/engine"
)

// Physical compaction. Compact only moves Head.Compacted; every read and watch
// compares with that, so nobody can see how far the removal has come (M5).
//
// What compaction at C gives up is found by walking the event index: a change at
// revision s <= C replaced a version, and that version's successor is now at or
// below C, so no read at C or later needs it. A tombstone and an index entry are
// given up only below C: a watcher may still start at C itself (etcd #18089,
// #19179). Walking in order matters: a tombstone goes only after the versions that
// it hides.

const prunedVersion = 1

// prunedTo reads the first change that physical compaction has not handled.
func prunedTo(r engine.Reader, keys keyspace) (stamp, error) {
	val, ok, err := r.Get(keys.table(nil, tablePruned), nil)
	if err != nil || !ok {
		return stamp{}, err
	}
	if len(val) == 0 || val[0] != prunedVersion {
		return stamp{}, fmt.Errorf("%w: compaction progress % x", ErrVersion, val)
	}
	d := decoder{b: val[1:]}
	s := stamp{int64(d.uvarint()), uint32(d.uvarint())}
	if d.bad {
		return stamp{}, fmt.Errorf("%w: compaction progress % x", ErrCorrupt, val)
	}
	return s, nil
}

func appendPruned(dst []byte, s stamp) []byte {
	dst = binary.AppendUvarint(append(dst, prunedVersion), uint64(s.rev))
	return binary.AppendUvarint(dst, uint64(s.sub))
}

// Prune removes for good what compaction gave up, looking at no more than limit
// changes, and reports whether there is more to do. It may run beside the writer,
// but not beside Replace or another Prune. It resumes where it was after a crash.
// When the writer would profit from knowing all keys, it reads some of those instead.
func (db *DB) Prune(limit int) (more bool, err error) {
	compacted := db.Head().Compacted
	from, err := prunedTo(db.engine, db.keys)
	if err != nil {
		return false, err
	}
	if from.rev >= compacted {
		more, err = db.filter.read(db, limit*filterReadFactor)
		return more, err
	}
	batch := db.engine.NewBatch()
	p := pruneStep{db: db, batch: batch, compacted: compacted, from: from, limit: limit}
	err = p.run()
	if err == nil {
		err = batch.Commit()
	}
	if err := errors.Join(err, batch.Close()); err != nil {
		return false, fmt.Errorf("mvcc: compact to %d: %w", compacted, err)
	}
	return p.next.rev < compacted || db.filter.wanted(), nil
}

// WantsPrune reports whether Prune has something to do though nothing was compacted.
func (db *DB) WantsPrune() bool { return db.filter.wanted() }

type pruneStep struct {
	db        *DB
	batch     engine.Batch
	compacted int64
	from      stamp
	next      stamp // where the following step begins
	limit     int
	key       []byte
}

func (p *pruneStep) run() error {
	keys := p.db.keys
	it, err := p.db.engine.NewIter(keys.event(nil, p.from), keys.event(nil, stamp{rev: p.compacted + 1}))
	if err != nil {
		return err
	}
	p.next = stamp{rev: p.compacted}
	for ok, n := it.First(), 0; ok && err == nil; ok, n = it.Next(), n+1 {
		if n == p.limit {
			p.next, err = keys.decodeEvent(it.Key())
			break
		}
		err = p.drop(it)
	}
	if err := errors.Join(err, it.Error(), it.Close()); err != nil {
		return err
	}
	// Index entries at the compacted revision itself stay.
	last := p.next
	if last.rev >= p.compacted {
		last = stamp{rev: p.compacted}
		if mutant.On("mvcc-prune-at-compacted") {
			last.rev++
		}
	}
	if p.from.less(last) {
		if err := p.batch.DeleteRange(keys.event(nil, p.from), keys.event(nil, last)); err != nil {
			return err
		}
	}
	return p.batch.Set(keys.table(nil, tablePruned), appendPruned(nil, p.next))
}

// drop removes the version that a change replaced, and the tombstone it made.
func (p *pruneStep) drop(it engine.Iterator) error {
	at, err := p.db.keys.decodeEvent(it.Key())
	if err != nil {
		return err
	}
	val, err := it.Value()
	if err != nil {
		return err
	}
	c := change{stamp: at}
	if err := decodeChange(val, &c); err != nil {
		return err
	}
	if c.kind != changeCreate {
		p.key = p.db.keys.history(p.key, c.key, c.prev)
		if err := p.batch.Delete(p.key); err != nil {
			return err
		}
	}
	if c.kind == changeDelete && at.rev < p.compacted {
		p.key = p.db.keys.history(p.key, c.key, at)
		return p.batch.Delete(p.key)
	}
	return nil
}
