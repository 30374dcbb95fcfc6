package etcdraft

import (
	"fmt"

	etcd "go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
)

// collect takes raft's output after every input, so that what this machine knows of
// raft is never behind. The driver gets what has come together when it asks.
func (m *Machine) collect() {
	m.observe()
	for {
		switch {
		case m.node.HasReady():
			m.take(m.node.Ready())
		case len(m.queue.own) > 0 && !m.appendPending() && m.disk.settled():
			// They wait for a disk that has nothing to do.
			own := m.queue.own
			m.queue.own = nil
			for _, msg := range own {
				_ = m.node.Step(msg)
			}
			m.observe()
		default:
			return
		}
	}
}

// take distributes one Ready of raft's. Its fields repeat what is in its messages.
func (m *Machine) take(rd etcd.Ready) {
	for _, s := range rd.ReadStates {
		m.confirmed(s.RequestCtx, consensus.Index(s.Index))
	}
	var network []*raftpb.Message
	for _, msg := range rd.Messages {
		switch msg.GetTo() {
		case etcd.LocalAppendThread:
			m.takeAppend(msg)
		case etcd.LocalApplyThread:
			m.takeLearned(msg)
		default:
			network = append(network, msg)
		}
	}
	for _, msg := range network {
		m.send(msg)
	}
}

// observe compares with what raft has come to.
func (m *Machine) observe() {
	now := m.node.BasicStatus()
	hard := consensus.HardState{Epoch: consensus.Epoch(now.GetTerm()), Vote: consensus.ReplicaID(now.GetVote())}
	role, leader := roleOf[now.RaftState], consensus.ReplicaID(now.Lead)
	if m.role == consensus.Leader && (role != m.role || hard.Epoch != m.hard.Epoch) {
		if hard.Epoch == m.hard.Epoch { // nobody else has decided anything yet
			m.commit = consensus.Index(now.GetCommit())
			m.decided()
		}
		m.loseLead()
	}
	if role != m.role || leader != m.leader || hard.Epoch != m.hard.Epoch {
		m.queue.changed = true
	}
	if role == consensus.Follower && (m.role != role || hard.Epoch != m.hard.Epoch) {
		m.clock.draw()
	}
	if hard.Vote != m.hard.Vote && hard.Vote != 0 {
		m.clock.silent = 0
	}
	m.hard, m.role, m.leader, m.commit = hard, role, leader, consensus.Index(now.GetCommit())
	m.decided()
}

// takeAppend takes work for the disk and what waits for it. Raft writes a new commit
// index down, too; the contract does not (E4).
func (m *Machine) takeAppend(msg *raftpb.Message) {
	after, own := &m.queue.afterSync, &m.queue.own
	if !etcd.IsEmptySnap(msg.GetSnapshot()) {
		m.takeSnapshot(msg.GetSnapshot())
		after, own = &m.install.after, &m.install.own
	}
	for _, e := range msg.GetEntries() {
		m.takeEntry(e)
	}
	for _, r := range msg.GetResponses() {
		if r.GetTo() == uint64(m.id) {
			*own = append(*own, r)
		} else {
			*after = append(*after, m.outgoing(r))
		}
	}
}

func (m *Machine) takeEntry(e *raftpb.Entry) {
	i, epoch := consensus.Index(e.GetIndex()), consensus.Epoch(e.GetTerm())
	if i <= m.log.last() {
		m.log.truncate(i)
		m.disk.truncate(i)
		m.queue.truncateFrom(i)
		m.queue.changed = true // perhaps back to an older configuration
	}
	kind, data := consensus.EntryCommand, e.GetData()
	switch {
	case m.role == consensus.Leader:
		kind, data = m.ledEntry(e)
	case e.GetType() == raftpb.EntryConfChangeV2:
		kind = consensus.EntryMembership
	case epoch > m.log.lastEpoch():
		kind = consensus.EntryBarrier // E2
	}
	m.log.entries = append(m.log.entries, stub{epoch, uint32(len(data)), kind})
	if kind == consensus.EntryMembership {
		c, err := decodeMembership(data)
		if err != nil {
			panic(fmt.Sprintf("etcdraft: membership entry %d was not validated: %v", i, err))
		}
		m.log.confs = append(m.log.confs, configurationAt{i, c})
		m.queue.changed = true
		m.read.lease.Suspend()
	}
	m.queue.entries = append(m.queue.entries, consensus.Entry{
		Index: i, Epoch: epoch, Orig: epoch, Kind: kind, Data: data,
	})
}

// takeSnapshot replaces the log. Acknowledgements of entries that are now not going to
// be written must not leave; that they are lost is like a loss on the network.
func (m *Machine) takeSnapshot(s *raftpb.Snapshot) {
	in := &consensus.Snapshot{
		Index: consensus.Index(s.GetMetadata().GetIndex()), Epoch: consensus.Epoch(s.GetMetadata().GetTerm()),
		Configuration: fromConfState(s.GetMetadata().GetConfState()),
	}
	m.log.reset(in)
	m.disk.truncate(1) // nothing of the new log is durable before the install is
	m.queue.forgetEntries(in.Index)
	m.queue.afterSync = m.queue.afterSync[:0]
	m.queue.install, m.queue.changed = in, true
	m.active = in.Configuration.Clone()
	m.learned = in.Index
	m.install = install{index: in.Index}
}

func (m *Machine) takeLearned(msg *raftpb.Message) {
	for _, e := range msg.GetEntries() {
		if i := consensus.Index(e.GetIndex()); i != m.learned+1 {
			panic(fmt.Sprintf("etcdraft: learned %d after %d", i, m.learned))
		}
		m.learned++
		m.applying = append(m.applying, e)
	}
}

// send queues a message for the network. It waits for the disk if it has the own epoch
// and that is not durable yet (C3): etcd's raft itself would ask for votes at once, and
// after a crash could ask for them in the same epoch with another log.
func (m *Machine) send(in *raftpb.Message) {
	if in.GetType() == raftpb.MsgSnap {
		if m.role == consensus.Leader {
			m.queue.needSnapshot = append(m.queue.needSnapshot, consensus.ReplicaID(in.GetTo()))
		}
		return
	}
	msg := m.outgoing(in)
	if m.overhearing && msg.Kind == KindHeartbeatReply {
		return
	}
	if msg.Kind == KindTimeoutNow {
		m.read.lease.Forfeit()
	}
	if msg.Kind == KindHeartbeat {
		m.read.beat = max(m.read.beat, msg.Round)
	}
	if msg.Kind != KindPreVote && msg.Epoch > m.disk.hard.Epoch && !mutant.On(mutant.EtcdraftEpochBeforeDurable) {
		m.queue.afterSync = append(m.queue.afterSync, msg)
		return
	}
	m.queue.send = append(m.queue.send, msg)
}
