package mvcc

import (
	"fmt"
	"testing"

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
