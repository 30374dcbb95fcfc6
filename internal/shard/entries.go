package shard

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
)

// entryCache holds a contiguous run of a replica's newest entries, so that they
// need not be read back from the log to be sent or applied. It keeps H1: the
// owner evicts only what is durable.
type entryCache struct {
	first   consensus.Index // of entries[0]; the next index to append when empty
	entries []consensus.Entry
	bytes   int // of all Data
}

// end is the index behind the newest entry.
func (c *entryCache) end() consensus.Index { return c.first + consensus.Index(len(c.entries)) }

// append adds entries behind the newest one.
func (c *entryCache) append(entries []consensus.Entry) {
	if len(entries) == 0 {
		return
	}
	if entries[0].Index != c.end() {
		panic(fmt.Sprintf("shard: append at %d behind cached end %d", entries[0].Index, c.end()))
	}
	c.entries = append(c.entries, entries...)
	for i := range entries {
		c.bytes += len(entries[i].Data)
	}
}

// truncate removes the entries at and above from.
func (c *entryCache) truncate(from consensus.Index) {
	if from >= c.end() {
		return
	}
	if from <= c.first {
		c.reset(from)
		return
	}
	keep := int(from - c.first)
	for i := keep; i < len(c.entries); i++ {
		c.bytes -= len(c.entries[i].Data)
	}
	clear(c.entries[keep:])
	c.entries = c.entries[:keep]
}

// reset empties the cache; the next entry to append is next.
func (c *entryCache) reset(next consensus.Index) {
	clear(c.entries)
	*c = entryCache{first: next, entries: c.entries[:0]}
}

// span returns the cached entries of s, which share memory with the cache, and
// false unless all of them are here.
func (c *entryCache) span(s consensus.Span) ([]consensus.Entry, bool) {
	if s.Lo < c.first || s.Hi > c.end() {
		return nil, false
	}
	return c.entries[s.Lo-c.first : s.Hi-c.first], true
}

// evict drops the oldest entries at or below upTo until at most limit bytes remain.
func (c *entryCache) evict(upTo consensus.Index, limit int) {
	n := 0
	for n < len(c.entries) && c.bytes > limit && c.entries[n].Index <= upTo {
		c.bytes -= len(c.entries[n].Data)
		n++
	}
	if n == 0 {
		return
	}
	clear(c.entries[:n])
	c.first += consensus.Index(n)
	c.entries = c.entries[n:]
}
