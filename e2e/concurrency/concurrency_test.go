package concurrency

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/quorate/quorate/e2e/cluster"
)

const (
	faults        = 6                // kills of a member per test
	workers       = 5                // clients per test
	sessionTTL    = 60               // seconds; longer than a test, so that no session expires
	stepTimeout   = 20 * time.Second // one lock, campaign or transaction
	testTimeout   = 3 * time.Minute
	sharesPerStep = 30 // progress wanted between two faults
)

// Goal: at most one client holds a mutex, and what it writes under it is not
// lost. Method: a counter that is read and written in two steps under the
// lock, the write fenced by the lock's key, while members die.
func TestMutex(t *testing.T) {
	c, ctx := start(t)
	var holders, done atomic.Int64
	admin := cluster.Client(t, c.Endpoints()...)
	run(t, ctx, c, &done, func(ctx context.Context, id int, cli *clientv3.Client) error {
		session, err := concurrency.NewSession(cli, concurrency.WithTTL(sessionTTL))
		if err != nil {
			return err
		}
		defer session.Orphan()
		mu := concurrency.NewMutex(session, "mutex")
		for ctx.Err() == nil {
			step, cancel := context.WithTimeout(ctx, stepTimeout)
			if err := mu.Lock(step); err == nil {
				if n := holders.Add(1); n != 1 {
					t.Errorf("%d clients hold the mutex", n)
				}
				if increment(step, cli, mu) == nil {
					done.Add(1)
				}
				holders.Add(-1)
			}
			cancel()
			unlock(mu)
		}
		return nil
	})
	got, err := admin.Get(t.Context(), "counter")
	if err != nil {
		t.Fatal(err)
	}
	counter, _ := strconv.ParseInt(string(got.Kvs[0].Value), 10, 64)
	t.Logf("counter %d, acknowledged %d", counter, done.Load())
	if counter < done.Load() {
		t.Errorf("the counter is %d, %d increments were acknowledged", counter, done.Load())
	}
}

// increment reads the counter and writes it back, guarded by the lock.
func increment(ctx context.Context, cli *clientv3.Client, mu *concurrency.Mutex) error {
	got, err := cli.Get(ctx, "counter")
	if err != nil {
		return err
	}
	n := int64(0)
	if len(got.Kvs) > 0 {
		n, _ = strconv.ParseInt(string(got.Kvs[0].Value), 10, 64)
	}
	r, err := cli.Txn(ctx).If(mu.IsOwner()).Then(clientv3.OpPut("counter", strconv.FormatInt(n+1, 10))).Commit()
	if err == nil && !r.Succeeded {
		return errors.New("the lock is held but its key is gone")
	}
	return err
}

// unlock tries until the lock's key is deleted: a client that cannot release
// would stop all others until its session ends.
func unlock(mu *concurrency.Mutex) {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), stepTimeout)
		err := mu.Unlock(ctx)
		cancel()
		if err == nil || errors.Is(err, concurrency.ErrLockReleased) {
			return
		}
	}
}

// Goal: at most one candidate leads, leadership moves on, and observers see
// only values that were proclaimed. Method: candidates campaign, lead shortly
// and resign while members die.
func TestElection(t *testing.T) {
	c, ctx := start(t)
	var leaders, done atomic.Int64
	var proclaimed sync.Map
	observe(t, ctx, c, &proclaimed)
	run(t, ctx, c, &done, func(ctx context.Context, id int, cli *clientv3.Client) error {
		session, err := concurrency.NewSession(cli, concurrency.WithTTL(sessionTTL))
		if err != nil {
			return err
		}
		defer session.Orphan()
		for turn := 0; ctx.Err() == nil; turn++ {
			value := fmt.Sprintf("candidate %d turn %d", id, turn)
			proclaimed.Store(value, true)
			election := concurrency.NewElection(session, "election")
			step, cancel := context.WithTimeout(ctx, stepTimeout)
			if err := election.Campaign(step, value); err == nil {
				if n := leaders.Add(1); n != 1 {
					t.Errorf("%d leaders at a time", n)
				}
				leaders.Add(-1)
				done.Add(1)
			}
			cancel()
			resign(election)
		}
		return nil
	})
	t.Logf("%d terms led", done.Load())
}

func resign(e *concurrency.Election) {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), stepTimeout)
		err := e.Resign(ctx)
		cancel()
		if err == nil {
			return
		}
	}
}

