package etcdraft

import (
	"errors"
	"fmt"
	"slices"

	etcd "go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
)

// proposeCommands appends commands, all or none.
func (m *Machine) proposeCommands(commands []consensus.Command) error {
	if len(commands) == 0 {
		return fmt.Errorf("%w: no commands", consensus.ErrInvalid)
	}
	if to := m.transferee(); to != 0 {
		return fmt.Errorf("%w: to %v", consensus.ErrTransferring, to)
	}
	// Raft counts bytes of data only and would take empty commands without end.
	if open := len(m.lead.ids); open > 0 && uint64(open+len(commands))*entryOverhead > m.limit.uncommittedCost {
		return fmt.Errorf("%w: %d entries undecided", consensus.ErrBusy, open)
	}
	msg := &raftpb.Message{Type: raftpb.MsgProp.Enum(), From: new(uint64(m.id))}
	m.proposing = proposing{}
	for i := range commands {
		msg.Entries = append(msg.Entries, &raftpb.Entry{Data: commands[i].Data})
		m.proposing.ids = append(m.proposing.ids, commands[i].ID)
	}
	return m.proposed(m.node.Step(msg))
}

// proposed collects the entries that raft has made of a proposal, or says why there
// are none.
func (m *Machine) proposed(err error) error {
	defer func() { m.proposing = proposing{} }()
	if errors.Is(err, etcd.ErrProposalDropped) {
		return fmt.Errorf("%w: %d bytes may be undecided", consensus.ErrBusy, m.limit.uncommittedCost)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", consensus.ErrInvalid, err)
	}
	m.collect()
	return nil
}

// ledEntry takes note of an entry that this leader has appended. It returns the
// entry's kind and data, as the driver is to have them: the first entry of an epoch
// is its barrier, and a membership entry has raft's change in it.
func (m *Machine) ledEntry(e *raftpb.Entry) (consensus.EntryKind, []byte) {
	i := consensus.Index(e.GetIndex())
	if m.lead.start == 0 {
		m.lead = leadership{start: i, first: i, ids: append(m.lead.ids[:0], 0)}
		return consensus.EntryBarrier, nil
	}
	id := consensus.ProposalID(0)
	if len(m.proposing.ids) > 0 {
		id, m.proposing.ids = m.proposing.ids[0], m.proposing.ids[1:]
	}
	m.lead.ids = append(m.lead.ids, id)
	switch {
	case e.GetType() != raftpb.EntryConfChangeV2:
		return consensus.EntryCommand, e.GetData()
	case m.proposing.configuration != nil:
		return consensus.EntryMembership, m.proposing.configuration
	}
	final := consensus.Configuration{Membership: m.log.newest().Membership}
	return consensus.EntryMembership, consensus.AppendConfiguration(nil, &final)
}

// decided forgets proposals that the driver will see among the learned.
func (m *Machine) decided() {
	if l := &m.lead; m.role == consensus.Leader && l.start != 0 && m.commit >= l.first {
		n := min(len(l.ids), int(m.commit+1-l.first))
		l.ids, l.first = l.ids[n:], l.first+consensus.Index(n)
	}
}

// loseLead ends what only a leader can bring to its end (C8): what is behind the
// commit index may still be decided, read barriers never entered a log.
func (m *Machine) loseLead() {
	ends := &m.queue.unknown
	if mutant.On(mutant.EtcdraftUnknownAsDropped) {
		ends = &m.queue.dropped
	}
	for _, id := range m.lead.ids {
		if id != 0 {
			*ends = append(*ends, id)
		}
	}
	m.lead = leadership{}
	m.read.drop(&m.queue.dropped)
	m.queue.needSnapshot = m.queue.needSnapshot[:0]
	m.queue.send = slices.DeleteFunc(m.queue.send, func(msg consensus.Message) bool {
		return msg.Kind == KindAppend // their entries may be about to go
	})
}

// transferee is who leadership is being handed to, zero: nobody.
func (m *Machine) transferee() consensus.ReplicaID {
	return consensus.ReplicaID(m.node.BasicStatus().LeadTransferee)
}

// proposeTransfer hands leadership to a voter. Raft gives up after an election timeout.
func (m *Machine) proposeTransfer(to consensus.ReplicaID) error {
	if now := m.transferee(); now != 0 {
		return fmt.Errorf("%w: to %v", consensus.ErrTransferring, now)
	}
	if to == 0 {
		to = m.successor()
	}
	if to == m.id || !slices.Contains(m.active.Voters, to) {
		return fmt.Errorf("%w: %v is not another voter", consensus.ErrInvalid, to)
	}
	m.node.TransferLeader(uint64(to))
	m.collect()
	return nil
}

// successor is the other voter with the most of the log, zero if there is none.
// Those heard from lately come first, then low ids.
func (m *Machine) successor() consensus.ReplicaID {
	progress := m.node.Status().Progress
	best := consensus.ReplicaID(0)
	for _, id := range m.active.Voters { // ascending
		p, ok := progress[uint64(id)]
		if !ok || id == m.id {
			continue
		}
		b := progress[uint64(best)]
		if best == 0 || p.RecentActive && !b.RecentActive || p.RecentActive == b.RecentActive && p.Match > b.Match {
			best = id
		}
	}
	return best
}
