package differential

import (
	"context"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
)

// Limits of waiting for a watch.
const (
	controlTimeout  = 10 * time.Second      // for a created or canceled message
	drainTimeout    = 20 * time.Second      // for all watches of a stream to catch up
	progressTimeout = 30 * time.Millisecond // before a progress request is repeated
)

// watchStream is one watch stream on one server. A goroutine sorts what
// arrives into control messages, events per watch and progress.
type watchStream struct {
	stream pb.Watch_WatchClient
	cancel context.CancelFunc

	mu        sync.Mutex
	changed   chan struct{} // closed and replaced whenever something arrives
	control   []*pb.WatchResponse
	taken     int // control messages already handed out
	events    map[int64][]*mvccpb.Event
	progress  int64 // highest revision of an answer to a progress request
	notified  int   // progress notifications for single watches
	fragments int   // messages marked as a fragment
	err       error // why the stream ended, or a broken rule
}

func (s *side) openWatch(ctx context.Context, n int) (*watchStream, error) {
	if w := s.watches[n]; w != nil {
		return w, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	stream, err := pb.NewWatchClient(s.conn).Watch(ctx, grpc.WaitForReady(true))
	if err != nil {
		cancel()
		return nil, fmt.Errorf("open watch stream on %s: %w", s.name, err)
	}
	w := &watchStream{stream: stream, cancel: cancel, changed: make(chan struct{}), events: make(map[int64][]*mvccpb.Event)}
	s.watches[n] = w
	go w.receive(s)
	return w, nil
}

func (s *side) closeWatch(n int) {
	if w := s.watches[n]; w != nil {
		w.cancel()
		delete(s.watches, n)
	}
}

func (w *watchStream) receive(s *side) {
	for {
		resp, err := w.stream.Recv()
		if err == nil && s.mutate != nil {
			s.mutate("Watch", resp)
		}
		w.mu.Lock()
		if err != nil {
			w.fail(err)
		} else {
			w.sort(resp)
		}
		close(w.changed)
		w.changed = make(chan struct{})
		w.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// sort files one message. Every message must keep the rules that hold
// whatever the message boundaries are.
func (w *watchStream) sort(resp *pb.WatchResponse) {
	if resp.Created || resp.Canceled {
		w.control = append(w.control, resp)
		return
	}
	seen := w.events[resp.WatchId]
	last := int64(0)
	if len(seen) > 0 {
		last = seen[len(seen)-1].Kv.ModRevision
	}
	rev := resp.GetHeader().GetRevision()
	if len(resp.Events) == 0 {
		if rev < last {
			w.fail(fmt.Errorf("progress %d of watch %d after an event at %d", rev, resp.WatchId, last))
		}
		if resp.WatchId == -1 {
			w.progress = max(w.progress, rev)
		} else {
			w.notified++
		}
		return
	}
	if resp.Fragment {
		w.fragments++
	}
	for _, e := range resp.Events {
		if at := e.GetKv().GetModRevision(); at < last || at > rev {
			w.fail(fmt.Errorf("watch %d: event at %d after %d in a message of revision %d", resp.WatchId, at, last, rev))
		}
		last = e.GetKv().GetModRevision()
	}
	w.events[resp.WatchId] = append(seen, resp.Events...)
}

func (w *watchStream) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// waitFor blocks until done, called under the lock, says so.
func (w *watchStream) waitFor(timeout time.Duration, done func() bool) error {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	for {
		w.mu.Lock()
		ok, err, changed := done(), w.err, w.changed
		w.mu.Unlock()
		if ok {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-changed:
		case <-deadline.C:
			return errNothingArrived
		}
	}
}

var errNothingArrived = fmt.Errorf("nothing arrived in time")

// nextControl waits for the next created or canceled message.
func (w *watchStream) nextControl() (*pb.WatchResponse, error) {
	var resp *pb.WatchResponse
	err := w.waitFor(controlTimeout, func() bool {
		if w.taken == len(w.control) {
			return false
		}
		resp = w.control[w.taken]
		w.taken++
		return true
	})
	return resp, err
}

// drain waits until every watch of the stream has seen revision rev. An
// answer to a progress request says so; without one the request is repeated,
// because a server may stay silent while a watch is behind.
func (w *watchStream) drain(rev int64) error {
	for deadline := time.Now().Add(drainTimeout); ; {
		req := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}
		if err := w.stream.Send(req); err != nil {
			return err
		}
		err := w.waitFor(progressTimeout, func() bool { return w.progress >= rev })
		if err == nil {
			return nil
		}
		if err != errNothingArrived {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no progress answer at revision %d within %v (last %d)", rev, drainTimeout, w.progress)
		}
	}
}

// takeEvents returns the events per watch since the last call.
func (w *watchStream) takeEvents() map[int64][]*mvccpb.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	events := w.events
	w.events = make(map[int64][]*mvccpb.Event)
	return events
}
