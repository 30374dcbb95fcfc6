package consensustest_test

import (
	"slices"
	"testing"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/consensustest"
	"github.com/quorate/quorate/consensus/raft"
)

// sparse makes Raft keep its log as a Paxos engine does: each entry has the epoch in
// which this replica accepted it beside the one in which it was proposed, is overwritten
// and never truncated, and is written in any order. It is here to test the suite, not
// Raft. What makes it right:
//
//   - A replica accepts entries in ascending order of index and epoch, and overwrites
//     only in a later epoch. So what lies behind an entry of a later epoch is what a
//     truncation would have removed, and what lies behind a hole was never whole.
//   - What is applied is decided, whenever this replica accepted it.
type sparse struct {
	consensus.Machine
	rd consensus.Ready
}

func newSparse(c consensus.Config) (consensus.Machine, error) {
	var whole []consensus.EntryInfo
	latest, proposed := consensus.Epoch(0), c.Log.ReleasedEpoch
	for k, e := range c.Log.Entries {
		i := c.Log.Released + 1 + consensus.Index(k)
		if e.Epoch == 0 || i > c.Applied && (e.Epoch < latest || e.Orig < proposed) {
			break
		}
		latest, proposed = max(latest, e.Epoch), e.Orig
		e.Epoch = e.Orig
		whole = append(whole, e)
	}
	c.Log.Entries = whole
	m, err := raft.Engine.New(c)
	if err != nil {
		return nil, err
	}
	return &sparse{Machine: m}, nil
}

func (s *sparse) Step(msg consensus.Message) error {
	msg.Entries = slices.Clone(msg.Entries)
	for k := range msg.Entries {
		msg.Entries[k].Epoch = msg.Entries[k].Orig
	}
	return s.Machine.Step(msg)
}

func (s *sparse) Ready() (*consensus.Ready, bool) {
	rd, ok := s.Machine.Ready()
	if !ok {
		return nil, false
	}
	s.rd = *rd
	now := s.Machine.Status().HardState.Epoch
	a := &s.rd.Append
	a.Truncate, a.Entries = 0, slices.Clone(a.Entries)
	for k := range a.Entries {
		a.Entries[k].Epoch = now
	}
	slices.Reverse(a.Entries)
	return &s.rd, true
}

// Goal: the suite can drive an engine with a sparse log, in which a decided entry has
// different epochs on different replicas.
func TestSparseEngine(t *testing.T) {
	engine := raft.Engine
	engine.New, engine.Sparse = newSparse, true
	consensustest.Run(t, engine, consensustest.Options{Doubt: true})
}
