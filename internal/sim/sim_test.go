package sim

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/quorate/quorate/consensus/mutant"
)

// The batch that `go test` runs is small and its first half is always the same;
// QUORATE_SEEDS makes it larger, QUORATE_SEED_BASE gives the second half seeds of
// its own, such as a commit's.
var (
	seedsFlag = flag.Int("sim.seeds", seedsFromEnvironment(), "seeds to run")
	fixedPart = 2 // one in so many seeds of a batch is drawn from the base
)

func seedsFromEnvironment() int {
	n, err := strconv.Atoi(cmp.Or(os.Getenv("QUORATE_SEEDS"), "40"))
	if err != nil || n < 1 {
		return 40
	}
	return n
}

func batchSeeds(count int) []uint64 {
	base, err := strconv.ParseUint(cmp.Or(os.Getenv("QUORATE_SEED_BASE"), "0"), 0, 64)
	seeds := make([]uint64, count)
	for i := range seeds {
		seeds[i] = uint64(i + 1)
		if err == nil && base != 0 && i%fixedPart == 1 {
			seeds[i] = base<<16 + uint64(i)
		}
	}
	return seeds
}

// shares are how much of a batch each engine gets, as parts of the whole; the first is the
// one that a server runs unless it is told otherwise.
var shares = []struct {
	engine string
	part   float64
}{{"raft", 1}, {"paxos", 0.5}, {"etcdraft", 0.5}, {Mixed, 0.25}}

// Goal: nothing that a cluster promises is broken by any mix of faults, whatever its engine.
// Method: play seeds; every checker judges each of them, and every fault, message
// and recovery must have happened somewhere in the batch.
func TestSeeds(t *testing.T) {
	if testing.Short() {
		t.Skip("the simulator's batch takes a while")
	}
	if mutant.Enabled {
		t.Skip("TestMutants has its own seeds")
	}
	for _, share := range shares {
		t.Run(share.engine, func(t *testing.T) {
			testSeeds(t, share.engine, batchSeeds(max(1, int(share.part*float64(*seedsFlag)))), *seedsFlag >= 200 && share.engine != Mixed)
		})
	}
}

// testSeeds plays a batch; a whole one must not miss anything.
func testSeeds(t *testing.T, engine string, seeds []uint64, whole bool) {
	var total Report
	began := time.Now()
	Batch(seeds, func(seed uint64) Report { return Run(Options{Seed: seed, Engine: engine}) }, func(r *Report) bool {
		total.Merge(r)
		if r.Failure != nil {
			t.Errorf("%s\n%s", r.Failure, r.Replay("", ""))
			return !t.Failed() || len(seeds) > 100
		}
		if r.Operations < OperationsMin || r.Faults < FaultsMin {
			t.Errorf("seed %d counts for nothing: %d operations, %d faults", r.Seed, r.Operations, r.Faults)
		}
		return true
	})
	t.Logf("\n%s", total.Table())
	t.Logf("%d seeds in %v: %s", len(seeds), time.Since(began).Round(time.Millisecond), total.Speed())
	if whole && !t.Failed() {
		for _, missing := range total.Missing() {
			t.Errorf("never happened in %d seeds: %s", len(seeds), missing)
		}
	}
}

// Goal: a cluster without faults serves all and loses nothing.
func TestCalm(t *testing.T) {
	for _, share := range shares {
		for seed := range uint64(3) {
			r := Run(Options{Seed: seed + 1, Engine: share.engine, Calm: true, Duration: 3 * time.Second})
			if r.Failure != nil {
				t.Fatalf("%s: %s", share.engine, r.Failure)
			}
			if r.Operations < 200 {
				t.Errorf("%s, seed %d: %d operations in %v", share.engine, r.Seed, r.Operations, r.SimTime)
			}
		}
	}
}

// Goal: each fault by itself is survived, also the rare ones.
func TestEachFault(t *testing.T) {
	if mutant.Enabled {
		t.Skip("TestMutants has its own seeds")
	}
	for kind := range faultKinds {
		t.Run(faults[kind].name, func(t *testing.T) {
			opts := Options{Seed: uint64(100 + kind), Only: faults[kind].name, Duration: 3 * time.Second}
			if opts.Moves = kind >= faultDie; opts.Moves {
				opts.Nodes, opts.Duration = 7, 6*time.Second
			}
			if kind == faultUndrain {
				opts.Only += "," + faults[faultDrain].name
			}
			r := Run(opts)
			if r.Failure != nil {
				t.Fatalf("%s", r.Failure)
			}
			if r.Counts["fault "+faults[kind].name] == 0 {
				t.Error("it did not happen")
			}
		})
	}
}

func ExampleReport_Speed() {
	r := Report{Operations: 3000, SimTime: 12 * time.Second, CoreTime: 500 * time.Millisecond}
	fmt.Println(r.Speed())
	// Output: 24 simulated seconds per core-second, 250 operations per simulated second
}
