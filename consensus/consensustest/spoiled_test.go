package consensustest_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/consensustest"
	"github.com/quorate/quorate/consensus/raft"
)

// spoiled is a good machine with one bad habit.
type spoiled struct {
	consensus.Machine
	ready    func(*consensus.Ready)
	propose  func(consensus.Machine, consensus.Proposal) error
	deaf     bool // to ticks
	restless bool
	rd       consensus.Ready
}

func (s *spoiled) Ready() (*consensus.Ready, bool) {
	rd, ok := s.Machine.Ready()
	if !ok && s.restless {
		s.rd = consensus.Ready{Append: consensus.Append{Seq: s.rd.Append.Seq}}
		return &s.rd, true
	}
	if !ok || s.ready == nil {
		return rd, ok
	}
	s.rd = *rd
	s.rd.Send, s.rd.AfterSync = slices.Clone(rd.Send), slices.Clone(rd.AfterSync)
	s.rd.Append.Entries, s.rd.Reads = slices.Clone(rd.Append.Entries), slices.Clone(rd.Reads)
	s.ready(&s.rd)
	return &s.rd, true
}

func (s *spoiled) Propose(p consensus.Proposal) error {
	if s.propose != nil {
		return s.propose(s.Machine, p)
	}
	return s.Machine.Propose(p)
}

func (s *spoiled) Tick() {
	if !s.deaf {
		s.Machine.Tick()
	}
}

// habits are what a checker must not let pass; each is found by what it says.
var habits = []struct {
	name   string
	says   string
	habits spoiled
}{
	{"speaks before its disk has written", "before its disk has", spoiled{ready: func(rd *consensus.Ready) {
		rd.Send, rd.AfterSync = append(rd.Send, rd.AfterSync...), nil
	}}},
	{"acknowledges before its disk has written", "durable at", spoiled{ready: func(rd *consensus.Ready) {
		if rd.Append.HardState == nil {
			rd.Send, rd.AfterSync = append(rd.Send, rd.AfterSync...), nil
		}
	}}},
	{"answers reads with the past", "answers a read at", spoiled{ready: func(rd *consensus.Ready) {
		for k := range rd.Reads {
			rd.Reads[k].Index /= 2
		}
	}}},
	{"keeps its promise to itself", "has written", spoiled{ready: func(rd *consensus.Ready) { rd.Append.HardState = nil }}},
	{"learns something again", "learns", spoiled{ready: func(rd *consensus.Ready) {
		if !rd.Learned.Empty() && rd.Learned.Lo > 3 {
			rd.Learned.Lo--
		}
	}}},
	{"learns with gaps", "learns", spoiled{ready: func(rd *consensus.Ready) {
		if rd.Learned.Len() > 1 {
			rd.Learned.Hi--
		}
	}}},
	{"takes the unknown for dropped", "roppe", spoiled{ready: func(rd *consensus.Ready) {
		rd.Dropped, rd.Unknown = append(slices.Clone(rd.Dropped), rd.Unknown...), nil
	}}},
	{"forgets proposals", "never ended", spoiled{ready: func(rd *consensus.Ready) { rd.Unknown = nil }}},
	{"ends proposals twice", "not open there", spoiled{ready: func(rd *consensus.Ready) {
		rd.Unknown = append(slices.Clone(rd.Unknown), rd.Dropped...)
	}}},
	{"counts its appends wrong", "hands out append", spoiled{ready: func(rd *consensus.Ready) {
		if rd.Append.Seq > 5 {
			rd.Append.Seq++
		}
	}}},
	{"sends too much at once", "the limit is", spoiled{ready: func(rd *consensus.Ready) {
		for k := range rd.Send {
			if f := &rd.Send[k].Fill; !f.Empty() {
				f.Lo -= min(f.Lo-1, 20)
			}
		}
	}}},
	{"looks into commands and corrects them", "nobody proposed", spoiled{ready: func(rd *consensus.Ready) {
		for k := range rd.Append.Entries {
			if e := &rd.Append.Entries[k]; e.Kind == consensus.EntryCommand {
				e.Data = append(slices.Clone(e.Data), '!')
			}
		}
	}}},
	{"speaks for others", "sends", spoiled{ready: func(rd *consensus.Ready) {
		for k := range rd.Send {
			rd.Send[k].From++
		}
	}}},
	{"proposes twice", "decided again", spoiled{propose: func(m consensus.Machine, p consensus.Proposal) error {
		err := m.Propose(p)
		if err == nil && p.Kind == consensus.ProposeCommands {
			again := slices.Clone(p.Commands)
			for k := range again {
				again[k].ID = 0
			}
			_ = m.Propose(consensus.Proposal{Kind: p.Kind, Commands: again})
		}
		return err
	}}},
	{"proposes backwards", "of the same leader", spoiled{propose: func(m consensus.Machine, p consensus.Proposal) error {
		p.Commands = slices.Clone(p.Commands)
		slices.Reverse(p.Commands)
		return m.Propose(p)
	}}},
	{"promises everything", "takes proposals", spoiled{propose: func(m consensus.Machine, p consensus.Proposal) error {
		if err := m.Propose(p); !errors.Is(err, consensus.ErrNotLeader) {
			return err
		}
		return nil
	}}},
	{"has errors of its own", "refuses a proposal with", spoiled{propose: func(m consensus.Machine, p consensus.Proposal) error {
		if m.Propose(p) != nil {
			return errors.New("not today")
		}
		return nil
	}}},
	{"truncates what it likes", "truncation at", spoiled{ready: func(rd *consensus.Ready) {
		if len(rd.Append.Entries) > 0 {
			rd.Append.Truncate = 1
		}
	}}},
	{"installs a state that nobody has", "installs", spoiled{ready: func(rd *consensus.Ready) {
		if rd.Install != nil {
			s := *rd.Install
			s.Epoch++
			rd.Install = &s
		}
	}}},
	{"is never at rest", "always has more to do", spoiled{ready: func(rd *consensus.Ready) {}, restless: true}},
	{"does nothing", "no progress", spoiled{deaf: true}},
}

