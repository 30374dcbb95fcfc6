package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"time"

	"github.com/quorate/quorate/bench/internal/cluster"
	"github.com/quorate/quorate/bench/internal/load"
	"github.com/quorate/quorate/bench/internal/report"
)

const (
	// scanClientsMax bounds the clients of page and count: one such request
	// keeps a core of an etcd member busy for tens of milliseconds, and with 64
	// clients on two cores no answer comes within a window of seconds.
	scanClientsMax = 8
	mib            = 1 << 20
)

// stage is workloads that share fresh clusters and their data, so that figures
// do not depend on which other stages were run.
type stage struct {
	name      string
	floor     bool // the floor can answer all its workloads
	preload   func(ctx context.Context, t *target, opts *options) error
	workloads []workload
}

// workload is one kind of turn.
type workload struct {
	name    string
	clients func(opts *options) []int // the numbers of clients to run it with
	rounds  bool                      // repeated -rounds times instead of -turns
	measure func(ctx context.Context, t *target, opts *options, clients, turn int) (report.Sample, error)
}

// stages lists everything that can be measured, in the order of the tables.
func stages() []stage {
	return []stage{
		{name: "writes", floor: true, workloads: []workload{
			closedLoop("put", clientsMax, fixed(load.NewPut)),
			closedLoop("txn", clientsMax, fixed(load.NewTxn)),
		}},
		{name: "reads", floor: true, preload: preloadReads, workloads: []workload{
			closedLoop("get", clientsMax, fixed(load.NewGet(false))),
			closedLoop("get-serializable", clientsMax, fixed(load.NewGet(true))),
			closedLoop("list100", clientsMax, fixed(load.NewList)),
		}},
		{name: "watches", workloads: []workload{{name: "watch", clients: watchers, measure: measureWatch}}},
		{name: "many keys", preload: preloadLarge, workloads: []workload{
			{name: "memory", clients: nobody, measure: measureMemory},
			closedLoop("page500", scanClientsMax, func(o *options) load.Factory { return load.NewPage(o.keys) }),
			closedLoop("count", scanClientsMax, func(o *options) load.Factory { return load.NewCount(o.keys) }),
		}},
		{name: "failures", workloads: []workload{
			{name: "leader-kill", clients: nobody, rounds: true, measure: measureKill},
			{name: "leader-stop", clients: nobody, rounds: true, measure: measureStop},
		}},
	}
}

func workloadNames() []string {
	var names []string
	for _, s := range stages() {
		for _, w := range s.workloads {
			names = append(names, w.name)
		}
	}
	return names
}

func (w workload) turns(opts *options) int {
	if w.rounds {
		return opts.rounds
	}
	return opts.turns
}

// nobody is the clients of workloads to which their number means nothing.
func nobody(*options) []int { return []int{0} }

func watchers(opts *options) []int { return []int{opts.watchers} }

// upTo lists the numbers of clients that were asked for, none above the limit.
func upTo(limit int) func(*options) []int {
	return func(opts *options) []int {
		var counts []int
		for _, clients := range opts.clients {
			if n := min(clients, limit); !slices.Contains(counts, n) {
				counts = append(counts, n)
			}
		}
		return counts
	}
}

func preloadReads(ctx context.Context, t *target, _ *options) error {
	return load.Preload(ctx, t.pool, load.ReadPrefix, load.ListGroups*load.ListKeys)
}

func preloadLarge(ctx context.Context, t *target, opts *options) error {
	if err := load.Preload(ctx, t.pool, load.LargePrefix, opts.keys); err != nil {
		return err
	}
	return load.Rewrite(ctx, t.pool, load.LargePrefix, opts.keys)
}

func fixed(factory load.Factory) func(*options) load.Factory {
	return func(*options) load.Factory { return factory }
}

// closedLoop is a workload of clients that each wait for their answer.
func closedLoop(name string, limit int, factory func(*options) load.Factory) workload {
	measure := func(ctx context.Context, t *target, opts *options, clients, turn int) (report.Sample, error) {
		result, err := load.Run(ctx, load.Config{
			Pool: t.pool, Server: t.Cluster, New: factory(opts),
			Clients: clients, Warmup: opts.warmup(), Duration: opts.duration, Seed: uint64(turn),
		})
		if err != nil {
			return nil, err
		}
		return t.sample(result)
	}
	return workload{name: name, clients: upTo(limit), measure: measure}
}

