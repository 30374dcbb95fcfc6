package mvcc

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
)

// Cache holds the newest records of recently written keys, for all shards of a
// node. A put has to know the version that it replaces, and most puts hit keys that
// were written not long ago; finding them in memtables and tables was the largest
// part of an apply.
//
// It is a few buffers of bytes with an index of numbers: its memory is fixed, one
// copy fills it, and the garbage collector has nothing to look at. Each stripe has a
// young and an old half; when the young one is full, the old one is dropped. (A ring
// that drops one entry at a time keeps a little more, for twice the code.)
//
// Only writers put records in, after their commit (M10).
type Cache struct {
	stripes [cacheStripes]cacheStripe
	salts   atomic.Uint64
}

const (
	cacheStripes = 16
	// cacheBytesDefault is the size of a DB's own cache, when none is shared.
	cacheBytesDefault = 16 << 20
	// cacheEntryMax keeps large values out: copying them costs as much as finding
	// them.
	cacheEntryMax = 4 << 10
	// cacheHeader is what precedes key and record: the length of each and the salt.
	cacheHeader = 4 + 4 + 8
)

type cacheStripe struct {
	mu         sync.Mutex
	young, old cacheHalf
	size       int // of a half, in bytes
}

type cacheHalf struct {
	buf   []byte
	index map[uint64]uint32 // hash -> place of the entry in buf
}

// NewCache returns a cache of about size bytes. Memory is taken as it fills, so an
// idle shard's own cache costs nothing.
func NewCache(size int) *Cache {
	c := &Cache{}
	for i := range c.stripes {
		c.stripes[i].size = max(size/cacheStripes/2, 2*cacheEntryMax)
	}
	return c
}

// newSalt returns a salt that was never used in this cache.
func (c *Cache) newSalt() uint64 { return c.salts.Add(1) }

// stripe finds the place of a user key of a shard. The salt tells shards, and the
// generations of one shard's state, apart.
func (c *Cache) stripe(salt uint64, key []byte) (*cacheStripe, uint64) {
	h := xxhash.Sum64(key) ^ salt*0x9e3779b97f4a7c15
	return &c.stripes[h>>60], h
}

// get appends the record of key to dst[:0].
func (c *Cache) get(salt uint64, key, dst []byte) ([]byte, bool) {
	s, h := c.stripe(salt, key)
	s.mu.Lock()
	defer s.mu.Unlock()
	record, ok := s.young.find(h, salt, key)
	if !ok {
		record, ok = s.old.find(h, salt, key)
	}
	if !ok {
		return nil, false
	}
	return append(dst[:0], record...), true
}

// find returns the record of key, in place.
func (f *cacheHalf) find(h, salt uint64, key []byte) ([]byte, bool) {
	at, ok := f.index[h]
	if !ok {
		return nil, false
	}
	b := f.buf[at:]
	n, m := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	if binary.LittleEndian.Uint64(b[8:]) != salt || string(b[cacheHeader:cacheHeader+n]) != string(key) {
		return nil, false // another key with the same hash
	}
	return b[cacheHeader+n : cacheHeader+n+m], true
}

// put makes record the one of key.
func (c *Cache) put(salt uint64, key, record []byte) {
	s, h := c.stripe(salt, key)
	need := cacheHeader + len(key) + len(record)
	s.mu.Lock()
	defer s.mu.Unlock()
	if need > cacheEntryMax {
		delete(s.young.index, h)
		delete(s.old.index, h)
		return
	}
	if old, ok := s.young.find(h, salt, key); ok && len(old) == len(record) {
		copy(old, record)
		return
	}
	if s.young.index == nil || len(s.young.buf)+need > s.size {
		s.turn()
	}
	s.young.index[h] = uint32(len(s.young.buf))
	// Another key with this hash may take the place in the young half: then what the old
	// one still has must not come forth again (M10).
	delete(s.old.index, h)
	b := binary.LittleEndian.AppendUint32(s.young.buf, uint32(len(key)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(record)))
	b = binary.LittleEndian.AppendUint64(b, salt)
	s.young.buf = append(append(b, key...), record...)
}

// turn drops the old half and starts a new young one.
func (s *cacheStripe) turn() {
	s.young, s.old = s.old, s.young
	if s.young.index == nil {
		s.young.index = map[uint64]uint32{}
	}
	s.young.buf = s.young.buf[:0]
	clear(s.young.index)
}
