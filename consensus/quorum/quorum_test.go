package quorum

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/quorate/quorate/consensus"
)

// TestTranscripts runs testdata/*.txt, where prose and examples explain the
// arithmetic. Input is one line per voter: its id and its value.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			j := Joint{Incoming: ids(d, "voters"), Outgoing: ids(d, "outgoing")}
			values := map[consensus.ReplicaID]string{}
			for line := range strings.Lines(d.Input) {
				id, value, _ := strings.Cut(strings.TrimSpace(line), " ")
				values[parse(t, id)] = value
			}
			switch d.Cmd {
			case "committed":
				at := func(id consensus.ReplicaID) consensus.Index {
					n, _ := strconv.ParseUint(values[id], 10, 64)
					return consensus.Index(n)
				}
				return bars(j, values, Committed(j, at)) + fmt.Sprintf("committed %d\n", Committed(j, at))
			case "tally":
				votes := map[string]Vote{"": Missing, "yes": Granted, "no": Refused}
				return Tally(j, func(id consensus.ReplicaID) Vote { return votes[values[id]] }).String() + "\n"
			}
			t.Fatalf("unknown command %s", d.Cmd)
			return ""
		})
	})
}

// bars draws how far each voter is: = up to the committed value, - beyond it.
func bars(j Joint, values map[consensus.ReplicaID]string, c consensus.Index) string {
	all := slices.Concat(j.Incoming, j.Outgoing)
	slices.Sort(all)
	s := ""
	for _, id := range slices.Compact(all) {
		n, _ := strconv.Atoi(values[id])
		sets := "in"
		if !slices.Contains(j.Incoming, id) {
			sets = "out"
		} else if slices.Contains(j.Outgoing, id) {
			sets = "both"
		}
		k := min(n, int(c))
		s += strings.TrimRight(fmt.Sprintf("%-2v %-4s |%s%s", id, sets, strings.Repeat("=", k), strings.Repeat("-", n-k)), " ") + "\n"
	}
	return s
}

func ids(d *datadriven.TestData, key string) (set Majority) {
	for _, arg := range d.CmdArgs {
		if arg.Key == key {
			for _, v := range arg.Vals {
				n, _ := strconv.ParseUint(v, 10, 64)
				set = append(set, consensus.ReplicaID(n))
			}
		}
	}
	return set
}

func parse(t *testing.T, id string) consensus.ReplicaID {
	n, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		t.Fatalf("voter %q: %v", id, err)
	}
	return consensus.ReplicaID(n)
}

// TestAgainstNaive compares both functions with slower ones that follow the
// definition word by word: try every value, count every subset.
func TestAgainstNaive(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	set := func() Majority {
		var m Majority
		for id := consensus.ReplicaID(1); id <= 11; id++ {
			if rng.IntN(2) == 0 {
				m = append(m, id)
			}
		}
		return m[:min(len(m), rng.IntN(12))]
	}
	for range 20000 {
		j := Joint{Incoming: set(), Outgoing: set()}
		acked, votes := map[consensus.ReplicaID]uint64{}, map[consensus.ReplicaID]Vote{}
		for id := consensus.ReplicaID(1); id <= 11; id++ {
			acked[id], votes[id] = rng.Uint64N(6), Vote(rng.IntN(3))
		}
		at := func(id consensus.ReplicaID) uint64 { return acked[id] }
		if got, want := Committed(j, at), naiveCommitted(j, acked); got != want {
			t.Fatalf("%v with %v: committed %d, want %d", j, acked, got, want)
		}
		vote := func(id consensus.ReplicaID) Vote { return votes[id] }
		if got, want := Tally(j, vote), naiveTally(j, votes); got != want {
			t.Fatalf("%v with %v: %v, want %v", j, votes, got, want)
		}
	}
}

// isQuorum is the definition: more than half of each set that has members, and
// some set has.
func isQuorum(j Joint, in func(consensus.ReplicaID) bool) bool {
	if len(j.Incoming) == 0 {
		return false
	}
	for _, m := range []Majority{j.Incoming, j.Outgoing} {
		n := 0
		for _, id := range m {
			if in(id) {
				n++
			}
		}
		if len(m) > 0 && 2*n <= len(m) {
			return false
		}
	}
	return true
}

func naiveCommitted(j Joint, acked map[consensus.ReplicaID]uint64) uint64 {
	best := uint64(0)
	for v := range uint64(7) {
		if isQuorum(j, func(id consensus.ReplicaID) bool { return acked[id] >= v }) {
			best = v
		}
	}
	return best
}

func naiveTally(j Joint, votes map[consensus.ReplicaID]Vote) Result {
	if isQuorum(j, func(id consensus.ReplicaID) bool { return votes[id] == Granted }) {
		return Won
	}
	if isQuorum(j, func(id consensus.ReplicaID) bool { return votes[id] != Refused }) {
		return Pending
	}
	return Lost
}

// TestLargeSets: sets above the stack buffer count the same way.
func TestLargeSets(t *testing.T) {
	var m Majority
	for id := consensus.ReplicaID(1); id <= 25; id++ {
		m = append(m, id)
	}
	at := func(id consensus.ReplicaID) uint64 { return uint64(id) }
	if got := Committed(Joint{Incoming: m}, at); got != 13 {
		t.Errorf("committed %d, want 13: voters 13 to 25 are the smallest majority above it", got)
	}
}

// TestCommittedAllocatesNothing: it runs for every acknowledgement.
func TestCommittedAllocatesNothing(t *testing.T) {
	j := Joint{Incoming: Majority{1, 2, 3, 4, 5}, Outgoing: Majority{3, 4, 5, 6, 7}}
	if n := testing.AllocsPerRun(100, func() {
		Committed(j, func(id consensus.ReplicaID) uint64 { return uint64(id) })
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
