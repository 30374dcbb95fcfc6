package crash

import (
	"fmt"
	"maps"
	"slices"
)

// state is everything that a client can learn of a store: what the model expects and
// what is found have the same type, so that comparing them is the check.
type state struct {
	revision  int64
	compacted int64 // history up to here is gone, but for what is current; 0: none is
	keys      map[string]value
	events    []event         // above compacted
	leases    map[int64]int64 // granted seconds by id
}

// value is a key as a range shows it.
type value struct {
	text                       string
	created, modified, version int64
	lease                      int64
}

// event is one change as a watch shows it.
type event struct {
	revision int64
	key      string
	text     string // of a put
	deleted  bool
}

func newState() *state {
	return &state{revision: 1, keys: make(map[string]value), leases: make(map[int64]int64)}
}

func (s *state) clone() *state {
	c := *s
	c.keys, c.leases, c.events = maps.Clone(s.keys), maps.Clone(s.leases), slices.Clone(s.events)
	return &c
}

// put writes a key at the current revision, which the caller has raised.
func (s *state) put(key, text string, lease int64) {
	v := s.keys[key]
	if v.version == 0 {
		v.created = s.revision
	}
	s.keys[key] = value{text: text, created: v.created, modified: s.revision, version: v.version + 1, lease: lease}
	s.events = append(s.events, event{revision: s.revision, key: key, text: text})
}

// remove deletes a key that exists, likewise.
func (s *state) remove(key string) {
	if _, ok := s.keys[key]; !ok {
		panic("the script deletes " + key + ", which does not exist")
	}
	delete(s.keys, key)
	s.events = append(s.events, event{revision: s.revision, key: key, deleted: true})
}

// compact forgets the history up to a revision.
func (s *state) compact(revision int64) {
	s.compacted = revision
	s.events = slices.DeleteFunc(s.events, func(e event) bool { return e.revision <= revision })
}

// diff names the first few differences of what was found from what is wanted.
func (s *state) diff(want *state) []string {
	var d []string
	add := func(format string, args ...any) {
		if len(d) < diffLimit {
			d = append(d, fmt.Sprintf(format, args...))
		}
	}
	if s.revision != want.revision {
		add("revision %d, want %d", s.revision, want.revision)
	}
	if s.compacted != want.compacted {
		add("compacted at %d, want %d", s.compacted, want.compacted)
	}
	diffMap(s.keys, want.keys, "key", add)
	diffMap(s.leases, want.leases, "lease", add)
	for i := range max(len(s.events), len(want.events)) {
		switch {
		case i >= len(s.events):
			add("no event %v", want.events[i])
		case i >= len(want.events):
			add("an event too many: %v", s.events[i])
		case s.events[i] != want.events[i]:
			add("event %v, want %v", s.events[i], want.events[i])
		}
	}
	return d
}

// diffLimit bounds how many differences are told.
const diffLimit = 8

func diffMap[K string | int64, V comparable](got, want map[K]V, what string, add func(string, ...any)) {
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if v, ok := got[k]; !ok {
			add("%s %v is lost: %v", what, k, want[k])
		} else if v != want[k] {
			add("%s %v: %v, want %v", what, k, v, want[k])
		}
	}
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[k]; !ok {
			add("%s %v should not be there: %v", what, k, got[k])
		}
	}
}

// String leaves out most of a long text.
func (v value) String() string {
	return fmt.Sprintf("%s created %d, modified %d, version %d, lease %d", short(v.text), v.created, v.modified, v.version, v.lease)
}

func (e event) String() string {
	if e.deleted {
		return fmt.Sprintf("%d: delete %s", e.revision, e.key)
	}
	return fmt.Sprintf("%d: put %s = %s", e.revision, e.key, short(e.text))
}

func short(text string) string {
	if len(text) <= 24 {
		return fmt.Sprintf("%q", text)
	}
	return fmt.Sprintf("%q... (%d bytes)", text[:24], len(text))
}
