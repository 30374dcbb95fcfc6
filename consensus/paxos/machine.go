package paxos

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/internal/lease"
	"github.com/quorate/quorate/consensus/internal/ring"
)

// WindowDefault is how many slots may be open at once, in slots: α.
const WindowDefault = 2048

// Engine makes Paxos machines with the default window.
var Engine = NewEngine(WindowDefault)

// NewEngine makes machines with a window of α slots. It must be the same on all
// replicas of a group for ever: it says where a new configuration begins to govern.
func NewEngine(window int) consensus.Engine {
	return consensus.Engine{
		Name:     "paxos",
		New:      func(c consensus.Config) (consensus.Machine, error) { return New(c, window) },
		KindName: KindName,
		Sparse:   true,
		Flexible: true,
		Leases:   true,
	}
}

// Machine is one replica of one Paxos group. It implements consensus.Machine.
type Machine struct {
	group  consensus.GroupID
	id     consensus.ReplicaID
	rand   consensus.Rand
	limit  limits
	window consensus.Index // α

	// hard is the hard state as it is to become durable; disk knows what is.
	hard consensus.HardState
	log  slots
	disk durability

	// commit is the last slot of the decided prefix that is known here, learned the
	// last one handed to the driver, applied the last one it reported.
	// Invariant: released <= applied <= learned <= commit, except that applied is
	// behind released while a snapshot is being installed.
	commit, learned, applied consensus.Index
	// fence is the highest Orig of the decided prefix (P6).
	fence consensus.Epoch

	// confs are the configurations of the decided prefix that may govern a slot above
	// commit (P7). Invariant: never empty, ascending by index.
	confs []configurationAt
	// configured is up to where the changes of membership are in the first of confs.
	configured consensus.Index
	// peers are all replicas of confs and this one, ordered by id.
	peers []peer

	role   consensus.Role
	leader consensus.ReplicaID
	clock  clock
	bound  lease.Voter
	read   reads
	duty   follower
	prop   proposer
	lead   leadership
	// streams are the replicas to which the driver streams the state.
	streams []consensus.ReplicaID
	queue   queue
	ready   consensus.Ready
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

// follower is what an acceptor owes to the leader of its epoch.
type follower struct {
	// run is up to where everything is decided or accepted in this epoch.
	// Invariant: run >= commit. A leader's is what it has proposed.
	run consensus.Index
	// decided is the highest commit index that this leader has told. Only what was
	// accepted in this epoch, or is known decided anyway, is learned from it (P5).
	decided consensus.Index
	// ack and beat say that a reply to an accept or a heartbeat is due, ackRound and
	// beatRound the highest read round in one; gap that slots are missing.
	ack, beat, gap      bool
	ackRound, beatRound uint64
	// apart are spans of accepted slots above run whose acknowledgement is due.
	apart []consensus.Span
	// installing is the index of a snapshot that the driver is installing, or zero.
	// Nothing is accepted meanwhile.
	installing consensus.Index
}

// leadership is what only a leader knows; it ends with the epoch.
type leadership struct {
	// last is the last slot proposed in this epoch. Invariant: commit <= last.
	last consensus.Index
	// start is the slot of the barrier, zero until it is proposed: what phase 1 found
	// comes first.
	start consensus.Index
	// settled is up to where what is proposed is decided and on the own disk, open the cost
	// of the slots in (settled, last]. Invariant: settled <= commit.
	settled consensus.Index
	open    uint64
	// ids are the proposals in flight: position k belongs to slot first+k.
	ids   ring.Ring[consensus.ProposalID]
	first consensus.Index
	// changing is the slot of this leader's own undecided membership entry, or zero.
	changing consensus.Index

	transferee consensus.ReplicaID // zero: no transfer under way
	deadline   int                 // ticks left to the transfer
	sent       bool                // timeout-now has left
	leaving    bool                // the lead ends with the transfer, whatever comes of it

	// stalled is the latest append that was not durable when the quorum was last
	// checked, zero if there was none.
	stalled consensus.Seq
}

// New restores or creates a replica. It returns consensus.ErrInvalid, wrapped with the
// field at fault, when the configuration or the restored state is impossible.
func New(c consensus.Config, window int) (*Machine, error) {
	if window < 1 {
		return nil, fmt.Errorf("%w: window of %d slots", consensus.ErrInvalid, window)
	}
	if err := checkConfig(&c); err != nil {
		return nil, err
	}
	m := &Machine{
		group: c.Group, id: c.ID, rand: c.Rand, window: consensus.Index(window),
		limit: limits{
			electionTicks: c.ElectionTicks, heartbeatTicks: c.HeartbeatTicks,
			messageCost: uint64(c.MessageBytes), inflightMessages: c.InflightMessages,
			inflightCost: uint64(c.InflightBytes), uncommittedCost: uint64(c.UncommittedBytes),
			readRounds: c.ReadRounds,
		},
		hard: c.HardState,
		log:  slots{released: c.Log.Released, releasedFence: c.Log.ReleasedEpoch},
	}
	if c.LeaseNanos > 0 {
		m.bound = lease.NewVoter(c.ElectionTicks, c.HardState.Epoch)
		m.read.lease = lease.NewHolder(c.LeaseNanos)
	}
	m.commit, m.fence = c.Log.Released, c.Log.ReleasedEpoch
	m.configured = max(c.Log.Released, c.Log.Configured)
	m.confs = append(m.confs, since(m.configured, &c.Log.Configuration))
	if err := m.restoreLog(c.Log.Entries); err != nil {
		return nil, err
	}
	if c.Applied > max(c.Log.Released, c.Log.Decided) {
		return nil, fmt.Errorf("%w: Applied is %d, the log knows what is decided up to %d", consensus.ErrInvalid, c.Applied, c.Log.Decided)
	}
	for m.commit < c.Log.Decided {
		if m.log.at(m.commit+1).epoch == 0 {
			return nil, fmt.Errorf("%w: Log.Entries: slot %d is decided and empty", consensus.ErrInvalid, m.commit+1)
		}
		m.decide(m.commit + 1)
	}
	m.learned, m.applied = c.Applied, c.Applied
	if m.hard.Epoch < m.fence { // the state is ahead of the log
		m.hard = consensus.HardState{Epoch: m.fence}
	}
	m.duty.run = m.commit
	m.extendRun()
	m.disk = durability{hard: c.HardState, handed: c.HardState, run: m.duty.run, decided: m.commit, told: m.commit}
	m.configure()
	m.queue.changed = false
	m.resetElectionTimer()
	if m.soleVoter() && m.electable() && m.bound.Free() {
		m.campaign()
	}
	return m, nil
}

// restoreLog rebuilds what the machine keeps of its entries.
func (m *Machine) restoreLog(entries []consensus.EntryInfo) error {
	for k := range entries {
		info := &entries[k]
		e := consensus.Entry{
			Index: m.log.released + 1 + consensus.Index(k), Epoch: info.Epoch, Orig: info.Orig, Kind: info.Kind, Data: info.Data,
		}
		if info.Epoch == 0 {
			continue // a hole
		}
		if why := misshapenEntry(&e); why != "" {
			return fmt.Errorf("%w: Log.Entries: %s", consensus.ErrInvalid, why)
		}
		if e.Epoch > m.hard.Epoch {
			return fmt.Errorf("%w: Log.Entries: epoch %d in slot %d is above the hard state's %d",
				consensus.ErrInvalid, e.Epoch, e.Index, m.hard.Epoch)
		}
		m.log.put(&e)
		m.log.known.At(m.log.known.Len() - 1).size = info.Size
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
	case c.Log.Configured > c.Applied:
		return bad("Log.Configured", c.Log.Configured)
	case (c.Log.Released == 0) != (c.Log.ReleasedEpoch == 0):
		return bad("Log.ReleasedEpoch", c.Log.ReleasedEpoch)
	case c.HardState.Epoch == 0 && c.HardState.Vote != 0:
		return bad("HardState", c.HardState)
	case c.Log.InDoubt:
		return fmt.Errorf("%w: Log.InDoubt: an acceptor that has forgotten what it promised cannot take part again: "+
			"remove the replica from the group and add it under a new id", consensus.ErrInvalid)
	}
	if err := checkConfiguration(max(c.Log.Released, c.Log.Configured), &c.Log.Configuration); err != nil {
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
		m.disk.acknowledge(d.Durable)
		if m.role == consensus.Leader {
			m.advance()
			m.goOn() // the own disk may be what a change waits for
		}
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

func (m *Machine) doneApplied(i consensus.Index) {
	if i > m.learned {
		panic(fmt.Sprintf("paxos: slot %d reported applied, learned is %d", i, m.learned))
	}
	m.applied = max(m.applied, i)
	if at := m.duty.installing; at != 0 && m.applied >= at {
		m.duty.installing = 0
		m.duty.ack = true
		m.electIfReady()
	}
}

// doneReleased forgets what is released. The fence there is what it was when the slot
// was decided, or lower; what matters is the fence at commit, which does not change.
func (m *Machine) doneReleased(i consensus.Index) {
	if i > m.applied {
		panic(fmt.Sprintf("paxos: log released up to %d, applied is %d", i, m.applied))
	}
	if m.role == consensus.Leader {
		m.settle(i)
	}
	fence := m.log.releasedFence
	for j := m.log.released + 1; j <= i; j++ {
		fence = max(fence, m.log.at(j).orig)
	}
	m.log.release(i, fence)
}

func (m *Machine) donePeer(id consensus.ReplicaID, s consensus.PeerState) {
	if m.role == consensus.Leader {
		if p := m.find(id); p != nil && p.flow == replicate {
			p.toProbe()
		}
		return
	}
	if s == consensus.PeerReset {
		m.leaderReset(id)
	}
}
