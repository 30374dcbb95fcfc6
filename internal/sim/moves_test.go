package sim

import (
	"bytes"
	"testing"
	"time"

	"github.com/quorate/quorate/consensus/mutant"
)

// A batch with moves is this much smaller than one without: a cluster of nine costs more.
const (
	movesPart = 8
	movesMin  = 50 // replicas that move under faults, in a batch of any size,
	movesEach = 9  // and for each seed of a large one: make soak has 225, and 2,000 moves
)

// Goal: nodes die, return, lose their disks, join, drain and go, zones fail, and while clients work
// the placement follows: nothing that a cluster promises is broken, no shard loses its quorum
// by what we do, every move comes to an end, and at the end everything is where a plan wants it.
// Method: the catalog, the plans and the agents of package placement, in runs with moves.
func TestMoves(t *testing.T) {
	if mutant.Enabled {
		t.Skip("TestMutants has its own seeds")
	}
	var total Report
	played := 0
	for _, share := range shares {
		t.Run(share.engine, func(t *testing.T) {
			seeds := batchSeeds(max(1, int(share.part*float64(*seedsFlag)/movesPart)))
			if testing.Short() {
				seeds = seeds[:1]
			}
			Batch(seeds, func(seed uint64) Report { return Run(Options{Seed: seed, Engine: share.engine, Moves: true}) }, func(r *Report) bool {
				total.Merge(r)
				played++
				if r.Failure != nil {
					t.Errorf("%s\n%s", r.Failure, r.Replay("", ""))
				}
				return !t.Failed()
			})
		})
	}
	t.Logf("\n%s%d moves of replicas under %d faults: %s", total.Table(), total.Moves, total.Faults, total.Speed())
	least := movesMin
	if played > 100 {
		least = played * movesEach
	}
	if total.Moves < least && !testing.Short() && !t.Failed() {
		t.Errorf("%d moves under faults are too few to say anything", total.Moves)
	}
}

// Goal: without faults nothing moves but what the balance asks for, and it comes to rest.
func TestMovesCalm(t *testing.T) {
	for _, share := range shares {
		if r := Run(Options{Seed: 1, Engine: share.engine, Calm: true, Moves: true, Duration: 2 * time.Second}); r.Failure != nil {
			t.Fatalf("%s: %s", share.engine, r.Failure)
		}
	}
}

// A run with moves is a function of its seed, too.
func TestReplayMoves(t *testing.T) {
	for seed, engine := range []string{"raft", Mixed} {
		var first, second bytes.Buffer
		Run(Options{Seed: uint64(seed + 1), Engine: engine, Moves: true, Trace: &first})
		Run(Options{Seed: uint64(seed + 1), Engine: engine, Moves: true, Trace: &second})
		if first.Len() == 0 || !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Errorf("%s, seed %d: %s", engine, seed+1, firstDifference(first.Bytes(), second.Bytes()))
		}
	}
}
