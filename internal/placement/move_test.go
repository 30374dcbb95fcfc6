package placement

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// at is replica i of node i. A text says what its leader sees: + votes, - learns, ! does not answer, ~ has
// not caught up.
func at(i uint64) Node { return Node{ID: i, Incarnation: uint16(i)} }

func list(text string) (nodes []Node) {
	for _, c := range text {
		nodes = append(nodes, at(uint64(c-'0')))
	}
	return nodes
}

func sees(self uint64, text string) *Situation {
	x := &Situation{Self: at(self), Settled: true}
	for _, f := range strings.Fields(text) {
		x.Replicas = append(x.Replicas, Progress{Node: at(uint64(f[1] - '0')), Votes: f[0] == '+',
			Active: !strings.Contains(f, "!"), CaughtUp: !strings.ContainsAny(f, "!~")})
	}
	return x
}

func show(nodes []Node) (text string) {
	for _, n := range nodes {
		text += fmt.Sprint(n.ID)
	}
	return text
}

// Goal: of each situation the next step follows, and no step depends on whoever does not answer or
// has not caught up (L5, L7).
func TestNext(t *testing.T) {
	arrival := func(i, instead uint64) []Arrival {
		a := Arrival{Node: at(i)}
		if instead != 0 {
			a.For = at(instead)
		}
		return []Arrival{a}
	}
	moving := Shard{ID: 20, Nodes: list("123"), Joining: arrival(4, 3)}
	moved := Shard{ID: 20, Nodes: list("124"), Leaving: list("3")}
	shrunk := Shard{ID: 20, Nodes: list("123"), Leaving: list("45")}
	twice := Shard{ID: 20, Nodes: list("124"), Leaving: list("3"), Joining: arrival(5, 4)}
	for _, x := range []struct {
		what  string
		shard Shard
		self  uint64
		sees  string
		want  string
	}{
		{"all is well", Shard{ID: 20, Nodes: list("123")}, 1, "+1 +2 +3", "rest"},
		{"another one should lead", Shard{ID: 20, Nodes: list("213")}, 1, "+1 +2 +3", "hand over to 2"},
		{"who should lead does not answer", Shard{ID: 20, Nodes: list("213")}, 1, "+1 +2! +3", "later"},
		{"who should lead is behind", Shard{ID: 20, Nodes: list("213")}, 1, "+1 +2~ +3", "later"},
		{"an arrival", moving, 1, "+1 +2 +3", "configure 123, 4"},
		{"the leader is not there", moving, 9, "+1 +2 +3", "wait"},
		{"an arrival that is behind", moving, 1, "+1 +2 +3 -4~", "wait"},
		{"an arrival that does not answer", moving, 1, "+1 +2 +3 -4!", "wait"},
		{"an arrival that has all", moving, 1, "+1 +2 +3 -4", "write 124, joining , leaving 3"},
		{"whom it replaces has gone", Shard{ID: 20, Nodes: list("12"), Joining: arrival(4, 3)}, 1, "+1 +2 -4", "write 124, joining , leaving "},
		{"to vote", moved, 1, "+1 +2 +3 -4", "configure 124, 3"},
		{"to vote, and behind again", moved, 1, "+1 +2 +3 -4~", "wait"},
		{"to vote, and silent", moved, 1, "+1 +2 +3 -4!", "write 123, joining 4 for 3, leaving "},
		{"to vote, with others that are silent", moved, 1, "+1 +2! +3 -4", "write 123, joining 4 for 3, leaving "},
		{"to vote, one silent and one behind", Shard{ID: 20, Nodes: list("1245"), Leaving: list("3")}, 1, "+1 +2! +3 -4 +5~", "write 1235, joining 4 for 3, leaving "},
		{"to vote, and another one is to replace it", twice, 1, "+1 +2 +3 -4! -5~", "write 123, joining 5 for 3, leaving "},
		{"the leader leaves", moved, 3, "+1 +2 +3 -4", "hand over to 1"},
		{"the leader leaves and the first is behind", moved, 3, "+1~ +2 +3 -4", "hand over to 2"},
		{"a lone leader leaves", Shard{ID: 20, Nodes: list("4"), Leaving: list("3")}, 3, "+3 -4", "configure 43, "},
		{"and then hands over", Shard{ID: 20, Nodes: list("4"), Leaving: list("3")}, 3, "+3 +4", "hand over to 4"},
		{"fewer", shrunk, 1, "+1 +2 +3 +4 +5", "configure 123, 45"},
		{"fewer, of which most are silent", shrunk, 1, "+1 +2! +3! +4 +5", "write 12345, joining , leaving "},
		{"who left answers", moved, 1, "+1 +2 +4 -3", "wait"},
		{"who left does not", moved, 1, "+1 +2 +4 -3!", "write 124, joining , leaving "},
		{"who left is not known", moved, 1, "+1 +2 +4", "write 124, joining , leaving "},
		{"who left and said so", Shard{ID: 20, Nodes: list("124")}, 1, "+1 +2 +4 -3", "configure 124, "},
		{"a copy of the system keyspace", Shard{ID: 1, Nodes: list("12"), Learners: list("3")}, 1, "+1 +2", "configure 12, 3"},
		{"a voter of the system keyspace stays", Shard{ID: 1, Nodes: list("12"), Joining: arrival(3, 2)}, 1, "+1 +2 -3", "write 13, joining , leaving , learners 2"},
	} {
		step := x.shard.Next(sees(x.self, x.sees), true)
		got := [...]string{"rest", "wait", "later", "configure " + show(step.Voters) + ", " + show(step.Learners), "hand over to " + fmt.Sprint(step.To.ID), ""}[step.Kind]
		if step.Kind == Write {
			s := step.Shard
			got = "write " + show(s.Nodes) + ", joining "
			for _, a := range s.Joining {
				got += fmt.Sprintf("%d for %d", a.ID, a.For.ID)
			}
			if got += ", leaving " + show(s.Leaving); len(s.Learners) > 0 {
				got += ", learners " + show(s.Learners)
			}
		}
		if got != x.want {
			t.Errorf("%s: %s; want %s", x.what, got, x.want)
		}
	}
	busy := sees(1, "+1 +2 +3 -4")
	if busy.Changing = true; moving.Next(busy, true).Kind != Wait {
		t.Error("a step is taken while the membership changes")
	}
}

