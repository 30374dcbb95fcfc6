package engine

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/quorate/quorate/internal/env"
)

// Pebble is the engine on disk. Pebble's own log is off (E2).
type Pebble struct {
	db   *pebble.DB
	fs   env.FS
	dir  string
	lock *pebble.Lock

	closed           atomic.Bool
	stalls           atomic.Int64
	stalled          atomic.Bool
	backgroundErrors atomic.Int64
	ingests          atomic.Int64 // names the tables of concurrent ingests apart
}

type fatalError string

func (e fatalError) Error() string { return "engine: " + string(e) }

func sprintf(format string, args []any) string { return fmt.Sprintf(format, args...) }

// OpenPebble opens or creates the engine in dir. It returns ErrInUse when another
// process has it open and ErrVersion when a newer build wrote it.
func OpenPebble(fs env.FS, dir string, opts Options) (*Pebble, error) {
	opts = opts.withDefaults()
	if err := makeDir(fs, dir); err != nil {
		return nil, fmt.Errorf("engine: create %s: %w", dir, err)
	}
	lock, err := pebble.LockDirectory(dir, fs)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrInUse, dir, err)
	}
	p := &Pebble{fs: fs, dir: dir, lock: lock}
	if err := p.open(opts); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return p, nil
}

func (p *Pebble) open(opts Options) error {
	complete, err := p.checkFormat()
	if err != nil {
		return err
	}
	if err := p.removeLeftovers(); err != nil {
		return err
	}
	p.db, err = pebble.Open(p.dir, opts.pebbleOptions(p))
	if err != nil && !complete {
		// The power went while the directory was being made for the first time,
		// and Pebble cannot go on from some of the states that this leaves. Nothing
		// was ever kept here.
		if err = p.clear(); err == nil {
			p.db, err = pebble.Open(p.dir, opts.pebbleOptions(p))
		}
	}
	if err != nil {
		return fmt.Errorf("engine: open %s: %w", p.dir, err)
	}
	if complete {
		return nil
	}
	if err := p.writeFormat(); err != nil {
		return errors.Join(fmt.Errorf("engine: create %s: %w", p.dir, err), p.db.Close())
	}
	return nil
}

// makeDir creates dir so that it survives a crash.
func makeDir(fs env.FS, dir string) error {
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncDir(fs, fs.PathDir(dir))
}

func syncDir(fs env.FS, dir string) error {
	f, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// listener counts what Stats reports.
func (p *Pebble) listener() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError:    func(error) { p.backgroundErrors.Add(1) },
		WriteStallBegin:    func(pebble.WriteStallBeginInfo) { p.stalls.Add(1); p.stalled.Store(true) },
		WriteStallEnd:      func() { p.stalled.Store(false) },
		PossibleAPIMisuse:  func(pebble.PossibleAPIMisuseInfo) {},
		DataCorruption:     func(pebble.DataCorruptionInfo) { p.backgroundErrors.Add(1) },
		LowDiskSpace:       func(pebble.LowDiskSpaceInfo) {},
		TableValidated:     func(pebble.TableValidatedInfo) {},
		FormatUpgrade:      func(pebble.FormatMajorVersion) {},
		TableStatsLoaded:   func(pebble.TableStatsInfo) {},
		DiskSlow:           func(pebble.DiskSlowInfo) {},
		ManifestDeleted:    func(pebble.ManifestDeleteInfo) {},
		ManifestCreated:    func(pebble.ManifestCreateInfo) {},
		WALCreated:         func(pebble.WALCreateInfo) {},
		WALDeleted:         func(pebble.WALDeleteInfo) {},
		TableIngested:      func(pebble.TableIngestInfo) {},
		BlobFileRewriteEnd: func(pebble.BlobFileRewriteInfo) {},
	}
}

// NewBatch implements Engine.
func (p *Pebble) NewBatch() Batch { return pebbleBatch{p.db.NewBatch()} }

// NewSnapshot implements Engine.
func (p *Pebble) NewSnapshot() Snapshot {
	if p.closed.Load() {
		return closedSnapshot{}
	}
	return pebbleSnapshot{p.db.NewSnapshot()}
}

// NewLookup implements Engine.
func (p *Pebble) NewLookup() (Lookup, error) {
	if p.closed.Load() {
		return nil, ErrClosed
	}
	it, err := p.db.NewIter(&pebble.IterOptions{UseL6Filters: true})
	if err != nil {
		return nil, err
	}
	return pebbleLookup{it}, nil
}

// Get implements Reader on the newest state.
func (p *Pebble) Get(key, dst []byte) ([]byte, bool, error) {
	if p.closed.Load() {
		return nil, false, ErrClosed
	}
	return pebbleGet(p.db, key, dst)
}

// NewIter implements Reader on the newest state.
func (p *Pebble) NewIter(lower, upper []byte) (Iterator, error) {
	if p.closed.Load() {
		return nil, ErrClosed
	}
	return pebbleIter(p.db, lower, upper)
}

// DurableGet implements Engine: it looks at the flushed tables only.
func (p *Pebble) DurableGet(key, dst []byte) ([]byte, bool, error) {
	if p.closed.Load() {
		return nil, false, ErrClosed
	}
	it, err := p.db.NewIter(&pebble.IterOptions{LowerBound: key, OnlyReadGuaranteedDurable: true})
	if err != nil {
		return nil, false, err
	}
	var value []byte
	found := it.SeekGE(key) && string(it.Key()) == string(key)
	if found {
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, false, errors.Join(err, it.Close())
		}
		value = append(dst[:0], v...)
	}
	return value, found, it.Close()
}

// Flush implements Engine.
func (p *Pebble) Flush() error {
	if p.closed.Load() {
		return ErrClosed
	}
	return p.db.Flush()
}

// Stats implements Engine.
func (p *Pebble) Stats() Stats {
	if p.closed.Load() {
		return Stats{}
	}
	m := p.db.Metrics()
	return Stats{
		MemoryBytes:      int64(m.MemTable.Size) + int64(m.MemTable.ZombieSize) + m.BlockCache.Size,
		DiskBytes:        int64(m.DiskSpaceUsage()),
		Flushes:          m.Flush.Count,
		Compactions:      m.Compact.Count,
		WriteStalls:      p.stalls.Load(),
		Stalled:          p.stalled.Load(),
		ReadAmp:          int64(m.ReadAmp()),
		DebtBytes:        int64(m.Compact.EstimatedDebt),
		CacheHits:        m.BlockCache.Hits,
		CacheMisses:      m.BlockCache.Misses,
		BackgroundErrors: p.backgroundErrors.Load(),
	}
}

// Close implements Engine. What was not flushed is lost, as in a crash: the
// consensus log has it.
func (p *Pebble) Close() error {
	if p.closed.Swap(true) {
		return ErrClosed
	}
	return errors.Join(p.db.Close(), p.lock.Close())
}
