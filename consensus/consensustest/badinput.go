package consensustest

import (
	"errors"
	"fmt"
	"math"

	"github.com/quorate/quorate/consensus"
)

var badInput = []scenario{
	{"messages that are refused", refusedMessages},
	{"strangers", strangers},
	{"forged messages", forgedMessages},
	{"proposals of no kind", kindlessProposals},
	{"impossible configurations", impossibleConfigs},
}

// specimens lets a group live a full life and returns a few messages of each kind, in
// the order in which the kinds were first sent.
func specimens(w *World) []consensus.Message {
	const each = 6
	var kinds []consensus.MessageKind
	by := map[consensus.MessageKind][]consensus.Message{}
	w.sent = func(msg consensus.Message) {
		if by[msg.Kind] == nil {
			kinds = append(kinds, msg.Kind)
		}
		all := append(by[msg.Kind], msg)
		by[msg.Kind] = all[max(0, len(all)-each):]
	}
	w.populate(3)
	w.Elect(1)
	w.leaveBehind(3)
	w.Heal()
	w.awaitCaughtUp()
	w.Crash(w.Host(1), 0, -1)
	w.write("a")
	w.Start(w.Host(1))
	w.Elect(1)
	w.put(w.Host(1), "b")
	w.read(w.Host(1))
	w.Settle(3)
	w.sent = nil
	var all []consensus.Message
	for _, k := range kinds {
		all = append(all, by[k]...)
	}
	return all
}

// offer steps a message and checks what every refusal owes: the machine's state is
// then unchanged.
func (w *World) offer(h *Host, msg consensus.Message) error {
	before := fmt.Sprintf("%+v", h.m.Status())
	err := h.m.Step(msg)
	if after := fmt.Sprintf("%+v", h.m.Status()); err != nil && after != before {
		w.fault("%v refuses %+v with %v, and has changed from %s to %s", h.ID, msg, err, before, after)
	}
	return err
}

// Goal: what is not for this replica, or can be from nobody, is refused with the
// contract's errors, whatever the kind and whoever is asked; nothing has changed
// then, and the group lives on.
func refusedMessages(s *suite) {
	w := s.world()
	for _, sample := range specimens(w) {
		for _, h := range w.hosts {
			refuse := func(what string, want error, change func(*consensus.Message)) {
				msg := sample
				msg.To = h.ID
				if msg.From == h.ID {
					msg.From = 1 + h.ID%3
				}
				change(&msg)
				err := w.offer(h, msg)
				if err == nil || want != nil && !errors.Is(err, want) {
					w.fault("%v offers %v a %s with %s: want %v, got %v", msg.From, h.ID, w.engine.KindName(sample.Kind), what, want, err)
				}
			}
			refuse("another group", consensus.ErrWrongGroup, func(m *consensus.Message) { m.Group = 2 })
			refuse("no group", consensus.ErrWrongGroup, func(m *consensus.Message) { m.Group = 0 })
			refuse("another addressee", consensus.ErrNotAddressed, func(m *consensus.Message) { m.To = 9 })
			refuse("no kind", consensus.ErrUnknownKind, func(m *consensus.Message) { m.Kind = 0 })
			refuse("a kind that nobody has", consensus.ErrUnknownKind, func(m *consensus.Message) { m.Kind = 255 })
			refuse("no sender", nil, func(m *consensus.Message) { m.From = 0 })
			if !w.engine.Sparse { // such an engine may ask its own log by message
				refuse("itself as sender", nil, func(m *consensus.Message) { m.From = h.ID })
			}
			refuse("no epoch", nil, func(m *consensus.Message) { m.Epoch = 0 })
			refuse("an epoch without end", nil, func(m *consensus.Message) { m.Epoch = math.MaxUint64 })
			refuse("a span to fill", nil, func(m *consensus.Message) { m.Fill = consensus.Span{Lo: 1, Hi: 3} })
			if sample.Kind == consensus.KindSnapshot {
				refuse("no state", nil, func(m *consensus.Message) { m.Snapshot = nil })
			}
		}
	}
	w.finish()
}

// Goal: an answer from somebody who is no member is refused, and nothing that a
// stranger says makes anything decided or confirmed.
// Method: repeat each message that the leader gets in the name of a stranger, while
// an entry and a read wait for a quorum.
func strangers(s *suite) {
	w := s.world()
	samples := specimens(w)
	l := w.Leader()
	w.Isolate(l.ID)
	p, r := w.put(l, "waits"), w.read(l)
	w.pump(l)
	refused := 0
	for _, msg := range samples {
		if msg.Kind == consensus.KindSnapshot {
			continue
		}
		msg.From, msg.To, msg.Entries = 99, l.ID, nil
		for _, epoch := range []consensus.Epoch{msg.Epoch, l.epoch()} {
			msg.Epoch = epoch
			msg.Index = min(msg.Index, l.Status().LastIndex)
			if errors.Is(w.offer(l, msg), consensus.ErrNotMember) {
				refused++
			}
			w.pump(l)
		}
	}
	w.must(refused > 0, "no message of a stranger is refused as such")
	w.must(p.times == 0 && r.Outcome != Answered, "a stranger counts: %v, %v", p, r)
	w.Heal()
	w.finish()
}

