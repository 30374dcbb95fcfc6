package crash

import (
	"errors"
	"strings"
	"syscall"
	"testing"
)

// Goal: every wrong outcome is found, and every right one accepted (I2, I3). Method: a
// history of a few acknowledged steps and an open one; what is found is made by hand.
func TestCheck(t *testing.T) {
	open := pair("a", "2", "txn/1", "txn/2", "b")
	done := []step{put("a", "1"), put("b", "1"), put("a", "2"), grant(7), putLeased("c", "x", 7), compact(2)}
	for _, c := range []struct {
		name   string
		change func(found *state)
		want   string // part of the complaint; "" is none
	}{
		{"all that was acknowledged", func(*state) {}, ""},
		{"the open step too", open.apply, ""},
		{"everything lost", func(s *state) { *s = *newState() }, "revision 1, want 5"},
		{"a key lost", func(s *state) { delete(s.keys, "b") }, "key b is lost"},
		{"an older value", func(s *state) { s.keys["a"] = value{text: "1", created: 2, modified: 2, version: 1} }, "key a"},
		{"the last write lost", func(s *state) {
			delete(s.keys, "c")
			s.revision--
			s.events = s.events[:len(s.events)-1]
		}, "revision 4, want 5"},
		{"another revision", func(s *state) {
			v := s.keys["b"]
			v.modified++
			s.keys["b"] = v
		}, "key b"},
		{"a key from nowhere", func(s *state) { s.keys["z"] = value{text: "?", created: 3, modified: 3, version: 1} }, "key z should not be there"},
		{"a write twice", put("c", "x").apply, "revision 6, want 5"},
		{"half of the open transaction", func(s *state) {
			s.revision++
			s.put("txn/1", "txn", 0)
		}, "key txn/2 is lost"},
		{"the open transaction without its revision", func(s *state) {
			open.apply(s)
			s.revision--
		}, "revision 5, want 6"},
		{"the open transaction at two revisions", func(s *state) {
			s.revision++
			s.put("txn/1", "txn", 0)
			s.put("txn/2", "txn", 0)
			s.revision++
			s.remove("b")
		}, "revision 7, want 6"},
		{"history lost", func(s *state) { s.events = s.events[1:] }, "event"},
		{"history twice", func(s *state) { s.events = append(s.events, s.events[0]) }, "an event too many"},
		{"a lease lost", func(s *state) { delete(s.leases, 7) }, "lease 7 is lost"},
		{"a lease cut short", func(s *state) { s.leases[7] = 1 }, "lease 7: 1, want 3600"},
		{"a key without its lease", func(s *state) {
			v := s.keys["c"]
			v.lease = 0
			s.keys["c"] = v
		}, "key c"},
		{"a compaction undone", func(s *state) { s.compacted = 0 }, "compacted at 0, want 2"},
		{"a compaction too far", func(s *state) { s.compact(4) }, "compacted at 4, want 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := historyOf(t, done)
			h.open = &open
			found := h.acknowledged.clone()
			c.change(found)
			err := h.check(found)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// historyOf acknowledges steps as a right server does.
func historyOf(t *testing.T, done []step) *history {
	t.Helper()
	h := newHistory()
	for i := range done {
		after := h.acknowledged.clone()
		done[i].apply(after)
		if err := h.ack(&done[i], after.revision); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// Goal: without an open step nothing more may be there, and an answer with a wrong
// revision is noticed (I2).
func TestCheckAnswers(t *testing.T) {
	h := newHistory()
	first, second := put("a", "1"), put("a", "2")
	if err := h.ack(&first, 2); err != nil {
		t.Fatal(err)
	}
	found := h.acknowledged.clone()
	second.apply(found)
	if err := h.check(found); err == nil {
		t.Error("a write that nobody sent is accepted")
	}
	if err := h.ack(&second, 4); err == nil {
		t.Error("an answer that skips a revision is accepted")
	}
	if err := h.check(found); err == nil {
		t.Error("an answer that skips a revision is forgotten")
	}
}

// Goal: the script makes sense. Method: every step is applied to the model, which panics
// when it deletes what is not there.
func TestScriptFitsTheModel(t *testing.T) {
	s := newState()
	for _, st := range append(script(), lastSteps()...) {
		before := s.revision
		st.apply(s)
		if s.revision != before && s.revision != before+1 {
			t.Errorf("%s: from revision %d to %d", st.name, before, s.revision)
		}
	}
	if len(s.leases) != 0 || s.compacted == 0 || len(s.keys) < 5 {
		t.Errorf("the script ends with %d leases, %d keys, compacted at %d", len(s.leases), len(s.keys), s.compacted)
	}
}

// Goal: where tracing is forbidden, the reader learns what to do (I7).
func TestForbidden(t *testing.T) {
	if text := explain(syscall.EPERM).Error(); !strings.Contains(text, "ptrace is forbidden here") || !strings.Contains(text, "SYS_PTRACE") {
		t.Error(text)
	}
	if err := explain(syscall.ENOENT); !errors.Is(err, syscall.ENOENT) || strings.Contains(err.Error(), "forbidden") {
		t.Error(err)
	}
}
