package wal

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
	"github.com/quorate/quorate/internal/env"
)

// Options configure a log. The zero value is usable.
type Options struct {
	// SegmentBytes is the size of the segment files of a new log; 64 MiB when zero.
	// An existing log keeps the size that it began with.
	SegmentBytes int64
	// Identity names the node that the log belongs to. A log with another identity
	// is refused with ErrForeign; all zeros fit every log.
	Identity [16]byte
	// MustExist refuses with ErrMissing to start a new log.
	MustExist bool
}

const segmentBytesDefault = 64 << 20

// Log is one node's log for all its groups. See the package comment for who may
// call what when.
type Log struct {
	space space
	lock  io.Closer
	left  leftovers // only while opening

	// The writer's own, no lock needed.
	number  batchNumber // of the last batch written
	durable batchNumber // everything up to here is durable
	witness batchNumber // what the last batch written declares durable
	content batchNumber // the last batch written that was not empty
	offset  int64       // in active, of the next batch
	failed  error
	writer  writer
	reclaim reclaimer

	// mu guards what readers share with the writer; only the writer changes it,
	// except for slot.lost. It is taken before segment.pins and never held during I/O.
	mu struct {
		sync.RWMutex
		groups   map[consensus.GroupID]*group
		segments []*segment // ascending, the last one is active
		next     *segment   // empty, the reserve; nil only while the disk is full
		closed   bool
		stats    Stats
		live     int64 // bytes that moving all live entries would take
	}
}

// Stats counts what a log holds and has done since it was opened.
type Stats struct {
	Segments int // files in use, the next one included
	Spares   int // free files
	Groups   int
	Entries  int   // live
	Live     int64 // bytes of live entries and what describes them

	Batches   uint64
	Syncs     uint64
	Written   uint64 // bytes, reclaiming included
	Reclaimed uint64 // bytes of live entries written again
	Full      uint64 // batches refused with ErrFull

	// What Open found.
	Created     bool   // there was no log
	Found       uint64 // number of the last batch that was there
	Torn        bool   // the end was torn and cut off
	LostBatches uint64 // durable batches of which nothing could be read
	// FaultyEntries were found damaged by Open, Read or while reclaiming.
	FaultyEntries uint64
}

// Open replays the log in dir, or starts one. All that it reports is durable.
func Open(fs env.FS, dir string, opts Options) (*Log, error) {
	if opts.SegmentBytes == 0 {
		opts.SegmentBytes = segmentBytesDefault
	}
	if opts.SegmentBytes < segmentBytesMin || opts.SegmentBytes > segmentBytesMax || opts.SegmentBytes%batchAlign != 0 {
		return nil, fmt.Errorf("wal: segments of %d bytes: must be a multiple of %d in [%d, %d]",
			opts.SegmentBytes, batchAlign, segmentBytesMin, segmentBytesMax)
	}
	l := &Log{}
	l.mu.groups = make(map[consensus.GroupID]*group)
	l.space.fs, l.space.dir = fs, dir
	l.space.size, l.space.identity = opts.SegmentBytes, opts.Identity
	if err := l.openDir(); err != nil {
		return nil, fmt.Errorf("wal: open %s: %w", dir, errors.Join(err, l.closeFiles()))
	}
	if err := l.recover(opts); err != nil {
		return nil, fmt.Errorf("wal: open %s: %w", dir, errors.Join(err, l.closeFiles()))
	}
	return l, nil
}

// openDir makes, opens and locks the directory.
func (l *Log) openDir() error {
	s := &l.space
	if err := s.fs.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	if err := syncDir(s.fs, s.fs.PathDir(s.dir)); err != nil {
		return err
	}
	lock, err := s.fs.Lock(s.fs.PathJoin(s.dir, lockName))
	if err != nil {
		return fmt.Errorf("%w: stop the other process first: %w", ErrInUse, err)
	}
	l.lock = lock
	s.dirFile, err = s.fs.OpenDir(s.dir)
	return err
}

