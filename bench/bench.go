package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/quorate/quorate/bench/internal/cluster"
	"github.com/quorate/quorate/bench/internal/load"
	"github.com/quorate/quorate/bench/internal/report"
)

// bench is one run over all stages.
type bench struct {
	opts    *options
	dir     string
	systems []cluster.System
	report  *report.Report
	began   time.Time
}

func newBench(opts *options, dir string, systems []cluster.System) *bench {
	b := &bench{opts: opts, dir: dir, systems: systems, began: time.Now()}
	b.report = &report.Report{Command: opts.command, Machine: machine(dir)}
	for _, sys := range systems {
		b.report.Systems = append(b.report.Systems, sys.Name)
	}
	return b
}

// target is one system's running cluster within a stage.
type target struct {
	*cluster.Cluster
	pool *load.Pool
}

// runStages runs everything that was asked for. A workload that fails is noted
// in the report and the others go on; only the end of ctx ends the run.
func (b *bench) runStages(ctx context.Context) error {
	for _, s := range stages() {
		if err := b.runStage(ctx, s); err != nil {
			b.fail(fmt.Errorf("%s: %w", s.name, err))
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

func (b *bench) fail(err error) {
	b.report.Failures = append(b.report.Failures, err.Error())
	b.progress("FAILED %v", err)
}

// runStage starts fresh clusters of all systems, preloads them and runs the
// stage's workloads on them.
func (b *bench) runStage(ctx context.Context, s stage) error {
	var workloads []workload
	for _, w := range s.workloads {
		if b.opts.selected(w.name) {
			workloads = append(workloads, w)
		}
	}
	if len(workloads) == 0 {
		return nil
	}
	targets, err := b.startTargets(ctx, s)
	defer closeTargets(targets)
	if err != nil {
		return err
	}
	for _, w := range workloads {
		for _, clients := range w.clients(b.opts) {
			if err := b.measureRow(ctx, w, clients, targets); err != nil {
				b.fail(fmt.Errorf("%s, %d clients: %w", w.name, clients, err))
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

func (b *bench) startTargets(ctx context.Context, s stage) ([]*target, error) {
	var targets []*target
	for _, sys := range b.systems {
		if sys.Name == builtInFloor && !s.floor {
			continue
		}
		c, err := cluster.Start(ctx, sys, b.dir)
		if err != nil {
			return targets, err
		}
		t := &target{Cluster: c}
		targets = append(targets, t)
		if t.pool, err = load.NewPool(c.Endpoints()); err != nil {
			return targets, err
		}
		if s.preload != nil && sys.Name != builtInFloor {
			start := time.Now()
			if err := s.preload(ctx, t, b.opts); err != nil {
				return targets, fmt.Errorf("%s: %w", sys.Name, err)
			}
			b.progress("%s: preloaded for %s in %.1f s", sys.Name, s.name, time.Since(start).Seconds())
		}
	}
	return targets, nil
}

func closeTargets(targets []*target) {
	for _, t := range targets {
		if t.pool != nil {
			_ = t.pool.Close() // nothing is in flight
		}
		t.Close()
	}
}

// measureRow runs alternating turns of one workload (I2): with every turn the
// order of the systems rotates.
func (b *bench) measureRow(ctx context.Context, w workload, clients int, targets []*target) error {
	samples := make(map[string][]report.Sample)
	for turn := range w.turns(b.opts) {
		for i := range targets {
			t := targets[(turn+i)%len(targets)]
			for _, quiet := range targets {
				if err := quiet.AwaitQuiet(ctx); err != nil {
					return err
				}
			}
			sample, err := w.measure(ctx, t, b.opts, clients, turn)
			if err != nil {
				return fmt.Errorf("turn %d of %s: %w", turn+1, t.System.Name, err)
			}
			samples[t.System.Name] = append(samples[t.System.Name], sample)
		}
	}
	row := report.NewRow(w.name, clients, b.report.Systems, samples)
	b.report.Rows = append(b.report.Rows, row)
	b.progress("%s, %d clients: %d turns done", w.name, clients, row.Turns)
	return nil
}

// progress tells on standard error how far the run is.
func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6.0fs  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// machine describes where the figures come from.
func machine(dir string) string {
	return fmt.Sprintf("%d cores, %s, data on %s, %s", runtime.NumCPU(), runtime.GOARCH, filesystem(dir), time.Now().UTC().Format("2006-01-02"))
}

// filesystem names the type of the data's filesystem: on tmpfs an fsync is
// free, and put figures mean little.
func filesystem(dir string) string {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil {
		return "an unknown filesystem"
	}
	names := map[int64]string{0xEF53: "ext4", 0x58465342: "xfs", 0x9123683E: "btrfs", 0x01021994: "tmpfs", 0x794c7630: "overlayfs"}
	kind := int64(stat.Type) //nolint:unconvert // 32 bits on other architectures
	if name, ok := names[kind]; ok {
		return name
	}
	return fmt.Sprintf("filesystem 0x%x", stat.Type)
}
