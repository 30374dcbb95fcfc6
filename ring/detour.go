package ring

import "slices"

// hop is one of several moves that together make room.
type hop struct {
	s        *slot
	from, to int32
}

// way is the shortest one from a start to a node where it may end; nil if there is none.
// Hops offers the ways to leave a node.
func (b *board) way(starts []int32, end func(i int32) bool, hops func(from int32, offer func(s *slot, to int32))) []hop {
	into := make([]hop, len(b.nodes)) // how a node was reached
	seen := make([]bool, len(b.nodes))
	queue := slices.Clone(starts)
	for _, i := range starts {
		seen[i], into[i].from = true, none
	}
	for k := 0; k < len(queue); k++ {
		found := none
		hops(queue[k], func(s *slot, to int32) {
			if found != none || seen[to] {
				return
			}
			seen[to], into[to] = true, hop{s, queue[k], to}
			if queue = append(queue, to); end(to) {
				found = to
			}
		})
		if found == none {
			continue
		}
		var way []hop
		for i := found; into[i].from != none; i = into[i].from {
			way = append(way, into[i])
		}
		return way // the last hop is first, as it has to be made first
	}
	return nil
}

// carried lists the shards on each node.
func (c *class) carried() [][]*slot {
	on := make([][]*slot, len(c.load))
	for _, s := range c.slots {
		for _, i := range s.on {
			if i >= 0 {
				on[i] = append(on[i], s)
			}
		}
	}
	return on
}

// replicaHops offers every replica of a class that may move from a node to another without
// crowding a zone. A node above its cap is no place to go through: it is relieved first.
func (b *board) replicaHops(c *class) func(int32, func(*slot, int32)) {
	on := c.carried()
	return func(from int32, offer func(*slot, int32)) {
		for _, s := range on[from] {
			others := s.without(from)
			for to := range b.nodes {
				if !c.over(int32(to)) && b.fits(s, others, int32(to)) {
					offer(s, int32(to))
				}
			}
		}
	}
}

// vacate makes room for a shard when no node that may take it has some (R5). It returns the
// node that has room then. The victim itself makes no hop: where it could go, the way begins. If the copies do not last, it has gone a part of the way, and
// the next plan goes on.
func (b *board) vacate(s *slot, victim int32) int32 {
	var starts []int32
	others := s.without(victim)
	for i := range b.nodes {
		if !s.over(int32(i)) && b.fits(s, others, int32(i)) {
			starts = append(starts, int32(i))
		}
	}
	hops := b.replicaHops(s.class)
	way := b.way(starts, s.hasRoom, hops)
	if way == nil && victim >= 0 {
		// An exchange: the place that the victim leaves is the only one.
		way = b.way(starts, func(i int32) bool { return i == victim }, hops)
	}
	if way == nil {
		return none
	}
	for _, h := range way {
		if b.copies == 0 {
			return none
		}
		b.put(h.s, h.to, h.from, Detour)
	}
	return way[len(way)-1].from
}

// push takes a replica from a node when none of its shards has a candidate with room. It
// reports whether it did anything.
func (b *board) push(c *class, x int32, why Reason) bool {
	way := b.way([]int32{x}, c.hasRoom, b.replicaHops(c))
	for k, h := range way {
		if b.copies == 0 {
			break
		}
		reason := Detour
		if k == len(way)-1 {
			reason = why
		}
		b.put(h.s, h.to, h.from, reason)
	}
	return way != nil
}
