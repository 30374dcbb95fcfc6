package kill

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/quorate/quorate/e2e/cluster"
)

var failoversFlag = cluster.IntFlag("failovers", "E2E_FAILOVERS", 5, "failovers measured per kind; 50 is the full run")

// Promises of the failover test, from the signal to the first write that a
// survivor acknowledges, with default timeouts.
const (
	killedLimit  = 1500 * time.Millisecond // the connection resets at once
	stoppedLimit = 3500 * time.Millisecond // nothing arrives any more
	attemptEvery = 10 * time.Millisecond   // a new put at each survivor
	giveUp       = 30 * time.Second
)

// Goal: writes resume in time after the leader is gone. Method: signal the
// leader, keep sending puts to the survivors, take the time of the first
// answer; report all and judge the slowest.
func TestFailoverKilled(t *testing.T) { failovers(t, false, killedLimit) }

// Goal and method as above, with a leader that is stopped and sends no reset.
func TestFailoverStopped(t *testing.T) { failovers(t, true, stoppedLimit) }

func failovers(t *testing.T, pause bool, limit time.Duration) {
	c := cluster.Start(t, cluster.Options{Binary: cluster.ServerUnderTest(t), Members: 3})
	var times []time.Duration
	for i := range *failoversFlag {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		took, err := failover(ctx, c, pause)
		cancel()
		if err != nil {
			t.Fatalf("failover %d: %v", i+1, err)
		}
		t.Logf("failover %d of %d: %v", i+1, *failoversFlag, took.Round(time.Millisecond))
		times = append(times, took)
	}
	slices.Sort(times)
	slowest := times[len(times)-1]
	t.Logf("median %v, slowest %v of %d, limit %v", times[len(times)/2].Round(time.Millisecond), slowest.Round(time.Millisecond), len(times), limit)
	if slowest > limit && cluster.UnderTest() == "quorate" {
		t.Errorf("slowest failover %v, want %v or less", slowest, limit)
	}
}

// failover takes the leader away, measures, and brings it back.
func failover(ctx context.Context, c *cluster.Cluster, pause bool) (time.Duration, error) {
	leader, err := allReady(ctx, c)
	if err != nil {
		return 0, err
	}
	var survivors []*client
	for i, m := range c.Members {
		if m == leader {
			continue
		}
		cl, err := newClient(i, m, 0)
		if err != nil {
			return 0, err
		}
		defer cl.conn.Close()
		if _, err := cl.kv.Put(ctx, &pb.PutRequest{Key: []byte("before")}); err != nil {
			return 0, fmt.Errorf("put at %s before the fault: %w", m.Name, err)
		}
		survivors = append(survivors, cl)
	}
	signal := time.Now()
	if pause {
		leader.Pause()
	} else {
		leader.Kill()
	}
	took, err := firstPut(ctx, survivors, signal)
	if pause {
		leader.Resume()
	} else if serr := leader.Start(); serr != nil && err == nil {
		err = serr
	}
	return took, err
}

// allReady waits until every member is ready and a leader is known, and
// returns it.
func allReady(ctx context.Context, c *cluster.Cluster) (*cluster.Member, error) {
	if err := c.WaitReady(ctx); err != nil {
		return nil, err
	}
	return c.WaitLeader(ctx)
}

// firstPut starts a put at every survivor every few milliseconds, each with a
// long deadline, so that neither a server that queues nor one that refuses is
// at an advantage.
func firstPut(ctx context.Context, survivors []*client, signal time.Time) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, giveUp)
	defer cancel()
	done := make(chan time.Duration, 1)
	try := func(c *client) {
		if _, err := c.kv.Put(ctx, &pb.PutRequest{Key: []byte("after")}); err == nil {
			select {
			case done <- time.Since(signal):
			default:
			}
		}
	}
	ticker := time.NewTicker(attemptEvery)
	defer ticker.Stop()
	for {
		for _, c := range survivors {
			go try(c)
		}
		select {
		case took := <-done:
			return took, nil
		case <-ctx.Done():
			return 0, fmt.Errorf("no survivor acknowledged a put: %w", ctx.Err())
		case <-ticker.C:
		}
	}
}
