package engine

// Reader reads one state of the store.
type Reader interface {
	// Get appends the value of key to dst[:0] and returns it. The result belongs
	// to the caller; it shares dst's memory when that is large enough.
	Get(key, dst []byte) (value []byte, ok bool, err error)
	// NewIter returns an iterator over [lower, upper); a nil upper means no bound.
	// The bounds are copied.
	NewIter(lower, upper []byte) (Iterator, error)
}

// Iterator walks a span in key order. It starts nowhere: position it first.
// Key and Value are valid until the next call that moves or closes it.
type Iterator interface {
	First() bool
	Last() bool
	SeekGE(key []byte) bool
	SeekLT(key []byte) bool
	Next() bool
	Prev() bool
	Valid() bool
	Key() []byte
	// Value may have to fetch: do not call it when the key suffices.
	Value() ([]byte, error)
	Error() error
	Close() error
}

// Snapshot is a Reader of one fixed state (E5).
type Snapshot interface {
	Reader
	Close() error
}

// Lookup answers many point reads of one fixed state, and is cheapest where most of
// the keys do not exist.
type Lookup interface {
	// Get is as Reader.Get.
	Get(key, dst []byte) (value []byte, ok bool, err error)
	Close() error
}

// Batch collects writes that become visible together (E1). Keys and values are
// copied, so the caller may reuse its buffers.
type Batch interface {
	Set(key, value []byte) error
	Delete(key []byte) error
	// DeleteRange deletes [lo, hi).
	DeleteRange(lo, hi []byte) error
	// Size is the encoded size in bytes; zero means empty.
	Size() int
	// Commit makes the writes visible, not durable. The batch is spent afterwards.
	Commit() error
	Close() error
}

// Span is the half-open range of keys [Lo, Hi).
type Span struct{ Lo, Hi []byte }

// Contains reports whether key lies in the span.
func (s Span) Contains(key []byte) bool {
	return string(key) >= string(s.Lo) && string(key) < string(s.Hi)
}

// Source yields strictly ascending keys with their values until it ends or yield
// returns an error, which it then returns.
type Source func(yield func(key, value []byte) error) error

// Engine is the ordered byte store of a node. It is safe for concurrent use. The
// embedded Reader reads the newest committed state.
type Engine interface {
	Reader
	NewBatch() Batch
	NewSnapshot() Snapshot
	// NewLookup reads the newest committed state.
	NewLookup() (Lookup, error)
	// DurableGet is Get restricted to what no crash can take away (E3).
	DurableGet(key, dst []byte) (value []byte, ok bool, err error)
	// Flush blocks until everything committed so far is durable (E3).
	Flush() error
	// Ingest replaces the content of span with what src yields (E4). When src or
	// the engine fails, the old content stays.
	Ingest(span Span, src Source) error
	Stats() Stats
	Close() error
}

// Stats describes an engine for metrics and for back-pressure.
type Stats struct {
	MemoryBytes      int64 // memtables and block cache, or the size of all pairs in Memory
	DiskBytes        int64 // live files
	Flushes          int64
	Compactions      int64
	WriteStalls      int64 // times that a commit had to wait for a flush or compaction
	Stalled          bool  // a commit is waiting now
	ReadAmp          int64 // sorted runs that a read may have to visit
	DebtBytes        int64 // compaction work that is waiting
	CacheHits        int64
	CacheMisses      int64
	BackgroundErrors int64 // failed flushes and compactions; they are retried
}
