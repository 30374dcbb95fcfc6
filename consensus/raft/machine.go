package raft

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/internal/lease"
	"github.com/quorate/quorate/consensus/internal/ring"
	"github.com/quorate/quorate/consensus/quorum"
)

// Engine makes Raft machines.
var Engine = consensus.Engine{
	Name:     "raft",
	New:      func(c consensus.Config) (consensus.Machine, error) { return New(c) },
	KindName: KindName,
	Repairs:  true,
	Leases:   true,
}

// Machine is one replica of one Raft group. It implements consensus.Machine.
type Machine struct {
	group consensus.GroupID
	id    consensus.ReplicaID
	rand  consensus.Rand
	limit limits

	// hard is the hard state as it is to become durable; disk knows what is.
	hard consensus.HardState
	log  entryLog
	disk durability

	// commit is the last index known decided, learned the last one handed to the
	// driver, applied the last one it reported.
	// Invariant: released <= applied <= learned <= commit <= last, except that
	// applied is behind released while a snapshot is being installed.
	commit, learned, applied consensus.Index

	// confs are the configurations of this log: the one in force at released and
	// those of the membership entries behind it. The last one is in force.
	// Invariant: never empty, ascending by index.
	confs []configurationAt
	// quorum and peers are derived from the configuration in force.
	quorum quorum.Joint
	peers  []peer

	role   consensus.Role
	leader consensus.ReplicaID
	clock  clock
	bound  lease.Voter
	read   reads
	duty   follower
	lead   leadership
	doubt  doubt
	queue  queue
	ready  consensus.Ready
	// stepping is the message that Step works on; it is empty between calls.
	stepping consensus.Message
	// coverage counts dispatches if a test asked for it.
	coverage *Coverage
}

// limits are the bounds of Config, in the units they are compared in.
type limits struct {
	electionTicks    int
	heartbeatTicks   int
	messageCost      uint64
	inflightMessages int
	inflightCost     uint64
	uncommittedCost  uint64
	readRounds       int
}

// follower is what a replica owes to the leader of its epoch.
type follower struct {
	// verified is the last index up to which the log is known to equal the log of
	// this epoch's leader. Invariant: commit <= verified <= last, for a follower.
	verified consensus.Index
	// decided is the highest commit index that this leader has told. Only as much
	// of it as is verified is known decided here.
	decided consensus.Index
	// ack and beat say that a reply to an append or a heartbeat is due, ackRound
	// and beatRound the highest read round in one; gap that entries are missing.
	ack, beat, gap      bool
	ackRound, beatRound uint64
	// installing is the index of a snapshot that the driver is installing, or zero.
	// Nothing is appended meanwhile.
	installing consensus.Index
}

// leadership is what only a leader knows; it ends with the epoch.
type leadership struct {
	// start is the index of the barrier that opened the epoch.
	start consensus.Index
	// ids are the proposals in flight: position k belongs to index commit+1+k, as
	// far as that index is at or above start.
	ids ring.Ring[consensus.ProposalID]
	// first is the index of ids' first element.
	first consensus.Index

	transferee consensus.ReplicaID // zero: no transfer under way
	deadline   int                 // ticks left to the transfer
	sent       bool                // timeout-now has left
	leaving    bool                // the lead ends with the transfer, whatever comes of it

	// stalled is the latest append that was not durable when the quorum was last
	// checked, zero if there was none.
	stalled consensus.Seq
}

