package kill

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/quorate/quorate/e2e/cluster"
)

var roundsFlag = cluster.IntFlag("rounds", "E2E_ROUNDS", 20, "kill rounds; 200 is the full run")

// roundTime bounds one round, checks included.
const roundTime = 3 * time.Minute

// Goal: three processes keep every acknowledged write whatever is killed or
// stopped, with linearizable histories and one complete watch. Method: see
// the package comment.
func TestKillRounds(t *testing.T) {
	seed, rounds := cluster.Seed(t), *roundsFlag
	c := cluster.Start(t, cluster.Options{Binary: cluster.ServerUnderTest(t), Members: 3})
	rng := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t, c, seed)
	answered, lost, kinds := 0, 0, make(map[string]int)
	for n := range rounds {
		f := chooseFault(rng, len(c.Members))
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), roundTime)
		h, err := w.round(ctx, n, f)
		cancel()
		yes, no := h.answered()
		answered, lost = answered+yes, lost+no
		kinds[fmt.Sprintf("%d members, pause %v", len(f.members), f.pause)]++
		t.Logf("round %d of %d: %v: %d answered, %d without answer, revision %d, %v", n+1, rounds, f, yes, no, w.last, time.Since(began).Round(time.Millisecond))
		if err != nil {
			t.Fatalf("round %d, %v: %v\nagain: go test ./kill -count=1 -v -run TestKillRounds %s -seed %d -rounds %d", n+1, f, err, cluster.Again(), seed, rounds)
		}
	}
	t.Logf("%d rounds, %d operations answered, %d without answer, %d events watched, watch reopened %d times, faults %v",
		rounds, answered, lost, w.checked, w.watch.reopens, kinds)
}

// Goal: the checks can fail over the whole path. Method: etcd, with clients
// that ask for stale reads and record them as linearizable.
func TestStaleReadsAreCaught(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	c := cluster.Start(t, cluster.Options{Binary: cluster.Etcd(t), Members: 3})
	w := newWorld(t, c, 1)
	for _, cl := range w.clients {
		cl.stale = true
	}
	rng := rand.New(rand.NewPCG(1, 0))
	for n := range 10 {
		ctx, cancel := context.WithTimeout(t.Context(), roundTime)
		_, err := w.round(ctx, n, chooseFault(rng, len(c.Members)))
		cancel()
		if err != nil {
			t.Logf("caught in round %d: %.300s", n+1, err.Error())
			return
		}
	}
	t.Error("10 rounds with stale reads pass all checks")
}
