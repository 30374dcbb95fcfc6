package server

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"github.com/quorate/quorate/internal/mvcc"
)

// watchStream is one client's stream of watchers.
//
// Its watchers are woken by the store's goroutine, which must never wait for a client.
// Waking a watcher therefore only puts it into ready and leaves one token in woken;
// any number of wakings before the stream gets to it are one. What waits for a slow
// client waits in the store, which keeps a bounded number of events and otherwise the
// watcher's position alone.
type watchStream struct {
	server   *watchServer
	stream   grpc.ServerStream
	keyspace Keyspace
	db       *mvcc.DB
	received chan received
	woken    chan struct{} // one token: look at ready, tick and the context
	tick     atomic.Bool   // it is time for progress notifications

	// Owned by the goroutine that runs the stream.
	watchers       map[int64]*watcher
	nextID         int64
	progressWanted bool // a progress request waits for the watchers to catch up
	progressList   []*mvcc.Watcher
	events         watchReply // the message under construction

	mu struct {
		sync.Mutex
		ready []*watcher // woken, each once
	}
	spare []*watcher // the other half of ready's double buffer
}

// watcher is one watcher of a stream.
type watcher struct {
	*mvcc.Watcher
	id       int64
	start    int64
	prevKV   bool
	fragment bool
	// progress: notify when quiet. quiet: nothing was sent since the last notification.
	progress, quiet bool
	// dead: its history was compacted away. It keeps its id until the client cancels it.
	dead bool
	// held are events of a revision whose rest is still to come, for a client that cannot
	// take parts of a revision.
	held []*mvcc.Event

	queued bool // in ready; guarded by watchStream.mu
}

// invalidWatchID is etcd's id for messages that belong to no watcher.
const invalidWatchID = -1

var (
	errDuplicateWatchID = errors.New("mvcc: duplicate watch ID provided on the WatchStream")
	errTooManyWatchers  = errors.New("etcdserver: the keyspace has as many watchers on this node as it may have: close some, or raise its limit")
)

func newWatchStream(s *watchServer, stream grpc.ServerStream, k Keyspace) *watchStream {
	return &watchStream{
		server: s, stream: stream, keyspace: k, db: k.DB(),
		received: make(chan received, watchRequestsMax),
		woken:    make(chan struct{}, 1),
		watchers: make(map[int64]*watcher),
	}
}

func (w *watchStream) close() {
	for _, each := range w.watchers {
		each.Close()
	}
	w.forget(len(w.watchers))
}

// forget takes watchers out of the counts.
func (w *watchStream) forget(n int) {
	w.server.metrics.watchers.Add(-int64(n))
	w.keyspace.Limiter().Unwatch(n)
}

// wake puts a watcher among those to look at. Any goroutine may call it.
func (w *watchStream) wake(each *watcher) {
	w.mu.Lock()
	if !each.queued {
		each.queued = true
		w.mu.ready = append(w.mu.ready, each)
	}
	w.mu.Unlock()
	w.signal()
}

// signal leaves a token, unless there is one.
func (w *watchStream) signal() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

// takeReady returns the woken watchers. The result is valid until the next call.
func (w *watchStream) takeReady() []*watcher {
	w.mu.Lock()
	defer w.mu.Unlock()
	ready := w.mu.ready
	w.mu.ready, w.spare = w.spare[:0], ready
	for _, each := range ready {
		each.queued = false
	}
	return ready
}

// create answers a create request: with a new watcher, or with a message that says
// both created and canceled. It never ends the stream.
func (w *watchStream) create(r *pb.WatchCreateRequest) error {
	each := &watcher{
		id: r.WatchId, start: r.StartRevision, prevKV: r.PrevKv, fragment: r.Fragment,
		progress: r.ProgressNotify, quiet: true,
	}
	revision, err := w.register(each, r)
	if err != nil {
		return w.send(&watchReply{
			header: w.header(revisionOf(w.keyspace)), id: invalidWatchID,
			created: true, canceled: true, reason: err.Error(),
		})
	}
	if err := w.send(&watchReply{header: w.header(revision), id: each.id, created: true}); err != nil {
		return err
	}
	w.wake(each) // it may begin in the past
	return nil
}

// register checks a create request in etcd's order and registers the watcher. It
// returns the revision after which the watcher begins, if it begins now.
func (w *watchStream) register(each *watcher, r *pb.WatchCreateRequest) (int64, error) {
	key := r.Key
	if len(key) == 0 {
		key = []byte{0} // the smallest key
	}
	if r.StartRevision < 0 {
		return 0, rpctypes.ErrCompacted
	}
	if mvcc.NewRange(key, r.RangeEnd).Empty() {
		return 0, mvcc.ErrEmptyWatchRange
	}
	if each.id == 0 {
		for w.watchers[w.nextID] != nil {
			w.nextID++
		}
		each.id = w.nextID
		w.nextID++
	} else if w.watchers[each.id] != nil {
		return 0, errDuplicateWatchID
	}
	if len(w.watchers) >= w.server.limits.WatchersMax {
		return 0, rpctypes.ErrTooManyRequests
	}
	req := mvcc.WatchRequest{Key: key, End: r.RangeEnd, Start: r.StartRevision, PrevKV: r.PrevKv}
	for _, f := range r.Filters {
		req.NoPut = req.NoPut || f == pb.WatchCreateRequest_NOPUT
		req.NoDelete = req.NoDelete || f == pb.WatchCreateRequest_NODELETE
	}
	if !w.keyspace.Limiter().Watch() {
		return 0, errTooManyWatchers
	}
	revision, err := w.watchAt(each, req)
	if err != nil {
		w.keyspace.Limiter().Unwatch(1)
		return 0, err
	}
	w.watchers[each.id] = each
	w.server.metrics.watchers.Add(1)
	return revision, nil
}

