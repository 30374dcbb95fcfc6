package wal

import (
	"maps"
	"slices"
	"testing"

	"github.com/quorate/quorate/consensus"

	"pgregory.net/rapid"
)

// Goal: the index of a group's entries is a map with a cheaper shape. Method: random
// operations on both, near each other and far apart.
func TestEntryIndexMatchesMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x entryIndex
		m := map[consensus.Index]uint32{}
		floor := consensus.Index(0)
		at := rapid.Custom(func(t *rapid.T) consensus.Index {
			return floor + 1 + consensus.Index(rapid.Uint64Range(0, 40).Draw(t, "index"))
		})
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				i, size := at.Draw(t, "at"), rapid.Uint32Range(0, 9).Draw(t, "size")
				x.put(i, slot{size: size, entryKind: 1})
				m[i] = size
			},
			"append": func(t *rapid.T) {
				i := max(x.last(), floor)
				for k := range rapid.IntRange(1, 100).Draw(t, "n") {
					x.put(i+1+consensus.Index(k), slot{size: 1, entryKind: 1})
					m[i+1+consensus.Index(k)] = 1
				}
			},
			"truncate": func(t *rapid.T) {
				from := at.Draw(t, "from")
				x.truncate(from)
				maps.DeleteFunc(m, func(i consensus.Index, _ uint32) bool { return i >= from })
			},
			"release": func(t *rapid.T) {
				floor = at.Draw(t, "through")
				x.release(floor)
				maps.DeleteFunc(m, func(i consensus.Index, _ uint32) bool { return i <= floor })
			},
			"": func(t *rapid.T) { compareIndex(t, &x, m) },
		})
	})
}

func compareIndex(t *rapid.T, x *entryIndex, m map[consensus.Index]uint32) {
	var found []consensus.Index
	bytes := int64(0)
	for k := range x.runs {
		r := &x.runs[k]
		if r.len() == 0 && len(x.runs) > 1 {
			t.Fatalf("run %d of %d is empty", k, len(x.runs))
		}
		if k > 0 && x.runs[k-1].end() >= r.first {
			t.Fatalf("runs end at %d and begin at %d", x.runs[k-1].end(), r.first)
		}
		for i := r.first; i < r.end(); i++ {
			found = append(found, i)
			bytes += int64(r.at(i).size) + slotBytes
		}
	}
	want := slices.Sorted(maps.Keys(m))
	if !slices.Equal(found, want) {
		t.Fatalf("index holds %v, want %v", found, want)
	}
	if x.count != len(m) || x.bytes != bytes {
		t.Fatalf("count %d bytes %d, want %d and %d", x.count, x.bytes, len(m), bytes)
	}
	for i := consensus.Index(1); i < 60; i++ {
		size, ok := m[i]
		if s := x.find(i); (s != nil) != ok || ok && s.size != size {
			t.Fatalf("find %d: %+v, want %d %v", i, s, size, ok)
		}
	}
	if len(want) > 0 && x.last() != want[len(want)-1] || len(want) == 0 && x.last() != 0 {
		t.Fatalf("last is %d of %v", x.last(), want)
	}
}
