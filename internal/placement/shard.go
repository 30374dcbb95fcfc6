package placement

import (
	"fmt"
	"slices"

	"github.com/quorate/quorate/ring"
)

// IncarnationMax is how many replicas a shard may have had. A shard that moves once an hour gets
// there in seven years, and then stays where it is.
const IncarnationMax = 1<<16 - 1

// nodeAt is the inverse of Node.place, for a new replica.
func nodeAt(place ring.NodeID, incarnation uint16) Node {
	n := Node{ID: uint64(place) & (1<<nodeBits - 1), Incarnation: incarnation}
	if life := uint16(uint64(place)>>nodeBits) + 1; life > 1 {
		n.Life = life
	}
	return n
}

// sound reports whether the shard's replicas can be: with one record of which they cannot nobody
// could plan.
func (s *Shard) sound() bool {
	all := append(s.Replicas(), s.First...)
	goal := s.goal()
	slices.Sort(goal)
	return len(all) <= 2*MembersMax && len(goal) <= ring.ReplicasMax && len(slices.Compact(slices.Clone(goal))) == len(goal) &&
		!slices.ContainsFunc(all, func(n Node) bool { return n.ID == 0 || n.ID >= 1<<nodeBits })
}

// checkShards refuses a record with a shard of another keyspace (L1).
func (c *Catalog) checkShards(k *Keyspace) error {
	for i := range k.Shards {
		if id := k.Shards[i].ID; c.shards[id] != "" && c.shards[id] != k.Name {
			return fmt.Errorf("%w: shard %d is that of keyspace %q", ErrInvalid, id, c.shards[id])
		}
	}
	return nil
}

// moving reports whether replicas of the shard are on the move.
func (s *Shard) moving() bool { return len(s.Joining) > 0 || len(s.Leaving) > 0 || s.Settling }

// goal is where the shard is when all that has begun is done.
func (s *Shard) goal() []ring.NodeID {
	places := make([]ring.NodeID, 0, len(s.Nodes)+len(s.Joining))
	for _, n := range s.Nodes {
		at := slices.IndexFunc(s.Joining, func(a Arrival) bool { return a.For.Same(n) })
		if at < 0 {
			places = append(places, n.place())
		} else {
			places = append(places, s.Joining[at].place())
		}
	}
	for _, a := range s.Joining {
		if a.For.ID == 0 {
			places = append(places, a.place())
		}
	}
	return places
}

// Replicas lists every replica that the shard has or is to have.
func (s *Shard) Replicas() []Node {
	list := slices.Concat(s.Nodes, s.Leaving, s.Learners)
	for _, a := range s.Joining {
		list = append(list, a.Node)
	}
	return list
}

// On is the shard's replica on a node during a life of its disk. It serves clients if it votes,
// or will never do.
func (s *Shard) On(node uint64, life uint16) (n Node, serves, ok bool) {
	for _, n := range slices.Concat(s.Nodes, s.Learners) {
		if n.On(node, life) {
			return n, true, true
		}
	}
	for _, n := range s.Replicas() {
		if n.On(node, life) {
			return n, false, true
		}
	}
	return Node{}, false, false
}

// next is the incarnation of the shard's next replica (L6).
func (s *Shard) next() (uint16, error) {
	last := s.last()
	if last == IncarnationMax {
		return 0, fmt.Errorf("%w: shard %d has had %d replicas and can have no other: create another keyspace", ErrNoRoom, s.ID, last)
	}
	return last + 1, nil
}

func (s *Shard) last() uint16 {
	last := s.Last
	for _, n := range slices.Concat(s.First, s.Replicas()) {
		last = max(last, n.Incarnation)
	}
	return last
}

// clone is a shard whose lists may be changed.
func (s *Shard) clone() Shard {
	d := *s
	d.Last = s.last()
	d.Nodes, d.Joining = slices.Clone(s.Nodes), slices.Clone(s.Joining)
	d.Leaving, d.Learners = slices.Clone(s.Leaving), slices.Clone(s.Learners)
	return d
}

// lead puts one of the voters first.
func (s *Shard) lead(at int) {
	n := s.Nodes[at]
	s.Nodes = slices.Insert(slices.Delete(s.Nodes, at, at+1), 0, n)
}

// with is a keyspace's next record, with another shard in the place of its first one.
func (k *Keyspace) with(s Shard) Keyspace {
	next := *k
	next.Shards = []Shard{s}
	next.Epoch++
	return next
}

func remove(list []Node, n Node) []Node {
	return slices.DeleteFunc(list, func(o Node) bool { return o.Same(n) })
}

func contains(list []Node, n Node) bool { return slices.ContainsFunc(list, n.Same) }