func engineWith(habit spoiled) consensus.Engine {
	e := raft.Engine
	e.New = func(c consensus.Config) (consensus.Machine, error) {
		m, err := raft.Engine.New(c)
		if err != nil {
			return nil, err
		}
		s := habit
		s.Machine = m
		return &s, nil
	}
	return e
}

// Goal: each check finds what it is there for.
// Method: give a good engine one bad habit at a time and run the staged situations and
// random clusters until one says so.
func TestChecksFindBadHabits(t *testing.T) {
	const seeds = 30
	for _, h := range habits {
		t.Run(h.name, func(t *testing.T) {
			engine := engineWith(h.habits)
			err := consensustest.Staged(engine, consensustest.Options{})
			if err != nil && strings.Contains(err.Error(), h.says) {
				return
			}
			for seed := uint64(1); seed <= seeds; seed++ {
				if err = consensustest.Chaos(engine, consensustest.Options{}, seed); err != nil && strings.Contains(err.Error(), h.says) {
					return
				}
			}
			t.Errorf("not found in %d clusters; the last one says %v", seeds, err)
		})
	}
}

// Goal: a run is a function of its seed (T1).
// Method: run one with an engine that notes everything it is told, twice.
func TestRunsRepeat(t *testing.T) {
	notes := func() string {
		var b strings.Builder
		engine := engineWith(spoiled{ready: func(rd *consensus.Ready) {
			for _, m := range rd.Send {
				b.WriteString(raft.KindName(m.Kind))
				b.WriteByte(byte(m.To))
				b.WriteByte(byte(m.Epoch))
				b.WriteByte(byte(m.Index))
			}
		}})
		for seed := uint64(1); seed <= 3; seed++ {
			if err := consensustest.Chaos(engine, consensustest.Options{}, seed); err != nil {
				t.Fatal(err)
			}
		}
		return b.String()
	}
	if a, b := notes(), notes(); a != b || a == "" {
		t.Errorf("two runs of the same seeds differ, in %d and %d bytes", len(a), len(b))
	}
}
