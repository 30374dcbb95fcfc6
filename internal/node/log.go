package node

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/wal"
)

// logWriter is the node's shard.LogPort. Its goroutine is the log's only writer:
// whatever was handed in during one sync becomes the next one.
type logWriter struct {
	n     *Node
	log   *wal.Log
	reads chan *shard.LogRead
	// starved holds one token when the log wants a spare segment.
	starved chan struct{}

	mu struct {
		sync.Mutex
		more    sync.Cond
		pending []logAppend
		closed  bool
	}
	running atomic.Bool
	syncs   Latency // of every sync, for metrics

	unwatched int // bytes written since the disk was last watched; run's own
}

// watchDiskBytes is how much is written between looks at the free space.
const watchDiskBytes = 2 << 20

type logAppend struct {
	ticket shard.Ticket    // zero: nobody but done waits
	batch  *wal.Batch      // nil: only what came before it is waited for
	done   chan<- struct{} // nil: nobody
}

// logFullRetry is the pause between attempts to write to a full disk.
const logFullRetry = 200 * time.Millisecond

// logReaders bounds the read-backs that run at once.
const logReaders = 2

func newLogWriter(n *Node, log *wal.Log) *logWriter {
	// The host bounds the reads per replica; the channel holds them all.
	w := &logWriter{n: n, log: log, reads: make(chan *shard.LogRead, 1024), starved: make(chan struct{}, 1)}
	w.mu.more.L = &w.mu
	return w
}

// Append implements shard.LogPort.
func (w *logWriter) Append(t shard.Ticket, b *wal.Batch) {
	w.mu.Lock()
	w.mu.pending = append(w.mu.pending, logAppend{ticket: t, batch: b})
	w.mu.Unlock()
	w.mu.more.Signal()
}

// Read implements shard.LogPort.
func (w *logWriter) Read(job *shard.LogRead) { w.reads <- job }

// HighestOrig implements shard.LogPort.
func (w *logWriter) HighestOrig(g consensus.GroupID, s consensus.Span) (consensus.Epoch, bool) {
	return w.log.HighestOrig(g, s)
}

// Holds implements shard.LogPort.
func (w *logWriter) Holds(g consensus.GroupID, i consensus.Index, epoch consensus.Epoch) bool {
	return w.log.Holds(g, i, epoch)
}

// run writes until close.
func (w *logWriter) run() {
	w.running.Store(true)
	var taken []logAppend
	for {
		w.mu.Lock()
		for len(w.mu.pending) == 0 && !w.mu.closed {
			w.mu.more.Wait()
		}
		if w.mu.closed {
			w.mu.Unlock()
			return
		}
		taken, w.mu.pending = w.mu.pending, taken[:0]
		w.mu.Unlock()
		if err := w.write(taken); err != nil {
			if !errors.Is(err, errStopping) {
				w.n.fail(fmt.Errorf("write-ahead log: %w", err))
			}
			return
		}
		durable := shard.Ticket(0)
		for i := range taken {
			durable = max(durable, taken[i].ticket)
			if taken[i].done != nil {
				close(taken[i].done)
			}
		}
		w.n.mail.post(event{kind: eventDurable, ticket: durable})
	}
}

// mend writes what a replica's log must hold before the replica starts, and returns when
// that is durable. Any goroutine may call it.
func (w *logWriter) mend(b *wal.Batch) error {
	if !w.running.Load() {
		return errors.Join(w.log.Write(b), w.log.Sync())
	}
	return w.settled(b)
}

// settled returns when everything that was handed in before is durable, and b, if it is not nil.
func (w *logWriter) settled(b *wal.Batch) error {
	done := make(chan struct{})
	w.mu.Lock()
	w.mu.pending = append(w.mu.pending, logAppend{batch: b, done: done})
	w.mu.Unlock()
	w.mu.more.Signal()
	select {
	case <-done:
		return nil
	case <-w.n.stopLoop:
		return errStopping
	}
}

