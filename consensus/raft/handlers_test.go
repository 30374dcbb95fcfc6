package raft

import (
	"errors"
	"math"
	"testing"

	"github.com/quorate/quorate/consensus"
)

// TestTableIsComplete: every role knows what to do with every message.
func TestTableIsComplete(t *testing.T) {
	for row := range rowCount {
		for kind := consensus.MessageKind(1); kind < kindCount; kind++ {
			if handlers[row][kind] == nil {
				t.Errorf("%s has no handler for %s", rowNames[row], KindName(kind))
			}
		}
	}
	for kind := consensus.MessageKind(1); kind < kindCount; kind++ {
		if kindNames[kind] == "" {
			t.Errorf("kind %d has no name", kind)
		}
	}
}

// TestCellsAreReached: the random cluster enters every common cell, and none that a
// correct group cannot enter.
func TestCellsAreReached(t *testing.T) {
	var coverage Coverage
	for seed := uint64(1); seed <= 150/slow; seed++ {
		c := newChaos(seed)
		for range 10000 {
			c.act()
			for _, h := range c.hosts {
				if h.m != nil {
					h.m.Cover(&coverage)
				}
				c.pump(h)
			}
		}
	}
	for _, cell := range Cells(&coverage) {
		if cell.Frequency == Common && cell.Count == 0 && slow == 1 || cell.Frequency == Never && cell.Count > 0 {
			t.Errorf("%s × %s: %d times, frequency %d", cell.Row, cell.Kind, cell.Count, cell.Frequency)
		}
	}
}

// TestRareCells plays the scenes of the rare cells.
func TestRareCells(t *testing.T) {
	w := group(3, 1)
	w.elect(1)
	w.stabilize()
	follower := w.host(2)
	impatient := func() {
		follower.m.clock.elapsed, follower.m.clock.silent = follower.m.clock.timeout, 99
		follower.m.Tick()
		if follower.m.role != consensus.Trial {
			t.Fatalf("%v", follower.m.role)
		}
	}
	impatient()
	state := &consensus.Snapshot{Index: 1, Epoch: 1, Configuration: voters(1, 2, 3)}
	w.says(t, follower, consensus.Message{Kind: KindSnapshot, From: 1, Epoch: 1, Snapshot: state})
	if follower.m.role != consensus.Follower || follower.m.leader != 1 {
		t.Errorf("a state from the leader: %v of %v", follower.m.role, follower.m.leader)
	}
	impatient()
	w.says(t, follower, consensus.Message{Kind: KindTimeoutNow, From: 1, Epoch: 1})
	if follower.m.role != consensus.Candidate || follower.m.hard.Epoch != 2 {
		t.Errorf("a transfer to an impatient follower: %v in epoch %d", follower.m.role, follower.m.hard.Epoch)
	}
	w.says(t, follower, consensus.Message{Kind: KindHeartbeatReply, From: 3, Epoch: 2})
	if follower.m.role != consensus.Candidate {
		t.Errorf("an early heartbeat reply: %v", follower.m.role)
	}
	replies := w.says(t, follower, consensus.Message{Kind: KindSnapshot, From: 1, Epoch: 1, Snapshot: state})
	if r := one(t, replies, KindHeartbeatReply); r.Epoch != 2 || r.Index != 0 {
		t.Errorf("a state from the leader before: %s", formatMessage(&r))
	}
	w.says(t, follower, consensus.Message{Kind: KindVoteReply, From: 3, Epoch: 7, Reject: true})
	if follower.m.role != consensus.Follower || follower.m.hard.Epoch != 7 {
		t.Errorf("a refusal from the future: %v in epoch %d", follower.m.role, follower.m.hard.Epoch)
	}
}

