package kill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorate/quorate/e2e/cluster"
)

// Shape of a round.
const (
	clientsPerMember = 5
	loadBefore       = 300 * time.Millisecond  // load before the fault
	faultMin         = 50 * time.Millisecond   // shortest fault
	faultMax         = 2500 * time.Millisecond // longest fault, beyond two election timeouts
	healTimeout      = 30 * time.Second        // from the end of the fault until every client is answered
	settleTimeout    = 60 * time.Second        // for watch and members to catch up
)

// fault is what a round does to some members.
type fault struct {
	members []int
	pause   bool // SIGSTOP and SIGCONT instead of SIGKILL and a restart
	hold    time.Duration
}

func (f fault) String() string {
	how := "kill"
	if f.pause {
		how = "stop"
	}
	return fmt.Sprintf("%s %v for %v", how, f.members, f.hold.Round(time.Millisecond))
}

// chooseFault picks one, two or all members; every fourth fault is a pause.
func chooseFault(rng *rand.Rand, members int) fault {
	n := 1 + rng.IntN(members)
	f := fault{members: rng.Perm(members)[:n], pause: rng.IntN(4) == 0}
	f.hold = faultMin + time.Duration(rng.Int64N(int64(faultMax-faultMin)))
	return f
}

// world is everything that lives through all rounds.
type world struct {
	cluster *cluster.Cluster
	clients []*client
	admin   *clientv3.Client
	watch   *watcher
	last    int64 // revision up to which everything has been checked
	checked int   // events checked so far

	// open are writes of earlier rounds that had no answer and had not
	// happened when their round ended. One that happens later is legal.
	open []*operation
}

func newWorld(t testing.TB, c *cluster.Cluster, seed uint64) *world {
	t.Helper()
	w := &world{cluster: c, admin: cluster.Client(t, c.Endpoints()...), last: firstRevision}
	for i := range clientsPerMember * len(c.Members) {
		cl, err := newClient(i, c.Members[i%len(c.Members)], seed)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cl.conn.Close() })
		w.clients = append(w.clients, cl)
	}
	w.watch = newWatcher(t.Context(), w.admin)
	return w
}

// round puts the cluster under load, applies the fault, heals it, waits until
// every client is answered again, and checks everything.
func (w *world) round(ctx context.Context, n int, f fault) (*history, error) {
	h := &history{start: w.watch.started}
	load, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	for _, c := range w.clients {
		wg.Go(func() { c.work(load, n, h) })
	}
	err := w.strike(ctx, f, h)
	stop()
	wg.Wait()
	if err != nil {
		return h, err
	}
	return h, w.check(ctx, h)
}

// strike applies the fault under load and waits for the cluster to heal.
func (w *world) strike(ctx context.Context, f fault, h *history) error {
	if err := sleep(ctx, loadBefore); err != nil {
		return err
	}
	for _, i := range f.members {
		if f.pause {
			w.cluster.Members[i].Pause()
		} else {
			w.cluster.Members[i].Kill()
		}
	}
	err := sleep(ctx, f.hold)
	for _, i := range f.members {
		if f.pause {
			w.cluster.Members[i].Resume()
		} else {
			err = errors.Join(err, w.cluster.Members[i].Start())
		}
	}
	if err == nil {
		err = w.cluster.WaitReady(ctx)
	}
	if err != nil {
		return err
	}
	return w.healed(ctx, h)
}

// healed waits until every client got an answer to something it asked after
// the fault was over.
func (w *world) healed(ctx context.Context, h *history) error {
	over := h.now()
	for {
		waiting := 0
		last := h.lastAnswered()
		for _, c := range w.clients {
			if last[c.id] <= over {
				waiting++
			}
		}
		if waiting == 0 {
			return nil
		}
		if h.now()-over > healTimeout {
			return fmt.Errorf("%d of %d clients have no answer %v after the fault was over", waiting, len(w.clients), healTimeout)
		}
		if err := sleep(ctx, errorPause); err != nil {
			return err
		}
	}
}

// check waits until the watch and all members have caught up and applies all
// rules to the round that has ended.
func (w *world) check(ctx context.Context, h *history) error {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	now, err := w.settled(ctx)
	if err != nil {
		return err
	}
	all, err := w.watch.waitFor(ctx, now)
	if err != nil {
		return err
	}
	events, ops := all[w.checked:], append(w.open, h.ops...)
	errs := errors.Join(
		checkContiguous(events, w.last+1, now),
		resolve(ops, events),
		checkRealTime(ops),
		checkLinearizable(ops, false),
		checkLinearizable(ops, true),
		w.checkMembers(ctx, all, now),
	)
	w.last, w.checked = now, len(all)
	w.open = slices.DeleteFunc(ops, func(o *operation) bool { return o.err == nil || o.kind == get })
	return errs
}

// settled returns the revision of the store once no write is under way any
// more. All clients have stopped, but a request whose client gave up may
// still be in a queue; a barrier write behind it, on every member, makes sure
// that it is through or never will be. The barrier is a compare that fails.
func (w *world) settled(ctx context.Context) (int64, error) {
	rev := int64(0)
	for _, c := range w.clients[:len(w.cluster.Members)] {
		for {
			r, err := barrier(ctx, c)
			if err == nil {
				rev = max(rev, r)
				break
			}
			if ctx.Err() != nil {
				return 0, fmt.Errorf("barrier: %w", err)
			}
		}
	}
	return rev, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
