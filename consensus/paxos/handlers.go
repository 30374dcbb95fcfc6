package paxos

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
)

// handler acts on one validated message. It returns an error only before it has changed
// anything.
type handler func(*Machine, *consensus.Message) error

// The rows of the table: what a message means depends on its epoch first, and on the role
// if the epoch is ours.
const (
	rowFollower  = int(consensus.Follower)
	rowTrial     = int(consensus.Trial)
	rowCandidate = int(consensus.Candidate)
	rowLeader    = int(consensus.Leader)
	rowNewer     = 4 // the message's epoch is above ours
	rowOlder     = 5 // the message's epoch is below ours

	rowCount = 6
)

var rowNames = [rowCount]string{"follower", "trial", "candidate", "leader", "newer", "older"}

// handlers says what every message does. Read a row to know a role, a column to know a
// message.
var handlers = [rowCount][kindCount]handler{
	rowFollower: {
		KindSnapshot:        (*Machine).onSnapshot,
		KindPrePrepare:      (*Machine).onPrePrepare,
		KindPrePrepareReply: (*Machine).onLate,
		KindPrepare:         (*Machine).onPrepare,
		KindPromise:         (*Machine).onLate,
		KindAccept:          (*Machine).onAccept,
		KindAccepted:        (*Machine).onLate,
		KindAcceptedApart:   (*Machine).onLate,
		KindHeartbeat:       (*Machine).onHeartbeat,
		KindHeartbeatReply:  (*Machine).onLate,
		KindCommit:          (*Machine).onCommit,
		KindTimeoutNow:      (*Machine).onTimeoutNow,
	},
	rowTrial: {
		KindSnapshot:        (*Machine).onSnapshot,
		KindPrePrepare:      (*Machine).onPrePrepare,
		KindPrePrepareReply: (*Machine).onPrePrepareReply,
		KindPrepare:         (*Machine).onPrepare,
		KindPromise:         (*Machine).onLate,
		KindAccept:          (*Machine).onAccept,
		KindAccepted:        (*Machine).onLate,
		KindAcceptedApart:   (*Machine).onLate,
		KindHeartbeat:       (*Machine).onHeartbeat,
		KindHeartbeatReply:  (*Machine).onLate,
		KindCommit:          (*Machine).onCommit,
		KindTimeoutNow:      (*Machine).onTimeoutNow,
	},
	rowCandidate: {
		KindSnapshot:        (*Machine).onSnapshot,
		KindPrePrepare:      (*Machine).onPrePrepare,
		KindPrePrepareReply: (*Machine).onLate,
		KindPrepare:         (*Machine).onPrepare,
		KindPromise:         (*Machine).onPromise,
		KindAccept:          (*Machine).onAccept,
		KindAccepted:        (*Machine).onLate,
		KindAcceptedApart:   (*Machine).onLate,
		KindHeartbeat:       (*Machine).onHeartbeat,
		KindHeartbeatReply:  (*Machine).onLate,
		KindCommit:          (*Machine).onCommit,
		KindTimeoutNow:      (*Machine).onTimeoutNow,
	},
	rowLeader: {
		KindSnapshot:        (*Machine).onLeaderSnapshot,
		KindPrePrepare:      (*Machine).onPrePrepare,
		KindPrePrepareReply: (*Machine).onLate,
		KindPrepare:         (*Machine).onLeaderPrepare,
		KindPromise:         (*Machine).onPromise,
		KindAccept:          (*Machine).onOwnEpoch,
		KindAccepted:        (*Machine).onAccepted,
		KindAcceptedApart:   (*Machine).onAcceptedApart,
		KindHeartbeat:       (*Machine).onOwnEpoch,
		KindHeartbeatReply:  (*Machine).onHeartbeatReply,
		KindCommit:          (*Machine).onOwnEpoch,
		KindTimeoutNow:      (*Machine).onOwnEpoch,
	},
	rowNewer: {
		KindSnapshot:        (*Machine).onNewerSnapshot,
		KindPrePrepare:      (*Machine).onPrePrepare,
		KindPrePrepareReply: (*Machine).onNewerPrePrepareReply,
		KindPrepare:         (*Machine).onNewerPrepare,
		KindPromise:         (*Machine).onNewerReply,
		KindAccept:          (*Machine).onNewerAccept,
		KindAccepted:        (*Machine).onNewerReply,
		KindAcceptedApart:   (*Machine).onNewerReply,
		KindHeartbeat:       (*Machine).onNewerHeartbeat,
		KindHeartbeatReply:  (*Machine).onNewerReply,
		KindCommit:          (*Machine).onNewerCommit,
		KindTimeoutNow:      (*Machine).onNewerTimeoutNow,
	},
	rowOlder: {
		KindSnapshot:        (*Machine).onOlderSnapshot,
		KindPrePrepare:      (*Machine).onOlderPrePrepare,
		KindPrePrepareReply: (*Machine).onPrePrepareReply,
		KindPrepare:         (*Machine).onOlderPrepare,
		KindPromise:         (*Machine).onLate,
		KindAccept:          (*Machine).onOlderLeader,
		KindAccepted:        (*Machine).onLate,
		KindAcceptedApart:   (*Machine).onLate,
		KindHeartbeat:       (*Machine).onOlderLeader,
		KindHeartbeatReply:  (*Machine).onLate,
		KindCommit:          (*Machine).onOlderLeader,
		KindTimeoutNow:      (*Machine).onLate,
	},
}