// New restores or creates a replica. It returns consensus.ErrInvalid, wrapped with
// the field at fault, when the configuration or the restored state is impossible.
func New(c consensus.Config) (*Machine, error) {
	if err := checkConfig(&c); err != nil {
		return nil, err
	}
	m := &Machine{
		group: c.Group, id: c.ID, rand: c.Rand,
		limit: limits{
			electionTicks: c.ElectionTicks, heartbeatTicks: c.HeartbeatTicks,
			messageCost: uint64(c.MessageBytes), inflightMessages: c.InflightMessages,
			inflightCost: uint64(c.InflightBytes), uncommittedCost: uint64(c.UncommittedBytes),
			readRounds: c.ReadRounds,
		},
		hard: c.HardState,
		log:  newEntryLog(c.Log.Released, c.Log.ReleasedEpoch),
	}
	if c.LeaseNanos > 0 {
		m.bound = lease.NewVoter(c.ElectionTicks, c.HardState.Epoch)
		m.read.lease = lease.NewHolder(c.LeaseNanos)
	}
	m.commit, m.learned, m.applied = c.Applied, c.Applied, c.Applied
	m.duty.verified = c.Applied
	m.confs = append(m.confs, configurationAt{c.Log.Released, c.Log.Configuration.Clone()})
	if err := m.restoreLog(c.Log.Entries); err != nil {
		return nil, err
	}
	m.disk = durability{index: m.log.last, hard: c.HardState, handed: c.HardState}
	if m.hard.Epoch < m.log.lastEpoch() {
		// The engine is ahead of the log and has seen an epoch that the log lost.
		// That hard state was never durable, so nothing was said in that epoch (C3).
		m.hard = consensus.HardState{Epoch: m.log.lastEpoch()}
	}
	m.configure()
	m.queue.written, m.queue.changed = m.log.last, false
	m.resetElectionTimer()
	if c.Log.InDoubt {
		m.doubt.name = 1 + m.rand.Uint64N(positionMax)
	}
	if m.soleVoter() && m.electable() && m.bound.Free() {
		m.campaign()
	}
	return m, nil
}

// restoreLog rebuilds what the machine keeps of its entries.
func (m *Machine) restoreLog(entries []consensus.EntryInfo) error {
	for k, e := range entries {
		i := m.log.released + 1 + consensus.Index(k)
		switch {
		case e.Epoch < m.log.lastEpoch() || e.Epoch == 0:
			return fmt.Errorf("%w: Log.Entries: epoch %d at index %d follows epoch %d",
				consensus.ErrInvalid, e.Epoch, i, m.log.lastEpoch())
		case e.Epoch > m.hard.Epoch:
			return fmt.Errorf("%w: Log.Entries: epoch %d at index %d is above the hard state's %d",
				consensus.ErrInvalid, e.Epoch, i, m.hard.Epoch)
		case e.Kind == consensus.EntryMembership:
			c, err := decodeMembership(e.Data)
			if err != nil {
				return fmt.Errorf("%w: Log.Entries: index %d: %w", consensus.ErrInvalid, i, err)
			}
			m.confs = append(m.confs, configurationAt{i, c})
		case e.Kind != consensus.EntryCommand && e.Kind != consensus.EntryBarrier:
			return fmt.Errorf("%w: Log.Entries: index %d has %v", consensus.ErrInvalid, i, e.Kind)
		}
		m.log.append(e.Epoch, int(e.Size))
	}
	if m.applied > m.log.last {
		return fmt.Errorf("%w: Applied %d is behind the log's end %d", consensus.ErrInvalid, m.applied, m.log.last)
	}
	return nil
}

