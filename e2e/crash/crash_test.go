package crash

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/quorate/quorate/e2e/cluster"
)

var (
	pointsFlag = cluster.StringFlag("points", "E2E_POINTS", pointsDefault,
		"operations to kill at: a number, all, or K/N for a part of all")
	pointFlag = flag.Int("point", 0, "kill at this operation only")
)

// Bounds of one point: everything that waits has its own limit, too.
const (
	pointTimeout = 3 * time.Minute
	failureLimit = 3  // a test ends after so many points failed
	triesLimit   = 20 // points more for a class of operations that is lacking
)

// fast makes one point take about a second. A member alone has nobody to lose an
// election to; keeping one entry for slow members lets the log give up its segments.
var fast = []string{"--heartbeat-interval=20", "--election-timeout=200", "--snapshot-count=1"}

// Goal: whatever operation a member is killed before, it starts again and has what it
// acknowledged (I1 to I4). Method: one member alone, one script, killed at chosen
// operations; at some of them killed again while it recovers.
func TestCrashSingle(t *testing.T) {
	cluster.NeedsQuorate(t)
	p := newPlan(t)
	p.run(p.single)
}

// scenario is what a test does at one point: a traced run that is killed at an operation,
// or not at all if that is 0, and what must be true afterwards. It returns the tracer of
// that run if it began.
type scenario func(t *testing.T, killAt int, y *tally) (*Tracer, error)

// plan is one test: what it decides by, where it has its data, how it goes.
type plan struct {
	t        *testing.T
	seed     uint64
	disk     string
	began    time.Time
	failures int
}

func newPlan(t *testing.T) *plan {
	t.Helper()
	return &plan{t: t, seed: cluster.Seed(t), disk: disk(t), began: time.Now()}
}

// run runs one scenario at every point.
func (p *plan) run(point scenario) {
	p.t.Helper()
	if *pointFlag != 0 {
		p.runAt([]int{*pointFlag}, newTally(), point)
		return
	}
	wanted, err := parseSize(*pointsFlag)
	if err != nil {
		p.t.Fatal(err)
	}
	ops := p.learn(point)
	points, y := wanted.choose(ops, p.seed), newTally()
	p.t.Logf("%d operations, %d points", len(ops), len(points))
	p.runAt(points, y, point)
	tries := 0
	for _, n := range reserve(ops, points, p.seed) {
		if y.lacks(ops[n-1].Class()) && tries < triesLimit {
			tries++
			p.runAt([]int{n}, y, point)
		}
	}
	p.t.Logf("in %v: %v", time.Since(p.began).Round(time.Second), y)
	if err := y.judge(); err != nil {
		p.t.Error(err)
	}
}

// learn runs the scenario without a kill and returns its operations.
func (p *plan) learn(point scenario) (ops []Operation) {
	p.t.Helper()
	ok := p.t.Run("whole", func(t *testing.T) {
		tracer, err := point(t, 0, newTally())
		if err != nil {
			t.Fatal(err)
		}
		ops = tracer.Operations()
	})
	if !ok {
		p.t.FailNow()
	}
	return ops
}

// runAt runs the scenario at some points, or until too many have failed.
func (p *plan) runAt(points []int, y *tally, point scenario) {
	p.t.Helper()
	for _, killAt := range points {
		if !p.t.Run(fmt.Sprint(killAt), func(t *testing.T) { p.point(t, killAt, y, point) }) {
			p.failures++
		}
		if p.failures == failureLimit {
			p.t.Fatalf("%d points failed, the rest is left out", p.failures)
		}
	}
}

// point runs the scenario at one point.
func (p *plan) point(t *testing.T, killAt int, y *tally, point scenario) {
	tracer, err := point(t, killAt, y)
	before := "the end"
	if tracer != nil {
		err = errors.Join(err, y.add(tracer, killAt))
		if op, killed := tracer.Killed(); killed {
			before = op.String()
		}
	}
	if err != nil {
		t.Fatalf("killed before operation %d, %s: %v\nagain: go test ./crash -count=1 -v -run %s -seed %d -point %d",
			killAt, before, err, p.t.Name(), p.seed, killAt)
	}
}

// members lays out a cluster with its data on the plan's disk.
func (p *plan) members(t *testing.T, count int, args ...string) *cluster.Cluster {
	t.Helper()
	c := cluster.New(t, cluster.Options{Binary: cluster.Quorate(t), Members: count})
	dir, err := os.MkdirTemp(p.disk, "point")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Kill(); _ = os.RemoveAll(dir) })
	for _, m := range c.Members {
		m.DataDir = filepath.Join(dir, m.Name)
		m.Args = slices.Concat(m.Flags(c.InitialCluster()), args)
	}
	return c
}

// chance is what a point decides by: the same whenever it is run again.
func (p *plan) chance(killAt int) *rand.Rand { return rand.New(rand.NewPCG(p.seed, uint64(killAt))) }

// single is one point of TestCrashSingle.
func (p *plan) single(t *testing.T, killAt int, y *tally) (*Tracer, error) {
	m := p.members(t, 1, fast...).Members[0]
	ctx, cancel := context.WithTimeout(t.Context(), pointTimeout)
	defer cancel()
	l, err := begin(m, killAt)
	if err != nil {
		return nil, err
	}
	h := newHistory()
	if err := l.end(ctx, l.work(ctx, h)); err != nil {
		return l.tracer, err
	}
	if rng := p.chance(killAt); rng.IntN(recoveryOneIn) == 0 {
		if err := recoverAndKill(ctx, m, 1+rng.IntN(recoveryOperations), y); err != nil {
			return l.tracer, err
		}
	}
	return l.tracer, verify(ctx, m, h)
}

// How many points are killed again, and within how many operations of the second
// start. An ordinary start has about so many until it is ready.
const (
	recoveryOneIn      = 3
	recoveryOperations = 40
)

// recoverAndKill starts a member again and kills it at an operation, or when it is
// ready if it comes so far.
func recoverAndKill(ctx context.Context, m *cluster.Member, killAt int, y *tally) error {
	l, err := begin(m, killAt)
	if err != nil {
		return err
	}
	if err := l.m.WaitReady(ctx); err != nil {
		if err := l.end(ctx, err); err != nil {
			return fmt.Errorf("killed again at operation %d of the second start: %w", killAt, err)
		}
	}
	m.Kill()
	return y.addRecovery(l.tracer)
}
