package ring

import (
	"math"
	"math/big"
	"slices"
)

// none is no node. Replicas on nodes that are gone have other negative numbers.
const none = int32(math.MinInt32)

// slot is a shard during a plan.
type slot struct {
	*class
	id ShardID
	at Token
	on []int32 // as Shard.Replicas; gone nodes are -1-k, with their ids in board.gone
}

// class is all shards that want as many replicas. Caps are kept by class, as a node that
// is within them by the sum may still carry too many shards of one replica, all of which it
// leads.
type class struct {
	want, most int // most replicas of a shard in one zone (R3)
	slots      []*slot

	// By node. A node of weight 0 has caps of 0.
	load, limit       []int // replicas and their cap
	leads, leadsLimit []int // shards led and their cap
	share             []*big.Rat

	open []int // by zone: nodes below their cap
}

// live counts the replicas on nodes that are there.
func (s *slot) live() (n int) {
	for _, i := range s.on {
		if i >= 0 {
			n++
		}
	}
	return n
}

// without is where the other replicas are.
func (s *slot) without(i int32) []int32 {
	k := slices.Index(s.on, i)
	if k < 0 {
		return s.on
	}
	return slices.Delete(slices.Clone(s.on), k, k+1)
}

// board is a placement while a plan is made: every move is at once carried out here.
type board struct {
	*Ring
	slots   []*slot
	classes []*class // ascending by want
	gone    []NodeID

	copies, transfers int // what the policy still allows
	moves             []Move
	stamps            []bool
}