// fake are ports that note what they are asked for.
type fake struct {
	catalog  *Catalog
	epochs   map[uint64]uint64
	barriers int
	writes   []Proposal
	acts     int
	planning bool
	silent   map[uint64]bool
}

func (f *fake) Catalog() *Catalog { return f.catalog }
func (f *fake) Leads(shard uint64) (uint64, bool) {
	return f.epochs[shard], f.epochs[shard] != 0
}
func (f *fake) Situation(shard, epoch uint64) (Situation, bool) {
	return *sees(1, "+1 +2 +3"), f.epochs[shard] == epoch
}
func (f *fake) Drained(uint64) bool                      { return true }
func (f *fake) Configure(uint64, uint64, []Node, []Node) { f.acts++ }
func (f *fake) HandOver(uint64, uint64, Node)            { f.acts++ }
func (f *fake) Barrier()                                 { f.barriers++ }
func (f *fake) Write(p Proposal)                         { f.writes = append(f.writes, p) }
func (f *fake) Change(MemberChange)                      {}
func (f *fake) Planning() (Planning, bool) {
	return Planning{Seed: 1, Silent: f.silent, Dead: f.silent}, f.planning
}

// Goal: a leader does nothing before it has read what was recorded, nor in another epoch than the one
// in which it asked (L9).
func TestAgentWaitsForTheBarrier(t *testing.T) {
	f := &fake{catalog: NewCatalog(), epochs: map[uint64]uint64{20: 7}}
	k := Keyspace{Format: 1, Name: "k", Epoch: 2, State: Active, Replicas: 3, Shards: []Shard{{ID: 20, Engine: "raft", First: list("123"), Nodes: list("123"), Learners: list("4")}}}
	put(t, f.catalog, Key("k"), k.Encode())
	a := NewAgent(1, 1, f)
	a.Look(20)
	a.Tick()
	a.Tick()
	if f.barriers != 1 || f.acts != 0 {
		t.Fatalf("%d barriers, %d acts before the answer", f.barriers, f.acts)
	}
	f.epochs[20] = 8
	if a.Read(true); f.acts != 0 {
		t.Error("it acts in an epoch that began after it asked")
	}
	a.Tick()
	if a.Read(false); f.acts != 0 || a.Pending() != 1 {
		t.Error("it acts on a barrier that failed, or forgets the shard")
	}
	a.Tick()
	if a.Read(true); f.acts != 1 || f.barriers != 3 {
		t.Errorf("%d acts, %d barriers", f.acts, f.barriers)
	}
}

