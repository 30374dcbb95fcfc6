package differential

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/e2e/cluster"
)

var (
	requestsFlag = cluster.IntFlag("requests", "E2E_REQUESTS", 5000, "length of the differential run; 50000 is the full one")
	membersFlag  = cluster.IntFlag("members", "E2E_MEMBERS", 1, "members of each cluster; requests go to one of them, drawn from the seed")
	movesFlag    = flag.Bool("moves", os.Getenv("E2E_MOVES") != "", "move the replicas of the keyspace about meanwhile; with -keyspace and 5 members (environment: E2E_MOVES)")
	shrinkFlag   = flag.Duration("shrink", 0, "how long to look for a shorter failing run")
)

// floorFrom is the shortest run in which the mix must be complete: below it
// the slow rhythms, such as restarts, have not had their turn.
const floorFrom = 5000

// requestTime is how long a request may take on average before the run is
// given up, restarts and lease expiries included.
const requestTime = 60 * time.Millisecond

func startPair(t testing.TB, members int) pair {
	t.Helper()
	name := "m" // member names are compared, so they must be the same
	return pair{
		reference: cluster.Start(t, cluster.Options{Binary: cluster.Etcd(t), Name: name, Members: members}),
		tested:    cluster.Start(t, cluster.Options{Binary: cluster.ServerUnderTest(t), Name: name, Members: members}),
	}
}

// referenceCrashes is how often etcd itself may crash in one test. etcd 3.7.3 does,
// rarely: "range failed to find revision pair" when a transaction reads an old
// revision while its compaction removes it. The run then says nothing about the
// server under test and is repeated with another seed.
const referenceCrashes = 3

// Goal: the server under test answers like etcd. Method: both get the same
// generated requests, restarts included; every field is compared.
func TestDifferential(t *testing.T) {
	seed, requests := cluster.Seed(t), *requestsFlag
	for range referenceCrashes {
		if !differ(t, seed, requests) {
			return
		}
		t.Logf("etcd itself crashed after seed %d: another seed", seed)
		seed += 1 << 32
	}
	t.Errorf("etcd itself crashed %d times", referenceCrashes)
}

// differ plays one seed and reports a difference as a test error, or that the
// reference crashed.
func differ(t *testing.T, seed uint64, requests int) (crashed bool) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute+time.Duration(requests)*requestTime)
	defer cancel()
	p := startPair(t, *membersFlag)
	p.member = int(seed) % *membersFlag
	if *movesFlag {
		moving, stop := context.WithCancel(ctx)
		m, err := startMover(moving, t, p.tested, p.member)
		if err != nil {
			t.Fatal(err)
		}
		p.moves = &m.turn
		defer func() {
			stop()
			<-m.ended
			t.Logf("%d replicas were moved meanwhile", m.moves)
			if m.err != nil || m.moves == 0 {
				t.Errorf("the replicas do not move: %v", m.err)
			}
		}()
	}
	s, err := newSession(ctx, p, seed)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	s.progress = t.Logf

	if f := s.run(ctx, requests); f != nil {
		if slices.ContainsFunc(p.reference.Members, exits) {
			return true
		}
		t.Errorf("difference after %d requests:\n%v\n\nthis run again: %s", s.runner.mix.requests, f, command(seed, s.runner.mix.requests))
		if *shrinkFlag > 0 {
			reportShrunk(t, s.history)
		}
		return false
	}
	t.Logf("no difference\n%v", s.runner.mix)
	if requests < floorFrom {
		t.Logf("a run of fewer than %d requests is not checked for its mix", floorFrom)
		return false
	}
	for _, problem := range s.runner.mix.problems(requests) {
		t.Errorf("mix: %s", problem)
	}
	return false
}

// exitTime is how long a process may take to end once its connections have.
const exitTime = 2 * time.Second

// exits reports whether a member has ended, or is about to: its clients hear of a crash
// before its parent does.
func exits(m *cluster.Member) bool {
	ctx, cancel := context.WithTimeout(context.Background(), exitTime)
	defer cancel()
	_, err := m.WaitExit(ctx)
	return err == nil
}

// command is what a person types to see the same run again.
func command(seed uint64, requests int) string {
	c := fmt.Sprintf("go test ./differential -count=1 -v -run '^TestDifferential$' %s -seed %d -requests %d", cluster.Again(), seed, requests)
	if *movesFlag {
		c += " -moves"
	}
	if *membersFlag != 1 {
		c += fmt.Sprintf(" -members %d", *membersFlag)
	}
	return c
}

func reportShrunk(t *testing.T, history [][]step) {
	ctx, cancel := context.WithTimeout(t.Context(), *shrinkFlag)
	defer cancel()
	tries := 0
	short := shrink(ctx, history, func(turns [][]step) bool {
		tries++
		f, err := replay(ctx, startPair(t, *membersFlag), turns)
		return err == nil && f != nil && ctx.Err() == nil
	})
	var lines []string
	for _, turn := range short {
		for _, st := range turn {
			lines = append(lines, st.String())
		}
	}
	t.Logf("shortest failing run found in %d tries, %d steps:\n%s", tries, len(lines), strings.Join(lines, "\n"))
}

// Goal: the generator is a function of seed and model (I2). Method: the same
// seed twice over an unchanging model; the text of all steps must agree.
func TestGeneratorIsDeterministic(t *testing.T) {
	run := func(seed uint64) string {
		m := newModel()
		m.rev, m.compacted = 500, 100
		m.leases = []leaseInfo{{id: 7, chosen: true}}
		for i := range 20 {
			m.rev = int64(500 + i)
			m.put(putRequestFor(i))
		}
		g := newGenerator(seed, m)
		var b strings.Builder
		for i := range 600 {
			for _, st := range g.next(i) {
				b.WriteString(st.String())
			}
		}
		// prototext varies its spaces on purpose
		return strings.ReplaceAll(b.String(), " ", "")
	}
	if first, second := run(1), run(1); first != second {
		t.Error("seed 1 gives two different runs")
	}
	if run(1) == run(2) {
		t.Error("seeds 1 and 2 give the same run")
	}
}

// Goal: shrinking keeps a failure and drops what it does not need. Method: a
// failure that needs three of 200 turns.
func TestShrink(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var turns [][]step
	for i := range 200 {
		turns = append(turns, []step{{stream: i}})
	}
	needed := []int{rng.IntN(60), 60 + rng.IntN(60), 199}
	fails := func(turns [][]step) bool {
		found := 0
		for _, turn := range turns {
			for _, n := range needed {
				if turn[0].stream == n {
					found++
				}
			}
		}
		return found == len(needed)
	}
	if got := shrink(t.Context(), turns, fails); len(got) != len(needed) {
		t.Errorf("shrunk to %d turns, want %d", len(got), len(needed))
	}
}
