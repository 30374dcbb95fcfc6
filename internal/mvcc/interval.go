package mvcc

import "github.com/cespare/xxhash/v2"

// group holds the watchers of one key or range, in an order that depends on the
// calls alone, so that the simulator sees the same one every time.
type group struct{ watchers []*Watcher }

func (g *group) add(w *Watcher, slot *int) {
	*slot = len(g.watchers)
	g.watchers = append(g.watchers, w)
}

// remove takes out the watcher at slot; setSlot tells the one that takes its place.
func (g *group) remove(slot int, setSlot func(w *Watcher, slot int)) {
	last := len(g.watchers) - 1
	g.watchers[slot] = g.watchers[last]
	g.watchers[last] = nil
	g.watchers = g.watchers[:last]
	if slot < last {
		setSlot(g.watchers[slot], slot)
	}
}

// intervals finds the ranges that hold a key. It is a treap ordered by (lo, hi)
// whose nodes know the largest end below them. Many watchers share few ranges, so
// a node holds a group.
type intervals struct{ root *intervalNode }

type intervalNode struct {
	Range
	priority    uint64
	maxHi       []byte // largest hi in this subtree; nil: one of them is unbounded
	group       group
	left, right *intervalNode
}

// compareHi orders range ends; nil is after all others.
func compareHi(a, b []byte) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	case string(a) < string(b):
		return -1
	case string(a) > string(b):
		return 1
	}
	return 0
}

func (n *intervalNode) compare(r Range) int {
	switch {
	case string(r.lo) < string(n.lo):
		return -1
	case string(r.lo) > string(n.lo):
		return 1
	}
	return compareHi(r.hi, n.hi)
}

// update recomputes maxHi from the children.
func (n *intervalNode) update() *intervalNode {
	n.maxHi = n.hi
	for _, c := range []*intervalNode{n.left, n.right} {
		if c != nil && compareHi(c.maxHi, n.maxHi) > 0 {
			n.maxHi = c.maxHi
		}
	}
	return n
}

// at returns the group of exactly r, made when create is set.
func (t *intervals) at(r Range, create bool) *group {
	for n := t.root; n != nil; {
		switch c := n.compare(r); {
		case c < 0:
			n = n.left
		case c > 0:
			n = n.right
		default:
			return &n.group
		}
	}
	if !create {
		return nil
	}
	h := xxhash.New()
	_, _ = h.Write(r.lo)
	_, _ = h.Write([]byte{0})
	_, _ = h.Write(r.hi)
	n := &intervalNode{Range: r, priority: h.Sum64()}
	t.root = insertInterval(t.root, n.update())
	return &n.group
}

func insertInterval(n, add *intervalNode) *intervalNode {
	if n == nil {
		return add
	}
	if n.compare(add.Range) < 0 {
		n.left = insertInterval(n.left, add)
		if n.left.priority > n.priority {
			return rotateRight(n)
		}
		return n.update()
	}
	n.right = insertInterval(n.right, add)
	if n.right.priority > n.priority {
		return rotateLeft(n)
	}
	return n.update()
}

func rotateRight(n *intervalNode) *intervalNode {
	l := n.left
	n.left = l.right
	l.right = n.update()
	return l.update()
}

func rotateLeft(n *intervalNode) *intervalNode {
	r := n.right
	n.right = r.left
	r.left = n.update()
	return r.update()
}

// remove takes out the node of exactly r.
func (t *intervals) remove(r Range) { t.root = removeInterval(t.root, r) }

func removeInterval(n *intervalNode, r Range) *intervalNode {
	if n == nil {
		return nil
	}
	switch c := n.compare(r); {
	case c < 0:
		n.left = removeInterval(n.left, r)
	case c > 0:
		n.right = removeInterval(n.right, r)
	default:
		return joinIntervals(n.left, n.right)
	}
	return n.update()
}

func joinIntervals(l, r *intervalNode) *intervalNode {
	switch {
	case l == nil:
		return r
	case r == nil:
		return l
	case l.priority > r.priority:
		l.right = joinIntervals(l.right, r)
		return l.update()
	default:
		r.left = joinIntervals(l, r.left)
		return r.update()
	}
}

// stab calls fn for the group of every range that holds key.
func (t *intervals) stab(key []byte, fn func(g *group)) { stabInterval(t.root, key, fn) }

func stabInterval(n *intervalNode, key []byte, fn func(g *group)) {
	for n != nil {
		if n.maxHi != nil && string(n.maxHi) <= string(key) {
			return // every range here ends before key
		}
		stabInterval(n.left, key, fn)
		if string(n.lo) > string(key) {
			return // this range and all to the right begin after key
		}
		if n.Contains(key) {
			fn(&n.group)
		}
		n = n.right
	}
}
