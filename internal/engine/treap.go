package engine

import "github.com/cespare/xxhash/v2"

// node is a node of a persistent treap: a search tree on keys that is a heap on
// priorities. Nodes are never modified, so a root is a snapshot, and all versions
// share what they have in common. Priorities are hashes of the keys: the shape
// depends on the content alone, which keeps the simulator deterministic.
type node struct {
	key, value  []byte
	priority    uint64
	left, right *node
}

// with returns a copy of n with other children.
func (n *node) with(left, right *node) *node {
	return &node{key: n.key, value: n.value, priority: n.priority, left: left, right: right}
}

// treapGet finds key below n.
func treapGet(n *node, key []byte) *node {
	for n != nil {
		switch {
		case string(key) < string(n.key):
			n = n.left
		case string(key) > string(n.key):
			n = n.right
		default:
			return n
		}
	}
	return nil
}

// treapSplit returns the trees of the keys below and not below key.
func treapSplit(n *node, key []byte) (below, rest *node) {
	if n == nil {
		return nil, nil
	}
	if string(n.key) < string(key) {
		l, r := treapSplit(n.right, key)
		return n.with(n.left, l), r
	}
	l, r := treapSplit(n.left, key)
	return l, n.with(r, n.right)
}

// treapJoin joins two trees; every key of l is below every key of r.
func treapJoin(l, r *node) *node {
	switch {
	case l == nil:
		return r
	case r == nil:
		return l
	case l.priority > r.priority:
		return l.with(l.left, treapJoin(l.right, r))
	default:
		return r.with(treapJoin(l, r.left), r.right)
	}
}

// treapSet returns n with key set to value. Both are kept, not copied.
func treapSet(n *node, key, value []byte) *node {
	return treapInsert(n, &node{key: key, value: value, priority: xxhash.Sum64(key)})
}

func treapInsert(n, add *node) *node {
	if n == nil {
		return add
	}
	if string(n.key) == string(add.key) {
		add.left, add.right = n.left, n.right
		return add
	}
	if add.priority > n.priority {
		l, r := treapSplit(n, add.key)
		add.left, add.right = l, r
		return add
	}
	if string(add.key) < string(n.key) {
		return n.with(treapInsert(n.left, add), n.right)
	}
	return n.with(n.left, treapInsert(n.right, add))
}

// treapDelete returns n without key, and n itself when key is not there.
func treapDelete(n *node, key []byte) *node {
	if treapGet(n, key) == nil {
		return n
	}
	return treapRemove(n, key)
}

func treapRemove(n *node, key []byte) *node {
	switch {
	case string(key) < string(n.key):
		return n.with(treapRemove(n.left, key), n.right)
	case string(key) > string(n.key):
		return n.with(n.left, treapRemove(n.right, key))
	default:
		return treapJoin(n.left, n.right)
	}
}

// treapReplace returns n with [lo, hi) replaced by the tree mid.
func treapReplace(n *node, lo, hi []byte, mid *node) *node {
	l, rest := treapSplit(n, lo)
	_, r := treapSplit(rest, hi)
	return treapJoin(treapJoin(l, mid), r)
}

// treapIter walks a treap within bounds, keeping the path from the root.
type treapIter struct {
	root         *node
	lower, upper []byte
	path         []*node // from the root to the current node; empty: nowhere
}

func (it *treapIter) Valid() bool            { return len(it.path) > 0 }
func (it *treapIter) Error() error           { return nil }
func (it *treapIter) Close() error           { it.root, it.path = nil, nil; return nil }
func (it *treapIter) Key() []byte            { return it.path[len(it.path)-1].key }
func (it *treapIter) Value() ([]byte, error) { return it.path[len(it.path)-1].value, nil }
func (it *treapIter) First() bool            { return it.SeekGE(it.lower) }

func (it *treapIter) Last() bool {
	if it.upper != nil {
		return it.SeekLT(it.upper)
	}
	it.path = it.path[:0]
	for n := it.root; n != nil; n = n.right {
		it.path = append(it.path, n)
	}
	return it.check()
}

func (it *treapIter) SeekGE(key []byte) bool {
	if string(key) < string(it.lower) {
		key = it.lower
	}
	best := 0
	it.path = it.path[:0]
	for n := it.root; n != nil; {
		it.path = append(it.path, n)
		if string(n.key) < string(key) {
			n = n.right
			continue
		}
		best = len(it.path)
		n = n.left
	}
	it.path = it.path[:best]
	return it.check()
}

func (it *treapIter) SeekLT(key []byte) bool {
	if it.upper != nil && string(key) > string(it.upper) {
		key = it.upper
	}
	best := 0
	it.path = it.path[:0]
	for n := it.root; n != nil; {
		it.path = append(it.path, n)
		if string(n.key) >= string(key) {
			n = n.left
			continue
		}
		best = len(it.path)
		n = n.right
	}
	it.path = it.path[:best]
	return it.check()
}

func (it *treapIter) Next() bool {
	if !it.Valid() {
		return false
	}
	n := it.path[len(it.path)-1]
	if n.right != nil {
		for n = n.right; n != nil; n = n.left {
			it.path = append(it.path, n)
		}
		return it.check()
	}
	for {
		it.path = it.path[:len(it.path)-1]
		if len(it.path) == 0 || it.path[len(it.path)-1].left == n {
			return it.check()
		}
		n = it.path[len(it.path)-1]
	}
}

func (it *treapIter) Prev() bool {
	if !it.Valid() {
		return false
	}
	n := it.path[len(it.path)-1]
	if n.left != nil {
		for n = n.left; n != nil; n = n.right {
			it.path = append(it.path, n)
		}
		return it.check()
	}
	for {
		it.path = it.path[:len(it.path)-1]
		if len(it.path) == 0 || it.path[len(it.path)-1].right == n {
			return it.check()
		}
		n = it.path[len(it.path)-1]
	}
}

// check drops a position outside the bounds.
func (it *treapIter) check() bool {
	if len(it.path) == 0 {
		return false
	}
	key := it.Key()
	if string(key) < string(it.lower) || (it.upper != nil && string(key) >= string(it.upper)) {
		it.path = it.path[:0]
		return false
	}
	return true
}
