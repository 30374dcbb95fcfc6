package placement

import (
	"slices"
	"testing"
)

// stuck is a catalog of nodes 1 to n and the system keyspace, on the first of them, and whoever is dead.
func stuck(n int, system Shard, dead ...uint64) (*Catalog, Planning) {
	c := NewCatalog(Keyspace{Format: recordFormat, Name: System, Epoch: 1, State: Active, Shards: []Shard{system}})
	for id := range uint64(n) {
		c.Found(Member{ID: id + 1, Incarnation: 1, Disk: 1})
	}
	p := Planning{Seed: 1, Dead: make(map[uint64]bool), Silent: make(map[uint64]bool)}
	for _, id := range dead {
		p.Dead[id], p.Silent[id] = true, true
	}
	return c, p
}

// on are the first replicas of a shard on nodes.
func on(ids ...uint64) (nodes []Node) {
	for _, id := range ids {
		nodes = append(nodes, Node{ID: id, Incarnation: 1})
	}
	return nodes
}

func planned(t *testing.T, c *Catalog, p Planning, keyspace string) *Shard {
	t.Helper()
	proposals, err := c.Plan(p)
	if err != nil {
		t.Fatal(err)
	}
	for i := range proposals {
		if proposals[i].Keyspace == keyspace {
			return &proposals[i].Next.Shards[0]
		}
	}
	return nil
}

// A node has one replica of the system keyspace for as long as it is one: given up as an arrival
// it is the learner again that it was. Otherwise the next plan would want another
// replica there, which the node does not know of.
func TestArrivalInSystemKeyspaceIsLearnerAgain(t *testing.T) {
	learner := Node{ID: 4, Incarnation: 7}
	c, p := stuck(4, Shard{ID: systemShard, Engine: "raft", First: on(1, 2, 3), Nodes: on(1, 2, 3), Joining: []Arrival{{Node: learner, For: on(3)[0]}}}, 4)
	if next := planned(t, c, p, System); next == nil || len(next.Joining) > 0 || !slices.ContainsFunc(next.Learners, learner.Same) {
		t.Fatalf("its next record is %+v", next)
	}
}

// Of five nodes one drains: four are left, and three of them vote in the system keyspace. With five
// votes the node would never be empty.
func TestSystemKeyspaceFollowsWhoMayCarryIt(t *testing.T) {
	c, p := stuck(5, Shard{ID: systemShard, Engine: "raft", First: on(1, 2, 3, 4, 5), Nodes: on(1, 2, 3, 4, 5)})
	m := c.members[2]
	m.State = Draining
	c.members[2] = m
	if next := planned(t, c, p, System); next == nil || len(next.Nodes) != 3 || slices.Contains(next.Nodes, on(2)[0]) {
		t.Fatalf("its next record is %+v", next)
	}
}

// A first node that is away is waited for: it may be back before anything else changes.
func TestHandsOverLater(t *testing.T) {
	s := Shard{ID: FirstShard, First: on(1, 2, 3), Nodes: on(1, 2, 3)}
	x := Situation{Self: on(2)[0], Settled: true, Replicas: []Progress{{Node: on(1)[0], Votes: true}}}
	for _, n := range on(2, 3) {
		x.Replicas = append(x.Replicas, Progress{Node: n, Votes: true, Active: true, CaughtUp: true})
	}
	if step := s.Next(&x, true); step.Kind != Later {
		t.Fatalf("its next step is %+v", step)
	}
	x.Replicas[0].Active, x.Replicas[0].CaughtUp = true, true
	if step := s.Next(&x, true); step.Kind != HandOver || step.To != on(1)[0] {
		t.Fatalf("its next step is %+v", step)
	}
}

// Whoever is about to replace a living one replaces one that has died in the meantime.
func TestArrivalReplacesTheDead(t *testing.T) {
	c, p := stuck(5, Shard{ID: systemShard, Engine: "raft", First: on(1, 2, 3), Nodes: on(1, 2, 3)}, 3)
	arrival := Arrival{Node: Node{ID: 4, Incarnation: 2}, For: on(1)[0]}
	c.add(Keyspace{Format: recordFormat, Name: "a", Epoch: 2, State: Active, Replicas: 3, Shards: []Shard{{
		ID: FirstShard, Engine: "raft", First: on(1, 2, 3), Nodes: on(1, 2, 3), Joining: []Arrival{arrival}, Last: 2,
	}}})
	if next := planned(t, c, p, "a"); next == nil || len(next.Joining) != 1 || !next.Joining[0].For.Same(on(3)[0]) {
		t.Fatalf("its next record is %+v", next)
	}
}
