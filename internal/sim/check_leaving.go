package sim

import (
	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/etcdraft"
	"github.com/quorate/quorate/consensus/paxos"
	"github.com/quorate/quorate/consensus/raft"
	"github.com/quorate/quorate/internal/shard"
)

// leaving checks a message at the moment when it leaves its node: nothing is said
// that a crash could take back. Keeps C3 and C4 of package consensus and H3 of
// package shard.
func (c *checkers) leaving(n *simNode, m *consensus.Message) {
	if m.Kind == shard.KindRest {
		c.restLeaving(m)
		return
	}
	facts := c.shard(shard.ID(m.Group))
	r := facts.replicas[m.From]
	if r == nil {
		c.s.violate("leaving", "%s sends a message of the unknown replica %v", n.name(), m.From)
	}
	if facts.sparse != nil {
		c.acceptorLeaving(facts, r, m)
		return
	}
	c.raftLeaving(facts, r, m)
}

// restLeaving: a leader rests only beside followers that have all it has, durably (H11 of
// package shard).
func (c *checkers) restLeaving(m *consensus.Message) {
	if m.Group == 0 {
		c.s.report.count("rest node lives")
		return
	}
	if m.Epoch == 0 {
		c.s.report.count("rest seek leader")
		return
	}
	c.s.report.count("rest group")
	facts := c.shard(shard.ID(m.Group))
	for _, id := range []consensus.ReplicaID{m.From, m.To} {
		if r := facts.replicas[id]; r == nil || facts.sparse == nil && r.durable.last() < m.Index {
			c.s.violate("rest", "shard %d rests at %d, replica %v has not got that on disk", facts.id, m.Index, id)
		}
	}
}

// raftLeaving has the rules of consensus/raft's messages. Those of etcdraft have the same
// kinds, as far as they are looked at here.
func (c *checkers) raftLeaving(facts *shardFacts, r *replicaFacts, m *consensus.Message) {
	trial := m.Kind == raft.KindPreVote || m.Kind == raft.KindPreVoteReply && !m.Reject
	if !trial && m.Epoch > r.hard.Epoch {
		c.s.violate("own-epoch", "shard %d replica %v sends a %s of epoch %d, durable is %+v",
			facts.id, m.From, raft.KindName(m.Kind), m.Epoch, r.hard)
	}
	switch {
	case m.Kind == raft.KindVote:
		c.checkVote(facts, r, m.Epoch, m.From, m)
	case m.Kind == raft.KindVoteReply && !m.Reject:
		c.checkVote(facts, r, m.Epoch, m.To, m)
	case m.Kind == raft.KindAppendReply && !m.Reject, m.Kind == raft.KindHeartbeatReply:
		// A reply of an earlier epoch says nothing to anybody any more.
		if last := r.durable.last(); m.Epoch == r.hard.Epoch && m.Index > last {
			c.s.violate("acknowledged-durable", "shard %d replica %v sends a %s up to %d, durable is %d",
				facts.id, m.From, raft.KindName(m.Kind), m.Index, last)
		}
	case m.Kind == raft.KindAppend:
		c.checkFilled(facts, m)
	}
}

// checkFilled: what a message carries was written so, and not in a later epoch.
func (c *checkers) checkFilled(facts *shardFacts, m *consensus.Message) {
	for i := range m.Entries {
		e := &m.Entries[i]
		if e.Epoch > m.Epoch {
			c.s.violate("filled", "shard %d replica %v sends entry %d of epoch %d in a message of epoch %d", facts.id, m.From, e.Index, e.Epoch, m.Epoch)
		}
		if fact, ok := facts.entries[entryKey{e.Index, e.Epoch}]; !ok || fact.hash != entryHash(e) {
			c.s.violate("filled", "shard %d replica %v sends entry %d of epoch %d, which nobody appended so", facts.id, m.From, e.Index, e.Epoch)
		}
	}
}