// Step implements consensus.Machine.
func (m *Machine) Step(msg consensus.Message) error {
	m.stepping = msg // a field and not the argument, which would escape to the heap
	err := m.step(&m.stepping)
	m.stepping.Entries, m.stepping.Snapshot = nil, nil
	return err
}

func (m *Machine) step(msg *consensus.Message) error {
	if err := m.validate(msg); err != nil {
		return err
	}
	row := m.row(msg)
	if m.coverage != nil {
		m.coverage[row][msg.Kind]++
	}
	return handlers[row][msg.Kind](m, msg)
}

func (m *Machine) row(msg *consensus.Message) int {
	switch {
	case msg.Epoch > m.hard.Epoch:
		return rowNewer
	case msg.Epoch < m.hard.Epoch:
		return rowOlder
	}
	return int(m.role)
}

// onLate ignores an answer to a question that is no longer open.
func (m *Machine) onLate(*consensus.Message) error { return nil }

// onOwnEpoch refuses what only the leader of an epoch says, in an epoch that this replica
// leads. The sender is mistaken or forged, or leads the epoch in slots of a configuration
// that this replica has slept through (doc.go): then it loses the lead without our help.
func (m *Machine) onOwnEpoch(msg *consensus.Message) error {
	return fmt.Errorf("%w: %s from %v in epoch %d, which replica %v leads",
		consensus.ErrMalformed, KindName(msg.Kind), msg.From, msg.Epoch, m.id)
}

// onNewerReply: somebody we asked is in a later epoch.
func (m *Machine) onNewerReply(msg *consensus.Message) error {
	m.becomeFollower(msg.Epoch, 0)
	return nil
}

// The messages of a later epoch's leader: follow it, then do what it says.

func (m *Machine) onNewerAccept(msg *consensus.Message) error {
	m.becomeFollower(msg.Epoch, msg.From)
	return m.onAccept(msg)
}

func (m *Machine) onNewerHeartbeat(msg *consensus.Message) error {
	m.becomeFollower(msg.Epoch, msg.From)
	return m.onHeartbeat(msg)
}

func (m *Machine) onNewerCommit(msg *consensus.Message) error {
	m.becomeFollower(msg.Epoch, msg.From)
	return m.onCommit(msg)
}

// onNewerSnapshot: not only a leader sends a state, so the epoch is all that is taken over.
func (m *Machine) onNewerSnapshot(msg *consensus.Message) error {
	m.becomeFollower(msg.Epoch, 0)
	return m.onSnapshot(msg)
}

func (m *Machine) onNewerTimeoutNow(msg *consensus.Message) error {
	m.becomeFollower(msg.Epoch, msg.From)
	return m.onTimeoutNow(msg)
}

// onOlderSnapshot takes a state that was sent in an earlier epoch: what is decided stays
// decided.
func (m *Machine) onOlderSnapshot(msg *consensus.Message) error {
	if m.role != consensus.Leader {
		m.takeSnapshot(msg.Snapshot)
	}
	return nil
}