func measureWatch(ctx context.Context, t *target, opts *options, clients, turn int) (report.Sample, error) {
	result, err := load.FanOut(ctx, load.FanOutConfig{
		Pool: t.pool, Server: t.Cluster, Watchers: clients,
		Warmup: opts.warmup(), Duration: opts.duration, Seed: uint64(turn),
	})
	if err != nil {
		return nil, err
	}
	return t.sample(result)
}

func (o *options) warmup() time.Duration { return o.duration / 4 }

// sample turns a result into figures and adds the members' memory.
func (t *target) sample(result load.Result) (report.Sample, error) {
	if result.Operations == 0 {
		err := fmt.Errorf("no operation ended in the window, try a longer -duration; %d errors", result.Errors)
		return nil, errors.Join(err, result.FirstError)
	}
	if result.Errors > 0 {
		fmt.Fprintf(os.Stderr, "%s: %d errors, first: %v\n", t.System.Name, result.Errors, result.FirstError)
	}
	mem, err := t.Memory()
	if err != nil {
		return nil, err
	}
	return report.Sample{
		report.Throughput:     result.PerSecond,
		report.P50:            microseconds(result.P50),
		report.P99:            microseconds(result.P99),
		report.ServerCPU:      microseconds(result.ServerCPUPerOp),
		report.ClientCPU:      microseconds(result.ClientCPUPerOp),
		report.Resident:       float64(mem.ResidentBytes) / mib,
		report.ErrorsPerMille: math.Round(1000 * float64(result.Errors) / float64(result.Errors+result.Operations)),
	}, nil
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// measureMemory leaves the loaded cluster alone for a turn and reads what it
// holds and what it uses while nobody asks anything.
func measureMemory(ctx context.Context, t *target, opts *options, _, _ int) (report.Sample, error) {
	before, err := t.CPU()
	if err != nil {
		return nil, err
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(opts.duration):
	}
	after, err := t.CPU()
	if err != nil {
		return nil, err
	}
	mem, err := t.Memory()
	if err != nil {
		return nil, err
	}
	return report.Sample{
		report.Resident:  float64(mem.ResidentBytes) / mib,
		report.Anonymous: float64(mem.AnonymousBytes) / mib,
		report.IdleCPU:   100 * float64(after-before) / float64(opts.duration),
	}, nil
}

// measureKill ends the leader with SIGKILL and starts it again afterwards.
func measureKill(ctx context.Context, t *target, _ *options, _, _ int) (report.Sample, error) {
	leader, sample, err := t.breakLeader(ctx, (*cluster.Member).SendKill)
	if err != nil {
		return nil, err
	}
	t.Kill(leader) // waits for its end
	return sample, t.Restart(ctx, leader)
}

// measureStop freezes the leader with SIGSTOP: its connections stay open, so
// nobody is told. It goes on afterwards.
func measureStop(ctx context.Context, t *target, _ *options, _, _ int) (report.Sample, error) {
	leader, sample, err := t.breakLeader(ctx, (*cluster.Member).Freeze)
	if err != nil {
		return nil, err
	}
	if err := t.Members[leader].Thaw(); err != nil {
		return nil, err
	}
	return sample, t.AwaitReady(ctx)
}

func (t *target) breakLeader(ctx context.Context, fail func(*cluster.Member) error) (int, report.Sample, error) {
	leader, err := t.Leader(ctx)
	if err != nil {
		return 0, nil, err
	}
	survivors := slices.Delete(t.Endpoints(), leader, leader+1)
	firstAck, err := load.FirstAck(ctx, survivors, func() error { return fail(t.Members[leader]) })
	if err != nil {
		return 0, nil, err
	}
	return leader, report.Sample{report.FirstAck: float64(firstAck.Microseconds()) / 1e3}, nil
}
