package ring

import (
	"fmt"
	"slices"
	"strings"
)

// Load is what a node has and may have.
type Load struct {
	Node                NodeID
	Replicas, Cap       int
	Leaders, LeadersCap int
	Share               float64 // the fair share of replicas; for people, plans compute exactly
}

// Loads lists every node of the ring, ascending by id.
func (r *Ring) Loads(p *Placement, policy Policy) ([]Load, error) {
	b, err := r.board(p, policy)
	if err != nil {
		return nil, err
	}
	list := make([]Load, 0, len(r.nodes))
	for i := range r.nodes {
		list = append(list, b.loadOf(int32(i)))
	}
	return list, nil
}

// loadOf sums up over the classes.
func (b *board) loadOf(i int32) Load {
	l := Load{Node: b.id(i)}
	for _, c := range b.classes {
		share, _ := c.share[i].Float64()
		l.Share += share
		l.Replicas, l.Cap = l.Replicas+c.load[i], l.Cap+c.limit[i]
		l.Leaders, l.LeadersCap = l.Leaders+c.leads[i], l.LeadersCap+c.leadsLimit[i]
	}
	return l
}

// Verdict is what speaks for or against a node as the place of one more replica of a
// shard.
type Verdict uint8

const (
	// Holds: it has one.
	Holds Verdict = iota + 1
	// Free: nothing speaks against it, but replicas move only if they must.
	Free
	// ZoneTaken: its zone has as many as a zone may have.
	ZoneTaken
	// AtCap: it has as many replicas of such shards as it may have.
	AtCap
	// Emptied: it has weight 0.
	Emptied
	// Absent: it is not on the ring.
	Absent
)

// String is the end of a sentence about the node.
func (v Verdict) String() string {
	return [...]string{
		Holds: "has a replica", Free: "has room, but a replica moves only if it must", ZoneTaken: "is in a zone that has its part",
		AtCap: "is at its cap", Emptied: "is to be emptied", Absent: "is not on the ring",
	}[v]
}

// Candidate is a node in a shard's order.
type Candidate struct {
	Node    NodeID
	Verdict Verdict
	// Beside is a node of the same zone that has a replica, if the verdict is ZoneTaken.
	Beside NodeID
}

// Explanation says why a node has a replica of a shard or has none.
type Explanation struct {
	Shard ShardID
	Candidate
	Leads bool
	// Rank is the node's place in the order in which the circle has the nodes from the
	// shard's position on, 0 for the owner; -1 without a token.
	Rank   int
	Load   Load        // zero if the node is absent
	Before []Candidate // the nodes with a lower rank, in their order
}

// Explain answers "why is this replica here, and why not there?". It judges by the
// placement as it is now: a node that was full when the replica was placed may have room
// today.
func (r *Ring) Explain(p *Placement, policy Policy, shard ShardID, node NodeID) (Explanation, error) {
	b, err := r.board(p, policy)
	if err != nil {
		return Explanation{}, err
	}
	k, ok := p.search(shard)
	if !ok {
		return Explanation{}, fmt.Errorf("%w: %v", ErrUnknown, shard)
	}
	s := b.slots[k]
	e := Explanation{Shard: shard, Rank: -1}
	e.Leads = len(s.on) > 0 && b.id(s.on[0]) == node
	i := r.find(node)
	if i < 0 {
		e.Candidate = Candidate{Node: node, Verdict: Absent}
		return e, nil
	}
	e.Candidate, e.Load = b.judge(s, i), b.loadOf(i)
	if r.nodes[i].Weight == 0 {
		return e, nil
	}
	r.order(s.at, b.stamps, func(x int32) bool {
		if x == i {
			e.Rank = len(e.Before)
			return false
		}
		e.Before = append(e.Before, b.judge(s, x))
		return true
	})
	return e, nil
}

// judge names the first thing that speaks against a node.
func (b *board) judge(s *slot, i int32) Candidate {
	c := Candidate{Node: b.id(i), Verdict: Free}
	switch {
	case slices.Contains(s.on, i):
		c.Verdict = Holds
	case b.nodes[i].Weight == 0:
		c.Verdict = Emptied
	case b.inZone(b.zoneOf[i], s.on) >= s.most:
		c.Verdict = ZoneTaken
		k := slices.IndexFunc(s.on, func(x int32) bool { return x >= 0 && b.nodes[x].Weight > 0 && b.zoneOf[x] == b.zoneOf[i] })
		c.Beside = b.id(s.on[k])
	case !s.hasRoom(i):
		c.Verdict = AtCap
	}
	return c
}

// String is a text of a line for the node and one for each before it.
func (e Explanation) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "shard %v, node %v: %v", e.Shard, e.Node, e.Verdict)
	if e.Leads {
		s.WriteString(" and leads")
	}
	if e.Rank >= 0 {
		fmt.Fprintf(&s, "; rank %d, %d of at most %d replicas", e.Rank, e.Load.Replicas, e.Load.Cap)
	}
	for k, c := range e.Before {
		fmt.Fprintf(&s, "\n  rank %d, node %v: %v", k, c.Node, c.Verdict)
		if c.Beside != 0 {
			fmt.Fprintf(&s, " (node %v)", c.Beside)
		}
	}
	return s.String()
}
