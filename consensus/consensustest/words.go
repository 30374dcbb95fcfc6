package consensustest

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
)

// The words in which dialogues print what machines do.

// ShowAt prints the position of an entry as index/epoch.
func ShowAt(i consensus.Index, e consensus.Epoch) string { return fmt.Sprintf("%d/%d", i, e) }

// ShowSpan prints which entries a message carries, filled or not.
func ShowSpan(m *consensus.Message) string {
	if n := len(m.Entries); n > 0 {
		return consensus.Span{Lo: m.Entries[0].Index, Hi: m.Entries[n-1].Index + 1}.String()
	}
	if m.Fill.Empty() {
		return "nothing"
	}
	return m.Fill.String()
}

// ShowEntry prints an entry as a replica has accepted it.
func ShowEntry(e *consensus.Entry) string {
	s := ShowAt(e.Index, e.Epoch) + " "
	c, err := consensus.DecodeConfiguration(e.Data)
	switch {
	case e.Kind == consensus.EntryCommand:
		s += fmt.Sprintf("%q", e.Data)
	case e.Kind != consensus.EntryMembership:
		s += e.Kind.String()
	case err != nil:
		s += err.Error()
	default:
		s += ShowConfiguration(&c)
	}
	if e.Orig != e.Epoch {
		s += fmt.Sprintf(" of %d", e.Orig)
	}
	return s
}

func (p *play) message(m *consensus.Message) string {
	if m.Kind != consensus.KindSnapshot {
		return p.inside.Message(m)
	}
	return fmt.Sprintf("%v>%v %s %d %s %s", m.From, m.To, p.engine.KindName(m.Kind), m.Epoch,
		ShowAt(m.Snapshot.Index, m.Snapshot.Epoch), ShowConfiguration(&m.Snapshot.Configuration))
}

// work prints what a Ready asks for, one line per kind of work.
func (p *play) work(h *Host, rd *consensus.Ready) {
	say := func(format string, args ...any) { p.print("%v: "+format, append([]any{h.ID}, args...)...) }
	if s := &h.status; rd.RoleChanged {
		say("%v in epoch %d, leader %v, %s", s.Role, s.HardState.Epoch, s.Leader, ShowConfiguration(&s.Configuration))
	}
	if a := &rd.Append; !a.Empty() {
		say("write %d:%s", a.Seq, showAppend(a))
	}
	for k := range rd.Send {
		say("send %s", p.message(&rd.Send[k]))
	}
	for k := range rd.AfterSync {
		say("after %d %s", rd.Append.Seq, p.message(&rd.AfterSync[k]))
	}
	if rd.Install != nil {
		say("install %s", ShowAt(rd.Install.Index, rd.Install.Epoch))
	}
	if !rd.Learned.Empty() {
		say("learn %v", rd.Learned)
	}
	for _, r := range rd.Reads {
		say("read %s at %d", p.proposal(r.ID), r.Index)
	}
	for _, id := range rd.Dropped {
		say("dropped %s", p.proposal(id))
	}
	for _, id := range rd.Unknown {
		say("unknown %s", p.proposal(id))
	}
	for _, id := range rd.NeedSnapshot {
		say("stream the state to %v", id)
	}
}

func showAppend(a *consensus.Append) string {
	s := ""
	if a.HardState != nil {
		s += fmt.Sprintf(" epoch %d vote %v", a.HardState.Epoch, a.HardState.Vote)
	}
	if a.Truncate != 0 {
		s += fmt.Sprintf(" truncate %d", a.Truncate)
	}
	for k := range a.Entries {
		s += " [" + ShowEntry(&a.Entries[k]) + "]"
	}
	if a.Decided != 0 {
		s += fmt.Sprintf(" decided %d", a.Decided)
	}
	if a.Repaired {
		s += " repaired"
	}
	return s
}

// status prints a machine, and a leader's view of the others.
func (p *play) status(s *consensus.Status) {
	line := fmt.Sprintf("%v: %v in epoch %d, leader %v, log (%d,%d], durable %d, commit %d, applied %d",
		s.ID, s.Role, s.HardState.Epoch, s.Leader, s.Released, s.LastIndex, s.Durable, s.Commit, s.Applied)
	if s.InDoubt {
		line += ", in doubt"
	}
	p.print("%s", line)
	for k := range s.Peers {
		peer, word := &s.Peers[k], ""
		if peer.Learner {
			word = " learner"
		}
		if peer.InDoubt {
			word += " in doubt"
		}
		p.print("   %v%s: %s match %d next %d, %d under way", peer.ID, word, peer.State, peer.Match, peer.Next, peer.Inflight)
	}
}
