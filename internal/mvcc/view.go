package mvcc

import (
	"github.com/quorate/quorate/internal/engine"
)

// View reads one point of the history (M2). It is for one goroutine; any number of
// Views may be open beside the writer. Close it soon: it keeps old versions of the
// engine's pairs alive.
type View struct {
	db     *DB
	shared *snapshot
	r      reader
}

// snapshot is an engine snapshot shared by the Views that are opened between two
// publications. Under load that is many, and opening one costs more than a read
// from the cache does. It is closed when the last View of it is.
type snapshot struct {
	engine.Snapshot
	generation uint64
	head       Head
	cached     bool // the cache was complete for head when the snapshot was made
	refs       int  // under DB.mu
}

// View returns a view of the newest state that is committed.
//
// The head lies in the engine beside the changes that it summarises, so whatever
// moment the snapshot catches is consistent in itself. A read lock around commits
// was the first idea; readers then waited for whole batches.
func (db *DB) View() (*View, error) {
	db.mu.Lock()
	s := db.mu.shared
	if s == nil {
		var err error
		if s, err = db.newSnapshot(); err != nil {
			db.mu.Unlock()
			return nil, err
		}
		db.mu.shared = s
	}
	s.refs++
	db.mu.Unlock()
	v := &View{db: db, shared: s}
	v.r = reader{Reader: s.Snapshot, keys: db.keys, rev: s.head.Revision, salt: db.salt.Load()}
	if s.cached {
		v.r.cache = db.opts.Cache
	}
	return v, v.fence(nil)
}

func (db *DB) newSnapshot() (*snapshot, error) {
	s := &snapshot{generation: db.generation.Load(), Snapshot: db.engine.NewSnapshot()}
	var err error
	if s.head, err = readHead(s.Snapshot, db.keys); err != nil {
		_ = s.Close()
		return nil, db.fence(s.generation, err)
	}
	s.cached = s.head.Revision <= db.cached.Load()
	return s, nil
}

// Close releases the view.
func (v *View) Close() error {
	s := v.shared
	v.db.mu.Lock()
	s.refs--
	last := s.refs == 0
	if last && v.db.mu.shared == s {
		v.db.mu.shared = nil
	}
	v.db.mu.Unlock()
	if !last {
		return nil
	}
	return s.Close()
}

// Head returns the summary of the viewed state.
func (v *View) Head() Head { return v.shared.head }

// Snapshot gives access to the engine state behind the view, for the tables of the
// store above. Results are only good if Fence says so afterwards.
func (v *View) Snapshot() engine.Reader { return v.shared.Snapshot }

// Fence returns err, or ErrReplaced when the state under the view was replaced, so
// that what was read may mix two states (M9).
func (v *View) Fence(err error) error { return v.fence(err) }

func (v *View) fence(err error) error { return v.db.fence(v.shared.generation, err) }

func (db *DB) fence(generation uint64, err error) error {
	if g := db.generation.Load(); g != generation || g%2 == 1 {
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
