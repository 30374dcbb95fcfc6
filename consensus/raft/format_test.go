package raft

import (
	"fmt"
	"strings"

	"github.com/quorate/quorate/consensus"
)

// The words in which transcripts print what machines do.

func formatMessage(m *consensus.Message) string {
	s := fmt.Sprintf("%v>%v %s %d", m.From, m.To, KindName(m.Kind), m.Epoch)
	switch m.Kind {
	case KindPreVote, KindVote:
		s += fmt.Sprintf(" last %s", at(m.Index, m.IndexEpoch))
	case KindAppend:
		s += fmt.Sprintf(" %s behind %s commit %d", formatSpan(m), at(m.Index, m.IndexEpoch), m.Commit)
	case KindAppendReply:
		if m.Reject {
			return s + fmt.Sprintf(" no %d, try %s", m.Index, at(m.Hint, m.HintEpoch))
		}
		s += fmt.Sprintf(" have %d", m.Index)
	case KindHeartbeat:
		s += fmt.Sprintf(" sent %d commit %d", m.Index, m.Commit)
	case KindHeartbeatReply:
		s += fmt.Sprintf(" have %d seen %d", m.Index, m.Hint)
	case KindCommit:
		s += fmt.Sprintf(" %d", m.Commit)
	case KindSnapshot:
		s += fmt.Sprintf(" %s %s", at(m.Snapshot.Index, m.Snapshot.Epoch), formatConfiguration(&m.Snapshot.Configuration))
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

// at prints an entry's position as index/epoch.
func at(i consensus.Index, e consensus.Epoch) string { return fmt.Sprintf("%d/%d", i, e) }

func formatSpan(m *consensus.Message) string {
	if len(m.Entries) > 0 {
		first := m.Entries[0].Index
		return consensus.Span{Lo: first, Hi: first + consensus.Index(len(m.Entries))}.String()
	}
	if m.Fill.Empty() {
		return "nothing"
	}
	return m.Fill.String()
}

func formatConfiguration(c *consensus.Configuration) string {
	s := fmt.Sprintf("voters %v", c.Voters)
	if c.Joint() {
		s += fmt.Sprintf(" outgoing %v", c.Outgoing)
	}
	if len(c.Learners) > 0 {
		s += fmt.Sprintf(" learners %v", c.Learners)
	}
	return s
}

func formatEntry(e *consensus.Entry) string {
	s := at(e.Index, e.Epoch)
	switch e.Kind {
	case consensus.EntryCommand:
		return s + fmt.Sprintf(" %q", e.Data)
	case consensus.EntryMembership:
		c, err := consensus.DecodeConfiguration(e.Data)
		if err != nil {
			return s + " " + err.Error()
		}
		return s + " " + formatConfiguration(&c)
	}
	return s + " " + e.Kind.String()
}

// formatReady prints what a Ready asks for, one line per kind of work.
func formatReady(h *host, rd *consensus.Ready) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, "%v: "+format+"\n", append([]any{h.id}, args...)...) }
	if rd.RoleChanged {
		line("%v in epoch %d, leader %v, %s", h.m.role, h.m.hard.Epoch, h.m.leader, formatConfiguration(&h.m.inForce().Configuration))
	}
	if a := &rd.Append; !a.Empty() {
		line("write %d:%s", a.Seq, formatAppend(a))
	}
	for i := range rd.Send {
		line("send %s", formatMessage(&rd.Send[i]))
	}
	for i := range rd.AfterSync {
		line("after %d %s", rd.Append.Seq, formatMessage(&rd.AfterSync[i]))
	}
	if rd.Install != nil {
		line("install %s", at(rd.Install.Index, rd.Install.Epoch))
	}
	if !rd.Learned.Empty() {
		line("learn %v", rd.Learned)
	}
	for _, r := range rd.Reads {
		line("read %d at %d", r.ID, r.Index)
	}
	for _, id := range rd.Dropped {
		line("dropped %d", id)
	}
	for _, id := range rd.Unknown {
		line("unknown %d", id)
	}
	for _, id := range rd.NeedSnapshot {
		line("stream the state to %v", id)
	}
	return b.String()
}

func formatAppend(a *consensus.Append) string {
	s := ""
	if a.HardState != nil {
		s += fmt.Sprintf(" epoch %d vote %v", a.HardState.Epoch, a.HardState.Vote)
	}
	if a.Truncate != 0 {
		s += fmt.Sprintf(" truncate %d", a.Truncate)
	}
	for i := range a.Entries {
		s += " [" + formatEntry(&a.Entries[i]) + "]"
	}
	if a.Repaired {
		s += " repaired"
	}
	return s
}

// formatStatus prints a machine, and a leader's view of the others.
func formatStatus(s *consensus.Status) string {
	out := fmt.Sprintf("%v: %v in epoch %d, leader %v, log (%d,%d], durable %d, commit %d, applied %d\n",
		s.ID, s.Role, s.HardState.Epoch, s.Leader, s.Released, s.LastIndex, s.Durable, s.Commit, s.Applied)
	if s.InDoubt {
		out = strings.TrimSuffix(out, "\n") + ", in doubt\n"
	}
	for _, p := range s.Peers {
		word := ""
		if p.Learner {
			word = " learner"
		}
		if p.InDoubt {
			word += " in doubt"
		}
		out += fmt.Sprintf("   %v%s: %s match %d next %d, %d under way\n", p.ID, word, p.State, p.Match, p.Next, p.Inflight)
	}
	return out
}
