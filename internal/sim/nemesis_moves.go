package sim

import (
	"time"

	"github.com/quorate/quorate/internal/placement"
)

// living are the machines that are not gone for good.
func (s *Sim) living() (list []*simNode) {
	for _, n := range s.nodes {
		if !n.gone() {
			list = append(list, n)
		}
	}
	return list
}

// patience is how long a loss waits until the cluster can bear it.
const patience = 3 * time.Second

// whenSpared does something to a node once the cluster promises to survive the loss of its disk.
func (x *nemesis) whenSpared(name string, n *simNode, do func()) {
	end := x.s.now + patience
	var try func()
	try = func() {
		switch {
		case x.s.healing || x.s.now > end || n.gone():
		case n.up && !n.paused && len(x.s.living()) > nodesMin && x.s.survives(n):
			do()
			x.s.fault(name)
		default:
			x.s.after(30*time.Millisecond, try)
		}
	}
	try()
}

// die takes a node away for good. Sometimes somebody says so to the others.
func (x *nemesis) die() bool {
	n := x.any()
	if n == nil || len(x.s.living()) <= nodesMin {
		return false
	}
	x.whenSpared("node death, in the end", n, func() {
		n.crash(0)
		x.s.moves.bury(n)
		x.trace(n, "die", "for good")
		if x.s.chance(0.3) {
			x.s.after(x.s.between(0, 4*time.Second), func() { x.administer(n, "remove", removal(n)) })
		}
	})
	return true
}

func removal(n *simNode) func(*placement.Catalog) (placement.MemberChange, error) {
	return func(c *placement.Catalog) (placement.MemberChange, error) {
		return c.RemoveNode(uint64(n.id), map[uint64]bool{uint64(n.id): true})
	}
}

// absent takes a process away for about as long as the others wait for it.
func (x *nemesis) absent() bool {
	n := x.any()
	if n == nil {
		return false
	}
	n.crash(1)
	after := x.s.opts.swarm.replaceAfter
	n.restartLater(x.s.between(after/2, after*2))
	return true
}

// joins brings a new machine.
func (x *nemesis) joins() bool {
	if len(x.s.living()) >= nodesMax {
		return false
	}
	n := newSimNode(x.s, len(x.s.nodes))
	n.placed = newPlacedNode(n)
	x.s.nodes = append(x.s.nodes, n)
	x.trace(n, "machine", "in zone %s", n.placed.zone)
	n.start()
	return true
}

// administer asks a node to change something about a node.
func (x *nemesis) administer(n *simNode, what string, next func(*placement.Catalog) (placement.MemberChange, error)) bool {
	at := x.s.moves.anyNode()
	// A node may leave while somebody founds a keyspace that needs it: then it stays for good.
	if at == nil || x.s.healing || x.s.moves.catalog.Len() < x.s.moves.wanted {
		return false
	}
	x.trace(n, what, "at %s", at.name())
	at.later(0, func() { at.placed.change(what, next, func(*placement.MemberChange, error) {}) })
	return true
}

func (x *nemesis) drain() bool {
	n := x.any()
	if n == nil || x.s.moves.staying() <= nodesMin-1 {
		return false
	}
	return x.administer(n, "drain", func(c *placement.Catalog) (placement.MemberChange, error) { return c.Drain(uint64(n.id), true) })
}

// staying is how many nodes may carry replicas.
func (m *moves) staying() (count int) {
	for _, n := range m.s.living() {
		if n.placed.joined && m.isMember(n) && m.state(n) == "" {
			count++
		}
	}
	return count
}

func (x *nemesis) undrain() bool {
	for _, n := range x.s.living() {
		if x.s.moves.state(n) == placement.Draining {
			return x.administer(n, "undrain", func(c *placement.Catalog) (placement.MemberChange, error) { return c.Drain(uint64(n.id), false) })
		}
	}
	return false
}

func (x *nemesis) remove() bool {
	n := x.any()
	if n == nil || len(x.s.living()) <= nodesMin || x.s.moves.staying() <= nodesMin {
		return false
	}
	return x.administer(n, "remove", func(c *placement.Catalog) (placement.MemberChange, error) { return c.RemoveNode(uint64(n.id), nil) })
}

func (x *nemesis) weigh() bool {
	n := x.any()
	if n == nil {
		return false
	}
	weight := 1 + x.s.rng.IntN(3)
	return x.administer(n, "weigh", func(c *placement.Catalog) (placement.MemberChange, error) { return c.Weigh(uint64(n.id), weight) })
}

// zone takes a whole zone away, for a while.
func (x *nemesis) zone() bool {
	if x.s.opts.swarm.zones < 2 {
		return false
	}
	zone, done := x.s.nodes[x.s.rng.IntN(len(x.s.nodes))].placed.zone, false
	after := x.s.opts.swarm.replaceAfter
	span := x.s.between(after/4, after*3/2)
	for _, n := range x.s.living() {
		if n.up && n.placed.zone == zone {
			n.crash(0.5)
			n.restartLater(span)
			done = true
		}
	}
	return done
}
