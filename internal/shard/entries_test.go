package shard

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/quorate/quorate/consensus"
)

func epochOf(n int) consensus.Epoch { return consensus.Epoch(n) }

func entry(i consensus.Index, epoch consensus.Epoch, size int) consensus.Entry {
	return consensus.Entry{Index: i, Epoch: epoch, Orig: epoch, Kind: consensus.EntryCommand, Data: make([]byte, size)}
}

// Goal: the cache agrees with a plain map under appends, truncations and
// evictions, and its byte count with the sum.
func TestEntryCacheAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c entryCache
		c.reset(1)
		model := map[consensus.Index]consensus.Entry{}
		epoch := consensus.Epoch(1)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				var batch []consensus.Entry
				for i := range rapid.IntRange(1, 5).Draw(t, "entries") {
					e := entry(c.end()+consensus.Index(i), epoch, rapid.IntRange(0, 9).Draw(t, "size"))
					batch = append(batch, e)
					model[e.Index] = e
				}
				c.append(batch)
			case 1:
				from := c.first + consensus.Index(rapid.IntRange(0, len(c.entries)).Draw(t, "keep"))
				epoch++
				c.truncate(from)
				for i := range model {
					if i >= from {
						delete(model, i)
					}
				}
			case 2:
				limit := rapid.IntRange(0, 30).Draw(t, "limit")
				upTo := c.first + consensus.Index(rapid.IntRange(0, len(c.entries)).Draw(t, "upTo"))
				c.evict(upTo, limit)
				for i := range model {
					if i < c.first {
						delete(model, i)
					}
				}
				if c.bytes > limit && len(c.entries) > 0 && c.first <= upTo {
					t.Fatalf("%d bytes above %d though %d may go", c.bytes, limit, c.first)
				}
			}
			compareCache(t, &c, model)
		}
	})
}

func compareCache(t *rapid.T, c *entryCache, model map[consensus.Index]consensus.Entry) {
	bytes := 0
	got, ok := c.span(consensus.Span{Lo: c.first, Hi: c.end()})
	if !ok || len(got) != len(model) {
		t.Fatalf("%d cached, model has %d", len(got), len(model))
	}
	for i := range got {
		want := model[got[i].Index]
		if got[i].Index != c.first+consensus.Index(i) || got[i].Epoch != want.Epoch || len(got[i].Data) != len(want.Data) {
			t.Fatalf("entry %d is %+v, want %+v", i, got[i], want)
		}
		bytes += len(got[i].Data)
	}
	if bytes != c.bytes {
		t.Fatalf("counts %d bytes, has %d", c.bytes, bytes)
	}
	if _, ok := c.span(consensus.Span{Lo: c.first, Hi: c.end() + 1}); ok {
		t.Fatal("gives what it does not have")
	}
}

// H5: entries above a message's epoch are not sent under it.
func TestFillableRefusesWhatMovedOn(t *testing.T) {
	m := &consensus.Message{Epoch: 3, Fill: consensus.Span{Lo: 5, Hi: 7}}
	for _, c := range []struct {
		name    string
		entries []consensus.Entry
		want    bool
	}{
		{"as they were", []consensus.Entry{entry(5, 2, 1), entry(6, 3, 1)}, true},
		{"replaced by a later leader", []consensus.Entry{entry(5, 2, 1), entry(6, 4, 1)}, false},
		{"one is gone", []consensus.Entry{entry(5, 2, 1)}, false},
	} {
		if got := fillable(m, c.entries); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// Goal: the cache of a sparse log agrees with a plain map under entries that come in any
// order and replace others, evictions and installed snapshots; what it lays over entries
// read back is what it holds.
func TestSparseCacheAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c entryCache
		c.reset(5)
		model := map[consensus.Index]consensus.Entry{}
		for epoch := range rapid.IntRange(1, 60).Draw(t, "steps") {
			at := c.first + consensus.Index(rapid.IntRange(0, 12).Draw(t, "at"))
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0, 1:
				e := entry(at, epochOf(epoch+1), rapid.IntRange(0, 9).Draw(t, "size"))
				model[e.Index] = e
				c.put([]consensus.Entry{e})
			case 2:
				c.evict(at, rapid.IntRange(0, 30).Draw(t, "limit"))
			case 3:
				c.release(at)
			}
			for i := range model {
				if i < c.first {
					delete(model, i)
				}
			}
			compareSparse(t, &c, model)
		}
	})
}

func compareSparse(t *rapid.T, c *entryCache, model map[consensus.Index]consensus.Entry) {
	bytes := 0
	for i, want := range model {
		bytes += len(want.Data)
		got, ok := c.span(consensus.Span{Lo: i, Hi: i + 1})
		over := []consensus.Entry{entry(i, 99, 0)}
		c.overlay(over)
		if !ok || got[0].Epoch != want.Epoch || over[0].Epoch != want.Epoch {
			t.Fatalf("entry %d is %v, want %v", i, got, want)
		}
	}
	if c.bytes != bytes || len(c.entries)-c.missing != len(model) {
		t.Fatalf("%d entries of %d bytes, want %d of %d", len(c.entries)-c.missing, c.bytes, len(model), bytes)
	}
	for at := c.first; at < c.end()+2; {
		part, here := c.prefix(consensus.Span{Lo: at, Hi: c.end() + 2})
		for i := part.Lo; i < part.Hi; i++ {
			if _, ok := model[i]; ok != here {
				t.Fatalf("%v is here: %v, slot %d: %v", part, here, i, ok)
			}
		}
		at = part.Hi
	}
}
