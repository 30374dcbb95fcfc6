package kill

import (
	"context"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// firstRevision is where the watch starts: an empty store is at revision 1,
// which has no event.
const firstRevision = 1

// watcher is the one watch that lives through all rounds. The official client
// resumes it whenever its member goes away; it must never skip or repeat.
type watcher struct {
	started time.Time

	mu      sync.Mutex
	changed chan struct{}
	events  []event
	reopens int // times the watch ended for want of a leader
	err     error
}

func newWatcher(ctx context.Context, cli *clientv3.Client) *watcher {
	w := &watcher{started: time.Now(), changed: make(chan struct{})}
	responses := cli.Watch(clientv3.WithRequireLeader(ctx), "", clientv3.WithPrefix(), clientv3.WithRev(firstRevision))
	go func() {
		for {
			for r := range responses {
				w.take(r)
			}
			if ctx.Err() != nil {
				return
			}
			// A watch that requires a leader ends when there is none; the
			// next one starts where it stopped.
			responses = cli.Watch(clientv3.WithRequireLeader(ctx), "", clientv3.WithPrefix(), clientv3.WithRev(w.reopen()))
		}
	}()
	return w
}

func (w *watcher) take(r clientv3.WatchResponse) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.CompactRevision != 0 {
		w.err = fmt.Errorf("the watch was canceled by a compaction at %d that nobody asked for", r.CompactRevision)
	}
	seen := time.Since(w.started)
	for _, e := range r.Events {
		w.events = append(w.events, event{key: string(e.Kv.Key), value: string(e.Kv.Value), revision: e.Kv.ModRevision, seen: seen})
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

// reopen counts the end of a watch and returns where the next one starts.
func (w *watcher) reopen() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reopens++
	return w.next()
}

// next is the first revision not seen yet; the lock is held.
func (w *watcher) next() int64 {
	if n := len(w.events); n > 0 {
		return w.events[n-1].revision + 1
	}
	return firstRevision
}

// waitFor blocks until the watch has shown revision rev and returns all
// events so far.
func (w *watcher) waitFor(ctx context.Context, rev int64) ([]event, error) {
	for {
		w.mu.Lock()
		events, changed, err, next := w.events, w.changed, w.err, w.next()
		w.mu.Unlock()
		if err != nil {
			return nil, err
		}
		if n := len(events); rev <= firstRevision || n > 0 && events[n-1].revision >= rev {
			return events, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the watch is at revision %d, want %d: %w", next-1, rev, ctx.Err())
		case <-changed:
		}
	}
}
