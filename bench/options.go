package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quorate/quorate/bench/internal/cluster"
	"github.com/quorate/quorate/bench/internal/report"
)

// Names of the systems that this binary can be itself.
const (
	builtInEtcd  = "etcd"
	builtInFloor = "floor"
)

// defaultEngine is our members' when nothing is said.
const defaultEngine = "raft"

// Limits of the flags: the benchmark is bounded whatever it is asked for (I5).
const (
	turnsMax    = 100
	clientsMax  = 5000
	keysMax     = 5_000_000
	watchersMax = 5000
	durationMax = time.Minute
)

type options struct {
	ours     string
	peer     string
	engine   string   // of our members; empty: not said
	compare  []string // two engines of ours, in place of ours and peer
	floor    bool
	turns    int
	rounds   int
	duration time.Duration
	clients  []int
	keys     int
	watchers int
	only     []string
	output   string
	dir      string
	command  string // as typed, for the report
}

func parseOptions(args []string) (*options, error) {
	opts := &options{command: strings.Join(append([]string{"bench"}, args...), " ")}
	var clients, only, compare string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&opts.ours, "ours", "", "`command` of a member of ours; etcd's flags are appended (default: build ../cmd/quorate and run \"quorate serve\")")
	flags.StringVar(&opts.peer, "peer", builtInEtcd, "`command` of a member to compare with; \"etcd\" is the built-in etcd, \"none\" compares with nothing")
	flags.StringVar(&opts.engine, "engine", "", "consensus `engine` of our members (default "+defaultEngine+")")
	flags.StringVar(&compare, "compare", "", "two `engines` of ours, as in paxos,raft: they take turns, and nobody else")
	flags.BoolVar(&opts.floor, "floor", false, "measure also a server that answers at once")
	flags.IntVar(&opts.turns, "turns", 5, "alternating turns per workload")
	flags.IntVar(&opts.rounds, "rounds", 10, "leader failures per system and kind")
	flags.DurationVar(&opts.duration, "duration", 4*time.Second, "measured time per turn; a quarter of it is added as warm-up")
	flags.StringVar(&clients, "clients", "1,64,1000", "numbers of clients")
	flags.IntVar(&opts.keys, "keys", 1_000_000, "keys preloaded for page, count and memory")
	flags.IntVar(&opts.watchers, "watchers", 300, "watchers of one key")
	flags.StringVar(&only, "only", "", "comma-separated workloads (default all): "+strings.Join(workloadNames(), ","))
	flags.StringVar(&opts.output, "o", "text", "output: "+strings.Join(report.Formats, ", "))
	flags.StringVar(&opts.dir, "dir", os.TempDir(), "parent of the data directories; use a disk whose fsync is real")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if compare != "" {
		opts.compare = strings.Split(compare, ",")
		given := func(name string) (found bool) {
			flags.Visit(func(f *flag.Flag) { found = found || f.Name == name })
			return found
		}
		if given("peer") || given("engine") {
			return nil, errors.New("-compare names both systems: leave -peer and -engine out")
		}
	}
	if only != "" {
		opts.only = strings.Split(only, ",")
	}
	for text := range strings.SplitSeq(clients, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("-clients: %q is not a number", text)
		}
		opts.clients = append(opts.clients, n)
	}
	return opts, opts.validate()
}

func (o *options) validate() error {
	if len(o.compare) > 0 && (len(o.compare) != 2 || o.compare[0] == "" || o.compare[1] == "") {
		return fmt.Errorf("-compare: %q are not two engines with a comma between them", strings.Join(o.compare, ","))
	}
	if o.ours == builtInEtcd && (o.engine != "" || len(o.compare) > 0) {
		return errors.New("-ours etcd has no engines: leave -engine and -compare out")
	}
	for _, name := range o.only {
		if !slices.Contains(workloadNames(), name) {
			return fmt.Errorf("-only: unknown workload %q; known: %s", name, strings.Join(workloadNames(), ", "))
		}
	}
	for _, n := range o.clients {
		if n < 1 || n > clientsMax {
			return fmt.Errorf("-clients: %d is not in 1…%d", n, clientsMax)
		}
	}
	if !slices.Contains(report.Formats, o.output) {
		return fmt.Errorf("-o: %q is not one of %s", o.output, strings.Join(report.Formats, ", "))
	}
	if o.duration <= 0 || o.duration > durationMax {
		return fmt.Errorf("-duration: %v is not in (0, %v]", o.duration, durationMax)
	}
	return errors.Join(
		inRange("turns", o.turns, turnsMax),
		inRange("rounds", o.rounds, turnsMax),
		inRange("keys", o.keys, keysMax),
		inRange("watchers", o.watchers, watchersMax),
	)
}

func inRange(name string, value, limit int) error {
	if value < 1 || value > limit {
		return fmt.Errorf("-%s: %d is not in 1…%d", name, value, limit)
	}
	return nil
}

// selected says whether a workload is to be run.
func (o *options) selected(workload string) bool {
	return len(o.only) == 0 || slices.Contains(o.only, workload)
}

// systems lists ours, what it is compared with, and the floor, as asked for.
func (o *options) systems(ctx context.Context, dir string) ([]cluster.System, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ours := o.ours
	if ours == "" {
		if ours, err = buildOurs(ctx, dir); err != nil {
			return nil, err
		}
	}
	var systems []cluster.System
	switch {
	case len(o.compare) > 0:
		for _, engine := range o.compare {
			systems = append(systems, onEngine(newSystem(self, ours, nil), engine, engine, systems))
		}
	case o.engine != "":
		sys := newSystem(self, ours, nil)
		systems = append(systems, onEngine(sys, o.engine, sys.Name+"-"+o.engine, nil))
	default:
		systems = append(systems, newSystem(self, ours, nil))
	}
	if o.peer != "none" && len(o.compare) == 0 {
		systems = append(systems, newSystem(self, o.peer, systems))
	}
	if o.floor {
		systems = append(systems, newSystem(self, builtInFloor, systems))
	}
	return systems, nil
}

// newSystem turns a flag into a system; two with one name get different ones.
func newSystem(self, command string, others []cluster.System) cluster.System {
	words := strings.Fields(command)
	name := filepath.Base(words[0])
	if command == builtInEtcd || command == builtInFloor {
		words = []string{self, command}
	}
	return cluster.System{Name: distinct(name, others), Command: words}
}

// onEngine is one of our systems on an engine, under a name of its own.
func onEngine(sys cluster.System, engine, name string, others []cluster.System) cluster.System {
	return cluster.System{Name: distinct(name, others), Command: append(slices.Clone(sys.Command), "--engine="+engine)}
}

func distinct(name string, others []cluster.System) string {
	for _, other := range others {
		if other.Name == name {
			name += "-2"
		}
	}
	return name
}

// buildOurs builds the server from the checkout that this module lies in.
func buildOurs(ctx context.Context, dir string) (string, error) {
	binary, err := cluster.Built(ctx, "", dir)
	return binary + " serve", err
}
