package etcdraft

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
)

// positionMax bounds indexes, epochs and rounds in messages, so that arithmetic on
// them cannot overflow. A real group does not get there.
const positionMax = 1 << 60

// validate refuses a message that no correct replica sends, before raft sees it: raft
// panics on some of them, and changes state before it refuses others.
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
	if isReply(msg.Kind) {
		return m.validateReply(msg)
	}
	if err := m.validateLeader(msg); err != nil {
		return err
	}
	switch msg.Kind {
	case KindSnapshot:
		return m.validateSnapshot(msg)
	case KindAppend:
		return m.validateAppend(msg)
	case KindHeartbeat:
		if msg.Epoch >= m.hard.Epoch && msg.Commit > m.log.last() {
			return m.malformed(msg, fmt.Sprintf("decides index %d, the log ends at %d", msg.Commit, m.log.last()))
		}
	}
	return nil
}

func (m *Machine) malformed(msg *consensus.Message, why string) error {
	return fmt.Errorf("%w: %s from %v to %v: %s", consensus.ErrMalformed, KindName(msg.Kind), msg.From, m.id, why)
}

// misshapen checks what every message has in common and returns what is wrong.
func misshapen(msg *consensus.Message, self consensus.ReplicaID) string {
	asks := msg.Kind == KindPreVote || msg.Kind == KindVote || msg.Kind == KindAppend
	switch {
	case msg.From == 0 || msg.From == self || reserved(msg.From):
		return "impossible sender"
	case msg.Epoch == 0 || msg.Epoch > positionMax:
		return "impossible epoch"
	case max(msg.Index, msg.Commit, msg.Hint) > positionMax || msg.Round > positionMax:
		return "impossible position"
	case msg.IndexEpoch > msg.Epoch || msg.HintEpoch > msg.Epoch:
		return "entry of a later epoch"
	case asks && (msg.Index == 0) != (msg.IndexEpoch == 0):
		return "entry without an epoch, or the reverse"
	case !msg.Fill.Empty():
		return "not filled"
	case len(msg.Entries) > 0 && msg.Kind != KindAppend:
		return "unexpected entries"
	case msg.Doubt != 0:
		return "unexpected doubt"
	case (msg.Snapshot != nil) != (msg.Kind == KindSnapshot):
		return "unexpected or missing snapshot"
	}
	return ""
}

// validateReply refuses answers from strangers, who were never asked, and answers
// to what this leader never said.
func (m *Machine) validateReply(msg *consensus.Message) error {
	if !m.active.Contains(msg.From) {
		return fmt.Errorf("%w: %s from %v to %v", consensus.ErrNotMember, KindName(msg.Kind), msg.From, m.id)
	}
	if m.role != consensus.Leader || msg.Epoch != m.hard.Epoch {
		return nil
	}
	switch last := m.log.last(); {
	case msg.Kind == KindAppendReply && msg.Index > last:
		return m.malformed(msg, fmt.Sprintf("acknowledges index %d, the log ends at %d", msg.Index, last))
	case msg.Kind == KindAppendReply && msg.Hint > last:
		return m.malformed(msg, fmt.Sprintf("points to index %d, the log ends at %d", msg.Hint, last))
	case msg.Kind == KindAppendReply && msg.Reject && msg.Index == 0:
		return m.malformed(msg, "refuses the beginning")
	case msg.Kind == KindHeartbeatReply && msg.Round > m.read.beat:
		return m.malformed(msg, fmt.Sprintf("confirms round %d, the latest is %d", msg.Round, m.read.beat))
	}
	return nil
}

// validateLeader refuses a second leader of one epoch.
func (m *Machine) validateLeader(msg *consensus.Message) error {
	if !fromLeader(msg.Kind) || msg.Epoch != m.hard.Epoch {
		return nil
	}
	if m.role == consensus.Leader || m.leader != 0 && m.leader != msg.From {
		return m.malformed(msg, fmt.Sprintf("epoch %d has leader %v", msg.Epoch, m.leader))
	}
	return nil
}

func (m *Machine) validateSnapshot(msg *consensus.Message) error {
	s, decided := msg.Snapshot, m.log.epochAt(m.commit)
	switch {
	case s.Index == 0 || s.Index > positionMax || s.Epoch == 0 || s.Epoch > msg.Epoch:
		return m.malformed(msg, fmt.Sprintf("snapshot at index %d, epoch %d", s.Index, s.Epoch))
	case s.Index == m.commit && s.Epoch != decided:
		return m.malformed(msg, fmt.Sprintf("snapshot disagrees with what is decided at index %d", s.Index))
	case s.Index > m.commit && s.Epoch < decided:
		return m.malformed(msg, fmt.Sprintf("snapshot at epoch %d follows epoch %d", s.Epoch, decided))
	}
	if err := checkConfiguration(&s.Configuration); err != nil {
		return m.malformed(msg, err.Error())
	}
	return nil
}

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
		if why := misshapenEntry(e, e.Epoch > epoch); why != "" {
			return m.malformed(msg, why)
		}
		epoch = e.Epoch
	}
	if msg.Epoch < m.hard.Epoch {
		return nil // will not be appended
	}
	if why := m.disagrees(msg); why != "" {
		return m.malformed(msg, why)
	}
	return nil
}

// misshapenEntry checks kind and data; first says that the entry is its epoch's first
// in its log, which is the barrier (E2).
func misshapenEntry(e *consensus.Entry, first bool) string {
	if first != (e.Kind == consensus.EntryBarrier) {
		return fmt.Sprintf("entry %d of epoch %d has %v", e.Index, e.Epoch, e.Kind)
	}
	switch e.Kind {
	case consensus.EntryCommand:
		return ""
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

// disagrees compares an append with what is decided here, and with the rule that
// a membership is proposed only when the one before is decided, on which a restart
// relies (E4). It returns what is wrong.
func (m *Machine) disagrees(msg *consensus.Message) string {
	l := &m.log
	if i := msg.Index; i >= l.released && i <= m.commit && l.epochAt(i) != msg.IndexEpoch {
		return fmt.Sprintf("entry %d has epoch %d here, %d there", i, l.epochAt(i), msg.IndexEpoch)
	}
	if l.epochAt(msg.Index) != msg.IndexEpoch || msg.Index > l.last() {
		return "" // raft asks for what is before
	}
	at := l.released // of the membership entry before, of those that stay
	for _, c := range l.confs {
		if c.index <= msg.Index {
			at = c.index
		}
	}
	decided := max(m.commit, min(msg.Commit, msg.Index+consensus.Index(len(msg.Entries))))
	for k := range msg.Entries {
		e := &msg.Entries[k]
		if e.Index >= l.released && e.Index <= m.commit && l.epochAt(e.Index) != e.Epoch {
			return fmt.Sprintf("entry %d has epoch %d here, %d there", e.Index, l.epochAt(e.Index), e.Epoch)
		}
		if e.Kind != consensus.EntryMembership {
			continue
		}
		if at > decided {
			return fmt.Sprintf("membership %d follows %d, which is not decided", e.Index, at)
		}
		at = e.Index
	}
	return ""
}
