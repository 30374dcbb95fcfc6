package etcdraft

import (
	"fmt"
	"math"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/quorate/quorate/consensus"
)

// confState is a configuration in etcd's words. A voter of the previous membership
// that the target makes a learner is not one yet: etcd keeps it in LearnersNext.
func confState(c *consensus.Configuration) *raftpb.ConfState {
	cs := &raftpb.ConfState{Voters: plain(c.Voters), VotersOutgoing: plain(c.Outgoing)}
	for _, id := range c.Learners {
		if slices.Contains(c.Outgoing, id) {
			cs.LearnersNext = append(cs.LearnersNext, uint64(id))
		} else {
			cs.Learners = append(cs.Learners, uint64(id))
		}
	}
	if c.Joint() {
		cs.AutoLeave = new(true)
	}
	return cs
}

func plain(ids []consensus.ReplicaID) []uint64 {
	var out []uint64
	for _, id := range ids {
		out = append(out, uint64(id))
	}
	return out
}

// fromConfState is the reverse of confState.
func fromConfState(cs *raftpb.ConfState) consensus.Configuration {
	var c consensus.Configuration
	c.Voters, c.Outgoing = replicas(cs.GetVoters()), replicas(cs.GetVotersOutgoing())
	c.Learners = replicas(slices.Concat(cs.GetLearners(), cs.GetLearnersNext()))
	slices.Sort(c.Voters)
	slices.Sort(c.Outgoing)
	slices.Sort(c.Learners)
	return c
}

func replicas(ids []uint64) []consensus.ReplicaID {
	var out []consensus.ReplicaID
	for _, id := range ids {
		out = append(out, consensus.ReplicaID(id))
	}
	return out
}

// changes are what leads from one membership to another.
func changes(from, to *consensus.Membership) []*raftpb.ConfChangeSingle {
	var list []*raftpb.ConfChangeSingle
	add := func(t raftpb.ConfChangeType, id consensus.ReplicaID) {
		list = append(list, &raftpb.ConfChangeSingle{Type: t.Enum(), NodeId: new(uint64(id))})
	}
	for _, id := range to.Voters {
		if !slices.Contains(from.Voters, id) {
			add(raftpb.ConfChangeAddNode, id)
		}
	}
	for _, id := range to.Learners {
		if !slices.Contains(from.Learners, id) {
			add(raftpb.ConfChangeAddLearnerNode, id)
		}
	}
	for _, id := range slices.Concat(from.Voters, from.Learners) {
		if !slices.Contains(to.Voters, id) && !slices.Contains(to.Learners, id) {
			add(raftpb.ConfChangeRemoveNode, id)
		}
	}
	return list
}

// enterJoint is the one change that leads from a membership into the joint
// configuration before another.
func enterJoint(from, to *consensus.Membership) *raftpb.ConfChangeV2 {
	return &raftpb.ConfChangeV2{
		Transition: raftpb.ConfChangeTransitionJointImplicit.Enum(),
		Changes:    changes(from, to),
	}
}

// transition lists the changes that bring etcd's raft from one configuration to
// another. Between neighbours in a log that is one change. A replica that joins with
// an empty log knows no first configuration and needs a few more, one replica each:
// additions first, because etcd refuses to be without a voter.
func transition(from, to *consensus.Configuration) []*raftpb.ConfChangeV2 {
	var list []*raftpb.ConfChangeV2
	now := from.Membership
	if from.Joint() {
		list = append(list, &raftpb.ConfChangeV2{})
	}
	base := to.Membership
	if to.Joint() {
		base = consensus.Membership{Voters: to.Outgoing}
		if slices.Equal(base.Voters, now.Voters) {
			base = now // the learners change with the voters
		}
	}
	for _, c := range changes(&now, &base) {
		list = append(list, &raftpb.ConfChangeV2{Changes: []*raftpb.ConfChangeSingle{c}})
	}
	if to.Joint() {
		list = append(list, enterJoint(&base, &to.Membership))
	}
	return list
}

// activate makes raft work with the configuration of an entry that was applied.
func (m *Machine) activate(c *consensus.Configuration) {
	for _, change := range transition(&m.active, c) {
		m.node.ApplyConfChange(change)
	}
	m.active = c.Clone()
}

