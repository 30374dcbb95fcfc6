package consensustest

import (
	"slices"
	"testing"

	"github.com/quorate/quorate/consensus"
)

func command(i consensus.Index, epoch, orig consensus.Epoch, data string) consensus.Entry {
	return consensus.Entry{Index: i, Epoch: epoch, Orig: orig, Kind: consensus.EntryCommand, Data: []byte(data)}
}

func mustPerform(t *testing.T, d *disk, entries ...consensus.Entry) {
	t.Helper()
	if err := d.perform(&write{entries: entries}); err != nil {
		t.Fatal(err)
	}
}

// Goal: a sparse log takes entries in any order, replaces one by one of a higher epoch
// and by no other, and describes what is missing as holes.
func TestSparseDisk(t *testing.T) {
	d := disk{sparse: true, hard: consensus.HardState{Epoch: 5}}
	mustPerform(t, &d, command(4, 2, 2, "d"), command(2, 2, 1, "b"))
	if _, ok := d.entry(3); ok || d.end() != 4 {
		t.Errorf("a log with entries 2 and 4 ends at %d and has entry 3: %v", d.end(), ok)
	}
	mustPerform(t, &d, command(2, 3, 3, "B"))
	for what, w := range map[string]write{
		"an entry of a lower epoch":             {entries: []consensus.Entry{command(2, 2, 2, "b")}},
		"another entry of the same epoch":       {entries: []consensus.Entry{command(2, 3, 3, "x")}},
		"a truncation":                          {truncate: 3},
		"an entry that was proposed later":      {entries: []consensus.Entry{command(3, 2, 3, "x")}},
		"a hard state of the past":              {hard: &consensus.HardState{Epoch: 4}},
		"an entry of no epoch":                  {entries: []consensus.Entry{command(3, 0, 0, "x")}},
		"an entry below what has been released": {entries: []consensus.Entry{command(0, 9, 9, "x")}},
	} {
		if d.perform(&w) == nil {
			t.Errorf("takes %s", what)
		}
	}
	s := d.state()
	if len(s.Entries) != 4 || s.Entries[0].Epoch != 0 || s.Entries[1].Epoch != 3 || s.Entries[2].Epoch != 0 || s.Entries[3].Size != 1 {
		t.Errorf("described as %+v", s.Entries)
	}
}

// Goal: an install keeps what a sparse log has above it, and empties a dense one.
func TestInstallKeepsSparse(t *testing.T) {
	for _, sparse := range []bool{true, false} {
		d := disk{sparse: sparse}
		mustPerform(t, &d, command(1, 1, 1, "a"), command(2, 1, 1, "b"), command(3, 1, 1, "c"))
		install := consensus.Snapshot{Index: 2, Epoch: 1}
		if err := d.perform(&write{install: &install}); err != nil {
			t.Fatal(err)
		}
		if _, ok := d.entry(3); ok != sparse || d.released.Index != 2 {
			t.Errorf("sparse %v: entry 3 is there: %v, released %d", sparse, ok, d.released.Index)
		}
	}
}

// Goal: a dense log has no holes and no second thoughts without a truncation.
func TestDenseDisk(t *testing.T) {
	var d disk
	mustPerform(t, &d, command(1, 1, 1, "a"), command(2, 1, 1, "b"))
	for what, w := range map[string]write{
		"a hole":                   {entries: []consensus.Entry{command(4, 1, 1, "d")}},
		"an entry twice":           {entries: []consensus.Entry{command(2, 2, 2, "b")}},
		"a truncation of nothing":  {truncate: 3},
		"a truncation of all time": {truncate: 0, entries: []consensus.Entry{command(1, 2, 2, "a")}},
	} {
		if d.perform(&w) == nil {
			t.Errorf("takes %s", what)
		}
	}
	if err := d.perform(&write{truncate: 2, entries: []consensus.Entry{command(2, 2, 2, "B")}}); err != nil {
		t.Error(err)
	}
}

// Goal: an entry whose Orig is below one decided before has no effect: its command is
// not done, its configuration does not come into force (T6).
func TestFence(t *testing.T) {
	w := NewWorld(consensus.Engine{Sparse: true}, Options{Enough: func(Holding) bool { return true }}, 1)
	w.first = consensus.Configuration{Membership: members(1)}
	h := &Host{ID: 1}
	other := consensus.Configuration{Membership: members(2)}
	entries := []consensus.Entry{
		{Index: 1, Epoch: 3, Orig: 3, Kind: consensus.EntryBarrier},
		{Index: 2, Epoch: 3, Orig: 2, Kind: consensus.EntryMembership, Data: consensus.AppendConfiguration(nil, &other)},
		{Index: 3, Epoch: 3, Orig: 3, Kind: consensus.EntryBarrier},
	}
	for k := range entries {
		w.record(h, &entries[k])
	}
	if c := w.Configuration(); !w.decided[1].Skipped || w.decided[2].Skipped || !c.Equal(&w.first.Membership) || w.at(2).Epoch != 3 {
		t.Errorf("decided %+v", w.decided)
	}
}

