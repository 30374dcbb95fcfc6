package raft

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
)

// handler acts on one validated message. It returns an error only before it has
// changed anything.
type handler func(*Machine, *consensus.Message) error

// The rows of the table: what a message means depends on its epoch first (§5.1),
// and on the role if the epoch is ours.
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

// handlers says what every message does. Read a row to know a role, a column to
// know a message.
var handlers = [rowCount][kindCount]handler{
	rowFollower: {
		KindSnapshot:       (*Machine).onSnapshot,
		KindPreVote:        (*Machine).onPreVote,
		KindPreVoteReply:   (*Machine).onLate,
		KindVote:           (*Machine).onVote,
		KindVoteReply:      (*Machine).onLate,
		KindAppend:         (*Machine).onAppend,
		KindAppendReply:    (*Machine).onLate,
		KindHeartbeat:      (*Machine).onHeartbeat,
		KindHeartbeatReply: (*Machine).onLate,
		KindCommit:         (*Machine).onCommit,
		KindTimeoutNow:     (*Machine).onTimeoutNow,
	},
	rowTrial: {
		KindSnapshot:       (*Machine).onSnapshot,
		KindPreVote:        (*Machine).onPreVote,
		KindPreVoteReply:   (*Machine).onPreVoteReply,
		KindVote:           (*Machine).onVote,
		KindVoteReply:      (*Machine).onLate,
		KindAppend:         (*Machine).onAppend,
		KindAppendReply:    (*Machine).onLate,
		KindHeartbeat:      (*Machine).onHeartbeat,
		KindHeartbeatReply: (*Machine).onLate,
		KindCommit:         (*Machine).onCommit,
		KindTimeoutNow:     (*Machine).onTimeoutNow,
	},
	rowCandidate: {
		KindSnapshot:       (*Machine).onSnapshot,
		KindPreVote:        (*Machine).onPreVote,
		KindPreVoteReply:   (*Machine).onLate,
		KindVote:           (*Machine).onVote,
		KindVoteReply:      (*Machine).onVoteReply,
		KindAppend:         (*Machine).onAppend,
		KindAppendReply:    (*Machine).onLate,
		KindHeartbeat:      (*Machine).onHeartbeat,
		KindHeartbeatReply: (*Machine).onLate,
		KindCommit:         (*Machine).onCommit,
		KindTimeoutNow:     (*Machine).onTimeoutNow,
	},
	rowLeader: {
		KindSnapshot:       (*Machine).onOwnEpoch,
		KindPreVote:        (*Machine).onPreVote,
		KindPreVoteReply:   (*Machine).onLate,
		KindVote:           (*Machine).onVote,
		KindVoteReply:      (*Machine).onLate,
		KindAppend:         (*Machine).onOwnEpoch,
		KindAppendReply:    (*Machine).onAppendReply,
		KindHeartbeat:      (*Machine).onOwnEpoch,
		KindHeartbeatReply: (*Machine).onHeartbeatReply,
		KindCommit:         (*Machine).onOwnEpoch,
		KindTimeoutNow:     (*Machine).onOwnEpoch,
	},
	rowNewer: {
		KindSnapshot:       (*Machine).onNewerSnapshot,
		KindPreVote:        (*Machine).onPreVote,
		KindPreVoteReply:   (*Machine).onNewerPreVoteReply,
		KindVote:           (*Machine).onNewerVote,
		KindVoteReply:      (*Machine).onNewerReply,
		KindAppend:         (*Machine).onNewerAppend,
		KindAppendReply:    (*Machine).onNewerReply,
		KindHeartbeat:      (*Machine).onNewerHeartbeat,
		KindHeartbeatReply: (*Machine).onNewerReply,
		KindCommit:         (*Machine).onNewerCommit,
		KindTimeoutNow:     (*Machine).onNewerTimeoutNow,
	},
	rowOlder: {
		KindSnapshot:       (*Machine).onOlderSnapshot,
		KindPreVote:        (*Machine).onOlderPreVote,
		KindPreVoteReply:   (*Machine).onOlderPreVoteReply,
		KindVote:           (*Machine).onOlderVote,
		KindVoteReply:      (*Machine).onLate,
		KindAppend:         (*Machine).onOlderLeader,
		KindAppendReply:    (*Machine).onLate,
		KindHeartbeat:      (*Machine).onOlderLeader,
		KindHeartbeatReply: (*Machine).onLate,
		KindCommit:         (*Machine).onOlderLeader,
		KindTimeoutNow:     (*Machine).onLate,
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

// onOwnEpoch refuses what only the leader of an epoch says, in an epoch that this
// replica leads. The sender is mistaken or forged: an epoch has one leader (R1).
func (m *Machine) onOwnEpoch(msg *consensus.Message) error {
	return fmt.Errorf("%w: %s from %v in epoch %d, which replica %v leads",
		consensus.ErrMalformed, KindName(msg.Kind), msg.From, msg.Epoch, m.id)
}

// onNewerReply: somebody we asked is in a later epoch (§5.1).
func (m *Machine) onNewerReply(msg *consensus.Message) error {
	m.becomeFollower(msg.Epoch, 0)
	return nil
}

// The messages of a later epoch's leader: follow it, then do what it says (§5.1).

func (m *Machine) onNewerAppend(msg *consensus.Message) error {
	m.becomeFollower(msg.Epoch, msg.From)
	return m.onAppend(msg)
}

func (m *Machine) onNewerHeartbeat(msg *consensus.Message) error {
	m.becomeFollower(msg.Epoch, msg.From)
	return m.onHeartbeat(msg)
}

func (m *Machine) onNewerCommit(msg *consensus.Message) error {
	m.becomeFollower(msg.Epoch, msg.From)
	return m.onCommit(msg)
}

func (m *Machine) onNewerSnapshot(msg *consensus.Message) error {
	m.becomeFollower(msg.Epoch, msg.From)
	return m.onSnapshot(msg)
}

func (m *Machine) onNewerTimeoutNow(msg *consensus.Message) error {
	m.becomeFollower(msg.Epoch, msg.From)
	return m.onTimeoutNow(msg)
}

// onOlderLeader tells a deposed leader of our epoch so that it steps down (§5.1).
// A replica gets ahead of a living leader only by an election it had the quorum to
// try (R4), so this cannot be used to disturb. The reply acknowledges nothing: the
// addressee may lead our epoch by the time it arrives.
func (m *Machine) onOlderLeader(msg *consensus.Message) error {
	m.send(consensus.Message{Kind: KindHeartbeatReply, To: msg.From, Doubt: m.doubt.name})
	return nil
}

// Coverage counts the dispatches of each cell of the handler table.
type Coverage [rowCount][kindCount]uint64

// Cover makes the machine count in c, which any number of machines may share;
// nil ends it. Nobody asks for it in production, where it costs one comparison.
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
	// An epoch has one leader, so a leader hears no other one of its epoch (R1).
	{rowLeader, int(KindSnapshot)}:   Never,
	{rowLeader, int(KindAppend)}:     Never,
	{rowLeader, int(KindHeartbeat)}:  Never,
	{rowLeader, int(KindCommit)}:     Never,
	{rowLeader, int(KindTimeoutNow)}: Never,
	// These go to replicas that have answered in this epoch, and an answer shows the
	// epoch on the replica's disk (C3): it is not behind, nor a candidate of it.
	{rowNewer, int(KindSnapshot)}:       Never,
	{rowNewer, int(KindCommit)}:         Never,
	{rowNewer, int(KindTimeoutNow)}:     Never,
	{rowCandidate, int(KindSnapshot)}:   Never,
	{rowCandidate, int(KindCommit)}:     Never,
	{rowCandidate, int(KindTimeoutNow)}: Never,
	// An append is answered in the epoch of the leader that sent it.
	{rowNewer, int(KindAppendReply)}:     Never,
	{rowCandidate, int(KindAppendReply)}: Never,
	// A follower loses patience just while its leader's word is under way.
	{rowTrial, int(KindSnapshot)}:   Rare,
	{rowTrial, int(KindTimeoutNow)}: Rare,
	// A candidate comes back with an epoch that was taken without its knowledge.
	{rowNewer, int(KindVoteReply)}: Rare,
	// The lead changes while a state is under way.
	{rowOlder, int(KindSnapshot)}: Rare,
	// A reply to an earlier epoch's leader overtakes its own candidacy.
	{rowCandidate, int(KindHeartbeatReply)}: Rare,
	// The new leader's first append is lost or late, its heartbeat comes before it.
	{rowCandidate, int(KindHeartbeat)}: Rare,
	// A leader steps down without a new epoch and a reply to it arrives much later.
	{rowTrial, int(KindAppendReply)}: Rare,
	// A request for a vote is under way for longer than the election it belongs to.
	{rowTrial, int(KindVote)}: Rare,
	{rowOlder, int(KindVote)}: Rare,
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
