package shard

import (
	"fmt"
	"slices"

	"github.com/quorate/quorate/consensus"
)

// entryCache holds a replica's newest entries, so that they need not be read back from
// the log to be sent or applied. It keeps H1: the owner evicts only what is durable. Of a
// log without holes it is one run; otherwise what is missing between its first and its last
// index is a hole, or was written before the replica's start and is in the log alone.
type entryCache struct {
	first   consensus.Index // of entries[0]; the next index to append when empty
	entries []consensus.Entry
	bytes   int // of all Data
	missing int // how many of entries have no kind: they are not here
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

// put takes entries of a sparse log, wherever they are, in place of earlier ones of their
// index. REQUIRES: none is below first.
func (c *entryCache) put(entries []consensus.Entry) {
	for i := range entries {
		e := &entries[i]
		if e.Index < c.first {
			panic(fmt.Sprintf("shard: entry at %d below cached %d", e.Index, c.first))
		}
		for c.end() <= e.Index {
			c.entries = append(c.entries, consensus.Entry{})
			c.missing++
		}
		old := &c.entries[e.Index-c.first]
		if old.Kind == 0 {
			c.missing--
		}
		c.bytes += len(e.Data) - len(old.Data)
		*old = *e
	}
}

// has reports whether the entry at i is here.
func (c *entryCache) has(i consensus.Index) bool {
	return i >= c.first && i < c.end() && c.entries[i-c.first].Kind != 0
}

// prefix is the longest part of s, from its beginning, of which all entries are here, or
// none is.
func (c *entryCache) prefix(s consensus.Span) (part consensus.Span, here bool) {
	part, here = consensus.Span{Lo: s.Lo, Hi: s.Lo + 1}, c.has(s.Lo)
	for part.Hi < s.Hi && c.has(part.Hi) == here {
		part.Hi++
	}
	return part, here
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
	entries := c.entries[s.Lo-c.first : s.Hi-c.first]
	if c.missing > 0 && slices.ContainsFunc(entries, func(e consensus.Entry) bool { return e.Kind == 0 }) {
		return nil, false
	}
	return entries, true
}

// overlay replaces those of entries that are here as well: what the log gave back may have
// been written over meanwhile.
func (c *entryCache) overlay(entries []consensus.Entry) {
	for i := range entries {
		if at := entries[i].Index; c.has(at) {
			entries[i] = c.entries[at-c.first]
		}
	}
}

// evict drops the oldest entries at or below upTo until at most limit bytes remain.
func (c *entryCache) evict(upTo consensus.Index, limit int) {
	n := 0
	for n < len(c.entries) && c.bytes > limit && c.first+consensus.Index(n) <= upTo {
		c.bytes -= len(c.entries[n].Data)
		if c.entries[n].Kind == 0 {
			c.missing--
		}
		n++
	}
	if n == 0 {
		return
	}
	clear(c.entries[:n])
	c.first += consensus.Index(n)
	c.entries = c.entries[n:]
}

// trim gives the memory of an empty cache back.
func (c *entryCache) trim() {
	if len(c.entries) == 0 {
		c.entries = nil
	}
}

// release drops everything at or below upTo, and takes nothing there any more.
func (c *entryCache) release(upTo consensus.Index) {
	if upTo >= c.end() {
		c.reset(max(c.first, upTo+1))
		return
	}
	c.evict(upTo, -1)
}