// proposeMembership starts the change to a target.
func (m *Machine) proposeMembership(id consensus.ProposalID, target *consensus.Membership) error {
	if err := checkMembership(target); err != nil {
		return err
	}
	if to := m.transferee(); to != 0 {
		return fmt.Errorf("%w: to %v", consensus.ErrTransferring, to)
	}
	if at := m.pendingChange(); at > m.log.applied || m.active.Joint() {
		return fmt.Errorf("%w: at index %d, applied is %d", consensus.ErrMembershipPending, at, m.log.applied)
	}
	joint := consensus.Configuration{Membership: *target, Outgoing: m.active.Voters}
	change := enterJoint(&m.active.Membership, target)
	if len(change.Changes) == 0 { // to raft this would be the end of a change
		change.Changes = []*raftpb.ConfChangeSingle{{
			Type: raftpb.ConfChangeUpdateNode.Enum(), NodeId: new(uint64(m.id)),
		}}
	}
	m.proposing = proposing{ids: []consensus.ProposalID{id}, configuration: consensus.AppendConfiguration(nil, &joint)}
	err := m.node.ProposeConfChange(change)
	if err != nil {
		m.lead.refused = m.log.last() + 1
	}
	return m.proposed(err)
}

// pendingChange is the last index that may be a membership entry, as raft reckons
// it: it takes no further change until that is applied.
func (m *Machine) pendingChange() consensus.Index {
	return max(m.lead.start-1, m.log.newest().index, m.lead.refused)
}

// overhear learns from a message about votes what is decided, if it is in this log.
//
// Raft takes a membership into force when its entry is applied. Replicas that have the
// entry by which a change ends, but do not know that it is decided, still ask the
// voters of before; and those, if they do know, are no voters any more and cannot lead,
// but may have longer logs and refuse. If the leader is gone, too, none of them would
// ever be elected. What a refusal says of decisions helps the asker on. An entry is the
// same wherever index and epoch are, and so is the log before it; a heartbeat is how
// raft is told, and it must forget its sender at once, who does not lead.
func (m *Machine) overhear(msg *consensus.Message) {
	news := speaksOfVotes(msg.Kind) && msg.Commit > m.commit && m.log.epochAt(msg.Commit) == msg.HintEpoch
	if !news || msg.Commit > m.log.last() || m.role == consensus.Leader || m.leader != 0 || m.install.index != 0 {
		return
	}
	m.overhearing = true
	_ = m.node.Step(&raftpb.Message{
		Type: raftpb.MsgHeartbeat.Enum(), To: new(uint64(m.id)), From: new(uint64(msg.From)),
		Term: new(uint64(m.hard.Epoch)), Commit: new(uint64(msg.Commit)),
	})
	_ = m.node.ForgetLeader() // refused only with leases on a clock, which are off
	m.collect()
	m.overhearing = false
}

// leaveJoint ends a joint configuration if raft has not done so. It does when an
// entry is applied, but not while leadership is being transferred, and nothing may
// be applied for a long time after the transfer failed.
func (m *Machine) leaveJoint() {
	if m.role != consensus.Leader || !m.active.Joint() || m.pendingChange() > m.log.applied || m.transferee() != 0 {
		return
	}
	m.proposing = proposing{}
	_ = m.node.ProposeConfChange(&raftpb.ConfChangeV2{}) // if refused: again with the next tick
}

// reserved are ids that etcd's raft gives to parts of itself.
func reserved(id consensus.ReplicaID) bool { return id >= math.MaxUint64-1 }

func checkMembership(c *consensus.Membership) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if c.WriteQuorum != 0 {
		return fmt.Errorf("%w: raft decides by majority, not by write quorum %d", consensus.ErrInvalid, c.WriteQuorum)
	}
	if slices.ContainsFunc(slices.Concat(c.Voters, c.Learners), reserved) {
		return fmt.Errorf("%w: membership has a reserved id", consensus.ErrInvalid)
	}
	return nil
}

func decodeMembership(data []byte) (consensus.Configuration, error) {
	c, err := consensus.DecodeConfiguration(data)
	if err == nil {
		err = checkMembership(&c.Membership)
	}
	if err == nil && slices.ContainsFunc(c.Outgoing, reserved) {
		err = fmt.Errorf("%w: outgoing voters have a reserved id", consensus.ErrInvalid)
	}
	if err != nil {
		return consensus.Configuration{}, fmt.Errorf("%w: %w", consensus.ErrMalformed, err)
	}
	return c, nil
}

// checkConfiguration refuses an impossible configuration of a snapshot or a log's
// beginning. It may be empty: a replica that joins with an empty log does not know
// the configuration before the first membership entry.
func checkConfiguration(c *consensus.Configuration) error {
	if len(c.Voters)+len(c.Learners)+len(c.Outgoing) == 0 {
		return nil
	}
	_, err := decodeMembership(consensus.AppendConfiguration(nil, c))
	return err
}

// unchanging reports whether no change of membership is under way.
func (m *Machine) unchanging() bool {
	return !m.active.Joint() && m.log.confs[len(m.log.confs)-1].index <= m.log.applied
}