// forge changes a field or two of a message to something that may be impossible.
func (w *World) forge(msg *consensus.Message) {
	numbers := []uint64{0, 1, 2, 3, 7, 1 << 20, 1 << 59, 1 << 60, 1 << 62, math.MaxUint64}
	n := numbers[w.Rand.IntN(len(numbers))]
	switch w.Rand.IntN(13) {
	case 0:
		msg.Epoch += consensus.Epoch(n)
	case 1:
		msg.Epoch -= consensus.Epoch(n)
	case 2:
		msg.Index = consensus.Index(n)
	case 3:
		msg.IndexEpoch = consensus.Epoch(n)
	case 4:
		msg.Commit = consensus.Index(n)
	case 5:
		msg.Round = n
	case 6:
		msg.Reject = !msg.Reject
	case 7:
		msg.Hint, msg.HintEpoch = consensus.Index(n), consensus.Epoch(w.Rand.IntN(4))
	case 8:
		msg.Doubt = n
	case 9:
		msg.From = consensus.ReplicaID(n)
	case 10:
		msg.Kind = consensus.MessageKind(w.Rand.IntN(256))
	case 11:
		w.forgeEntries(msg, n)
	default:
		msg.Snapshot = &consensus.Snapshot{Index: consensus.Index(n), Epoch: consensus.Epoch(w.Rand.IntN(5)), Configuration: w.first.Clone()}
	}
}

func (w *World) forgeEntries(msg *consensus.Message, n uint64) {
	e := consensus.Entry{Index: consensus.Index(n), Epoch: consensus.Epoch(w.Rand.IntN(5)), Kind: consensus.EntryKind(w.Rand.IntN(5)), Data: []byte{byte(n)}}
	e.Orig = e.Epoch
	entries := append([]consensus.Entry(nil), msg.Entries...)
	if k := len(entries); k > 0 && w.Rand.IntN(2) == 0 {
		e.Index = entries[k-1].Index
		entries[k-1] = e
	} else {
		entries = append(entries, e)
	}
	msg.Entries = entries
}

// Goal: whatever arrives, a machine does not panic, and what it refuses has changed
// nothing. A forged message that it takes may do harm: peers are not malicious.
// Method: change messages at random and offer them to machines in all roles, whose
// Ready is thrown away, until the group is too odd to be worth it.
func forgedMessages(s *suite) {
	source := s.world()
	samples := specimens(source)
	for round := range 60 {
		w := NewWorld(s.engine, s.opts, uint64(round+1))
		w.populate(3)
		w.Settle(w.Rand.IntN(40))
		if l := w.Leader(); l != nil {
			_, _ = w.Propose(l, text("a", 5, 10)...)
			w.Settle(w.Rand.IntN(2))
		}
		for range 60 {
			h := w.hosts[w.Rand.IntN(3)]
			msg := samples[w.Rand.IntN(len(samples))]
			msg.To = h.ID
			for range 1 + w.Rand.IntN(2) {
				w.forge(&msg)
			}
			if err := caught(func() { w.swallow(h, msg) }); err != nil {
				w.fault("round %d: %v offers %v %s %+v: %v", round, msg.From, h.ID, w.engine.KindName(msg.Kind), msg, err)
			}
		}
	}
}

// swallow offers a message and throws away what follows from it.
func (w *World) swallow(h *Host, msg consensus.Message) {
	_ = w.offer(h, msg)
	for range 100 {
		if _, ok := h.m.Ready(); !ok {
			break
		}
	}
	if w.Rand.IntN(3) == 0 {
		h.m.Tick()
	}
}

// Goal: a proposal of a kind that there is not is refused as such.
func kindlessProposals(s *suite) {
	w := s.group(3)
	l := w.AwaitLeader()
	for _, kind := range []consensus.ProposalKind{0, 5, 255} {
		w.mustFail(l.m.Propose(consensus.Proposal{Kind: kind}), consensus.ErrInvalid, fmt.Sprintf("kind %d", kind))
	}
	w.finish()
}

// Goal: New refuses what cannot be, and says which field it is about.
func impossibleConfigs(s *suite) {
	w := s.group(1)
	good := func() consensus.Config {
		c := w.defaults(1)
		c.Log.Configuration = w.first
		return c
	}
	_, err := s.engine.New(good())
	w.must(err == nil, "a new replica is refused: %v", err)
	for _, bad := range []struct {
		name  string
		spoil func(*consensus.Config)
	}{
		{"no group", func(c *consensus.Config) { c.Group = 0 }},
		{"no id", func(c *consensus.Config) { c.ID = 0 }},
		{"no chance", func(c *consensus.Config) { c.Rand = nil }},
		{"no heartbeat", func(c *consensus.Config) { c.HeartbeatTicks = 0 }},
		{"no time between heartbeats", func(c *consensus.Config) { c.ElectionTicks = c.HeartbeatTicks }},
		{"no message size", func(c *consensus.Config) { c.MessageBytes = 0 }},
		{"no messages under way", func(c *consensus.Config) { c.InflightMessages = 0 }},
		{"no bytes under way", func(c *consensus.Config) { c.InflightBytes = -1 }},
		{"no undecided bytes", func(c *consensus.Config) { c.UncommittedBytes = 0 }},
		{"no reads", func(c *consensus.Config) { c.ReadRounds = 0 }},
		{"a state behind the log", func(c *consensus.Config) { c.Log.Released, c.Log.ReleasedEpoch = 5, 1 }},
		{"a state ahead of the log", func(c *consensus.Config) { c.Applied = 5 }},
		{"an entry above the promise", func(c *consensus.Config) { c.Log.Entries = []consensus.EntryInfo{{Epoch: 3, Orig: 3, Kind: 1}} }},
		{"a vote before every election", func(c *consensus.Config) { c.HardState.Vote = 1 }},
		{"a learner that votes", func(c *consensus.Config) { c.Log.Configuration.Learners = []consensus.ReplicaID{1} }},
	} {
		c := good()
		bad.spoil(&c)
		_, err := s.engine.New(c)
		w.mustFail(err, consensus.ErrInvalid, bad.name)
	}
}
