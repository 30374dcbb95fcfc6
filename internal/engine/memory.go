package engine

import (
	"bytes"
	"sync"
)

// Memory is an engine without a disk, for the simulator. Its state is the root of
// a persistent treap, so snapshots and crash points cost nothing but what differs.
// It behaves as Pebble without a log does: a crash takes it back to some commit at
// or after the last Flush (E2, E3).
type Memory struct {
	mu struct {
		sync.Mutex
		root    *node
		durable *node     // what no crash can take away
		points  []*node   // roots after commits since durable, oldest first, thinned
		edits   treapEdit // number of the last edit
		stats   Stats
		closed  bool
	}
}

// memoryPointsMax bounds the crash points that Memory remembers; when there are
// more, every second one is forgotten. A coarser choice is still a legal one.
const memoryPointsMax = 256

// NewMemory returns an empty engine.
func NewMemory() *Memory { return &Memory{} }

// Crash ends this engine and returns what a restart would find: the state at the
// last Flush or at a later commit. pick(n) chooses among n states, the oldest
// being 0; it must return a number below n.
func (m *Memory) Crash(pick func(n int) int) *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	root := m.mu.durable
	if i := pick(len(m.mu.points) + 1); i > 0 {
		root = m.mu.points[i-1]
	}
	m.mu.closed = true
	next := NewMemory()
	next.mu.root, next.mu.durable, next.mu.edits = root, root, m.mu.edits
	return next
}

// NewBatch implements Engine.
func (m *Memory) NewBatch() Batch { return &memoryBatch{engine: m} }

// NewSnapshot implements Engine.
func (m *Memory) NewSnapshot() Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memorySnapshot{root: m.mu.root, closed: m.mu.closed}
}

// NewLookup implements Engine.
func (m *Memory) NewLookup() (Lookup, error) { return m.NewSnapshot(), nil }

// Get implements Reader on the newest state.
func (m *Memory) Get(key, dst []byte) ([]byte, bool, error) {
	return m.NewSnapshot().Get(key, dst)
}

// NewIter implements Reader on the newest state.
func (m *Memory) NewIter(lower, upper []byte) (Iterator, error) {
	return m.NewSnapshot().NewIter(lower, upper)
}

// DurableGet implements Engine.
func (m *Memory) DurableGet(key, dst []byte) ([]byte, bool, error) {
	m.mu.Lock()
	s := memorySnapshot{root: m.mu.durable, closed: m.mu.closed}
	m.mu.Unlock()
	return s.Get(key, dst)
}

// Flush implements Engine.
func (m *Memory) Flush() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.closed {
		return ErrClosed
	}
	m.mu.durable = m.mu.root
	m.mu.points = m.mu.points[:0]
	m.mu.stats.Flushes++
	return nil
}

// Ingest implements Engine. The span becomes durable at once, also in the states
// that a crash may go back to; what other spans hold there is untouched (E2, E4).
func (m *Memory) Ingest(span Span, src Source) error {
	mid, err := ingestTree(m.edit(), span, src)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.closed {
		return ErrClosed
	}
	replace := func(root *node) *node {
		m.mu.edits++ // each root shares nodes with the others
		return m.mu.edits.replace(root, span.Lo, span.Hi, mid)
	}
	m.mu.root, m.mu.durable = replace(m.mu.root), replace(m.mu.durable)
	for i, root := range m.mu.points {
		m.mu.points[i] = replace(root)
	}
	return nil
}

// edit begins an edit.
func (m *Memory) edit() treapEdit {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.edits++
	return m.mu.edits
}

// ingestTree builds the new content of a span.
func ingestTree(edit treapEdit, span Span, src Source) (*node, error) {
	var mid *node
	var last []byte
	err := src(func(key, value []byte) error {
		if !span.Contains(key) || (last != nil && bytes.Compare(key, last) <= 0) {
			return ErrUnordered
		}
		last = bytes.Clone(key)
		mid = edit.set(mid, last, cloneValue(value))
		return nil
	})
	return mid, err
}

// Stats implements Engine.
func (m *Memory) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.stats
}

// Close implements Engine.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.closed {
		return ErrClosed
	}
	m.mu.closed = true
	return nil
}

// commit applies a batch and remembers the state as a crash point.
func (m *Memory) commit(ops []memoryOp) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.closed {
		return ErrClosed
	}
	m.mu.edits++
	edit, root := m.mu.edits, m.mu.root
	for _, op := range ops {
		switch op.kind {
		case opSet:
			root = edit.set(root, op.key, op.value)
		case opDelete:
			root = edit.remove(root, op.key)
		case opDeleteRange:
			if string(op.key) < string(op.value) {
				root = edit.replace(root, op.key, op.value, nil)
			}
		}
	}
	m.mu.root = root
	if len(m.mu.points) == memoryPointsMax {
		for i := range memoryPointsMax / 2 {
			m.mu.points[i] = m.mu.points[2*i+1]
		}
		clear(m.mu.points[memoryPointsMax/2:])
		m.mu.points = m.mu.points[:memoryPointsMax/2]
	}
	m.mu.points = append(m.mu.points, root)
	return nil
}

type opKind uint8

const (
	opSet opKind = iota + 1
	opDelete
	opDeleteRange // key is the lower, value the upper bound
)

type memoryOp struct {
	kind       opKind
	key, value []byte
}

type memoryBatch struct {
	engine *Memory
	ops    []memoryOp
	size   int
}

func (b *memoryBatch) add(kind opKind, key, value []byte) error {
	b.ops = append(b.ops, memoryOp{kind, bytes.Clone(key), cloneValue(value)})
	b.size += 1 + len(key) + len(value)
	return nil
}

func (b *memoryBatch) Set(key, value []byte) error     { return b.add(opSet, key, value) }
func (b *memoryBatch) Delete(key []byte) error         { return b.add(opDelete, key, nil) }
func (b *memoryBatch) DeleteRange(lo, hi []byte) error { return b.add(opDeleteRange, lo, hi) }
func (b *memoryBatch) Size() int                       { return b.size }
func (b *memoryBatch) Close() error                    { b.ops = nil; return nil }

func (b *memoryBatch) Commit() error {
	ops := b.ops
	b.ops, b.size = nil, 0
	return b.engine.commit(ops)
}

type memorySnapshot struct {
	root   *node
	closed bool
}

func (s *memorySnapshot) Get(key, dst []byte) ([]byte, bool, error) {
	if s.closed {
		return nil, false, ErrClosed
	}
	n := treapGet(s.root, key)
	if n == nil {
		return nil, false, nil
	}
	return append(dst[:0], n.value...), true, nil
}

func (s *memorySnapshot) NewIter(lower, upper []byte) (Iterator, error) {
	if s.closed {
		return nil, ErrClosed
	}
	return &treapIter{root: s.root, lower: bytes.Clone(lower), upper: bytes.Clone(upper)}, nil
}

func (s *memorySnapshot) Close() error { return nil }

// cloneValue copies b; the copy of an empty slice is empty, not nil.
func cloneValue(b []byte) []byte { return append(make([]byte, 0, len(b)), b...) }
