package placement

import (
	"cmp"
	"errors"
	"slices"

	"github.com/quorate/quorate/ring"
)

// Planning is what a plan is made with beside the catalog.
type Planning struct {
	Seed uint64 // of the ring; the same for as long as the cluster lives
	// Silent are the nodes that do not answer at this moment, and Dead those that have not for
	// so long that their replicas are placed anew. Whoever is dead is silent.
	Silent, Dead map[uint64]bool
	// Moves bounds the shards that move at a time; zero takes MovesDefault.
	Moves int
	// Replicas bounds a node's load in percent of its share; zero takes the ring's default.
	LoadPercent int
	Now         int64 // seconds since 1970
}

// MovesDefault is how many shards move at a time.
const MovesDefault = 32

// Proposal is one keyspace's next record, and why.
type Proposal struct {
	Keyspace string
	Moves    []ring.Move // as the ring has them; none for what only tidies up
	Note     string      // what is done beside them
	Next     Keyspace
}

// OwnReplicas is how many replicas vote in the cluster's own keyspaces: the largest odd number
// of at most five and the nodes that may carry replicas. Two nodes both vote: a copy that does not would cost as much.
func OwnReplicas(nodes int) int {
	if nodes <= 2 {
		return max(1, nodes)
	}
	return min(ownReplicasMax, nodes-1+nodes%2)
}

const ownReplicasMax = 5

// ownReplicas is how many replicas the cluster's own keyspaces should have now. Dead nodes do not count
// where that leaves three: two dead voters among five would leave no room for a third. Below that they
// do, so that nothing moves in a cluster of three when one is away for long; unless a node
// is to be removed, which might wait for the dead ones for ever.
func (c *Catalog) ownReplicas(dead map[uint64]bool) int {
	all, alive, removing := 0, 0, false
	for id, m := range c.members {
		switch {
		case m.State == Removing:
			removing = true
			continue
		case m.State == Draining || !m.Started(): // no room for a vote
			continue
		case !dead[id]:
			alive++
		}
		all++
	}
	want := OwnReplicas(alive)
	if !removing {
		want = max(want, min(3, OwnReplicas(all)))
	}
	return want
}

// Ring is what replicas are placed on: the nodes' records, without those that are dead.
func (c *Catalog) Ring(dead map[uint64]bool) []ring.Node {
	var nodes []ring.Node
	for _, m := range c.Members() {
		if !dead[m.ID] {
			nodes = append(nodes, ring.Node{ID: m.place(), Weight: m.weight(), Domains: m.domains()})
		}
	}
	return nodes
}

// Plan proposes the next records of keyspaces whose replicas should be elsewhere: at most as
// many as may move at a time, and none whose quorum is lost, which nothing can mend from here.
// Nothing is proposed if everybody is where he should be (L5, L8), but for what is moved for its
// load then (balance.go).
func (c *Catalog) Plan(p Planning) ([]Proposal, error) {
	p.Moves = cmp.Or(p.Moves, MovesDefault)
	b := planning{Planning: p, c: c, taken: make(map[string]bool), there: make(map[ring.NodeID]bool), alive: make(map[ring.NodeID]bool)}
	for id, m := range c.members {
		b.there[m.place()] = true
		if !p.Dead[id] {
			b.alive[m.place()] = true
		}
	}
	for _, k := range c.keyspaces {
		if s := &k.Shards[0]; s.moving() && b.forsaken(s) {
			b.stuck++
		}
	}
	b.tidy()
	r, err := ring.New(c.Ring(p.Dead), ring.Options{Seed: p.Seed})
	if err != nil {
		return nil, err
	}
	if b.room() <= 0 || !slices.ContainsFunc(c.Members(), func(m Member) bool { return !p.Dead[m.ID] && m.weight() > 0 }) {
		return b.proposals, nil
	}
	placement := b.placement()
	// Of shards that move already the ring may want something, too, and they have to wait.
	moves, err := r.Plan(placement, ring.Policy{ReplicaLoad: p.LoadPercent, Copies: b.room() + b.waiting(), Leads: b.room()})
	if err != nil {
		return nil, err
	}
	if len(moves) == 0 && len(b.proposals) == 0 && c.moves == 0 {
		err := b.balance(r, placement)
		return b.proposals, err
	}
	return b.proposals, b.take(moves)
}

// planning is a plan being made.
type planning struct {
	Planning
	c         *Catalog
	there     map[ring.NodeID]bool // places of nodes in this life of their disk
	alive     map[ring.NodeID]bool // those that are not dead
	taken     map[string]bool      // keyspaces that a proposal is about
	begun     int                  // moves that this plan begins
	stuck     int                  // moves that do not count, as they may never end
	proposals []Proposal
}

// room is how many further shards may begin to move.
func (b *planning) room() int { return b.Moves - b.c.moves + b.stuck - b.begun }

func (b *planning) propose(p Proposal) {
	b.taken[p.Keyspace] = true
	b.proposals = append(b.proposals, p)
}

// waiting bounds what the ring may want of shards that cannot begin to move.
func (b *planning) waiting() (copies int) {
	for _, k := range b.c.keyspaces {
		if s := &k.Shards[0]; s.moving() || s.last() == IncarnationMax {
			copies += max(k.Replicas, ownReplicasMax)
		}
	}
	return copies
}

