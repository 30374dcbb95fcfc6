package mvcc

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"testing"

	"github.com/cespare/xxhash/v2"
	"pgregory.net/rapid"
)

// Goal: the cache gives back the last record put for a key or nothing, never another
// one, and stays within its size. Method: random puts and gets against a map, in a
// cache so small that entries fall out all the time.
func TestCacheAgreesWithMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 256 << 10
		c := NewCache(size)
		last := map[string]string{}
		hits := 0
		for i := range rapid.IntRange(1, 3000).Draw(t, "steps") {
			key := fmt.Sprintf("key-%d", (i*7919)%211)
			salt := uint64(1 + i%2)
			id := fmt.Sprint(salt, key)
			if got, ok := c.get(salt, []byte(key), nil); ok {
				hits++
				if string(got) != last[id] {
					t.Fatalf("%s is %q, want %q", id, got, last[id])
				}
			}
			record := fmt.Sprintf("%0*d", 10+(i*31)%700*(i%3), i)
			if i%97 == 0 {
				record = string(make([]byte, cacheEntryMax)) // too large: forgets the key
			}
			c.put(salt, []byte(key), []byte(record))
			last[id] = record
		}
		total := 0
		for i := range c.stripes {
			s := &c.stripes[i]
			total += len(s.young.buf) + len(s.old.buf)
		}
		if total > size {
			t.Fatalf("%d bytes in a cache of %d", total, size)
		}
	})
}

// collision returns another key with the hash of key, which has 16 bytes. xxhash64 takes
// short keys eight bytes at a time into 64 bits of state by steps that can be undone, so
// any first half can be completed.
func collision(t *testing.T, key []byte, first uint64) []byte {
	t.Helper()
	const p1, p2, p4, p5 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
	round := func(x uint64) uint64 { return bits.RotateLeft64(x*p2, 31) * p1 }
	inverse := func(odd uint64) uint64 { // Newton's iteration modulo 2^64
		x := odd
		for range 6 {
			x *= 2 - odd*x
		}
		return x
	}
	state := func(half uint64) uint64 { return bits.RotateLeft64((uint64(p5)+16)^round(half), 27)*p1 + p4 }
	a1, a2 := binary.LittleEndian.Uint64(key), binary.LittleEndian.Uint64(key[8:])
	k := round(a2) ^ state(a1) ^ state(first)
	second := bits.RotateLeft64(k*inverse(p1), -31) * inverse(p2)
	other := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, first), second)
	if xxhash.Sum64(other) != xxhash.Sum64(key) {
		t.Fatalf("%x and %x do not collide", key, other)
	}
	return other
}

// Goal: a key that takes another's place in the young half does not bring forth what the
// old half still has of it. Method: two keys with one hash.
func TestCacheCollision(t *testing.T) {
	c := NewCache(0)
	key := []byte("0123456789abcdef")
	other := collision(t, key, 42)
	c.put(1, key, []byte("stale"))
	s, _ := c.stripe(1, key)
	s.turn() // as when the young half is full
	c.put(1, key, []byte("a newer one"))
	c.put(1, other, []byte("o"))
	if got, ok := c.get(1, key, nil); ok {
		t.Errorf("the key is %q", got)
	}
	if got, ok := c.get(1, other, nil); !ok || string(got) != "o" {
		t.Errorf("the other is %q, %v", got, ok)
	}
}