// onOlderLeader tells a deposed leader of our epoch so that it steps down. The reply
// acknowledges nothing: the addressee may lead our epoch by the time it arrives.
func (m *Machine) onOlderLeader(msg *consensus.Message) error {
	if msg.Kind == KindAccept && m.role == consensus.Follower && mutant.On(mutant.PaxosAcceptBelowPromise) {
		return m.acceptBelow(msg)
	}
	m.send(consensus.Message{Kind: KindHeartbeatReply, To: msg.From})
	return nil
}

// Coverage counts the dispatches of each cell of the handler table.
type Coverage [rowCount][kindCount]uint64

// Cover makes the machine count in c, which any number of machines may share; nil ends it.
func (m *Machine) Cover(c *Coverage) { m.coverage = c }

// Frequency says how often a correct group enters a cell of the handler table.
type Frequency uint8

const (
	// Common cells are entered in any longer run with elections.
	Common Frequency = iota
	// Rare cells need two unlikely things at once.
	Rare
	// Never: only a mistaken or forged message gets there.
	Never
)

// frequencies lists the cells that are not common, with the reason.
var frequencies = map[[2]int]Frequency{
	// An epoch's number has two leaders only when one has slept through a change (doc.go), and
	// they have nothing to hand over to each other.
	{rowLeader, int(KindAccept)}:     Rare,
	{rowLeader, int(KindHeartbeat)}:  Rare,
	{rowLeader, int(KindCommit)}:     Rare,
	{rowLeader, int(KindTimeoutNow)}: Never,
	// These go to replicas that have answered in this epoch, and an answer shows the epoch on
	// the replica's disk (C3): it is not behind, nor a candidate of it.
	{rowNewer, int(KindAccept)}:         Never,
	{rowNewer, int(KindCommit)}:         Never,
	{rowNewer, int(KindTimeoutNow)}:     Never,
	{rowCandidate, int(KindAccept)}:     Never,
	{rowCandidate, int(KindCommit)}:     Never,
	{rowCandidate, int(KindTimeoutNow)}: Never,
	// A state goes to who has asked for it in this epoch, or before it is opened; the sender
	// may have learned of a later one by then.
	{rowNewer, int(KindSnapshot)}: Rare,
	// A value is acknowledged in the epoch of the leader that sent it.
	{rowNewer, int(KindAccepted)}:          Never,
	{rowNewer, int(KindAcceptedApart)}:     Never,
	{rowCandidate, int(KindAccepted)}:      Never,
	{rowCandidate, int(KindAcceptedApart)}: Never,
	// An answer to an earlier epoch's leader overtakes its own candidacy.
	{rowCandidate, int(KindHeartbeatReply)}: Rare,
	// A follower loses patience just while its leader's word is under way.
	{rowTrial, int(KindTimeoutNow)}:   Rare,
	{rowOlder, int(KindTimeoutNow)}:   Rare,
	{rowCandidate, int(KindSnapshot)}: Rare,
	// A leader that has just lost its lead, and patience, is still answered; or it met a
	// candidate's question, or an answer to its own last one.
	{rowTrial, int(KindAccepted)}:      Rare,
	{rowTrial, int(KindAcceptedApart)}: Rare,
	{rowTrial, int(KindPrepare)}:       Rare,
	{rowTrial, int(KindPromise)}:       Rare,
	// Voters of a configuration that a leader has only just found have decided more than it
	// knows, and released it.
	{rowLeader, int(KindSnapshot)}: Rare,
	// Who is asked for a promise is in a later epoch, of which its trial round has not told.
	{rowNewer, int(KindPromise)}: Rare,
}

// Cell is one entry of the handler table.
type Cell struct {
	Row       string // a role, or "newer" or "older" for a message of another epoch
	Kind      string
	Frequency Frequency
	Count     uint64
}

// Cells lists the handler table with the counts of c, which may be nil.
func Cells(c *Coverage) []Cell {
	cells := make([]Cell, 0, rowCount*(kindCount-1))
	for row := range rowCount {
		for kind := 1; kind < kindCount; kind++ {
			cell := Cell{Row: rowNames[row], Kind: kindNames[kind], Frequency: frequencies[[2]int{row, kind}]}
			if c != nil {
				cell.Count = c[row][kind]
			}
			cells = append(cells, cell)
		}
	}
	return cells
}
