package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/quorate/quorate/e2e/cluster"
)

// quick are timeouts that let a cluster form fast, but not so short that a busy machine
// elects without end.
var quick = []string{"--heartbeat-interval=50", "--election-timeout=500"}

// How many points let the two others serve first: before the third one starts at all, or
// before it starts again. Rarely, because they wait three seconds for the third one.
const (
	lateOneIn        = 6
	othersFirstOneIn = 6
)

// Goal: a member that is killed while the cluster is being founded starts again and
// joins it (I5). Method: three new members, in an order that differs from point to point;
// one is killed at an operation of its first start, and started again.
func TestCrashBootstrapOfThree(t *testing.T) {
	cluster.NeedsQuorate(t)
	p := newPlan(t)
	p.run(p.bootstrap)
}

// bootstrap is one point of TestCrashBootstrapOfThree.
func (p *plan) bootstrap(t *testing.T, killAt int, _ *tally) (*Tracer, error) {
	ctx, cancel := context.WithTimeout(t.Context(), pointTimeout)
	defer cancel()
	c := p.members(t, 3, quick...)
	rng := p.chance(killAt)
	victim := c.Members[rng.IntN(len(c.Members))]
	others := slices.DeleteFunc(slices.Clone(c.Members), func(m *cluster.Member) bool { return m == victim })
	l, err := found(ctx, rng, victim, others, killAt)
	if err != nil {
		return nil, err
	}
	var acknowledged []string
	if err := l.end(ctx, l.firstWrite(ctx, &acknowledged)); err != nil {
		return l.tracer, err
	}
	return l.tracer, join(ctx, rng, victim, others, acknowledged)
}

// firstWrite is what the traced member does if it lives.
func (l *life) firstWrite(ctx context.Context, acknowledged *[]string) error {
	if err := l.m.WaitReady(ctx); err != nil {
		return err
	}
	if err := putAt(ctx, l.m, "first"); err != nil {
		return err
	}
	*acknowledged = append(*acknowledged, "first")
	return l.m.Stop()
}

// found starts all three members, the traced one first, between the others, last, or
// when the others are a cluster already.
func found(ctx context.Context, rng *rand.Rand, victim *cluster.Member, others []*cluster.Member, killAt int) (l *life, err error) {
	if rng.IntN(lateOneIn) == 0 {
		if err := serveFirst(ctx, others); err != nil {
			return nil, err
		}
		return begin(victim, killAt)
	}
	order := slices.Insert(slices.Clone(others), rng.IntN(len(others)+1), victim)
	for _, m := range order {
		if m == victim {
			l, err = begin(m, killAt)
		} else {
			err = m.Start()
		}
		if err != nil {
			return nil, err
		}
	}
	return l, nil
}

// join starts the killed member again and wants a whole cluster, with every key that
// was acknowledged.
func join(ctx context.Context, rng *rand.Rand, victim *cluster.Member, others []*cluster.Member, want []string) error {
	if rng.IntN(othersFirstOneIn) == 0 {
		if err := serveFirst(ctx, others); err != nil {
			return err
		}
		if err := putAt(ctx, others[0], "without"); err != nil {
			return err
		}
		want = append(want, "without")
	}
	if err := victim.Start(); err != nil {
		return err
	}
	all := append(slices.Clone(others), victim)
	for _, m := range all {
		if err := m.WaitReady(ctx); err != nil {
			return fmt.Errorf("start again: %w", err)
		}
	}
	if err := putAt(ctx, victim, "after"); err != nil {
		return err
	}
	for _, m := range all {
		for _, key := range append(want, "after") {
			if err := getAt(ctx, m, key); err != nil {
				return err
			}
		}
	}
	return stopCleanly(ctx, victim)
}

// serveFirst waits until the others serve without the third one.
func serveFirst(ctx context.Context, others []*cluster.Member) error {
	for _, m := range others {
		if m.Exited() {
			if err := m.Start(); err != nil {
				return err
			}
		}
	}
	for _, m := range others {
		if err := m.WaitReady(ctx); err != nil {
			return fmt.Errorf("two of three: %w", err)
		}
	}
	return nil
}

func putAt(ctx context.Context, m *cluster.Member, key string) error {
	conn, err := m.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	if _, err := pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte(key), Value: []byte(key)}); err != nil {
		return fmt.Errorf("put %s at %s: %w", key, m.Name, err)
	}
	return nil
}

func getAt(ctx context.Context, m *cluster.Member, key string) error {
	conn, err := m.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	r, err := pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte(key)})
	if err != nil {
		return fmt.Errorf("get %s at %s: %w", key, m.Name, err)
	}
	if len(r.Kvs) != 1 || string(r.Kvs[0].Value) != key {
		return fmt.Errorf("%s at %s: %v, want its name", key, m.Name, r.Kvs)
	}
	return nil
}