func syncDir(fs env.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// recover replays what is there and makes the log ready for writing.
func (l *Log) recover(opts Options) error {
	if err := l.openSegments(opts); err != nil {
		return err
	}
	if len(l.mu.segments) == 0 {
		if err := l.tidy(); err != nil {
			return err
		}
		return l.create(opts)
	}
	r := replay{log: l, segments: l.mu.segments}
	if err := r.run(); err != nil {
		return err
	}
	if err := l.tidy(); err != nil {
		return err
	}
	if err := l.settle(&r); err != nil || r.loss == 0 {
		return err
	}
	return l.rewrite()
}

// create starts a log in a directory without segments.
func (l *Log) create(opts Options) error {
	if opts.MustExist {
		return fmt.Errorf("%w: this node has run before and its log should be here: restore it, or rejoin the node under a new identity", ErrMissing)
	}
	seg, err := l.space.open(0, 0)
	if err != nil {
		return fullOr(err)
	}
	l.mu.segments = []*segment{seg}
	l.offset = segmentDataStart
	l.mu.stats.Created = true
	return fullOr(l.openNext())
}

// fullOr marks an error that says "no space" as ErrFull.
func fullOr(err error) error {
	if isNoSpace(err) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// settle continues a replayed log: what was replayed becomes durable, what is torn
// is cut off, and the segments behind the last one used become the next and spares.
func (l *Log) settle(r *replay) error {
	for _, seg := range l.mu.segments {
		if seg.last > r.witness {
			if err := seg.file.SyncData(); err != nil {
				return fmt.Errorf("%w: sync segment %v: %w", ErrFailed, seg.number, err)
			}
		}
	}
	l.number, l.durable, l.witness, l.content = r.number, r.number, r.witness, r.content
	l.mu.stats.Found = uint64(r.number)
	behind := slices.Clone(l.mu.segments[r.tail+1:])
	if r.torn {
		l.mu.stats.Torn = true
		return l.cutOff(r)
	}
	l.mu.segments = l.mu.segments[:r.tail+1]
	l.offset = r.offset
	if len(behind) > 0 {
		l.mu.next = behind[0]
		behind = behind[1:]
	}
	return l.settleSpace(behind)
}

// cutOff starts a segment whose header says that batches behind the last good one
// are void in all earlier segments (W2). Its rename is the moment of the cut:
// nothing that a second crash could need is overwritten before. Segments between the
// last good batch and the cut fall out of the chain.
func (l *Log) cutOff(r *replay) error {
	kept := l.mu.segments[:r.last+1]
	void := slices.Clone(l.mu.segments[r.last+1:])
	previous := segmentNumber(0)
	if r.last >= 0 {
		previous = l.mu.segments[r.last].number
	}
	cut := l.number + 1
	if mutant.On(mutant.WALForgetCut) {
		cut = 0
	}
	seg, err := l.space.open(previous, cut)
	if isNoSpace(err) && len(void) > 0 && r.loss == 0 {
		// The space of the last segment will do. What is lost with it is a witness
		// that matters only if there was rot as well.
		last := len(void) - 1
		if err := l.space.recycle(void[last]); err != nil {
			return err
		}
		void = void[:last]
		seg, err = l.space.open(previous, cut)
	}
	if err != nil {
		return fullOr(err)
	}
	l.mu.segments = append(slices.Clone(kept), seg)
	l.offset = segmentDataStart
	return l.settleSpace(void)
}

// settleSpace recycles segments that fell out of the log, and makes sure of a next one
// unless the disk is full.
func (l *Log) settleSpace(out []*segment) error {
	if err := l.recycleAll(out); err != nil {
		return err
	}
	if err := l.openNext(); err != nil && !isNoSpace(err) {
		return err
	}
	return nil
}

// openNext makes sure that there is a next segment.
func (l *Log) openNext() error {
	if l.mu.next != nil {
		return nil
	}
	next, err := l.space.open(l.active().number, 0)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.mu.next = next
	l.mu.Unlock()
	return nil
}

func (l *Log) active() *segment { return l.mu.segments[len(l.mu.segments)-1] }

// MaxBatchBytes is the largest Batch.Size that Write takes.
func (l *Log) MaxBatchBytes() int { return int(l.space.size) - segmentDataStart }

// Sync makes everything written durable. It is called by the writer's goroutine.
// An error is final: see ErrFailed.
func (l *Log) Sync() error {
	if l.failed != nil {
		return l.failed
	}
	if l.durable == l.number {
		return nil
	}
	for _, seg := range l.mu.segments { // oldest first; usually only the last is dirty
		if !seg.dirty || mutant.On(mutant.WALSkipSync) {
			continue
		}
		if err := seg.file.SyncData(); err != nil {
			return l.fail(fmt.Errorf("wal: %w: sync segment %v: %w", ErrFailed, seg.number, err))
		}
		seg.dirty = false
	}
	l.durable = l.number
	l.mu.Lock()
	l.mu.stats.Syncs++
	l.mu.Unlock()
	return l.freeSegments()
}

// fail remembers the error that ends the log.
func (l *Log) fail(err error) error {
	l.failed = err
	return err
}

// Maintain makes sure that the next roll finds a spare file. It may be called from
// any goroutine, beside the writer; without it Write allocates in passing, which
// takes as long as writing a segment of zeros. Call it when Starved says so.
func (l *Log) Maintain() error {
	if err := l.space.makeSpare(); err != nil {
		return fmt.Errorf("wal: %w", fullOr(err))
	}
	return nil
}

// Starved reports whether Maintain has something to do.
func (l *Log) Starved() bool { return l.space.spareCount() == 0 }

// Groups returns the groups that the log knows, ascending.
func (l *Log) Groups() []consensus.GroupID {
	l.mu.RLock()
	defer l.mu.RUnlock()
	ids := make([]consensus.GroupID, 0, len(l.mu.groups))
	for id := range l.mu.groups {
		if id != everyGroup {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Stats describes the log at this moment.
func (l *Log) Stats() Stats {
	l.mu.RLock()
	defer l.mu.RUnlock()
	st := l.mu.stats
	st.Segments = len(l.mu.segments)
	if l.mu.next != nil {
		st.Segments++
	}
	st.Spares = l.space.spareCount()
	st.Groups = len(l.mu.groups)
	for _, g := range l.mu.groups {
		st.Entries += g.entries.count
	}
	if l.mu.groups[everyGroup] != nil {
		st.Groups--
	}
	st.Live = l.mu.live
	return st
}

// Live is what Stats says of live bytes, at less cost.
func (l *Log) Live() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.mu.live
}

// Close makes everything durable and closes the log. A log that was written to
// gets one more batch, which declares the others durable: after a clean stop,
// damage is never mistaken for a torn end.
func (l *Log) Close() error {
	err := l.Sync()
	if err == nil && l.witness < l.content {
		err = l.sign()
	}
	l.mu.Lock()
	l.mu.closed = true
	l.mu.Unlock()
	if l.failed == nil {
		l.failed = fmt.Errorf("wal: %w", ErrClosed)
	}
	if err := errors.Join(err, l.closeFiles()); err != nil {
		return fmt.Errorf("wal: close: %w", err)
	}
	return nil
}

func (l *Log) closeFiles() error {
	var errs []error
	segments := slices.Concat(l.mu.segments, l.left.orphans)
	if l.mu.next != nil {
		segments = append(segments, l.mu.next)
	}
	for _, seg := range segments {
		seg.pins.Lock()
		errs = append(errs, seg.file.Close())
		seg.pins.Unlock()
	}
	if l.space.dirFile != nil {
		errs = append(errs, l.space.dirFile.Close())
	}
	if l.lock != nil {
		errs = append(errs, l.lock.Close())
	}
	return errors.Join(errs...)
}