func (w *logWriter) write(taken []logAppend) error {
	for i := range taken {
		if taken[i].batch == nil {
			continue
		}
		if err := w.writeOne(taken[i:]); err != nil {
			return err
		}
	}
	if w.log.Starved() {
		select {
		case w.starved <- struct{}{}:
		default: // somebody is at it
		}
	}
	if w.unwatched >= watchDiskBytes {
		w.unwatched = 0
		w.n.watchDisk()
	}
	start := w.n.cfg.Clock.Monotonic()
	err := w.log.Sync()
	w.syncs.Observe(w.n.cfg.Clock.Monotonic() - start)
	return err
}

// errStopping ends a write that waits for space when the node stops: what was not
// written is not acknowledged.
var errStopping = errors.New("node is stopping")

// writeOne writes the first of what waits. It waits itself while the disk is full:
// nothing is torn, nothing acknowledged, and the node's peers go on without it.
// What a batch behind the first one releases is released at once then.
func (w *logWriter) writeOne(waiting []logAppend) error {
	b := waiting[0].batch
	for {
		w.unwatched += b.Size()
		err := w.log.Write(b)
		if !errors.Is(err, wal.ErrFull) {
			return err
		}
		w.n.setDiskFull(err)
		if err := w.log.Relieve(w.allWaiting(waiting)...); err != nil && !errors.Is(err, wal.ErrFull) {
			return err
		}
		select {
		case <-w.n.stopLoop:
			return errStopping
		case <-time.After(logFullRetry):
		}
	}
}

// allWaiting is every batch that is not written yet.
func (w *logWriter) allWaiting(taken []logAppend) []*wal.Batch {
	var batches []*wal.Batch
	for i := range taken {
		batches = append(batches, taken[i].batch)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.mu.pending {
		batches = append(batches, w.mu.pending[i].batch)
	}
	return slices.DeleteFunc(batches, func(b *wal.Batch) bool { return b == nil })
}

// maintain keeps a spare segment ready, so that the writer need not make one.
func (w *logWriter) maintain() {
	for {
		select {
		case <-w.n.ctx.Done():
			return
		case <-w.starved:
		}
		if err := w.log.Maintain(); err != nil && !errors.Is(err, wal.ErrFull) && !errors.Is(err, wal.ErrClosed) {
			w.n.fail(fmt.Errorf("write-ahead log: %w", err))
			return
		}
	}
}

func (w *logWriter) runReader() {
	for job := range w.reads {
		job.Run(w.log)
		w.n.mail.post(event{kind: eventLogRead, read: job})
	}
}

func (w *logWriter) close() {
	w.mu.Lock()
	w.mu.closed = true
	w.mu.Unlock()
	w.mu.more.Broadcast()
	close(w.reads)
}

// appliers is the node's shard.ApplyPort: a shard's jobs always go to the same
// goroutine, so they stay in order.
type appliers struct {
	n      *Node
	queues []chan *shard.ApplyJob
}

// applyQueue holds the jobs of one worker. A replica has one job under way, so
// the queue is never longer than the shards it serves (plus an install each).
const applyQueue = 4096

func newAppliers(n *Node, workers int) *appliers {
	a := &appliers{n: n}
	for range workers {
		a.queues = append(a.queues, make(chan *shard.ApplyJob, applyQueue))
	}
	return a
}

// Submit implements shard.ApplyPort.
func (a *appliers) Submit(job *shard.ApplyJob) {
	a.queues[uint64(job.Shard())%uint64(len(a.queues))] <- job
}

func (a *appliers) run(queue chan *shard.ApplyJob) {
	for job := range queue {
		job.Run(a.n.log.log)
		a.n.mail.post(event{kind: eventApplied, applied: job})
	}
}

func (a *appliers) close() {
	for _, q := range a.queues {
		close(q)
	}
}
