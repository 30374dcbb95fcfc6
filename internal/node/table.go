package node

import (
	"cmp"
	"slices"
	"sync"

	"github.com/quorate/quorate/internal/shard"
)

// keyspaceTable is what a node carries. It is safe for concurrent use; who adds and removes has
// the turn.
type keyspaceTable struct {
	mu      sync.RWMutex
	byName  map[string]*Keyspace
	byShard map[shard.ID]*Keyspace
	list    []*Keyspace // by shard; replaced, never changed
}

// keyspaceSet collects keyspaces that somebody is to look at. It is safe for concurrent use.
type keyspaceSet struct {
	mu   sync.Mutex
	list []*Keyspace
	in   map[*Keyspace]bool
}

func (s *keyspaceSet) add(k *Keyspace) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.in == nil {
		s.in = make(map[*Keyspace]bool)
	}
	if !s.in[k] {
		s.in[k] = true
		s.list = append(s.list, k)
	}
}

// take empties the set.
func (s *keyspaceSet) take() []*Keyspace {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.list
	s.list, s.in = nil, nil
	return list
}

func (t *keyspaceTable) named(name string) (*Keyspace, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	k, ok := t.byName[name]
	return k, ok
}

func (t *keyspaceTable) of(id shard.ID) (*Keyspace, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	k, ok := t.byShard[id]
	return k, ok
}

// own is one of the two that every node carries.
func (t *keyspaceTable) own(name string) *Keyspace {
	k, ok := t.named(name)
	if !ok {
		panic("node: the " + name + " keyspace is not open")
	}
	return k
}

// all is everything by shard; the slice is not to be changed.
func (t *keyspaceTable) all() []*Keyspace {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.list
}

func (t *keyspaceTable) add(k *Keyspace) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byName == nil {
		t.byName, t.byShard = make(map[string]*Keyspace), make(map[shard.ID]*Keyspace)
	}
	t.byName[k.name], t.byShard[k.shard] = k, k
	at, _ := slices.BinarySearchFunc(t.list, k.shard, func(o *Keyspace, id shard.ID) int { return cmp.Compare(o.shard, id) })
	t.list = slices.Concat(t.list[:at], []*Keyspace{k}, t.list[at:])
}

func (t *keyspaceTable) remove(k *Keyspace) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byName, k.name)
	delete(t.byShard, k.shard)
	t.list = slices.DeleteFunc(slices.Clone(t.list), func(o *Keyspace) bool { return o == k })
}
