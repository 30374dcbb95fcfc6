package ring

import "slices"

// Plan proposes moves towards a placement that keeps the policy (R1 to R5). They are to be
// made in their order; a Remove only after what was added has the shard's state. Nothing
// is proposed if nothing is to be done.
func (r *Ring) Plan(p *Placement, policy Policy) ([]Move, error) {
	b, err := r.board(p, policy)
	if err != nil {
		return nil, err
	}
	b.elect()
	b.trim()
	for made := -1; made != len(b.moves); { // relief may make room for what had none
		made = len(b.moves)
		b.fill()
		b.spread()
		b.relieve()
	}
	b.balance()
	return b.moves, nil
}

// trim takes surplus replicas away: those that an interrupted plan left, or that are no
// longer wanted.
func (b *board) trim() {
	for _, s := range b.slots {
		for len(s.on) > s.want {
			b.take(s, b.worst(s, s.on), none, Surplus)
		}
	}
}

// worst is the replica that is missed least.
func (b *board) worst(s *slot, among []int32) int32 { return b.byBadness(s, among)[0] }

// byBadness sorts replicas: first those on gone nodes, then those on nodes that are most above
// their cap, then those in the most crowded zone, then the farthest in the shard's order.
func (b *board) byBadness(s *slot, among []int32) []int32 {
	badness := map[int32][]int{}
	for _, i := range among {
		if i < 0 {
			badness[i] = []int{1}
			continue
		}
		badness[i] = []int{0, max(0, s.load[i]-s.limit[i]), max(0, b.inZone(b.zoneOf[i], s.on)-s.most), b.distance(s, i)}
	}
	list := slices.Clone(among)
	slices.SortStableFunc(list, func(x, y int32) int { return slices.Compare(badness[y], badness[x]) })
	return list
}

// fill adds missing replicas, and replaces those on gone nodes: first where the fewest are
// alive.
func (b *board) fill() {
	for live := range ReplicasMax {
		for _, s := range b.slots {
			if s.live() != live || live >= min(s.want, b.usable) {
				continue
			}
			victim, why := none, Missing
			if len(s.on) >= s.want {
				victim, why = b.worst(s, s.on), Gone // fewer live than wanted, so one is gone
			}
			b.replace(s, victim, why)
		}
	}
}

// spread takes shards out of zones that have too many of their replicas.
func (b *board) spread() {
	for _, s := range b.slots {
		for again := true; again; {
			again = slices.ContainsFunc(b.crowded(s), func(victim int32) bool { return b.replace(s, victim, Crowded) })
		}
	}
}

// crowded lists the replicas of which one should leave a crowded zone, the worst first.
func (b *board) crowded(s *slot) []int32 {
	for _, i := range s.on {
		if i < 0 || b.inZone(b.zoneOf[i], s.on) <= s.most {
			continue
		}
		var together []int32
		for _, k := range s.on {
			if k >= 0 && b.zoneOf[k] == b.zoneOf[i] && b.nodes[k].Weight > 0 {
				together = append(together, k)
			}
		}
		return b.byBadness(s, together)
	}
	return nil
}

// replace puts a replica of a shard on its best candidate, instead of the victim. It
// reports whether it could.
func (b *board) replace(s *slot, victim int32, why Reason) bool {
	if b.copies == 0 {
		return false
	}
	to := b.best(s, victim)
	if to == none {
		to = b.vacate(s, victim)
	}
	if to == none || b.copies == 0 {
		return false
	}
	b.put(s, to, victim, why)
	return true
}

// relieve takes replicas from nodes that are above their cap, those first for which a node
// is the farthest candidate.
func (b *board) relieve() {
	for _, c := range b.classes {
		for x := range b.nodes {
			b.relieveNode(c, int32(x))
		}
	}
}

func (b *board) relieveNode(c *class, x int32) {
	over := func() bool { return c.over(x) && b.copies > 0 }
	if !over() {
		return
	}
	why := OverCap
	if b.nodes[x].Weight == 0 {
		why = Draining
	}
	for _, s := range b.farthest(c, x) {
		if !over() {
			return
		}
		if to := b.best(s, x); to != none {
			b.put(s, to, x, why)
		}
	}
	for over() && b.push(c, x, why) {
	}
}

// farthest lists a class' shards on a node, those first in whose order it comes late.
func (b *board) farthest(c *class, x int32) []*slot {
	var list []*slot
	distance := map[*slot]int{}
	for _, s := range c.slots {
		if slices.Contains(s.on, x) {
			list = append(list, s)
			distance[s] = b.distance(s, x)
		}
	}
	slices.SortStableFunc(list, func(a, b *slot) int { return distance[b] - distance[a] })
	return list
}
