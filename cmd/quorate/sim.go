package main

import (
	"bufio"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/consensus/mutant"
	"github.com/quorate/quorate/internal/sim"
)

// errSimFailed ends `sim` when a checker failed; what it said is printed before.
var errSimFailed = errors.New("the simulation failed")

// newSim builds `sim`: whole clusters in one goroutine, from seeds.
func newSim(p *process) *cobra.Command {
	flags := make(map[string]*flagValue)
	cmd := &cobra.Command{
		Use:   "sim",
		Short: "Play clusters under faults, each from a seed that shows it again",
		Long: `Play a whole cluster in one goroutine, with virtual clocks, network and disks, under faults
that are drawn from a seed, and judge what its clients see. A seed is always the same run:
what failed once can be looked at as often as it takes.

--trace prints one line per event, in fixed columns: time in seconds, who, shard, role,
epoch, commit index, what, and the details.`,
		Example: `  quorate sim --seed 7
  quorate sim --seed 7 --trace | grep ' s3 '      all that happened in shard 3
  quorate sim --seed 1 --seeds 200                many runs, and what happened in them
  quorate sim --seed 7 --nodes 5 --hours 1        one long run
  quorate sim --seed 7 --engine mixed             shards of every engine side by side
  quorate sim --seed 7 --fault "crash all"        with one kind of fault only
  quorate sim --seed 7 --moves                    nodes come and go, and replicas move`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			s, err := newSimRun(flags)
			if err != nil {
				return err
			}
			return s.run(p)
		},
	}
	for _, spec := range []flagSpec{
		{name: "seed", preset: "1", note: "the first run's seed"},
		{name: "seeds", kind: natural, preset: "1", note: "number of runs, with consecutive seeds"},
		{name: "engine", preset: "raft", note: "consensus engine of all shards: " + sim.EngineNames()},
		{name: "nodes", kind: natural, preset: "0", note: "nodes (default 3 or 5, by seed)"},
		{name: "shards", kind: natural, preset: "0", note: "shards (default 8)"},
		{name: "hours", preset: "0", note: "virtual time under faults (default 10 seconds)"},
		{name: "fault", note: "inject only this kind of fault, or several with commas"},
		{name: "mutant", note: "switch a seeded bug on, in a binary built with -tags mutants"},
	} {
		flags[spec.name] = addDevFlag(cmd.Flags(), &spec)
	}
	for name, note := range map[string]string{"trace": "print every event", "moves": "let nodes come and go, and replicas move"} {
		spec := &flagSpec{name: name, kind: boolean, preset: "false"}
		flags[name] = &flagValue{spec: spec, text: spec.preset}
		cmd.Flags().VarPF(flags[name], name, "", note).NoOptDefVal = "true"
	}
	return cmd
}

// simRun is what a command line asks for.
type simRun struct {
	seeds   []uint64
	options sim.Options
	trace   bool
	mutant  string
	flags   string // those that change what happens, for the replay of a failure
}

func newSimRun(flags map[string]*flagValue) (*simRun, error) {
	number := func(name string) int {
		n, _ := strconv.ParseUint(flags[name].text, 0, 32) // checked when it was set
		return int(n)
	}
	s := &simRun{trace: flags["trace"].on(), mutant: flags["mutant"].text}
	first, err := strconv.ParseUint(flags["seed"].text, 0, 64)
	if err != nil {
		return nil, usagef("--seed: %q is not a whole number from 0 to 2^64-1", flags["seed"].text)
	}
	for i := range max(1, number("seeds")) {
		s.seeds = append(s.seeds, first+uint64(i))
	}
	hours, err := strconv.ParseFloat(flags["hours"].text, 64)
	if err != nil || hours < 0 || hours > 1000 {
		return nil, usagef("--hours: %q is not a number from 0 to 1000", flags["hours"].text)
	}
	for _, name := range []string{"nodes", "shards", "fault", "hours"} {
		if f := flags[name]; f.text != f.spec.preset {
			s.flags += fmt.Sprintf(" --%s %q", name, f.text)
		}
	}
	s.options = sim.Options{
		Engine: flags["engine"].text,
		Nodes:  number("nodes"), Shards: number("shards"), Only: flags["fault"].text,
		Duration: time.Duration(hours * float64(time.Hour)), Moves: flags["moves"].on(),
	}
	switch {
	case !sim.KnowsEngine(s.options.Engine):
		return nil, usagef("--engine: there is no %q; there are: %s", s.options.Engine, sim.EngineNames())
	case s.options.Nodes > 9 || s.options.Nodes == 1 || s.options.Nodes == 2:
		return nil, usagef("--nodes is %d: it must be between 3 and 9", s.options.Nodes)
	case s.options.Shards > 1000:
		return nil, usagef("--shards is %d: at most 1000 make sense", s.options.Shards)
	case s.trace && len(s.seeds) > 1:
		return nil, usagef("--trace shows one run: leave --seeds out")
	case s.options.Only != "" && !sim.KnowsFaults(s.options.Only):
		return nil, usagef("--fault: there is no %q; there are: %s", s.options.Only, sim.FaultNames())
	}
	return s, nil
}

func (s *simRun) run(p *process) error {
	if s.mutant != "" {
		if err := mutant.Select(mutant.Name(s.mutant)); err != nil {
			return usagef("--mutant: %w", err)
		}
	}
	out := bufio.NewWriterSize(p.stdout, 64<<10)
	if s.trace {
		s.options.Trace = out
	}
	failed, total := 0, sim.Report{}
	sim.Batch(s.seeds, func(seed uint64) sim.Report {
		opts := s.options
		opts.Seed = seed
		return sim.Run(opts)
	}, func(r *sim.Report) bool {
		total.Merge(r)
		if r.Failure != nil {
			failed++
			fmt.Fprintf(out, "seed %d FAILED: %s\nagain: %s\n", r.Seed, r.Failure, r.Replay(s.mutant, s.flags))
		} else if len(s.seeds) == 1 && !s.trace {
			fmt.Fprintf(out, "seed %d passed (%s)\n", r.Seed, r.Mix)
		}
		return out.Flush() == nil
	})
	if !s.trace {
		fmt.Fprintf(out, "%s%d runs, %d failed: %d operations, %d faults, %d moves, %v simulated\n%s\n", total.Table(),
			len(s.seeds), failed, total.Operations, total.Faults, total.Moves, total.SimTime.Round(time.Millisecond), total.Speed())
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%w: %d of %d runs", errSimFailed, failed, len(s.seeds))
	}
	return nil
}
