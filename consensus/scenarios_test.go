package consensus_test

import (
	"fmt"
	"testing"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/consensustest"
)

// star leaves only the links between a center and each of the others.
func star(w *consensustest.World, center consensus.ReplicaID) {
	for _, a := range w.Hosts() {
		for _, b := range w.Hosts() {
			if a.ID < b.ID && a.ID != center && b.ID != center {
				w.Cut(a.ID, b.ID)
			}
		}
	}
}

// decides reports whether anybody takes a command and has it decided within so many ticks.
func decides(w *consensustest.World, data string, ticks int) bool {
	for range ticks {
		w.Settle(1)
		l := w.Leader()
		if l == nil {
			continue
		}
		p, err := w.Propose(l, data)
		if err != nil {
			continue
		}
		w.SettleUntil(ticks, func() bool { return p[0].Outcome != consensustest.Open })
		return p[0].Outcome == consensustest.Decided
	}
	return false
}

// Goal: constrained election. Only a replica that has slept is connected to a majority:
// where a log decides who may lead nobody can, and in Paxos it finds out what it lacks.
func TestConstrainedElection(t *testing.T) {
	for _, e := range engines {
		w := consensustest.NewGroup(e.engine, e.opts, 5, 1)
		w.Elect(1)
		w.Isolate(5)
		for k := range 10 {
			if !decides(w, fmt.Sprint(k), rest) {
				t.Fatalf("%s: %d is not decided", e.engine.Name, k)
			}
		}
		w.Heal()
		star(w, 5)
		w.Crash(w.Host(1), w.Host(1).Writes(), 0)
		want := e.engine.Name == "paxos"
		if got := decides(w, "last", rest); got != want {
			t.Errorf("%s: the group goes on: %v, want %v", e.engine.Name, got, want)
		}
	}
}

// Goal: chained partition. 1 and 3 hear each other only through 2, which knows both. The
// group goes on, and the end that does not hear the leader does not unseat it.
func TestChainedPartition(t *testing.T) {
	for _, e := range engines {
		w := consensustest.NewGroup(e.engine, e.opts, 3, 1)
		l := w.Elect(1)
		epoch := l.Status().HardState.Epoch
		w.Cut(1, 3)
		w.Settle(rest)
		if s := l.Status(); s.Role != consensus.Leader || s.HardState.Epoch != epoch {
			t.Errorf("%s: 1 led epoch %d, and is %v of epoch %d", e.engine.Name, epoch, s.Role, s.HardState.Epoch)
		}
		if !decides(w, "last", rest) {
			t.Errorf("%s: nothing is decided", e.engine.Name)
		}
	}
}

// Goal: a flexible write quorum decides with two of five, and elects with four. Method: three
// are gone after the election; then the leader too.
func TestFlexibleQuorum(t *testing.T) {
	e := engines[1]
	w := consensustest.NewWorld(e.engine, e.opts, 1)
	first := consensus.Configuration{Membership: consensus.Membership{Voters: []consensus.ReplicaID{1, 2, 3, 4, 5}, WriteQuorum: 2}}
	for _, id := range first.Voters {
		w.Add(id, first)
	}
	w.Elect(1)
	w.Partition(1, 2)
	if !decides(w, "with two", rest) {
		t.Error("two of five do not decide")
	}
	w.Heal()
	w.Settle(20)
	w.Isolate(1)
	w.Isolate(2)
	if decides(w, "without election", rest) {
		t.Error("three of five elect, although two may have decided")
	}
	w.Heal()
	if !decides(w, "all", rest) {
		t.Error("nothing is decided after healing")
	}
}
