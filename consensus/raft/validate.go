package raft

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
)

// positionMax bounds indexes, epochs and rounds in messages, so that arithmetic on
// them cannot overflow. A real group does not get there.
const positionMax = 1 << 60

// validate refuses a message that no correct replica sends, before anything has
// changed. What it lets through cannot break an invariant.
func (m *Machine) validate(msg *consensus.Message) error {
	switch {
	case !known(msg.Kind):
		return fmt.Errorf("%w: %d from %v", consensus.ErrUnknownKind, msg.Kind, msg.From)
	case msg.Group != m.group:
		return fmt.Errorf("%w: %d at replica %v of group %d", consensus.ErrWrongGroup, msg.Group, m.id, m.group)
	case msg.To != m.id:
		return fmt.Errorf("%w: %v at replica %v", consensus.ErrNotAddressed, msg.To, m.id)
	}
	if why := misshapen(msg, m.id); why != "" {
		return m.malformed(msg, why)
	}
	switch {
	case isReply(msg.Kind):
		return m.validateReply(msg)
	case msg.Kind == KindSnapshot:
		return m.validateSnapshot(msg)
	case msg.Kind == KindAppend:
		return m.validateAppend(msg)
	}
	return m.validateLeader(msg)
}

func (m *Machine) malformed(msg *consensus.Message, why string) error {
	return fmt.Errorf("%w: %s from %v to %v: %s", consensus.ErrMalformed, KindName(msg.Kind), msg.From, m.id, why)
}

// misshapen checks what every message has in common and returns what is wrong.
func misshapen(msg *consensus.Message, self consensus.ReplicaID) string {
	switch {
	case msg.From == 0 || msg.From == self:
		return "impossible sender"
	case msg.Epoch == 0 || msg.Epoch > positionMax:
		return "impossible epoch"
	case max(msg.Index, msg.Commit, msg.Hint) > positionMax || max(msg.Round, msg.Doubt) > positionMax:
		return "impossible position"
	case msg.IndexEpoch > msg.Epoch || msg.HintEpoch > msg.Epoch:
		return "entry of a later epoch"
	case asksAbout(msg.Kind) && (msg.Index == 0) != (msg.IndexEpoch == 0):
		return "entry without an epoch, or the reverse"
	case !msg.Fill.Empty():
		return "not filled"
	case len(msg.Entries) > 0 && msg.Kind != KindAppend:
		return "unexpected entries"
	case msg.Doubt != 0 && !speaksOfDoubt(msg.Kind):
		return "unexpected doubt"
	case (msg.Snapshot != nil) != (msg.Kind == KindSnapshot):
		return "unexpected or missing snapshot"
	}
	return ""
}

// asksAbout reports whether Index and IndexEpoch of this kind describe an entry.
func asksAbout(k consensus.MessageKind) bool {
	return k == KindPreVote || k == KindVote || k == KindAppend
}

// speaksOfDoubt reports whether a kind may carry Doubt: what a leader and its
// followers say to each other again and again.
func speaksOfDoubt(k consensus.MessageKind) bool {
	return k == KindAppend || k == KindAppendReply || k == KindHeartbeat || k == KindHeartbeatReply
}

// validateReply refuses answers from strangers, who were never asked, and answers
// to what this leader never said.
func (m *Machine) validateReply(msg *consensus.Message) error {
	if m.find(msg.From) == nil {
		return fmt.Errorf("%w: %s from %v to %v", consensus.ErrNotMember, KindName(msg.Kind), msg.From, m.id)
	}
	if m.role != consensus.Leader || msg.Epoch != m.hard.Epoch {
		return nil
	}
	if msg.Kind == KindAppendReply || msg.Kind == KindHeartbeatReply {
		switch {
		case msg.Index > m.log.last:
			return m.malformed(msg, fmt.Sprintf("acknowledges index %d, the log ends at %d", msg.Index, m.log.last))
		case msg.Hint > m.log.last:
			return m.malformed(msg, fmt.Sprintf("points to index %d, the log ends at %d", msg.Hint, m.log.last))
		case msg.Round > m.read.round:
			return m.malformed(msg, fmt.Sprintf("confirms round %d, the latest is %d", msg.Round, m.read.round))
		case msg.Kind == KindAppendReply && msg.Reject && msg.Index == 0:
			return m.malformed(msg, "refuses the beginning")
		}
	}
	return nil
}

