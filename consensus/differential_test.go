package consensus_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/consensustest"
	"github.com/quorate/quorate/consensus/etcdraft"
	"github.com/quorate/quorate/consensus/paxos"
	"github.com/quorate/quorate/consensus/raft"
)

var scheduleSeeds = flag.Int("consensus.schedules", 40, "schedules to run on all engines")

// engines are all that there are, with what the suite has to know of them.
var engines = []struct {
	engine consensus.Engine
	opts   consensustest.Options
}{
	{raft.Engine, consensustest.Options{}},
	{paxos.NewEngine(scheduleWindow), consensustest.Options{Enough: func(consensustest.Holding) bool { return true }}},
	{etcdraft.Engine, consensustest.Options{Enough: func(consensustest.Holding) bool { return true }}},
}

// scheduleWindow is Paxos's window here: a change of membership fills it with no-ops.
const scheduleWindow = 64

// Goal: what a group decides is a function of what it is asked for, whatever the engine.
// Method: one schedule of proposals, elections, crashes, partitions, released logs and
// changes of membership, each after the one before has come to rest; the commands and the
// memberships that are decided must be the same sequence on all engines.
func TestEnginesDecideAlike(t *testing.T) {
	for seed := uint64(1); seed <= uint64(*scheduleSeeds); seed++ {
		var want []string
		for k, e := range engines {
			got := decide(e.engine, e.opts, seed)
			if k == 0 {
				want = got
				continue
			}
			if !slices.Equal(got, want) {
				t.Fatalf("schedule %d: %s decides\n%q\nand %s\n%q", seed, engines[0].engine.Name, want, e.engine.Name, got)
			}
		}
		if len(want) < 20 {
			t.Errorf("schedule %d decides only %q", seed, want)
		}
	}
}

// decide plays a schedule and returns what was decided. Faults of the world panic.
func decide(engine consensus.Engine, opts consensustest.Options, seed uint64) (decided []string) {
	rng := rand.New(rand.NewPCG(seed, 1))
	w := consensustest.NewGroup(engine, opts, 3, seed)
	for range 2 {
		w.Add(consensus.ReplicaID(len(w.Hosts())+1), consensus.Configuration{})
	}
	s := schedule{World: w, rng: rng}
	for range 25 {
		s.step()
	}
	for _, d := range w.Decided() {
		switch {
		case d.Skipped:
		case d.Entry.Kind == consensus.EntryCommand:
			decided = append(decided, string(d.Entry.Data))
		case d.Entry.Kind == consensus.EntryMembership:
			c, err := consensus.DecodeConfiguration(d.Entry.Data)
			if err != nil {
				panic(err)
			}
			if !c.Joint() {
				decided = append(decided, fmt.Sprint(c.Voters, c.Learners))
			}
		}
	}
	return decided
}

// schedule draws what happens; nothing that it draws depends on the engine.
type schedule struct {
	*consensustest.World
	rng  *rand.Rand
	next int
	away consensus.ReplicaID // cut off: it may believe that it leads
}

// rest is how long a group may take to come to rest, in ticks.
const rest = 400

func (s *schedule) step() {
	id := consensus.ReplicaID(1 + s.rng.IntN(5))
	switch s.rng.IntN(7) {
	case 0, 1:
		s.put(1 + s.rng.IntN(6))
	case 2: // a replica sleeps through something
		s.Isolate(id)
		s.away = id
		s.put(1 + s.rng.IntN(3))
		s.away = 0
		s.Heal()
	case 3: // a crash that loses nothing durable
		h := s.Host(id)
		s.Crash(h, h.Writes(), 0)
		s.put(1 + s.rng.IntN(3))
		s.Start(h)
	case 4: // logs are cut
		for _, h := range s.Hosts() {
			s.Release(h, h.Applied())
		}
	case 5:
		s.change()
	case 6:
		_ = s.Transfer(s.AwaitLeader(), 0)
	}
	s.calm()
}

// put proposes commands one after the other, each once the one before is decided.
func (s *schedule) put(n int) {
	for range n {
		s.next++
		data := fmt.Sprint(s.next)
		var p []*consensustest.Proposal
		s.until("nobody takes "+data, func() bool {
			l := s.Leader()
			if l == nil || l.ID == s.away {
				return false
			}
			var err error
			p, err = s.Propose(l, data)
			return err == nil
		})
		s.until(data+" is not decided", func() bool { return p[0].Outcome != consensustest.Open })
		if p[0].Outcome != consensustest.Decided {
			panic(fmt.Sprintf("%s is %v in a calm group", data, p[0].Outcome))
		}
	}
}

// change draws a membership of three to five of the replicas, and waits until it is whole.
func (s *schedule) change() {
	ids := []consensus.ReplicaID{1, 2, 3, 4, 5}
	s.rng.Shuffle(len(ids), func(a, b int) { ids[a], ids[b] = ids[b], ids[a] })
	target := consensus.Membership{Voters: slices.Sorted(slices.Values(ids[:3+s.rng.IntN(3)]))}
	s.until("nobody takes a change", func() bool {
		l := s.Leader()
		if l == nil {
			return false
		}
		_, err := s.Change(l, target)
		return err == nil
	})
	s.until("a change does not end", func() bool {
		c := s.Configuration()
		return !c.Joint() && c.Membership.Equal(&target)
	})
}

// calm waits until a member leads and all members have what is decided.
func (s *schedule) calm() {
	s.until("the group does not come to rest", func() bool {
		l := s.Leader()
		if l == nil {
			return false
		}
		c := s.Configuration()
		for _, h := range s.Hosts() {
			if h.Up() && c.Contains(h.ID) && int(h.Applied()) != len(s.Decided()) {
				return false
			}
		}
		return slices.Contains(c.Voters, l.ID)
	})
	s.Settle(5)
}

func (s *schedule) until(otherwise string, holds func() bool) {
	if !s.SettleUntil(rest, holds) {
		panic(otherwise)
	}
}
