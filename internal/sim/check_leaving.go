package sim

import (
	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/raft"
	"github.com/quorate/quorate/internal/shard"
)

// leaving checks a message at the moment when it leaves its node: nothing is said
// that a crash could take back. Keeps C3 and C4 of package consensus and H3 of
// package shard. The rules are those of consensus/raft's messages.
func (c *checkers) leaving(n *simNode, m *consensus.Message) {
	facts := c.shard(shard.ID(m.Group))
	r := facts.replicas[m.From]
	if r == nil {
		c.s.violate("leaving", "%s sends a message of the unknown replica %v", n.name(), m.From)
	}
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
}

func (c *checkers) checkVote(facts *shardFacts, r *replicaFacts, epoch consensus.Epoch, vote consensus.ReplicaID, m *consensus.Message) {
	if r.votes[epoch] != vote {
		c.s.violate("vote-durable", "shard %d replica %v sends a %s to %v in epoch %d, its durable vote there is %v",
			facts.id, r.id, raft.KindName(m.Kind), m.To, epoch, r.votes[epoch])
	}
}

// checkDecidedByOwn: a Raft leader decides by counting only entries of its own epoch;
// what earlier ones left behind is decided together with those. Reference: Raft §5.4.2.
func (m *checkedMachine) checkDecidedByOwn(st *consensus.Status, last consensus.Index) {
	if epoch := m.facts.decided[last-1].epoch; epoch != st.HardState.Epoch {
		m.s.violate("commit-rule", "shard %d leader %v of epoch %d decides up to entry %d, which is of epoch %d",
			m.facts.id, st.ID, st.HardState.Epoch, last, epoch)
	}
}