// TestOlderSnapshotIsTaken: a long transfer is not wasted when the lead changes (R7).
func TestOlderSnapshotIsTaken(t *testing.T) {
	w := newWorld(1)
	h := w.withLog(1, voters(1, 2, 3), consensus.HardState{Epoch: 6}, 1, 2)
	w.says(t, h, consensus.Message{
		Kind: KindSnapshot, From: 2, Epoch: 5, Snapshot: &consensus.Snapshot{Index: 9, Epoch: 4, Configuration: voters(1, 2, 3)},
	})
	if s := h.m.Status(); s.LastIndex != 9 || s.Commit != 9 || s.HardState.Epoch != 6 || s.Leader != 0 {
		t.Errorf("status %+v", s)
	}
}

// TestStepRefuses: each kind of wrong message has its error, and changes nothing.
func TestStepRefuses(t *testing.T) {
	entry := func(i consensus.Index, e consensus.Epoch) consensus.Entry {
		return consensus.Entry{Index: i, Epoch: e, Orig: e, Kind: consensus.EntryBarrier}
	}
	with := func(e ...consensus.Entry) func(*consensus.Message) {
		return func(m *consensus.Message) { m.Entries = e }
	}
	good := consensus.Message{Kind: KindAppend, Group: 1, From: 2, To: 1, Epoch: 5, Index: 3, IndexEpoch: 3}
	for name, c := range map[string]struct {
		change func(*consensus.Message)
		want   error
	}{
		"kind zero":              {func(m *consensus.Message) { m.Kind = 0 }, consensus.ErrUnknownKind},
		"kind above all":         {func(m *consensus.Message) { m.Kind = kindCount }, consensus.ErrUnknownKind},
		"group":                  {func(m *consensus.Message) { m.Group = 2 }, consensus.ErrWrongGroup},
		"addressee":              {func(m *consensus.Message) { m.To = 3 }, consensus.ErrNotAddressed},
		"no sender":              {func(m *consensus.Message) { m.From = 0 }, consensus.ErrMalformed},
		"own sender":             {func(m *consensus.Message) { m.From = 1 }, consensus.ErrMalformed},
		"epoch zero":             {func(m *consensus.Message) { m.Epoch = 0 }, consensus.ErrMalformed},
		"epoch absurd":           {func(m *consensus.Message) { m.Epoch = math.MaxUint64 }, consensus.ErrMalformed},
		"index absurd":           {func(m *consensus.Message) { m.Index = math.MaxUint64 }, consensus.ErrMalformed},
		"commit absurd":          {func(m *consensus.Message) { m.Commit = math.MaxUint64 }, consensus.ErrMalformed},
		"round absurd":           {func(m *consensus.Message) { m.Round = math.MaxUint64 }, consensus.ErrMalformed},
		"entry before its epoch": {func(m *consensus.Message) { m.IndexEpoch = 6 }, consensus.ErrMalformed},
		"index without epoch":    {func(m *consensus.Message) { m.IndexEpoch = 0 }, consensus.ErrMalformed},
		"epoch without index":    {func(m *consensus.Message) { m.Index = 0 }, consensus.ErrMalformed},
		"not filled":             {func(m *consensus.Message) { m.Fill = consensus.Span{Lo: 4, Hi: 5} }, consensus.ErrMalformed},
		"snapshot in an append":  {func(m *consensus.Message) { m.Snapshot = &consensus.Snapshot{} }, consensus.ErrMalformed},
		"entries in a heartbeat": {func(m *consensus.Message) { m.Kind, m.Entries = KindHeartbeat, []consensus.Entry{entry(4, 5)} }, consensus.ErrMalformed},
		"gap between entries":    {with(entry(4, 5), entry(6, 5)), consensus.ErrMalformed},
		"gap before entries":     {with(entry(5, 5)), consensus.ErrMalformed},
		"falling epochs":         {with(entry(4, 4), entry(5, 3)), consensus.ErrMalformed},
		"epoch below the entry":  {with(entry(4, 2)), consensus.ErrMalformed},
		"epoch above the sender": {with(entry(4, 6)), consensus.ErrMalformed},
		"entry without epoch":    {with(entry(4, 0)), consensus.ErrMalformed},
		"orig of another engine": {with(consensus.Entry{Index: 4, Epoch: 5, Orig: 4, Kind: consensus.EntryBarrier}), consensus.ErrMalformed},
		"entry of no kind":       {with(consensus.Entry{Index: 4, Epoch: 5, Orig: 5}), consensus.ErrMalformed},
		"barrier with data":      {with(consensus.Entry{Index: 4, Epoch: 5, Orig: 5, Kind: consensus.EntryBarrier, Data: []byte{1}}), consensus.ErrMalformed},
		"damaged membership":     {with(consensus.Entry{Index: 4, Epoch: 5, Orig: 5, Kind: consensus.EntryMembership, Data: []byte{9}}), consensus.ErrMalformed},
		"second leader":          {func(m *consensus.Message) { m.From = 3 }, consensus.ErrMalformed},
		"against the decided":    {func(m *consensus.Message) { m.Index, m.IndexEpoch = 2, 2 }, consensus.ErrMalformed},
		"against the leader":     {func(m *consensus.Message) { m.IndexEpoch = 4 }, consensus.ErrMalformed},
		"reply of a stranger":    {func(m *consensus.Message) { m.Kind, m.From = KindAppendReply, 9 }, consensus.ErrNotMember},
		"snapshot of nothing":    {func(m *consensus.Message) { m.Kind, m.Snapshot = KindSnapshot, &consensus.Snapshot{} }, consensus.ErrMalformed},
		"no snapshot":            {func(m *consensus.Message) { m.Kind = KindSnapshot }, consensus.ErrMalformed},
		"snapshot of the future": {func(m *consensus.Message) {
			m.Kind, m.Snapshot = KindSnapshot, &consensus.Snapshot{Index: 9, Epoch: 6}
		}, consensus.ErrMalformed},
		"snapshot against the decided": {func(m *consensus.Message) {
			m.Kind, m.Snapshot = KindSnapshot, &consensus.Snapshot{Index: 2, Epoch: 2}
		}, consensus.ErrMalformed},
		"snapshot with a wrong configuration": {func(m *consensus.Message) {
			m.Kind, m.Snapshot = KindSnapshot, &consensus.Snapshot{Index: 9, Epoch: 5, Configuration: voters(3, 2, 1)}
		}, consensus.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(1)
			h := w.withLog(1, voters(1, 2, 3), consensus.HardState{Epoch: 5}, 1, 1, 3)
			w.decided = []consensus.Entry{h.view.entries[0], h.view.entries[1]}
			w.since = []consensus.Epoch{1, 1}
			hello := good
			hello.Commit = 2
			w.says(t, h, hello)
			msg := good
			c.change(&msg)
			refuse(t, h.m, msg, c.want)
		})
	}
}

