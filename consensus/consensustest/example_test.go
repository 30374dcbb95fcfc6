package consensustest_test

import (
	"fmt"

	"github.com/quorate/quorate/consensus/consensustest"
	"github.com/quorate/quorate/consensus/raft"
)

// A scenario of one's own: what a crash takes was never promised.
func ExampleWorld() {
	w := consensustest.NewGroup(raft.Engine, consensustest.Options{}, 3, 1)
	l := w.AwaitLeader()
	first, _ := w.Propose(l, "first")
	w.Stabilize() // no time passes: everything is written, delivered and applied

	w.Isolate(l.ID)
	second, _ := w.Propose(l, "second")
	w.Settle(1)
	w.Crash(l, 0, -1)
	w.Heal()
	w.AwaitLeader()

	fmt.Println(first[0].Outcome, second[0].Outcome)
	// Output: decided lost
}