// checkConfig validates everything that does not need the log.
func checkConfig(c *consensus.Config) error {
	bad := func(field string, value any) error {
		return fmt.Errorf("%w: %s is %v", consensus.ErrInvalid, field, value)
	}
	switch {
	case c.Group == 0:
		return bad("Group", c.Group)
	case c.ID == 0:
		return bad("ID", c.ID)
	case c.Rand == nil:
		return bad("Rand", nil)
	case c.HeartbeatTicks < 1:
		return bad("HeartbeatTicks", c.HeartbeatTicks)
	case c.ElectionTicks <= c.HeartbeatTicks:
		return bad("ElectionTicks", c.ElectionTicks)
	case c.MessageBytes < 1:
		return bad("MessageBytes", c.MessageBytes)
	case c.InflightMessages < 1:
		return bad("InflightMessages", c.InflightMessages)
	case c.InflightBytes < 1:
		return bad("InflightBytes", c.InflightBytes)
	case c.UncommittedBytes < 1:
		return bad("UncommittedBytes", c.UncommittedBytes)
	case c.ReadRounds < 1:
		return bad("ReadRounds", c.ReadRounds)
	case c.Applied < c.Log.Released:
		return bad("Applied", c.Applied)
	case (c.Log.Released == 0) != (c.Log.ReleasedEpoch == 0):
		return bad("Log.ReleasedEpoch", c.Log.ReleasedEpoch)
	case c.HardState.Epoch == 0 && c.HardState.Vote != 0:
		return bad("HardState", c.HardState)
	case c.HardState.Epoch < c.Log.ReleasedEpoch && len(c.Log.Entries) > 0:
		return bad("HardState.Epoch", c.HardState.Epoch)
	}
	if err := checkConfiguration(&c.Log.Configuration); err != nil {
		return fmt.Errorf("%w: Log.Configuration: %w", consensus.ErrInvalid, err)
	}
	return nil
}

// Propose implements consensus.Machine.
func (m *Machine) Propose(p consensus.Proposal) error {
	if m.role != consensus.Leader {
		return fmt.Errorf("%w: replica %v is %v, leader is %v", consensus.ErrNotLeader, m.id, m.role, m.leader)
	}
	switch p.Kind {
	case consensus.ProposeCommands:
		return m.proposeCommands(p.Commands)
	case consensus.ProposeReadBarrier:
		return m.proposeRead(p.ID, p.Now)
	case consensus.ProposeMembership:
		return m.proposeMembership(p.ID, &p.Target)
	case consensus.ProposeTransfer:
		return m.proposeTransfer(p.Transferee)
	}
	return fmt.Errorf("%w: proposal kind %d", consensus.ErrInvalid, p.Kind)
}

// Done implements consensus.Machine.
func (m *Machine) Done(d consensus.Done) {
	if d.Durable != 0 {
		m.doneDurable(d.Durable)
	}
	if d.Applied != 0 {
		m.doneApplied(d.Applied)
	}
	if d.Released != 0 {
		m.doneReleased(d.Released)
	}
	if d.Peer != 0 {
		m.donePeer(d.Peer, d.State)
	}
	if d.SnapshotSent.To != 0 {
		m.doneSnapshotSent(d.SnapshotSent)
	}
}

// doneDurable counts what the disk now holds: entries for a leader, the own vote
// for a candidate.
func (m *Machine) doneDurable(seq consensus.Seq) {
	m.disk.acknowledge(seq)
	m.doubtEnds()
	switch m.role {
	case consensus.Leader:
		m.advanceCommit()
	case consensus.Candidate:
		if m.disk.hard == m.hard {
			m.collect(m.id, quorum.Granted)
		}
	}
}

func (m *Machine) doneApplied(i consensus.Index) {
	if i > m.learned {
		panic(fmt.Sprintf("raft: index %d reported applied, learned is %d", i, m.learned))
	}
	m.applied = max(m.applied, i)
	if at := m.duty.installing; at != 0 && m.applied >= at {
		m.finishInstall(at)
	}
}

func (m *Machine) doneReleased(i consensus.Index) {
	if i > m.applied {
		panic(fmt.Sprintf("raft: log released up to %d, applied is %d", i, m.applied))
	}
	m.log.release(i)
	m.releaseConfigurations()
}

func (m *Machine) donePeer(id consensus.ReplicaID, s consensus.PeerState) {
	if m.role == consensus.Leader {
		if p := m.find(id); p != nil && p.flow == replicate {
			p.toProbe(p.match + 1)
		}
		return
	}
	if s == consensus.PeerReset {
		m.leaderReset(id)
	}
}
