package mvcc

import (
	"github.com/quorate/quorate/internal/engine"
)

// View reads one point of the history (M2). It is for one goroutine; any number of
// Views may be open beside the writer. Close it soon: it keeps old versions of the
// engine's pairs alive.
type View struct {
	db         *DB
	snap       engine.Snapshot
	generation uint64
	head       Head
	r          reader
}

// View returns a view of the newest state that is committed.
//
// It takes no lock: the head lies in the engine beside the changes that it
// summarises, so whatever moment the snapshot catches is consistent in itself. A
// read lock around commits was the first idea; readers then waited for whole
// batches.
func (db *DB) View() (*View, error) {
	v := &View{db: db, generation: db.generation.Load()}
	v.snap = db.engine.NewSnapshot()
	head, err := readHead(v.snap, db.keys)
	if err != nil {
		_ = v.snap.Close()
		return nil, v.fence(err)
	}
	v.head = head
	v.r = reader{Reader: v.snap, keys: db.keys, rev: head.Revision, salt: db.salt.Load()}
	if head.Revision <= db.cached.Load() {
		v.r.cache = db.opts.Cache
	}
	return v, v.fence(nil)
}

// Close releases the view.
func (v *View) Close() error { return v.snap.Close() }

// Head returns the summary of the viewed state.
func (v *View) Head() Head { return v.head }

// Snapshot gives access to the engine state behind the view, for the tables of the
// store above. Results are only good if Fence says so afterwards.
func (v *View) Snapshot() engine.Snapshot { return v.snap }

// Fence returns err, or ErrReplaced when the state under the view was replaced, so
// that what was read may mix two states (M9).
func (v *View) Fence(err error) error { return v.fence(err) }

func (v *View) fence(err error) error {
	if g := v.db.generation.Load(); g != v.generation || g%2 == 1 {
		return ErrReplaced
	}
	return err
}

// Resolve turns a requested revision into the one to read at, by etcd's rules:
// zero or less means the newest, and the compacted revision itself can be read.
func (h Head) Resolve(at int64) (int64, error) {
	switch {
	case at > h.Revision:
		return 0, ErrFutureRevision
	case at <= 0:
		return h.Revision, nil
	case at < h.Compacted:
		return 0, ErrCompacted
	}
	return at, nil
}

// Get returns the version of key at revision at, which Resolve has checked. It is
// valid until the next call on the view.
func (v *View) Get(key []byte, at int64) (kv KeyValue, ok bool, err error) {
	var found version
	ok, err = v.r.get(key, at, &found)
	return found.KeyValue, ok, v.fence(err)
}

// Scan visits the keys of rg that exist at revision at, in key order, until fn
// returns false. A visited KeyValue is valid only during the call.
func (v *View) Scan(rg Range, at int64, fn func(kv *KeyValue) (bool, error)) error {
	return v.fence(v.r.scan(rg, at, func(found *version) (bool, error) { return fn(&found.KeyValue) }))
}