// validateLeader refuses a second leader of one epoch (R1).
func (m *Machine) validateLeader(msg *consensus.Message) error {
	if !fromLeader(msg.Kind) && msg.Kind != KindSnapshot {
		return nil
	}
	if msg.Epoch == m.hard.Epoch && m.role == consensus.Follower && m.leader != 0 && m.leader != msg.From {
		return m.malformed(msg, fmt.Sprintf("epoch %d has leader %v", msg.Epoch, m.leader))
	}
	return nil
}

func (m *Machine) validateSnapshot(msg *consensus.Message) error {
	s := msg.Snapshot
	switch {
	case s.Index == 0 || s.Index > positionMax || s.Epoch == 0 || s.Epoch > msg.Epoch:
		return m.malformed(msg, fmt.Sprintf("snapshot at index %d, epoch %d", s.Index, s.Epoch))
	case s.Index == m.commit && m.log.epochAt(s.Index) != s.Epoch:
		return m.malformed(msg, fmt.Sprintf("snapshot disagrees with what is decided at index %d", s.Index))
	case s.Index > m.commit && s.Epoch < m.epochAtCommit():
		return m.malformed(msg, fmt.Sprintf("snapshot at epoch %d follows epoch %d", s.Epoch, m.epochAtCommit()))
	}
	if err := checkConfiguration(&s.Configuration); err != nil {
		return m.malformed(msg, err.Error())
	}
	return m.validateLeader(msg)
}

func (m *Machine) epochAtCommit() consensus.Epoch { return m.log.epochAt(m.commit) }

// validateAppend checks the entries by themselves and against what must not change.
func (m *Machine) validateAppend(msg *consensus.Message) error {
	epoch := msg.IndexEpoch
	for k := range msg.Entries {
		e := &msg.Entries[k]
		switch {
		case e.Index != msg.Index+1+consensus.Index(k):
			return m.malformed(msg, fmt.Sprintf("entry %d at place %d behind %d", e.Index, k, msg.Index))
		case e.Epoch == 0 || e.Epoch < epoch || e.Epoch > msg.Epoch || e.Orig != e.Epoch:
			return m.malformed(msg, fmt.Sprintf("entry %d has epoch %d, orig %d", e.Index, e.Epoch, e.Orig))
		}
		epoch = e.Epoch
		if e.Kind == consensus.EntryCommand {
			continue
		}
		if why := misshapenEntry(e); why != "" {
			return m.malformed(msg, why)
		}
	}
	if msg.Epoch < m.hard.Epoch {
		return nil // will not be appended
	}
	if err := m.validateLeader(msg); err != nil {
		return err
	}
	return m.validateAgreement(msg)
}

func misshapenEntry(e *consensus.Entry) string {
	switch e.Kind {
	case consensus.EntryBarrier:
		if len(e.Data) > 0 {
			return fmt.Sprintf("barrier %d has data", e.Index)
		}
		return ""
	case consensus.EntryMembership:
		if _, err := decodeMembership(e.Data); err != nil {
			return fmt.Sprintf("entry %d: %v", e.Index, err)
		}
		return ""
	}
	return fmt.Sprintf("entry %d has %v", e.Index, e.Kind)
}

// validateAgreement refuses entries that contradict what is decided here, or what
// the leader of this same epoch has sent before (R3). A correct leader of our epoch
// or a later one has all of that in its log.
func (m *Machine) validateAgreement(msg *consensus.Message) error {
	fixed := m.commit
	if msg.Epoch == m.hard.Epoch {
		fixed = max(fixed, m.duty.verified)
	}
	if i := msg.Index; i >= m.log.released && i <= fixed && m.log.epochAt(i) != msg.IndexEpoch {
		return m.malformed(msg, fmt.Sprintf("entry %d has epoch %d here, %d there", i, m.log.epochAt(i), msg.IndexEpoch))
	}
	for k := range msg.Entries {
		e := &msg.Entries[k]
		if e.Index > fixed {
			return nil
		}
		if e.Index >= m.log.released && m.log.epochAt(e.Index) != e.Epoch {
			return m.malformed(msg, fmt.Sprintf("entry %d has epoch %d here, %d there", e.Index, m.log.epochAt(e.Index), e.Epoch))
		}
	}
	return nil
}
