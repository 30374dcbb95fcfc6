package raft

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/consensustest"
)

// Inside is what transcripts do with a machine, and the words in which they print messages.
var Inside = consensustest.Inside{
	Campaign: func(c consensus.Machine) {
		m := c.(*Machine)
		m.clock.elapsed, m.clock.silent = m.clock.timeout, m.limit.electionTicks
		m.Tick()
	},
	Silence:  func(c consensus.Machine) { m := c.(*Machine); m.clock.silent = m.limit.electionTicks },
	Election: func(k consensus.MessageKind) bool { return k >= KindPreVote && k <= KindVoteReply },
	Message:  formatMessage,
	Check:    func(c consensus.Machine, fault func(string, ...any)) { c.(*Machine).check(fault) },
}

func formatMessage(m *consensus.Message) string {
	s := fmt.Sprintf("%v>%v %s %d", m.From, m.To, KindName(m.Kind), m.Epoch)
	switch m.Kind {
	case KindPreVote, KindVote:
		s += fmt.Sprintf(" last %s", consensustest.ShowAt(m.Index, m.IndexEpoch))
	case KindAppend:
		s += fmt.Sprintf(" %s behind %s commit %d", consensustest.ShowSpan(m), consensustest.ShowAt(m.Index, m.IndexEpoch), m.Commit)
	case KindAppendReply:
		if m.Reject {
			return s + fmt.Sprintf(" no %d, try %s", m.Index, consensustest.ShowAt(m.Hint, m.HintEpoch))
		}
		s += fmt.Sprintf(" have %d", m.Index)
	case KindHeartbeat:
		s += fmt.Sprintf(" sent %d commit %d", m.Index, m.Commit)
	case KindHeartbeatReply:
		s += fmt.Sprintf(" have %d seen %d", m.Index, m.Hint)
	case KindCommit:
		s += fmt.Sprintf(" %d", m.Commit)
	case KindSnapshot:
		s += " " + consensustest.ShowAt(m.Snapshot.Index, m.Snapshot.Epoch)
	}
	if m.Round > 0 {
		s += fmt.Sprintf(" round %d", m.Round)
	}
	if m.Force {
		s += " force"
	}
	if m.Doubt != 0 {
		s += " in doubt"
	}
	switch {
	case m.Kind == KindHeartbeatReply && m.Reject:
		s += " gap"
	case m.Reject:
		s += " no"
	case m.Kind == KindVoteReply || m.Kind == KindPreVoteReply:
		s += " yes"
	}
	return s
}
