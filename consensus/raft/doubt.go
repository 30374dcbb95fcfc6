package raft

import (
	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
)

// A replica whose log has lost what was durable is in doubt (C10): it may have voted
// in epochs that it has forgotten, and acknowledged entries that it no longer has. It
// follows, and stores what it is sent, but it takes no part in elections, and every
// answer that it gives says so. The leader counts none of these answers. It proposes a
// barrier, the witness, and once that is decided, which a quorum has then done without
// the replica, tells the replica so with its next message. When the replica has decided
// as much itself, its log is the leader's up to the witness or beyond, and it writes that
// it is repaired.
//
// Why that is enough (R10). Count the replica as dead from its crash on, and as another
// one afterwards: nothing it said in between was counted. Every candidate that it voted
// for before the crash began its election before the witness was proposed, so without
// the witness in its log; by leader completeness none of them leads an epoch above the
// witness's any more. And what the replica has helped to decide is in the log of the
// leader that decided the witness, by leader completeness again, so it is in the
// replica's own log when it begins to vote.
//
// A leader's confirmation in a read round is no substitute: it says nothing about a
// later epoch, in which the replica may have voted, and whose candidate needs only one
// more vote.

// doubt is what a replica knows of its own doubt; without one all is zero.
type doubt struct {
	// name tells this doubt, of this life of the replica, from all others.
	name uint64
	// until is the index that ends it; zero: not known yet.
	until consensus.Index
	// repaired is set once the end is on its way to the disk, in the append seq.
	repaired bool
	seq      consensus.Seq
}

// abstains reports whether this replica takes no part in elections.
func (m *Machine) abstains() bool { return m.doubt.name != 0 && !mutant.On(mutant.RaftVoteInDoubt) }

// reassured notes that the leader has decided what ends our doubt.
func (m *Machine) reassured(msg *consensus.Message) {
	if d := &m.doubt; d.name != 0 && msg.Doubt == d.name && d.until == 0 {
		d.until = msg.Commit
	}
}

// settleDoubt has the end of our doubt written, once it has come. The leader of this
// epoch has won its election, with or without a vote of ours that we may have forgotten:
// a vote for it binds us to what is so already.
func (m *Machine) settleDoubt() {
	d := &m.doubt
	if d.until == 0 || m.commit < d.until || m.duty.installing != 0 || d.repaired {
		return
	}
	d.repaired = true
	if m.hard.Vote == 0 {
		m.hard.Vote = m.leader
	}
}

// fillRepaired adds the end of our doubt to an append, which is the one after all
// entries that it rests on.
func (m *Machine) fillRepaired(a *consensus.Append) {
	a.Repaired = m.doubt.repaired && m.doubt.seq == 0
}

// doubtEnds takes part again once the disk says so too.
func (m *Machine) doubtEnds() {
	if d := &m.doubt; d.seq != 0 && m.disk.durable >= d.seq {
		*d = doubt{}
		m.resetElectionTimer()
		m.queue.changed = true
	}
}

// answered takes note of who answers a leader, and whether the answer counts.
func (m *Machine) answered(msg *consensus.Message) *peer {
	p := m.find(msg.From)
	if msg.Doubt != p.doubt {
		m.doubted(p, msg.Doubt)
	}
	p.active = true
	if p.doubt == 0 || mutant.On(mutant.RaftCountDoubtful) {
		p.round = max(p.round, msg.Round)
	}
	return p
}

// doubted starts over with a peer that is newly in doubt, or no longer: what it has said
// in the one state must not count in the other. Late answers may lead back and forth;
// each time the doubt gets a witness that is younger than it.
func (m *Machine) doubted(p *peer, name uint64) {
	p.lead(m.log.last + 1)
	if p.doubt = name; name == 0 {
		return
	}
	if p.id == m.lead.transferee {
		m.lead.deadline = 1 // it would not campaign: give up with the next tick
	}
	m.appendOwn(consensus.EntryBarrier, nil, 0)
	p.witness = m.log.last
}

// settled is what a leader's message to a peer says about the peer's doubt.
func (m *Machine) settled(p *peer) uint64 {
	if m.commit < p.witness {
		return 0
	}
	return p.doubt
}
