package paxos

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
	Election: func(k consensus.MessageKind) bool { return k >= KindPrePrepare && k <= KindPromise },
	Message:  formatMessage,
	Check:    func(c consensus.Machine, fault func(string, ...any)) { c.(*Machine).check(fault) },
}

// formatMessage prints slots that a message is about as (lo,hi], as the papers count.
func formatMessage(m *consensus.Message) string {
	s := fmt.Sprintf("%v>%v %s %d", m.From, m.To, KindName(m.Kind), m.Epoch)
	switch {
	case m.Kind == KindPromise && !m.Reject:
		s += formatReport(m)
	case m.Kind == KindPrePrepare:
		s += fmt.Sprintf(" decided %d", m.Index)
	case m.Kind == KindPrepare:
		s += fmt.Sprintf(" above %d", m.Index)
	case m.Kind == KindAccept:
		s += fmt.Sprintf(" %s commit %d", consensustest.ShowSpan(m), m.Commit)
	case m.Kind == KindAccepted:
		s += fmt.Sprintf(" up to %d", m.Index)
	case m.Kind == KindAcceptedApart:
		s += fmt.Sprintf(" (%d,%d]", m.Index, m.Hint)
	case m.Kind == KindHeartbeat:
		s += fmt.Sprintf(" sent %d commit %d", m.Index, m.Commit)
	case m.Kind == KindHeartbeatReply:
		s += fmt.Sprintf(" durable %d accepted %d recorded %d", m.Index, m.Hint, m.Commit)
	case m.Kind == KindCommit:
		s += fmt.Sprintf(" %d", m.Commit)
	}
	if m.Round > 0 && m.Kind != KindPromise {
		s += fmt.Sprintf(" round %d", m.Round)
	}
	if m.Force {
		s += " force"
	}
	switch {
	case m.Kind == KindHeartbeatReply && m.Reject:
		s += " gap"
	case m.Reject:
		s += " no"
	case m.Kind == KindPrePrepareReply:
		s += " yes"
	}
	return s
}

// formatReport prints a part of a report: of which slots out of how many, and what is
// accepted in them.
func formatReport(m *consensus.Message) string {
	s := fmt.Sprintf(" reports (%d,%d] of %d commit %d", m.Index, m.Hint, m.Round, m.Commit)
	if m.IndexEpoch != 0 {
		s += fmt.Sprintf(" released up to %s", consensustest.ShowAt(m.Index, m.IndexEpoch))
	}
	if len(m.Entries) == 0 {
		return s + ": " + consensustest.ShowSpan(m)
	}
	s += ":"
	for k := range m.Entries {
		s += " [" + consensustest.ShowEntry(&m.Entries[k]) + "]"
	}
	return s
}
