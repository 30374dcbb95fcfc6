package scenarios

import (
	"fmt"
	"testing"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/consensustest"
)

// Scenarios: replicas that cannot hear each other all. Time does not matter here, only
// whether the group goes on. Rest is how long it may take, in ticks: dozens of elections.
const rest = 400

// ending is what a group looks like in the end.
type ending struct {
	voters int
	hears  [][2]consensus.ReplicaID // pairs that hear each other
	dead   consensus.ReplicaID      // zero: nobody
	slept  consensus.ReplicaID      // zero: nobody
	leader consensus.ReplicaID      // zero: nobody
	epochs int                      // begun since the trouble
	goesOn bool                     // commands are decided
}

// trouble loses what all pairs of replicas say but those that still hear each other.
func (s *ending) trouble(w *consensustest.World) {
	for a := range consensus.ReplicaID(s.voters) {
		for b := range a {
			pair := [2]consensus.ReplicaID{b + 1, a + 1}
			if !s.hear(pair) {
				w.Cut(pair[0], pair[1])
			}
		}
	}
}

func (s *ending) hear(pair [2]consensus.ReplicaID) bool {
	for _, p := range s.hears {
		if p == pair {
			return true
		}
	}
	return false
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

// constrained plays a constrained election: the leader dies, and the rest hear each other
// only through 5, which has slept while commands were decided.
func constrained(e consensus.Engine) ending {
	s := ending{voters: 5, slept: 5, dead: 1, hears: [][2]consensus.ReplicaID{{2, 5}, {3, 5}, {4, 5}}}
	w := consensustest.NewGroup(e, consensustest.Options{}, s.voters, 1)
	w.Elect(1)
	w.Isolate(s.slept)
	for k := range 10 {
		if !decides(w, fmt.Sprint(k), rest) {
			panic(fmt.Sprintf("%s: %d is not decided", e.Name, k))
		}
	}
	w.Heal()
	s.trouble(w)
	w.Crash(w.Host(s.dead), w.Host(s.dead).Writes(), 0)
	s.goesOn = decides(w, "last", rest)
	s.leader = leaderOf(w)
	return s
}

// Goal: only a replica that has slept is connected to a majority. Where a log decides who
// may lead nobody can, and in Paxos it finds out what it lacks.
func TestConstrainedElection(t *testing.T) {
	for _, e := range engines {
		s, lead := constrained(e), consensus.ReplicaID(0)
		if e.Name == "paxos" {
			lead = s.slept
		}
		if s.goesOn != (lead != 0) || s.leader != lead {
			t.Errorf("%s: %v leads, the group goes on: %v; want %v", e.Name, s.leader, s.goesOn, lead)
		}
	}
}

// chained plays a chained partition: 1, which leads, and 3 hear each other only through 2,
// which knows both.
func chained(e consensus.Engine) ending {
	s := ending{voters: 3, hears: [][2]consensus.ReplicaID{{1, 2}, {2, 3}}}
	w := consensustest.NewGroup(e, consensustest.Options{}, s.voters, 1)
	epoch := w.Elect(1).Status().HardState.Epoch
	s.trouble(w)
	w.Settle(rest)
	s.goesOn = decides(w, "last", rest)
	s.leader = leaderOf(w)
	s.epochs = int(w.Host(1).Status().HardState.Epoch - epoch)
	return s
}

// Goal: the group goes on, and the end that does not hear the leader does not unseat it.
func TestChainedPartition(t *testing.T) {
	for _, e := range engines {
		if s := chained(e); s.leader != 1 || s.epochs != 0 || !s.goesOn {
			t.Errorf("%s: %v leads after %d new epochs, the group goes on: %v", e.Name, s.leader, s.epochs, s.goesOn)
		}
	}
}

// Goal: a flexible write quorum decides with two of five, and elects with four. Method: three
// are gone after the election; then the leader too.
func TestFlexibleQuorum(t *testing.T) {
	w := consensustest.NewWorld(engines[1], consensustest.Options{}, 1)
	first := consensus.Configuration{Membership: consensus.Membership{Voters: ids(1, 2, 3, 4, 5), WriteQuorum: 2}}
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

func constrainedPicture() *picture {
	return topology("Constrained election: 1 is dead, and 2, 3 and 4 hear each other only through 5, which has slept",
		views(constrained), 240, []place{
			{x: 60, y: 90}, {x: 75, y: 200}, {x: 170, y: 200}, {x: 265, y: 200}, {x: 170, y: 90, beside: true},
		})
}

func chainedPicture() *picture {
	return topology("Chained partition: 1, which leads, and 3 hear each other only through 2",
		views(chained), 130, []place{{x: 60, y: 80}, {x: 170, y: 80}, {x: 280, y: 80}})
}
