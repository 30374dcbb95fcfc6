package engine

import "github.com/cespare/xxhash/v2"

// node is a node of a persistent treap: a search tree on keys that is a heap on
// priorities. A root that was handed out never changes, so it is a snapshot, and all
// versions share what they have in common. Priorities are hashes of the keys: the
// shape depends on the content alone, which keeps the simulator deterministic.
type node struct {
	key, value  []byte
	priority    uint64
	left, right *node
	edit        uint64 // the edit that made this node
}

// treapEdit makes a new version of a treap. Nodes that it made itself nobody else
// has seen: it changes them in place, where others are copied. Every edit has a
// number of its own.
type treapEdit uint64

// with returns n with other children.
func (e treapEdit) with(n, left, right *node) *node {
	if n.edit == uint64(e) {
		n.left, n.right = left, right
		return n
	}
	return &node{key: n.key, value: n.value, priority: n.priority, left: left, right: right, edit: uint64(e)}
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

// split returns the trees of the keys below and not below key.
func (e treapEdit) split(n *node, key []byte) (below, rest *node) {
	if n == nil {
		return nil, nil
	}
	if string(n.key) < string(key) {
		l, r := e.split(n.right, key)
		return e.with(n, n.left, l), r
	}
	l, r := e.split(n.left, key)
	return l, e.with(n, r, n.right)
}

// join joins two trees; every key of l is below every key of r.
func (e treapEdit) join(l, r *node) *node {
	switch {
	case l == nil:
		return r
	case r == nil:
		return l
	case l.priority > r.priority:
		return e.with(l, l.left, e.join(l.right, r))
	default:
		return e.with(r, e.join(l, r.left), r.right)
	}
}

// set returns n with key set to value. Both are kept, not copied.
func (e treapEdit) set(n *node, key, value []byte) *node {
	return e.insert(n, &node{key: key, value: value, priority: xxhash.Sum64(key), edit: uint64(e)})
}

func (e treapEdit) insert(n, add *node) *node {
	if n == nil {
		return add
	}
	if string(n.key) == string(add.key) {
		add.left, add.right = n.left, n.right
		return add
	}
	if add.priority > n.priority {
		add.left, add.right = e.split(n, add.key)
		return add
	}
	if string(add.key) < string(n.key) {
		return e.with(n, e.insert(n.left, add), n.right)
	}
	return e.with(n, n.left, e.insert(n.right, add))
}

// remove returns n without key, and n itself when key is not there.
func (e treapEdit) remove(n *node, key []byte) *node {
	if treapGet(n, key) == nil {
		return n
	}
	return e.cut(n, key)
}

func (e treapEdit) cut(n *node, key []byte) *node {
	switch {
	case string(key) < string(n.key):
		return e.with(n, e.cut(n.left, key), n.right)
	case string(key) > string(n.key):
		return e.with(n, n.left, e.cut(n.right, key))
	default:
		return e.join(n.left, n.right)
	}
}

// replace returns n with [lo, hi) replaced by the tree mid.
func (e treapEdit) replace(n *node, lo, hi []byte, mid *node) *node {
	l, rest := e.split(n, lo)
	_, r := e.split(rest, hi)
	return e.join(e.join(l, mid), r)
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
