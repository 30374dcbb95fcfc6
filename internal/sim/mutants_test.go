//go:build mutants

package sim

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	"github.com/quorate/quorate/consensus/mutant"
)

var mutantBudget = flag.Int("sim.budget", 60, "seeds to find a mutant in")

// hunt says how a mutant is looked for.
type hunt struct {
	nodes  int    // zero: as the seed draws
	engine string // zero: the one that the mutant's name begins with, or raft
	fault  string // the only kind of fault; "": the seed's mix
	moves  bool
	budget int // seeds; zero: the flag
	// elsewhere names the suite that catches a bug which no run of the simulator can
	// show, with the reason.
	elsewhere string
}

// hunts lists the mutants that need more than random seeds.
var hunts = map[mutant.Name]hunt{
	mutant.RaftCommitOldEpoch:     {budget: 150, fault: "crash one,crash minority,isolate leader"},
	mutant.ShardLeaseKeepDeadline: {fault: "transfer"},
	mutant.StoreExpireAlways:      {fault: "transfer"},
	mutant.RouterReadJoinRound:    {budget: 100},
	mutant.RouterRenewUnconfirmed: {budget: 200, fault: "isolate leader"},
	mutant.ShardProposeAnyEpoch:   {budget: 100, fault: "transfer,slow link"},
	mutant.RaftSnapshotOverNewer:  {fault: "slow link,partition,flapping link"},
	mutant.WALTruncateCorrupt:     {fault: "bit rot,slow link"},
	mutant.ShardForgetDamage:      {fault: "bit rot,slow link"},
	mutant.RaftVoteInDoubt:        {fault: "bit rot,crash one,isolate leader,partition,slow link"},
	mutant.RaftCountDoubtful:      {fault: "bit rot,crash one,isolate leader,partition,slow link"},

	mutant.ShardFenceIgnored: {engine: "paxos"},

	mutant.PlacementEraseEarly:       {moves: true, fault: "crash one,crash minority,node drain,node undrain", budget: 100},
	mutant.PlacementEraseUnconfirmed: {moves: true},

	mutant.ShardReadBackStale:        {elsewhere: "internal/shard: a read that is overtaken by a write, a sync, an apply and an eviction"},
	mutant.EtcdraftForgetMemberships: {elsewhere: "consensus/etcdraft, random groups: it takes changes of membership and restarts, again and again"},
	mutant.EtcdraftReadBeforeBarrier: {elsewhere: "consensus/etcdraft, random groups: a read must come between a lead and its first decision"},
	mutant.PaxosAcceptBelowPromise:   {elsewhere: "consensus/paxos, directed: it takes an accept that comes after another leader's whole election"},
	mutant.PaxosHoleUnfilled:         {elsewhere: "consensus/paxos, random groups: here leaders mostly die with no hole behind them"},
	mutant.PaxosReadForNewVoters:     {elsewhere: "consensus/paxos, directed: acknowledgements late, a change of all voters, and a read between"},
	mutant.PaxosReportUnwritten:      {elsewhere: "consensus/paxos, directed: accept, prepare and snapshot in one turn"},
	mutant.RaftPreVoteIgnoreLeader:   {elsewhere: "consensus/raft, half a partition: it disturbs, and breaks no promise"},
	mutant.LeaseFromAnswer:           {elsewhere: leasesElsewhere},
	mutant.LeaseUnconfirmed:          {elsewhere: leasesElsewhere},
	mutant.LeaseRestartForgets:       {elsewhere: leasesElsewhere},
	mutant.LeaseEpochFrees:           {elsewhere: leasesElsewhere},
	mutant.LeaseAfterTransfer:        {elsewhere: leasesElsewhere},
	mutant.LeaseThroughChange:        {elsewhere: leasesElsewhere},
	mutant.WALFreeEarly:              {elsewhere: "internal/wal, crash at every operation"},
}

// leasesElsewhere says where the mutants of leases are caught.
const leasesElsewhere = "consensus: staged situations of the suite, on each engine; a node holds no leases"

// engineOf is the engine whose clusters a mutant is looked for in.
func engineOf(name mutant.Name) string {
	if e := hunts[name].engine; e != "" {
		return e
	}
	prefix, _, _ := strings.Cut(string(name), "-")
	if KnowsEngine(prefix) {
		return prefix
	}
	return engineNames[0]
}

// Goal: the simulator finds every seeded bug.
// Method: switch them on one at a time and play seeds until a checker fails; then
// the same seed without the bug must pass.
func TestMutants(t *testing.T) {
	var table strings.Builder
	for _, m := range mutant.Table {
		h := hunts[m.Name]
		if h.elsewhere != "" {
			fmt.Fprintf(&table, "%-28s %-20s %s\n", m.Name, "-", h.elsewhere)
			continue
		}
		t.Run(string(m.Name), func(t *testing.T) {
			if prefix, _, _ := strings.Cut(string(m.Name), "-"); testing.Short() && prefix != "raft" && KnowsEngine(prefix) {
				t.Skip("caught by the engine's own suite; here too, in a longer run")
			}
			hunted(t, m, h, &table)
		})
	}
	t.Logf("\n%-28s %-20s %s\n%s", "mutant", "checker", "seed (seeds needed)", table.String())
}

func hunted(t *testing.T, m mutant.Mutant, h hunt, table *strings.Builder) {
	budget := h.budget
	if budget == 0 {
		budget = *mutantBudget
	}
	options := func(seed uint64) Options {
		return Options{Seed: seed, Engine: engineOf(m.Name), Nodes: h.nodes, Only: h.fault, Moves: h.moves}
	}
	if err := mutant.Select(m.Name); err != nil {
		t.Fatal(err)
	}
	var found *Report
	tried := 0
	Batch(consecutive(budget), func(seed uint64) Report { return Run(options(seed)) }, func(r *Report) bool {
		tried++
		if r.Failure != nil && (found == nil || r.Seed < found.Seed) {
			found = r
		}
		return found == nil
	})
	if err := mutant.Select(); err != nil {
		t.Fatal(err)
	}
	if found == nil {
		fmt.Fprintf(table, "%-28s %-20s in %d seeds\n", m.Name, "NOT CAUGHT", tried)
		t.Fatalf("not caught in %d seeds: %s", tried, m.Bug)
	}
	fmt.Fprintf(table, "%-28s %-20s %d (%d)\n", m.Name, found.Failure.Checker, found.Seed, tried)
	if clean := Run(options(found.Seed)); clean.Failure != nil {
		t.Fatalf("seed %d fails without the mutant, too: %s", found.Seed, clean.Failure)
	}
}

func consecutive(n int) []uint64 {
	seeds := make([]uint64, n)
	for i := range seeds {
		seeds[i] = uint64(i + 1)
	}
	return seeds
}