// Goal: a plan that found nothing to do is made again when something has changed, when what it proposed was
// not written, and a while after somebody has created something; and not otherwise.
func TestAgentPlansAgain(t *testing.T) {
	f := &fake{catalog: four(t), epochs: map[uint64]uint64{}, planning: true, silent: map[uint64]bool{}}
	a := NewAgent(1, 1, f)
	plans := func(ticks int) int {
		before := f.barriers
		for range ticks {
			a.Tick()
			if a.reading {
				a.Read(true)
			}
			for _, p := range f.writes {
				if p.Next.Epoch > 50 {
					t.Fatal("no end")
				}
				f.catalog.Put([]byte(Key(p.Keyspace)), p.Next.Encode(), 2)
				a.Written(p.Keyspace, true)
			}
			f.writes = nil
		}
		return f.barriers - before
	}
	plans(50)
	if n := plans(1000); n != 0 {
		t.Errorf("%d plans though nothing happens", n)
	}
	put(t, f.catalog, NextShardKey, []byte("40"))
	if n := plans(grownTicks); n != 0 {
		t.Errorf("%d plans as soon as somebody creates something", n)
	}
	if n := plans(2 * grownTicks); n != 1 {
		t.Errorf("%d plans after somebody has created something", n)
	}
	f.silent[2] = true // the same map: who plans may keep it
	a.Tick()
	if a.Read(true); len(f.writes) == 0 {
		t.Fatal("nothing is planned for a node that has died")
	}
	lost := f.writes
	f.writes = nil
	for _, p := range lost {
		a.Written(p.Keyspace, false)
	}
	a.Tick()
	if a.reading {
		a.Read(true)
	}
	if !slices.EqualFunc(f.writes, lost, func(p, q Proposal) bool { return p.Keyspace == q.Keyspace }) {
		t.Errorf("what was not written is not proposed again: %v", f.writes)
	}
}

// Goal: of a shard's moves one arrival begins, who is removed leaves, and nobody is removed if most of the rest
// do not answer.
func TestPlanBegins(t *testing.T) {
	c := four(t)
	k, _ := c.Keyspace("three")
	s := k.Shards[0].clone()
	s.Nodes = append(s.Nodes, Node{ID: 4, Incarnation: 4})
	k = k.with(s)
	k.Replicas = 1
	put(t, c, Key("three"), k.Encode())
	of := func(p Planning) *Keyspace {
		p.Seed = 1
		list, err := c.Plan(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range list {
			if x.Keyspace == "three" {
				return &x.Next
			}
		}
		return nil
	}
	next := of(Planning{})
	if next == nil || len(next.Shards[0].Nodes) != 1 || len(next.Shards[0].Leaving) != 3 {
		t.Fatalf("%+v", next)
	}
	if next := of(Planning{Silent: ids(next.Shards[0].Nodes[0].ID)}); next != nil {
		t.Errorf("it is left with %v, who does not answer", next.Shards[0].Nodes)
	}
	k.Replicas, k.Shards[0].Nodes, k.Shards[0].Last = 3, k.Shards[0].Nodes[:1], 4
	put(t, c, Key("three"), k.Encode())
	if next := of(Planning{}); next == nil || len(next.Shards[0].Joining) != 1 || next.Shards[0].Joining[0].Incarnation != 5 {
		t.Errorf("%+v", next)
	}
}