// Goal: a state is ahead of a sparse log that does not say that all of it is decided: the
// log may lack an entry, or have what was accepted before another was decided. What is
// above stays. Method: a log that says nothing, too little and enough.
func TestSparseStateAhead(t *testing.T) {
	for decided := range consensus.Index(3) {
		w := NewWorld(consensus.Engine{Sparse: true}, Options{Enough: func(Holding) bool { return true }}, 1)
		for i, data := range []string{"a", "b"} {
			w.client.byData[data] = &Proposal{Epoch: 1, ID: consensus.ProposalID(i + 1)}
			e := command(consensus.Index(i+1), 2, 1, data)
			w.record(&Host{ID: 1}, &e)
		}
		h := &Host{ID: 1, flushed: 2, durable: disk{sparse: true}}
		mustPerform(t, &h.durable, command(1, 1, 1, "a"), command(2, 1, 1, "b"), command(3, 1, 1, "c"))
		if err := h.durable.perform(&write{decided: decided}); err != nil {
			t.Fatal(err)
		}
		if ahead := w.ahead(h); ahead != (decided < 2) {
			t.Errorf("decided is %d: ahead is %v", decided, ahead)
		}
		h.durable.replace(w.at(h.flushed))
		if _, ok := h.durable.entry(3); !ok || h.durable.released.Index != 2 {
			t.Errorf("replaced by %+v", h.durable)
		}
	}
	d := disk{sparse: true}
	mustPerform(t, &d, command(2, 1, 1, "b"))
	if err := d.perform(&write{decided: 2}); err == nil {
		t.Error("a log with a hole takes all of it for decided")
	}
}

// Goal: a transcript's line with names holds for these engines only.
func TestMerge(t *testing.T) {
	const want = "both\nraft: one\npaxos,other: two\n"
	for _, c := range []struct{ name, got string }{
		{"raft", "both\none\n"}, {"paxos", "both\ntwo\n"}, {"other", "both\ntwo\n"}, {"fourth", "both\n"},
	} {
		if merge(want, c.got, c.name) != want {
			t.Errorf("%s may not say %q", c.name, c.got)
		}
	}
	if merge(want, "both\n", "raft") == want || merge(want, "both\ntwo\n", "fourth", "paxos") != want {
		t.Error("a line is missing, or an engine that is like another has no line")
	}
}

// Goal: a decision needs a majority of the voters, or as many as the write quorum says,
// and of those who are leaving too; learners are not asked.
func TestMajority(t *testing.T) {
	joint := consensus.Configuration{Membership: members(1, 2, 3), Outgoing: []consensus.ReplicaID{3, 4, 5}}
	written := consensus.Configuration{Membership: consensus.Membership{Voters: []consensus.ReplicaID{1, 2, 3, 4, 5}, WriteQuorum: 2}}
	taught := consensus.Configuration{Membership: consensus.Membership{Voters: []consensus.ReplicaID{1, 2}, Learners: []consensus.ReplicaID{3}}}
	for _, c := range []struct {
		in     consensus.Configuration
		at     []consensus.ReplicaID
		enough bool
	}{
		{consensus.Configuration{Membership: members(1, 2, 3, 4)}, []consensus.ReplicaID{1, 4}, false},
		{consensus.Configuration{Membership: members(1, 2, 3, 4)}, []consensus.ReplicaID{1, 2, 4}, true},
		{joint, []consensus.ReplicaID{1, 2, 3}, false},
		{joint, []consensus.ReplicaID{1, 3, 5}, true},
		{written, []consensus.ReplicaID{5}, false},
		{written, []consensus.ReplicaID{2, 5}, true},
		{taught, []consensus.ReplicaID{1, 3}, false},
	} {
		got := Majority(Holding{
			Learner: consensus.Status{Configuration: c.in},
			Holds:   func(id consensus.ReplicaID) bool { return slices.Contains(c.at, id) },
		})
		if got != c.enough {
			t.Errorf("%s with %v: %v", ShowConfiguration(&c.in), c.at, got)
		}
	}
}