// TestLeaderRefuses: what a follower cannot have said.
func TestLeaderRefuses(t *testing.T) {
	for name, msg := range map[string]consensus.Message{
		"acknowledges the future":  {Kind: KindAppendReply, Index: 9},
		"alive in the future":      {Kind: KindHeartbeatReply, Index: 9},
		"hint behind the end":      {Kind: KindHeartbeatReply, Hint: 9},
		"confirms an unsent round": {Kind: KindHeartbeatReply, Round: 1},
		"refuses the beginning":    {Kind: KindAppendReply, Reject: true},
		"heartbeat":                {Kind: KindHeartbeat},
		"commit":                   {Kind: KindCommit},
		"timeout-now":              {Kind: KindTimeoutNow},
	} {
		t.Run(name, func(t *testing.T) {
			w := group(3, 1)
			h := w.elect(1)
			w.stabilize()
			msg.Group, msg.From, msg.To, msg.Epoch = 1, 2, 1, 1
			refuse(t, h.m, msg, consensus.ErrMalformed)
		})
	}
}

func refuse(t *testing.T, m *Machine, msg consensus.Message, want error) {
	t.Helper()
	before := describe(m)
	if err := m.Step(msg); !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
	if after := describe(m); after != before {
		t.Errorf("changed from\n%s to\n%s", before, after)
	}
	if rd, ok := m.Ready(); ok {
		t.Errorf("a refused message causes work: %+v", rd)
	}
}