// registerTries bounds the search for a moment at which no write is published.
const registerTries = 4

// watchAt registers the watcher and returns the revision after which it begins.
//
// A client that loses its stream before the first event resumes from the revision that
// the created message named, so it should be exactly the one at which the watcher was
// registered. Both are known to be the same when the head did not move meanwhile; on
// the busiest store it may, and then the message names a slightly later one, as etcd's.
func (w *watchStream) watchAt(each *watcher, req mvcc.WatchRequest) (int64, error) {
	wake := func() { w.wake(each) }
	for try := 1; ; try++ {
		before := w.db.Head().Revision
		registered, err := w.db.Watch(req, wake)
		if err != nil {
			return 0, err
		}
		after := w.db.Head().Revision
		if before == after || req.Start > 0 || try == registerTries {
			each.Watcher = registered
			return after, nil
		}
		registered.Close()
	}
}

// cancel ends a watcher. One that is unknown is not worth an answer to etcd.
func (w *watchStream) cancel(id int64) error {
	each := w.watchers[id]
	if each == nil {
		return nil
	}
	each.Close()
	delete(w.watchers, id)
	w.forget(1)
	return w.send(&watchReply{header: w.header(revisionOf(w.keyspace)), id: id, canceled: true})
}

// deliver sends what the woken watchers have. A watcher with more goes to the end of
// the queue, so that one which catches up does not hold up the others.
func (w *watchStream) deliver(ctx context.Context) error {
	if ctx.Err() != nil {
		return endOf(ctx, ctx.Err())
	}
	for _, each := range w.takeReady() {
		if w.watchers[each.id] != each || each.dead {
			continue // canceled meanwhile
		}
		if err := w.deliverOne(each); err != nil {
			return err
		}
	}
	if w.progressWanted {
		return w.answerProgress()
	}
	return nil
}

// eventsPerTurn bounds what one watcher may send before the next has its turn.
const eventsPerTurn = 1000

func (w *watchStream) deliverOne(each *watcher) error {
	batch, err := each.Next(eventsPerTurn)
	switch {
	case errors.Is(err, mvcc.ErrCompacted):
		each.dead = true
		return w.send(&watchReply{header: w.header(0), id: each.id, canceled: true, compacted: batch.CompactRevision})
	case errors.Is(err, mvcc.ErrReplaced):
		w.wake(each) // a snapshot came in between; the watcher is where it was
		return nil
	case err != nil:
		return toStatus(err)
	}
	if err := w.sendBatch(each, &batch); err != nil {
		return err
	}
	if batch.More {
		w.wake(each)
	}
	return nil
}

// answerProgress answers a progress request once all watchers of the stream have been
// sent everything up to the current revision. As in etcd there is no answer when they
// cannot get there: without watchers, or with one that is dead or begins later.
func (w *watchStream) answerProgress() error {
	w.progressList = w.progressList[:0]
	head := w.db.Head().Revision
	for _, each := range w.watchers {
		if each.dead || each.start > head {
			w.progressWanted = false
			return nil
		}
		w.progressList = append(w.progressList, each.Watcher)
	}
	if len(w.progressList) == 0 {
		w.progressWanted = false
		return nil
	}
	revision, ok := w.db.Progress(w.progressList...)
	if !ok {
		return nil // asked again after the next delivery
	}
	w.progressWanted = false
	return w.send(&watchReply{header: w.header(revision), id: invalidWatchID})
}

// notifyProgress tells the watchers that asked for it, and heard nothing since the last
// time, how far they are.
func (w *watchStream) notifyProgress() error {
	for _, each := range w.watchers {
		if !each.progress || each.dead {
			continue
		}
		quiet := each.quiet
		each.quiet = true
		if !quiet {
			continue
		}
		if revision, ok := w.db.Progress(each.Watcher); ok {
			if err := w.send(&watchReply{header: w.header(revision), id: each.id}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *watchStream) header(revision int64) header { return w.server.headers.at(w.keyspace, revision) }

func (w *watchStream) send(m *watchReply) error {
	err := w.stream.SendMsg(m)
	if err != nil {
		w.server.metrics.streamFailed(w.stream.Context(), err, "send", "watch")
	}
	return err
}