// acceptorLeaving has the rules of consensus/paxos's messages.
func (c *checkers) acceptorLeaving(facts *shardFacts, r *replicaFacts, m *consensus.Message) {
	trial := m.Kind == paxos.KindPrePrepare || m.Kind == paxos.KindPrePrepareReply && !m.Reject
	if !trial && m.Epoch > r.hard.Epoch {
		c.s.violate("own-epoch", "shard %d replica %v sends a %s of epoch %d, durable is %+v",
			facts.id, m.From, paxos.KindName(m.Kind), m.Epoch, r.hard)
	}
	c.checkFilled(facts, m)
	switch m.Kind {
	case paxos.KindPromise:
		if !m.Reject {
			c.checkReport(facts, r, m)
		}
	case paxos.KindAccepted, paxos.KindHeartbeatReply:
		c.checkAccepted(facts, r, m, consensus.Span{Lo: r.acceptor.durable.base + 1, Hi: m.Index + 1})
	case paxos.KindAcceptedApart:
		c.checkAccepted(facts, r, m, consensus.Span{Lo: m.Index + 1, Hi: m.Hint + 1})
	}
	if known := max(r.acceptor.durable.decided, r.acceptor.durable.base); m.Kind == paxos.KindHeartbeatReply && m.Commit > known {
		c.s.violate("acknowledged-durable", "shard %d replica %v says that it knows slots up to %d decided, durable is %d", facts.id, m.From, m.Commit, known)
	}
}

// checkReport: a promise is durable, and reports all that the acceptor has accepted, as it
// is; what it has accepted since of the very leader that it promises to does no harm.
// Reference: P2 and P3 of consensus/paxos.
func (c *checkers) checkReport(facts *shardFacts, r *replicaFacts, m *consensus.Message) {
	c.checkPromised(facts, r, m)
	reported := make(map[consensus.Index]consensus.Epoch, len(m.Entries))
	for k := range m.Entries {
		reported[m.Entries[k].Index] = m.Entries[k].Epoch
	}
	for i := m.Index + 1; i <= m.Hint; i++ {
		if a, ok := r.acceptor.durable.slots[i]; ok && a.epoch > reported[i] && a.epoch < m.Epoch {
			c.s.violate("report", "shard %d replica %v promises epoch %d and reports slot %d of epoch %d, it has accepted %+v",
				facts.id, m.From, m.Epoch, i, reported[i], a)
		}
	}
	if uint64(m.Hint) < m.Round {
		return // there is more to come
	}
	for i, a := range r.acceptor.durable.slots {
		if i > m.Hint && a.epoch < m.Epoch {
			c.s.violate("report", "shard %d replica %v promises epoch %d and ends its report at %d, it has accepted %+v in slot %d",
				facts.id, m.From, m.Epoch, m.Hint, a, i)
		}
	}
}

func (c *checkers) checkPromised(facts *shardFacts, r *replicaFacts, m *consensus.Message) {
	if vote, ok := r.votes[m.Epoch]; r.hard.Epoch < m.Epoch || !ok || vote != m.To {
		c.s.violate("vote-durable", "shard %d replica %v promises epoch %d to %v, its durable promise there is to %v", facts.id, r.id, m.Epoch, m.To, vote)
	}
}

// checkAccepted: what is acknowledged in an epoch is decided, or accepted in it and durable.
func (c *checkers) checkAccepted(facts *shardFacts, r *replicaFacts, m *consensus.Message, span consensus.Span) {
	if m.Epoch != r.hard.Epoch {
		return // to nobody any more
	}
	for i := max(span.Lo, consensus.Index(len(facts.decided))+1); i < span.Hi; i++ {
		if a := r.acceptor.durable.slots[i]; a.epoch != m.Epoch {
			c.s.violate("acknowledged-durable", "shard %d replica %v acknowledges slots up to %d in epoch %d, slot %d is %+v",
				facts.id, m.From, span.Hi-1, m.Epoch, i, a)
		}
	}
}

func (c *checkers) checkVote(facts *shardFacts, r *replicaFacts, epoch consensus.Epoch, vote consensus.ReplicaID, m *consensus.Message) {
	if r.votes[epoch] != vote {
		c.s.violate("vote-durable", "shard %d replica %v sends a %s to %v in epoch %d, its durable vote there is %v",
			facts.id, r.id, raft.KindName(m.Kind), m.To, epoch, r.votes[epoch])
	}
}

// checkDecidedByOwn: a Raft leader decides by counting only entries of its own epoch;
// what earlier ones left behind is decided together with those. Reference: Raft §5.4.2.
// etcd's hands out what is decided when it is durable there, too, and may lead by then.
func (m *checkedMachine) checkDecidedByOwn(st *consensus.Status, last consensus.Index) {
	if m.s.engineOf(m.facts.id).Name == etcdraft.Engine.Name {
		return
	}
	if epoch := m.facts.decided[last-1].epoch; epoch != st.HardState.Epoch {
		m.s.violate("commit-rule", "shard %d leader %v of epoch %d decides up to entry %d, which is of epoch %d",
			m.facts.id, st.ID, st.HardState.Epoch, last, epoch)
	}
}
