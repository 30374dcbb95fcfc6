package ring

// elect gives shards whose first replica is on a gone node another one to lead.
func (b *board) elect() {
	for _, s := range b.slots {
		if len(s.on) > 0 && s.on[0] < 0 {
			if next := b.successor(s, none); next != none {
				b.lead(s, next, LeaderGone)
			}
		}
	}
}

// balance takes shards from nodes that lead too many (R4).
func (b *board) balance() {
	for _, c := range b.classes {
		for x := range b.nodes {
			b.balanceNode(c, int32(x))
		}
	}
}

func (b *board) balanceNode(c *class, x int32) {
	over := func() bool { return c.leads[x] > c.leadsLimit[x] && b.transfers > 0 }
	for _, s := range c.slots {
		if !over() {
			return
		}
		if len(s.on) == 0 || s.on[0] != x {
			continue
		}
		if next := b.successor(s, x); next != none && c.mayLead(next) {
			b.transfer(s, next)
		}
	}
	for over() && b.pass(c, x) {
	}
}

func (c *class) mayLead(i int32) bool { return c.leads[i] < c.leadsLimit[i] }

func (b *board) transfer(s *slot, to int32) {
	b.transfers--
	b.lead(s, to, LeaderOverCap)
}

// pass makes a node lead one shard less when those that could take one have enough
// themselves: they pass one of theirs on. It reports whether it did anything.
func (b *board) pass(c *class, x int32) bool {
	led := make([][]*slot, len(b.nodes))
	for _, s := range c.slots {
		if len(s.on) > 0 && s.on[0] >= 0 {
			led[s.on[0]] = append(led[s.on[0]], s)
		}
	}
	way := b.way([]int32{x}, c.mayLead, func(from int32, offer func(*slot, int32)) {
		for _, s := range led[from] {
			for _, to := range s.on {
				if to >= 0 && to != from {
					offer(s, to)
				}
			}
		}
	})
	for _, h := range way {
		if b.transfers == 0 {
			break
		}
		b.transfer(h.s, h.to)
	}
	return way != nil
}