// board lays out a placement.
func (r *Ring) board(p *Placement, policy Policy) (*board, error) {
	policy, err := policy.complete()
	if err != nil {
		return nil, err
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	b := &board{Ring: r, stamps: make([]bool, len(r.nodes)), copies: policy.Copies, transfers: policy.Leads}
	if b.copies == 0 {
		b.copies = math.MaxInt
	}
	if b.transfers == 0 {
		b.transfers = math.MaxInt
	}
	var classes [ReplicasMax + 1]*class
	gone := map[NodeID]int32{}
	for _, s := range p.Shards {
		c := classes[s.Want]
		if c == nil {
			c = r.class(s.Want)
			classes[s.Want] = c
		}
		x := &slot{class: c, id: s.ID, at: r.Number(uint64(s.ID))}
		for _, id := range s.Replicas {
			i := r.find(id)
			if i >= 0 {
				c.load[i]++
			} else if i = gone[id]; i == 0 {
				b.gone = append(b.gone, id)
				i = int32(-len(b.gone))
				gone[id] = i
			}
			x.on = append(x.on, i)
		}
		if len(x.on) > 0 && x.on[0] >= 0 {
			c.leads[x.on[0]]++
		}
		b.slots, c.slots = append(b.slots, x), append(c.slots, x)
	}
	for _, c := range classes {
		if c != nil {
			b.classes = append(b.classes, c)
			b.setCaps(c, policy)
		}
	}
	return b, nil
}

func (r *Ring) class(want int) *class {
	n := len(r.nodes)
	return &class{
		want: want, most: r.most(want), load: make([]int, n), limit: make([]int, n),
		leads: make([]int, n), leadsLimit: make([]int, n), open: make([]int, len(r.size)),
	}
}

// setCaps computes the caps of a class that has all its shards.
func (b *board) setCaps(c *class, policy Policy) {
	want := max(1, min(c.want, b.usable))
	c.share = b.share(want, len(c.slots))
	for i, share := range c.share {
		c.limit[i] = capOf(share, policy.ReplicaLoad, 1)
		c.leadsLimit[i] = capOf(share, policy.LeaderLoad, want)
		if c.hasRoom(int32(i)) {
			c.open[b.zoneOf[i]]++
		}
	}
}

// id names a node of a slot.
func (b *board) id(i int32) NodeID {
	switch {
	case i == none:
		return 0
	case i < 0:
		return b.gone[-1-i]
	}
	return b.nodes[i].ID
}

func (c *class) hasRoom(i int32) bool { return c.load[i] < c.limit[i] }

func (c *class) over(i int32) bool { return c.load[i] > c.limit[i] }

// carry changes a node's load.
func (b *board) carry(c *class, i int32, by int) {
	had := c.hasRoom(i)
	c.load[i] += by
	switch has := c.hasRoom(i); {
	case has && !had:
		c.open[b.zoneOf[i]]++
	case had && !has:
		c.open[b.zoneOf[i]]--
	}
}

// fits tells whether a shard may have a replica on a node instead of another one, its
// load aside.
func (b *board) fits(s *slot, others []int32, i int32) bool {
	return b.nodes[i].Weight > 0 && !slices.Contains(s.on, i) && b.inZone(b.zoneOf[i], others) < s.most
}

// best is the first candidate of a shard that has room (R1), in a zone that may have one
// more (R3), if the replica on victim goes.
func (b *board) best(s *slot, victim int32) int32 {
	others := s.without(victim)
	floor, zones := math.MaxInt, 0
	for z, n := range s.open {
		if n > 0 {
			floor = min(floor, b.inZone(int32(z), others))
			if zones++; zones > len(others) {
				floor = 0 // one of them is without
				break
			}
		}
	}
	if floor >= s.most {
		return none
	}
	i := b.next(s.at, others, floor, func(i int32) bool { return s.hasRoom(i) && b.fits(s, others, i) })
	if i < 0 {
		return none
	}
	return i
}

// put adds a replica and takes away the one that it replaces, if there is one.
func (b *board) put(s *slot, to, victim int32, why Reason) {
	b.copies--
	b.note(s, Add, to, victim, why)
	s.on = append(s.on, to)
	b.carry(s.class, to, 1)
	switch {
	case len(s.on) == 1:
		s.leads[to]++
	case s.on[0] < 0:
		b.lead(s, to, LeaderGone) // nobody else is alive
	}
	if victim != none {
		b.take(s, victim, to, why)
	}
}

// take removes a replica. If it leads, another one does so first.
func (b *board) take(s *slot, victim, instead int32, why Reason) {
	if s.on[0] == victim {
		if next := b.successor(s, victim); next != none {
			b.lead(s, next, Leaving)
		} else if victim >= 0 {
			s.leads[victim]--
		}
	}
	b.note(s, Remove, victim, instead, why)
	k := slices.Index(s.on, victim)
	s.on = slices.Delete(s.on, k, k+1)
	if victim >= 0 {
		b.carry(s.class, victim, -1)
	}
}

// lead makes a node the first of a shard.
func (b *board) lead(s *slot, to int32, why Reason) {
	b.note(s, Lead, to, s.on[0], why)
	if s.on[0] >= 0 {
		s.leads[s.on[0]]--
	}
	s.leads[to]++
	k := slices.Index(s.on, to)
	s.on = slices.Insert(slices.Delete(s.on, k, k+1), 0, to)
}

func (b *board) note(s *slot, kind Kind, node, other int32, why Reason) {
	b.moves = append(b.moves, Move{Shard: s.id, Kind: kind, Node: b.id(node), Reason: why, Other: b.id(other)})
}

// successor is who should lead instead of a node: who may still lead the most shards.
func (b *board) successor(s *slot, instead int32) int32 {
	best := none
	for _, i := range s.on {
		if i < 0 || i == instead {
			continue
		}
		if best == none || s.leadsLimit[i]-s.leads[i] > s.leadsLimit[best]-s.leads[best] {
			best = i
		}
	}
	return best
}

// distance is how many nodes come before one in a shard's order. Nodes without a token
// are the farthest.
func (b *board) distance(s *slot, node int32) (n int) {
	b.order(s.at, b.stamps, func(i int32) bool {
		if i == node {
			return false
		}
		n++
		return true
	})
	return n
}