// tidy gives up arrivals on dead nodes. Who leaves may still vote, and is left to the shard's leader,
// who alone knows that. Learners of the system keyspace follow the nodes.
func (b *planning) tidy() {
	for _, k := range b.c.All() {
		s := &k.Shards[0]
		if !s.moving() && s.ID != systemShard {
			continue
		}
		next := s.clone()
		next.Joining = slices.DeleteFunc(next.Joining, func(a Arrival) bool { return !b.alive[a.place()] })
		redirected := b.redirect(&next)
		if s.ID == systemShard {
			for _, a := range s.Joining { // who is dead may come back, and then needs to know what there is
				if !b.alive[a.place()] {
					next.Learners = append(next.Learners, a.Node)
				}
			}
			next.Learners = slices.DeleteFunc(next.Learners, func(n Node) bool { return !b.there[n.place()] })
		}
		if !redirected && len(next.Joining) == len(s.Joining) && len(next.Learners) == len(s.Learners) {
			continue
		}
		b.propose(Proposal{Keyspace: k.Name, Note: "gives up on replicas whose nodes are gone", Next: k.with(next)})
	}
}

// redirect lets arrivals replace who has died, not who lives or nobody: a membership with a dead voter that
// never voted does not come, so nothing else would.
func (b *planning) redirect(s *Shard) (did bool) {
	for _, n := range s.Nodes {
		if b.alive[n.place()] || slices.ContainsFunc(s.Joining, func(a Arrival) bool { return a.For.Same(n) }) {
			continue
		}
		for i := range s.Joining {
			if a := &s.Joining[i]; a.For.ID == 0 || b.alive[a.For.place()] {
				a.For, did = n, true
				break
			}
		}
	}
	return did
}

// placement is where the shards are to be that a plan may be about.
func (b *planning) placement() *ring.Placement {
	own := b.c.ownReplicas(b.Dead)
	p := &ring.Placement{Shards: make([]ring.Shard, 0, len(b.c.placed))}
	for _, s := range b.c.placed {
		k := b.c.keyspaces[b.c.shards[uint64(s.ID)]]
		if k.Replicas == 0 {
			s.Want = own
		}
		if !b.lost(&k.Shards[0]) {
			p.Shards = append(p.Shards, s)
		}
	}
	return p
}

// lost reports whether a shard has no quorum that answers.
func (b *planning) lost(s *Shard) bool { return !b.answer(s.Nodes) }

// forsaken reports whether a shard's quorum is dead. What it has begun does not keep others from
// moving: it may never end.
func (b *planning) forsaken(s *Shard) bool {
	dead := 0
	for _, n := range s.Nodes {
		if !b.alive[n.place()] {
			dead++
		}
	}
	return 2*dead >= len(s.Nodes)
}

// answer reports whether most of some replicas do.
func (b *planning) answer(nodes []Node) bool {
	silent := 0
	for _, n := range nodes {
		m, ok := b.c.members[n.ID]
		if !ok || !n.On(m.ID, m.Incarnation) || b.Silent[n.ID] || b.Dead[n.ID] {
			silent++
		}
	}
	return 2*(len(nodes)-silent) > len(nodes)
}

// take makes records of the ring's moves. Of a shard's several arrivals the first begins; the
// next plan has the others.
func (b *planning) take(moves []ring.Move) error {
	var order []string
	of := make(map[string][]ring.Move)
	for _, m := range moves {
		name := b.c.shards[uint64(m.Shard)]
		if _, ok := of[name]; !ok {
			order = append(order, name)
		}
		of[name] = append(of[name], m)
	}
	for _, name := range order {
		k := b.c.keyspaces[name]
		s := &k.Shards[0]
		if b.taken[name] || s.moving() {
			continue
		}
		next, did, err := begin(s, of[name])
		if errors.Is(err, ErrNoRoom) {
			continue // it stays where it is
		}
		if err != nil {
			return err
		}
		if len(did) == 0 || len(next.Nodes) < len(s.Nodes) && !b.answer(next.Nodes) {
			continue
		}
		if next.moving() {
			if b.room() <= 0 {
				continue
			}
			b.begun++
		}
		b.propose(Proposal{Keyspace: name, Moves: did, Next: k.with(next)})
	}
	return nil
}

// begin makes those of a shard's moves that can begin now.
func begin(s *Shard, moves []ring.Move) (next Shard, did []ring.Move, err error) {
	next = s.clone()
	arrived := false
	for _, m := range moves {
		at := slices.IndexFunc(next.Nodes, func(n Node) bool { return n.place() == m.Node })
		switch {
		case m.Kind == ring.Add && !arrived:
			arrived = true
			a, err := next.arrival(m)
			if err != nil {
				return next, nil, err
			}
			next.Joining = append(next.Joining, a)
		case m.Kind == ring.Remove && at >= 0 && len(next.Joining) == 0 && len(next.Nodes) > 1:
			next.leave(next.Nodes[at])
			next.Nodes, next.Settling = slices.Delete(next.Nodes, at, at+1), true
		case m.Kind == ring.Lead && at > 0:
			next.lead(at)
		default:
			continue
		}
		did = append(did, m)
	}
	return next, did, nil
}

// arrival is a replica that the ring wants: a new one, or in the system keyspace the learner
// that is there.
func (s *Shard) arrival(m ring.Move) (Arrival, error) {
	a := Arrival{}
	if i := slices.IndexFunc(s.Nodes, func(n Node) bool { return n.place() == m.Other }); i >= 0 {
		a.For = s.Nodes[i]
	}
	if i := slices.IndexFunc(s.Learners, func(n Node) bool { return n.place() == m.Node }); i >= 0 {
		a.Node = s.Learners[i]
		s.Learners = slices.Delete(s.Learners, i, i+1)
		return a, nil
	}
	incarnation, err := s.next()
	if err != nil {
		return a, err
	}
	a.Node, s.Last = nodeAt(m.Node, incarnation), incarnation
	return a, nil
}
