package paxos

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/quorate/quorate/consensus"
)

// Goal: every role knows what to do with every message.
func TestTableIsComplete(t *testing.T) {
	for row := range rowCount {
		for kind := consensus.MessageKind(1); kind < kindCount; kind++ {
			if handlers[row][kind] == nil {
				t.Errorf("%s has no handler for %s", rowNames[row], KindName(kind))
			}
			if kindNames[kind] == "" {
				t.Errorf("kind %d has no name", kind)
			}
		}
	}
}

// Goal: the random cluster enters every common cell, and none that a correct group cannot
// enter.
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

// Goal: each kind of wrong message has its error and changes nothing. Method: an acceptor
// of three that follows 2 in epoch 5 and knows two slots decided.
func TestStepRefuses(t *testing.T) {
	entry := func(i consensus.Index, epoch, orig consensus.Epoch) consensus.Entry {
		return consensus.Entry{Index: i, Epoch: epoch, Orig: orig, Kind: consensus.EntryCommand}
	}
	with := func(e ...consensus.Entry) func(*consensus.Message) {
		return func(m *consensus.Message) { m.Entries = e }
	}
	promise := func(change func(*consensus.Message)) func(*consensus.Message) {
		return func(m *consensus.Message) {
			m.Kind, m.Index, m.Hint, m.Round, m.Commit = KindPromise, 2, 4, 4, 2
			change(m)
		}
	}
	good := consensus.Message{Kind: KindAccept, Group: 1, From: 2, To: 1, Epoch: 5, Index: 3}
	for name, c := range map[string]struct {
		change func(*consensus.Message)
		want   error
	}{
		"kind zero":                {func(m *consensus.Message) { m.Kind = 0 }, consensus.ErrUnknownKind},
		"kind above all":           {func(m *consensus.Message) { m.Kind = kindCount }, consensus.ErrUnknownKind},
		"group":                    {func(m *consensus.Message) { m.Group = 2 }, consensus.ErrWrongGroup},
		"addressee":                {func(m *consensus.Message) { m.To = 3 }, consensus.ErrNotAddressed},
		"no sender":                {func(m *consensus.Message) { m.From = 0 }, consensus.ErrMalformed},
		"own sender":               {func(m *consensus.Message) { m.From = 1 }, consensus.ErrMalformed},
		"epoch zero":               {func(m *consensus.Message) { m.Epoch = 0 }, consensus.ErrMalformed},
		"epoch absurd":             {func(m *consensus.Message) { m.Epoch = math.MaxUint64 }, consensus.ErrMalformed},
		"index absurd":             {func(m *consensus.Message) { m.Index = math.MaxUint64 }, consensus.ErrMalformed},
		"commit absurd":            {func(m *consensus.Message) { m.Commit = math.MaxUint64 }, consensus.ErrMalformed},
		"round absurd":             {func(m *consensus.Message) { m.Round = math.MaxUint64 }, consensus.ErrMalformed},
		"released in a later one":  {func(m *consensus.Message) { m.IndexEpoch = 6 }, consensus.ErrMalformed},
		"doubt":                    {func(m *consensus.Message) { m.Doubt = 1 }, consensus.ErrMalformed},
		"not filled":               {func(m *consensus.Message) { m.Fill = consensus.Span{Lo: 4, Hi: 5} }, consensus.ErrMalformed},
		"snapshot in an accept":    {func(m *consensus.Message) { m.Snapshot = &consensus.Snapshot{} }, consensus.ErrMalformed},
		"entries in a heartbeat":   {func(m *consensus.Message) { m.Kind, m.Entries = KindHeartbeat, []consensus.Entry{entry(4, 5, 5)} }, consensus.ErrMalformed},
		"gap between entries":      {with(entry(4, 5, 5), entry(6, 5, 5)), consensus.ErrMalformed},
		"gap before entries":       {with(entry(5, 5, 5)), consensus.ErrMalformed},
		"epoch above the sender":   {with(entry(4, 6, 5)), consensus.ErrMalformed},
		"orig above the epoch":     {with(entry(4, 4, 5)), consensus.ErrMalformed},
		"entry without epoch":      {with(entry(4, 0, 0)), consensus.ErrMalformed},
		"entry of no kind":         {with(consensus.Entry{Index: 4, Epoch: 5, Orig: 5}), consensus.ErrMalformed},
		"barrier with data":        {with(consensus.Entry{Index: 4, Epoch: 5, Orig: 5, Kind: consensus.EntryBarrier, Data: []byte{1}}), consensus.ErrMalformed},
		"damaged membership":       {with(consensus.Entry{Index: 4, Epoch: 5, Orig: 5, Kind: consensus.EntryMembership, Data: []byte{9}}), consensus.ErrMalformed},
		"far beyond what is known": {func(m *consensus.Message) { m.Index, m.Entries = 1<<40, []consensus.Entry{entry(1<<40+1, 5, 5)} }, consensus.ErrMalformed},
		"a second value":           {func(m *consensus.Message) { m.Index, m.Entries = 2, []consensus.Entry{entry(3, 5, 4)} }, consensus.ErrMalformed},
		"against the decided":      {func(m *consensus.Message) { m.Index, m.Entries = 1, []consensus.Entry{entry(2, 5, 4)} }, consensus.ErrMalformed},
		"reply of a stranger":      {func(m *consensus.Message) { m.Kind, m.From = KindAccepted, 9 }, consensus.ErrNotMember},
		"promise of a stranger":    {promise(func(m *consensus.Message) { m.From = 9 }), consensus.ErrNotMember},
		"report that ends early":   {promise(func(m *consensus.Message) { m.Hint = 1 }), consensus.ErrMalformed},
		"report beyond its end":    {promise(func(m *consensus.Message) { m.Hint = 5 }), consensus.ErrMalformed},
		"report of other slots":    {promise(func(m *consensus.Message) { m.Entries = []consensus.Entry{entry(5, 4, 4)} }), consensus.ErrMalformed},
		"nothing apart":            {func(m *consensus.Message) { m.Kind, m.Hint = KindAcceptedApart, 3 }, consensus.ErrMalformed},
		"snapshot of nothing":      {func(m *consensus.Message) { m.Kind, m.Snapshot = KindSnapshot, &consensus.Snapshot{} }, consensus.ErrMalformed},
		"no snapshot":              {func(m *consensus.Message) { m.Kind = KindSnapshot }, consensus.ErrMalformed},
		"snapshot of the future": {func(m *consensus.Message) {
			m.Kind, m.Snapshot = KindSnapshot, &consensus.Snapshot{Index: 9, Epoch: 6}
		}, consensus.ErrMalformed},
		"snapshot with a wrong configuration": {func(m *consensus.Message) {
			m.Kind, m.Snapshot = KindSnapshot, &consensus.Snapshot{Index: 9, Epoch: 5, Configuration: voters(3, 2, 1)}
		}, consensus.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			w := group(3, 1)
			h := w.host(1)
			hello := consensus.Message{Kind: KindAccept, Group: 1, From: 2, To: 1, Epoch: 5, Commit: 2,
				Entries: []consensus.Entry{entry(1, 5, 5), entry(2, 5, 5), entry(3, 5, 5)}}
			if err := h.m.Step(hello); err != nil {
				t.Fatal(err)
			}
			for _, ok := h.m.Ready(); ok; _, ok = h.m.Ready() {
				continue
			}
			msg := good
			c.change(&msg)
			refuse(t, h.m, msg, c.want)
		})
	}
}