// observe checks every value that an observer of the election sees.
func observe(t *testing.T, ctx context.Context, c *cluster.Cluster, proclaimed *sync.Map) {
	cli := cluster.Client(t, c.Endpoints()...)
	session, err := concurrency.NewSession(cli, concurrency.WithTTL(sessionTTL))
	if err != nil {
		t.Fatal(err)
	}
	seen := concurrency.NewElection(session, "election").Observe(ctx)
	go func() {
		last := int64(0)
		for r := range seen {
			for _, kv := range r.Kvs {
				if _, ok := proclaimed.Load(string(kv.Value)); !ok {
					t.Errorf("the observer sees %q, which nobody proclaimed", kv.Value)
				}
				if kv.CreateRevision < last {
					t.Errorf("the observer sees the leader of revision %d after that of %d", kv.CreateRevision, last)
				}
				last = kv.CreateRevision
			}
		}
	}()
}

// Goal: transactions of the STM recipe are serializable. Method: transfers
// between accounts; every snapshot of all accounts has the same sum, while
// members die.
func TestSTM(t *testing.T) {
	const accounts, balance = 6, 100
	c, ctx := start(t)
	admin := cluster.Client(t, c.Endpoints()...)
	name := func(i int) string { return fmt.Sprintf("account/%d", i) }
	for i := range accounts {
		if _, err := admin.Put(ctx, name(i), strconv.Itoa(balance)); err != nil {
			t.Fatal(err)
		}
	}
	sum := func(ctx context.Context) (total int, err error) {
		got, err := admin.Get(ctx, "account/", clientv3.WithPrefix())
		if err != nil {
			return 0, err
		}
		for _, kv := range got.Kvs {
			n, _ := strconv.Atoi(string(kv.Value))
			total += n
		}
		return total, nil
	}
	var done atomic.Int64
	run(t, ctx, c, &done, func(ctx context.Context, id int, cli *clientv3.Client) error {
		for ctx.Err() == nil {
			from, to, amount := name(rand.IntN(accounts)), name(rand.IntN(accounts)), rand.IntN(10)
			step, cancel := context.WithTimeout(ctx, stepTimeout)
			_, err := concurrency.NewSTM(cli, func(stm concurrency.STM) error {
				transfer(stm, from, to, amount)
				return nil
			}, concurrency.WithAbortContext(step))
			if err == nil {
				done.Add(1)
			}
			if total, err := sum(step); err == nil && total != accounts*balance {
				t.Errorf("the accounts hold %d, want %d", total, accounts*balance)
			}
			cancel()
		}
		return nil
	})
	total, err := sum(t.Context())
	t.Logf("%d transfers acknowledged, the accounts hold %d", done.Load(), total)
	if err != nil || total != accounts*balance {
		t.Errorf("the accounts hold %d, want %d (%v)", total, accounts*balance, err)
	}
}

func transfer(stm concurrency.STM, from, to string, amount int) {
	if from == to {
		return
	}
	a, _ := strconv.Atoi(stm.Get(from))
	b, _ := strconv.Atoi(stm.Get(to))
	stm.Put(from, strconv.Itoa(a-amount))
	stm.Put(to, strconv.Itoa(b+amount))
}

func start(t *testing.T) (*cluster.Cluster, context.Context) {
	t.Helper()
	c := cluster.Start(t, cluster.Options{Binary: cluster.ServerUnderTest(t), Members: 3})
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	return c, ctx
}

// run lets workers work while members are killed and restarted in turn. There
// must be progress between two faults. An error of a worker's set-up ends the
// test; errors of its steps are its own affair.
func run(t *testing.T, ctx context.Context, c *cluster.Cluster, done *atomic.Int64, work func(ctx context.Context, id int, cli *clientv3.Client) error) {
	t.Helper()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	for id := range workers {
		cli := cluster.Client(t, c.Endpoints()...)
		wg.Go(func() {
			if err := work(ctx, id, cli); err != nil && ctx.Err() == nil {
				t.Errorf("worker %d: %v", id, err)
			}
		})
	}
	for i := range faults {
		progress(t, ctx, done)
		m := c.Members[i%len(c.Members)]
		m.Kill()
		progress(t, ctx, done)
		if err := c.Start(ctx); err != nil {
			t.Error(err)
			break
		}
		t.Logf("%s killed and restarted, %d steps done", m.Name, done.Load())
	}
	progress(t, ctx, done)
	stop()
	wg.Wait()
}

// progress waits until some more steps have been done.
func progress(t *testing.T, ctx context.Context, done *atomic.Int64) {
	t.Helper()
	for from := done.Load(); done.Load() < from+sharesPerStep; {
		select {
		case <-ctx.Done():
			t.Errorf("no progress after %d steps: %v", done.Load(), ctx.Err())
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}
