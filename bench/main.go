package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"go.etcd.io/etcd/server/v3/etcdmain"

	"github.com/quorate/quorate/bench/internal/floor"
	"github.com/quorate/quorate/bench/internal/load"
)

// clientGCPercent lets the client's heap grow instead of collecting often: its
// CPU is taken from the servers' cores.
const clientGCPercent = 400

func main() {
	if len(os.Args) > 1 && serveMember(os.Args[1], os.Args[2:]) {
		return
	}
	debug.SetGCPercent(clientGCPercent)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// serveMember runs a built-in system under test in this process, if kind names
// one, and returns when it has ended.
func serveMember(kind string, args []string) bool {
	switch kind {
	case builtInEtcd:
		etcdmain.Main(append([]string{"etcd"}, args...))
	case builtInFloor:
		shape := floor.Shape{ValueBytes: load.ValueBytes, ListKeys: load.ListKeys}
		if err := floor.Serve(args, shape); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		return false
	}
	return true
}

// run is the benchmark: flags, systems, turns, report.
func run(ctx context.Context, args []string, out io.Writer) error {
	opts, err := parseOptions(args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(opts.dir, "quorate-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	systems, err := opts.systems(ctx, dir)
	if err != nil {
		return err
	}
	b := newBench(opts, dir, systems)
	if err := b.runStages(ctx); err != nil {
		return err
	}
	if err := b.report.Write(out, opts.output); err != nil {
		return err
	}
	if n := len(b.report.Failures); n > 0 {
		return fmt.Errorf("%d of the measurements failed, see above", n)
	}
	return nil
}