// Goal: a leader refuses what a follower cannot have said, and another leader of its epoch.
func TestLeaderRefuses(t *testing.T) {
	for name, msg := range map[string]consensus.Message{
		"acknowledges the future":  {Kind: KindAccepted, Index: 9},
		"apart in the future":      {Kind: KindAcceptedApart, Index: 7, Hint: 9},
		"alive in the future":      {Kind: KindHeartbeatReply, Index: 9},
		"confirms an unsent round": {Kind: KindHeartbeatReply, Round: 1},
		"accept":                   {Kind: KindAccept},
		"heartbeat":                {Kind: KindHeartbeat},
		"commit":                   {Kind: KindCommit},
		"timeout-now":              {Kind: KindTimeoutNow},
	} {
		t.Run(name, func(t *testing.T) {
			w := group(3, 1)
			h := w.elect(1)
			w.stabilize()
			msg.Group, msg.From, msg.To, msg.Epoch = 1, 2, 1, h.m.hard.Epoch
			refuse(t, h.m, msg, consensus.ErrMalformed)
		})
	}
}

func refuse(t *testing.T, m *Machine, msg consensus.Message, want error) {
	t.Helper()
	before := fmt.Sprintf("%+v", m.Status())
	if err := m.Step(msg); !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
	if after := fmt.Sprintf("%+v", m.Status()); after != before {
		t.Errorf("changed from\n%s to\n%s", before, after)
	}
	if rd, ok := m.Ready(); ok {
		t.Errorf("a refused message causes work: %+v", rd)
	}
}
