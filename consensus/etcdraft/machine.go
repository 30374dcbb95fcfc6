package etcdraft

import (
	"fmt"

	etcd "go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/internal/lease"
	"github.com/quorate/quorate/consensus/mutant"
)

// Engine makes machines that run etcd's Raft.
var Engine = consensus.Engine{
	Name:     "etcdraft",
	New:      func(c consensus.Config) (consensus.Machine, error) { return New(c) },
	KindName: KindName,
	Leases:   true,
}

// Machine is one replica of one group. It implements consensus.Machine.
type Machine struct {
	group consensus.GroupID
	id    consensus.ReplicaID
	limit limits
	node  *etcd.RawNode
	log   entryLog // etcd's Storage
	disk  durability

	// What raft had come to after the latest input (observe).
	hard   consensus.HardState
	role   consensus.Role
	leader consensus.ReplicaID
	commit consensus.Index

	// learned is the last index that raft gave for applying, handed the last one that
	// the driver was given. Invariant: applied <= handed <= learned <= commit.
	learned, handed consensus.Index
	// applying are the entries (applied, learned]. Raft wants them back.
	applying []*raftpb.Entry
	// active is the configuration that raft works with: that of the last membership
	// entry that was applied.
	active  consensus.Configuration
	install install

	// overhearing is set while raft is told what is decided by a heartbeat that nobody
	// sent; its answer is for nobody.
	overhearing bool

	clock     clock
	bound     lease.Voter
	lead      leadership
	proposing proposing
	read      reads
	queue     queue
	ready     consensus.Ready
}

// limits are the bounds of Config that raft does not keep.
type limits struct {
	uncommittedCost uint64
	readRounds      int
}

// install is a snapshot that the driver is installing. Nothing is appended meanwhile.
type install struct {
	index consensus.Index // zero: none
	// after are the messages that say that the snapshot is there, own those that tell
	// raft so.
	after []consensus.Message
	own   []*raftpb.Message
}

// leadership is what only a leader knows; it ends with the epoch.
type leadership struct {
	// refused is where a change would have stood that raft refused for want of room: it
	// takes no other one before that index is applied.
	refused consensus.Index
	// start is the index of the barrier that opened the epoch.
	start consensus.Index
	// ids are the proposals in flight: ids[k] belongs to index first+k.
	// Invariant: first+len(ids) is behind the log's last index.
	ids   []consensus.ProposalID
	first consensus.Index
}

// proposing is what raft does not carry for entries that are being proposed.
type proposing struct {
	ids           []consensus.ProposalID
	configuration []byte // of a membership entry
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

// Step implements consensus.Machine.
func (m *Machine) Step(msg consensus.Message) error {
	if err := m.validate(&msg); err != nil {
		return err
	}
	if m.install.index != 0 && (msg.Kind == KindAppend || msg.Kind == KindSnapshot) {
		return nil // the log is being replaced; the leader sends it again
	}
	if m.bound.On() && !m.frees(&msg) {
		return nil
	}
	if err := m.node.Step(incoming(&msg)); err != nil {
		return m.malformed(&msg, err.Error())
	}
	m.collect()
	m.overhear(&msg)
	if fromLeader(msg.Kind) && msg.Epoch == m.hard.Epoch && msg.From == m.leader {
		m.clock.heard()
		m.bound.Heard(m.leader, m.hard.Epoch)
	}
	return nil
}

// frees reports whether a lease lets raft see a message (C12): raft would vote, or
// campaign, as soon as it has forgotten its leader.
func (m *Machine) frees(msg *consensus.Message) bool {
	switch {
	case msg.Epoch < m.hard.Epoch:
		return true // it is refused
	case msg.Kind == KindTimeoutNow:
		m.bound.Release(msg.Epoch + 1)
	case msg.Kind == KindVote && msg.Force:
		m.bound.Release(msg.Epoch)
	}
	asked := msg.Kind == KindPreVote || msg.Kind == KindVote
	return !asked || m.bound.Free() || m.leader == 0 && mutant.On(mutant.LeaseEpochFrees)
}

// Tick implements consensus.Machine.
func (m *Machine) Tick() {
	m.bound.Tick()
	if m.role == consensus.Leader {
		m.node.Tick()
		m.leaveJoint()
	} else {
		m.tickElection()
	}
	m.collect()
	m.queue.trim()
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
	m.collect()
}

// doneDurable tells raft what the disk now holds: the messages to itself that waited
// for it.
func (m *Machine) doneDurable(seq consensus.Seq) {
	for _, own := range m.disk.acknowledge(seq) {
		_ = m.node.Step(own) // stale ones are refused, which is right
	}
	m.collect()
}

// doneApplied gives raft the applied entries back. Raft takes a membership into force
// when its entry is applied, and so it must be there before the entry counts as that.
func (m *Machine) doneApplied(i consensus.Index) {
	if i > m.handed {
		panic(fmt.Sprintf("etcdraft: index %d reported applied, learned is %d", i, m.handed))
	}
	n := 0
	for n < len(m.applying) && m.applying[n].GetIndex() <= uint64(i) {
		e := m.applying[n]
		if e.GetType() == raftpb.EntryConfChangeV2 && m.install.index == 0 {
			m.activate(m.log.confAt(consensus.Index(e.GetIndex())))
		}
		n++
	}
	m.log.applied = max(m.log.applied, i)
	if n > 0 {
		_ = m.node.Step(&raftpb.Message{
			Type: raftpb.MsgStorageApplyResp.Enum(), To: new(uint64(m.id)), From: new(etcd.LocalApplyThread),
			Entries: m.applying[:n:n],
		})
		m.applying = m.applying[n:]
	}
	if at := m.install.index; at != 0 && i >= at {
		m.finishInstall()
	}
}

func (m *Machine) doneReleased(i consensus.Index) {
	if i > m.log.applied {
		panic(fmt.Sprintf("etcdraft: log released up to %d, applied is %d", i, m.log.applied))
	}
	m.log.release(i)
}

func (m *Machine) donePeer(id consensus.ReplicaID, s consensus.PeerState) {
	switch {
	case m.role == consensus.Leader:
		m.node.ReportUnreachable(uint64(id))
	case s == consensus.PeerReset && id == m.leader && m.role == consensus.Follower:
		m.leaderReset()
	}
}

func (m *Machine) doneSnapshotSent(s consensus.SnapshotSent) {
	if m.role != consensus.Leader {
		return
	}
	status := etcd.SnapshotFailure
	if s.OK {
		status = etcd.SnapshotFinish
	}
	m.node.ReportSnapshot(uint64(s.To), status)
}

// finishInstall runs when the driver has the snapshot installed and recorded in its
// log. What was to follow may still have to wait for the hard state.
func (m *Machine) finishInstall() {
	done := m.install
	m.install = install{}
	m.disk.index = done.index
	for _, own := range done.own {
		_ = m.node.Step(own)
	}
	m.queue.afterSync = append(m.queue.afterSync, done.after...)
}
