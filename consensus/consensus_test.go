package consensus

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Goal: a message leaves only if it is true (C5), and is not touched otherwise.
func TestFillFrom(t *testing.T) {
	const messageBytes = 4
	log := map[Index]Entry{
		1: {Index: 1, Epoch: 1, Data: []byte("ab")},
		2: {Index: 2, Epoch: 3, Data: []byte("cd")},
		3: {Index: 3, Epoch: 2, Data: []byte("ef")}, // a sparse log's epochs go up and down
		5: {Index: 5, Epoch: 2, Data: []byte("more than fits")},
		6: {Index: 6, Epoch: 2},
	}
	entry := func(i Index) (Entry, bool) { e, ok := log[i]; return e, ok }
	for _, c := range []struct {
		name  string
		epoch Epoch
		fill  Span
		may   bool
	}{
		{"nothing to fill", 1, Span{}, true},
		{"an old entry", 3, Span{1, 2}, true},
		{"as much as fits", 3, Span{1, 3}, true},
		{"more than fits", 3, Span{1, 4}, false},
		{"one entry, whatever its size", 2, Span{5, 6}, true},
		{"a large entry and another", 2, Span{5, 7}, false},
		{"the last entry above the message's epoch", 2, Span{1, 3}, false},
		{"the first entry above the message's epoch", 2, Span{2, 4}, false},
		{"a hole", 3, Span{3, 5}, false},
		{"behind the end", 3, Span{6, 8}, false},
	} {
		before := Message{Epoch: c.epoch, Fill: c.fill}
		msg := before
		if msg.FillFrom(entry, messageBytes) != c.may {
			t.Errorf("%s: may leave: %v", c.name, !c.may)
		}
		want := before
		if c.may {
			want.Fill = Span{}
			for i := c.fill.Lo; i < c.fill.Hi; i++ {
				want.Entries = append(want.Entries, log[i])
			}
		}
		if diff := cmp.Diff(want, msg); diff != "" {
			t.Errorf("%s (-want +got)\n%s", c.name, diff)
		}
	}
}

// Goal: a machine is told of an entry what it keeps: data only of memberships.
func TestInfo(t *testing.T) {
	for _, e := range []Entry{{}, {Index: 4, Epoch: 3, Orig: 2, Kind: EntryCommand, Data: []byte("abc")}, {Index: 5, Epoch: 3, Orig: 3, Kind: EntryMembership, Data: []byte("m")}} {
		want := EntryInfo{Epoch: e.Epoch, Orig: e.Orig, Kind: e.Kind, Size: uint32(len(e.Data))}
		if e.Kind == EntryMembership {
			want.Data = e.Data
		}
		if diff := cmp.Diff(want, e.Info()); diff != "" {
			t.Errorf("%+v (-want +got)\n%s", e, diff)
		}
	}
}
