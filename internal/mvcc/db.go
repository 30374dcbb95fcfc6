package mvcc

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/quorate/quorate/internal/engine"
)

// Options bounds what a DB keeps in memory.
type Options struct {
	// RecentBytes bounds the ring of newest events (default 4 MiB).
	RecentBytes int64
	// RecentShare, if not nil, bounds it further: who has many DBs divides what it has for them
	// all, and may change that at any time. It takes effect with the next commit, or Trim.
	RecentShare *atomic.Int64
	// PendingEvents bounds the events that wait for one watcher (default 1024).
	PendingEvents int
	// Cache is shared by the shards of a node; nil: a small one of its own.
	Cache *Cache
}

const (
	recentBytesDefault   = 4 << 20
	pendingEventsDefault = 1024
)

// DB is the versioned state of one shard. One goroutine writes, through Writer;
// Views and watchers are safe from any goroutine beside it.
type DB struct {
	engine engine.Engine
	keys   keyspace
	opts   Options
	writer Writer // owned by the writing goroutine
	tally  int64  // of the newest committed state; likewise
	filter filter

	// generation counts replacements of the whole state; it is odd while one is
	// under way (M9).
	generation atomic.Uint64
	// cached is the revision up to which all changes are in the cache, or have
	// fallen out of it. Invariant: no record in the cache is older than the newest
	// at that revision.
	cached atomic.Int64
	salt   atomic.Uint64 // the writer's, for Views
	// committing says that the engine may show changes that are not published yet.
	committing atomic.Bool

	mu struct {
		sync.Mutex
		head   Head      // the newest published state
		shared *snapshot // what a new View reads; nil: make one
		recent recent
		hub    hub
		counts counts
	}
}

// Open opens the state below prefix; an empty store is at revision 1.
func Open(e engine.Engine, prefix []byte, opts Options) (*DB, error) {
	if opts.RecentBytes == 0 {
		opts.RecentBytes = recentBytesDefault
	}
	if opts.PendingEvents == 0 {
		opts.PendingEvents = pendingEventsDefault
	}
	if opts.Cache == nil {
		opts.Cache = NewCache(cacheBytesDefault)
	}
	db := &DB{engine: e, keys: keyspace{prefix: prefix}, opts: opts}
	db.writer.init(db)
	db.mu.hub.init()
	return db, db.load()
}

// load reads the head and starts all that is kept in memory afresh.
func (db *DB) load() error {
	head, err := readHead(db.engine, db.keys)
	if err != nil {
		return err
	}
	if db.tally, err = readTally(db.engine, db.keys, head); err != nil {
		return err
	}
	// A new salt makes what the cache holds of an earlier state unreachable.
	salt := db.opts.Cache.newSalt()
	db.writer.r.salt = salt
	db.salt.Store(salt)
	db.cached.Store(head.Revision)
	db.filter.reset(head.Written == 0)
	db.mu.Lock()
	db.mu.hub.rewind(db.mu.head.Revision)
	db.mu.head, db.mu.shared = head, nil
	db.mu.recent.reset(db.opts.RecentBytes, head.Revision)
	db.mu.counts.reset()
	wake := append([]*Watcher(nil), db.mu.hub.all.watchers...)
	db.mu.Unlock()
	for _, w := range wake {
		w.wake()
	}
	return nil
}

func readHead(r engine.Reader, keys keyspace) (Head, error) {
	val, ok, err := r.Get(keys.table(nil, tableHead), nil)
	if err != nil {
		return Head{}, err
	}
	if !ok {
		return Head{Revision: 1, Compacted: -1}, nil
	}
	return decodeHead(val)
}

// Head returns the newest published state's summary.
func (db *DB) Head() Head {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.mu.head
}

// Replace runs install, which replaces everything below the prefix, and takes up
// the state that it leaves, which is the old one if it fails. Views that were open
// meanwhile answer ErrReplaced (M9); watchers go on from where they are. The writing
// goroutine calls it.
func (db *DB) Replace(install func() error) error {
	db.committing.Store(true)
	defer db.committing.Store(false)
	db.generation.Add(1)
	err := install()
	db.generation.Add(1)
	if err != nil {
		err = fmt.Errorf("mvcc: replace state: %w", err)
	}
	return errors.Join(err, db.load())
}

// Cool lets go of what is kept in memory to be fast, and can be read again: the newest events, the
// counts, the filter, the writer's buffers. Views and watchers go on. The writing goroutine calls it, or who knows that
// it is idle.
func (db *DB) Cool() {
	db.mu.Lock()
	head := db.mu.head
	db.mu.recent.reset(db.opts.RecentBytes, head.Revision)
	db.mu.counts.reset()
	db.mu.Unlock()
	db.filter.reset(head.Written == 0)
	db.writer.cool()
}

// Trim lets go of events beyond what the DB may hold by now. Any goroutine may call it.
func (db *DB) Trim() {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.mu.recent.bytesMax = db.recentBytes()
	db.mu.recent.trim()
}

// recentBytes bounds the ring of newest events.
func (db *DB) recentBytes() int64 {
	if share := db.opts.RecentShare; share != nil {
		return min(db.opts.RecentBytes, share.Load())
	}
	return db.opts.RecentBytes
}

// replacing reports whether the state is being replaced right now. When it is, load
// is still to come, and wakes every watcher.
func (db *DB) replacing() bool { return db.generation.Load()%2 == 1 }
