package paxos

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
)

// positionMax bounds indexes, epochs and rounds in messages, so that arithmetic on them
// cannot overflow. A real group does not get there.
const positionMax = 1 << 60

// slotsAhead is how far above the decided prefix a value may be, in slots, before it is
// taken for a mistake: what is between takes memory. A leader sends no further ahead of an
// acceptor than its windows, which are smaller than that.
const slotsAhead = 1 << 20

// validate refuses a message that no correct replica sends, before anything has changed.
// What it lets through cannot break an invariant.
func (m *Machine) validate(msg *consensus.Message) error {
	switch {
	case !known(msg.Kind):
		return fmt.Errorf("%w: %d from %v", consensus.ErrUnknownKind, msg.Kind, msg.From)
	case msg.Group != m.group:
		return fmt.Errorf("%w: %d at replica %v of group %d", consensus.ErrWrongGroup, msg.Group, m.id, m.group)
	case msg.To != m.id:
		return fmt.Errorf("%w: %v at replica %v", consensus.ErrNotAddressed, msg.To, m.id)
	}
	if why := m.misshapen(msg); why != "" {
		return m.malformed(msg, why)
	}
	switch {
	case isReply(msg.Kind):
		return m.validateReply(msg)
	case msg.Kind == KindSnapshot:
		return m.validateSnapshot(msg)
	case msg.Kind == KindAccept:
		return m.validateAccept(msg)
	}
	return nil
}

func (m *Machine) malformed(msg *consensus.Message, why string) error {
	return fmt.Errorf("%w: %s from %v to %v: %s", consensus.ErrMalformed, KindName(msg.Kind), msg.From, m.id, why)
}

// misshapen checks what every message has in common and returns what is wrong.
func (m *Machine) misshapen(msg *consensus.Message) string {
	switch {
	case msg.From == 0 || msg.From == m.id && msg.Kind != KindPromise:
		return "impossible sender"
	case msg.Epoch == 0 || msg.Epoch > positionMax:
		return "impossible epoch"
	case max(msg.Index, msg.Commit, msg.Hint) > positionMax || msg.Round > positionMax:
		return "impossible position"
	case msg.IndexEpoch > msg.Epoch || msg.HintEpoch != 0 || msg.Doubt != 0:
		return "unexpected epoch or doubt"
	case !msg.Fill.Empty():
		return "not filled"
	case len(msg.Entries) > 0 && !carriesEntries(msg.Kind):
		return "unexpected entries"
	case (msg.Snapshot != nil) != (msg.Kind == KindSnapshot):
		return "unexpected or missing snapshot"
	}
	for k := range msg.Entries {
		e := &msg.Entries[k]
		if e.Epoch > msg.Epoch {
			return fmt.Sprintf("entry %d has epoch %d", e.Index, e.Epoch)
		}
		if k > 0 && e.Index != msg.Entries[k-1].Index+1 {
			return fmt.Sprintf("entry %d behind %d", e.Index, msg.Entries[k-1].Index)
		}
		if why := misshapenEntry(e); why != "" {
			return why
		}
	}
	return ""
}

func misshapenEntry(e *consensus.Entry) string {
	if e.Epoch == 0 || e.Orig == 0 || e.Orig > e.Epoch || e.Index == 0 || e.Index > positionMax {
		return fmt.Sprintf("entry %d has epoch %d, orig %d", e.Index, e.Epoch, e.Orig)
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
		if _, err := decodeMembership(e.Index, e.Data); err != nil {
			return fmt.Sprintf("entry %d: %v", e.Index, err)
		}
		return ""
	}
	return fmt.Sprintf("entry %d has %v", e.Index, e.Kind)
}

// validateReply refuses answers from strangers, who were never asked, and answers to what
// this replica never said.
func (m *Machine) validateReply(msg *consensus.Message) error {
	if m.find(msg.From) == nil {
		return fmt.Errorf("%w: %s from %v to %v", consensus.ErrNotMember, KindName(msg.Kind), msg.From, m.id)
	}
	switch msg.Kind {
	case KindPromise:
		return m.validatePromise(msg)
	case KindAcceptedApart:
		if msg.Hint <= msg.Index {
			return m.malformed(msg, fmt.Sprintf("acknowledges slots from %d to %d", msg.Index+1, msg.Hint))
		}
	}
	if m.role != consensus.Leader || msg.Epoch != m.hard.Epoch {
		return nil
	}
	// Until the barrier is proposed a follower may know of decisions that we do not.
	switch {
	case max(msg.Index, msg.Hint) > m.lead.last && m.lead.start != 0 && m.promisedUpTo() == never:
		return m.malformed(msg, fmt.Sprintf("acknowledges slot %d, the last one proposed is %d", max(msg.Index, msg.Hint), m.lead.last))
	case msg.Kind != KindPromise && msg.Round > m.read.round:
		return m.malformed(msg, fmt.Sprintf("confirms round %d, the latest is %d", msg.Round, m.read.round))
	}
	return nil
}

func (m *Machine) validatePromise(msg *consensus.Message) error {
	if msg.Reject {
		return nil
	}
	if msg.Hint < msg.Index || uint64(msg.Hint) > max(msg.Round, uint64(msg.Index)) {
		return m.malformed(msg, fmt.Sprintf("reports slots from %d to %d of %d", msg.Index+1, msg.Hint, msg.Round))
	}
	if n := len(msg.Entries); n > 0 && (msg.Entries[0].Index <= msg.Index || msg.Entries[n-1].Index > msg.Hint) {
		return m.malformed(msg, fmt.Sprintf("reports slots from %d to %d, has entry %d", msg.Index+1, msg.Hint, msg.Entries[0].Index))
	}
	return nil
}

func (m *Machine) validateSnapshot(msg *consensus.Message) error {
	s := msg.Snapshot
	if s.Index == 0 || s.Index > positionMax || s.Epoch == 0 || s.Epoch > msg.Epoch || s.Index > m.commit && s.Epoch < m.fence {
		return m.malformed(msg, fmt.Sprintf("snapshot at slot %d, epoch %d", s.Index, s.Epoch))
	}
	if err := checkConfiguration(s.Index, &s.Configuration); err != nil {
		return m.malformed(msg, err.Error())
	}
	return nil
}

// validateAccept checks the place of the values, and that they do not contradict what was
// accepted in the same epoch: a slot has one value in an epoch (P1).
func (m *Machine) validateAccept(msg *consensus.Message) error {
	if len(msg.Entries) > 0 && msg.Entries[0].Index != msg.Index+1 {
		return m.malformed(msg, fmt.Sprintf("entry %d behind %d", msg.Entries[0].Index, msg.Index))
	}
	if msg.Epoch < m.hard.Epoch {
		return nil
	}
	if n := len(msg.Entries); n > 0 && msg.Entries[n-1].Index > m.commit+slotsAhead {
		return m.malformed(msg, fmt.Sprintf("entry %d is far beyond what is decided here, %d", msg.Entries[n-1].Index, m.commit))
	}
	for k := range msg.Entries {
		e := &msg.Entries[k]
		if e.Index <= m.log.released {
			continue
		}
		s := m.log.at(e.Index)
		if (s.epoch == msg.Epoch || e.Index <= m.commit && s.epoch != 0) && s.orig != e.Orig {
			return m.malformed(msg, fmt.Sprintf("slot %d has another value here", e.Index))
		}
	}
	return nil
}
