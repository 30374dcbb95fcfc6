package sim

import (
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/etcdraft"
	"github.com/quorate/quorate/internal/shard"
)

// shardFacts is what must be true of a shard once and for all.
type shardFacts struct {
	id       shard.ID
	leaders  map[consensus.Epoch]leadership
	entries  map[entryKey]entryFact
	decided  []decision      // by index, from 1
	fence    consensus.Epoch // the highest first epoch decided
	proposed map[consensus.Epoch]*proposals
	sparse   *sparseFacts // nil: logs have no holes
	replicas map[consensus.ReplicaID]*replicaFacts

	oracle        *oracle
	led           time.Duration             // since when its latest leader has applied an entry of its own
	ledIn         consensus.Epoch           // the epoch of that leader
	configuration consensus.Configuration   // the latest decided
	configured    consensus.Index           // the entry that brought it, zero for the first
	memberships   []consensus.Configuration // all that were decided, the first one included
	acked         uint64                    // highest index that a client was told of
	blind         map[string][]blindOp      // single-key operations by key
}

// proposals are what the leader of an epoch was given, in order; those before next are
// decided, or never will be.
type proposals struct {
	hashes []uint64
	next   int
}

type leadership struct {
	replica consensus.ReplicaID
	boot    int
}

type entryKey struct {
	index consensus.Index
	epoch consensus.Epoch
}

type entryFact struct {
	hash      uint64
	prevEpoch consensus.Epoch
	entry     consensus.Entry
}

type decision struct {
	epoch consensus.Epoch // of the entry
	by    consensus.Epoch // in which it was decided
	hash  uint64
}

// replicaFacts outlive the replica's process: they are what its disk must hold.
type replicaFacts struct {
	id      consensus.ReplicaID
	shadow  shadowLog
	durable shadowLog
	hard    consensus.HardState                     // as durable
	votes   map[consensus.Epoch]consensus.ReplicaID // as durable
	last    consensus.HardState                     // as last appended
	pending []pendingAppend
	learned consensus.Index // highest learned in this life
	// doubt: the disk has lost something. What the replica acknowledged before was
	// true then and is in lost; what it says in doubt counts for nothing.
	doubt bool
	lost  shadowLog

	acceptor *acceptorFacts // of a sparse log, in place of shadow and durable
}

type pendingAppend struct {
	seq      consensus.Seq
	hard     *consensus.HardState
	truncate consensus.Index
	entries  []shadowEntry
	first    consensus.Index
	repaired bool
	slots    map[consensus.Index]accepted // of a sparse log, in place of entries
	decided  consensus.Index
}

// propose notes what the leader of an epoch is given.
func (f *shardFacts) propose(epoch consensus.Epoch, commands []consensus.Command) {
	p := f.proposed[epoch]
	if p == nil {
		p = &proposals{}
		f.proposed[epoch] = p
	}
	for i := range commands {
		p.hashes = append(p.hashes, xxhash.Sum64(commands[i].Data))
	}
}

// decide notes a newly decided entry, and reports whether it counts: one of an earlier
// leader than what is decided before does not (C11).
func (f *shardFacts) decide(s *Sim, e *consensus.Entry) bool {
	if e.Orig < f.fence {
		s.report.count("check skipped entry")
		f.oracle.decide(&consensus.Entry{Index: e.Index, Epoch: f.fence, Orig: f.fence, Kind: consensus.EntryBarrier})
		return false
	}
	f.fence = e.Orig
	if e.Kind == consensus.EntryCommand {
		f.checkOrder(s, e)
	}
	f.oracle.decide(e)
	if e.Kind == consensus.EntryMembership {
		c, err := consensus.DecodeConfiguration(e.Data)
		if err != nil {
			s.violate("membership", "shard %d entry %d: %v", f.id, e.Index, err)
		}
		f.configuration, f.configured = c, e.Index
		f.memberships = append(f.memberships, c)
		if s.moves != nil {
			s.moves.checkQuorum(f.id, "a change of membership")
		}
	}
	return true
}

// checkOrder: validity and primary order. A command that counts was proposed in its first
// epoch, and behind what counts of that epoch already.
func (f *shardFacts) checkOrder(s *Sim, e *consensus.Entry) {
	hash := xxhash.Sum64(e.Data)
	p := f.proposed[e.Orig]
	for p != nil && p.next < len(p.hashes) {
		p.next++
		if p.hashes[p.next-1] == hash {
			return
		}
	}
	s.violate("primary-order", "shard %d entry %d was not proposed in epoch %d, or out of order", f.id, e.Index, e.Orig)
}

// mayDecide are the configurations of which one decides at a leader: in Raft the one in its
// log; in etcd's the one that it has applied, which is one of the last three.
func (f *shardFacts) mayDecide(s *Sim, st *consensus.Status) []consensus.Configuration {
	if s.engineOf(f.id).Name != etcdraft.Engine.Name {
		return []consensus.Configuration{st.Configuration}
	}
	return append([]consensus.Configuration{st.Configuration}, f.memberships[max(0, len(f.memberships)-3):]...)
}

// confirm takes note of a hard state that has become durable; nil: none.
func (r *replicaFacts) confirm(hard *consensus.HardState) {
	if hard != nil {
		r.hard = *hard
		r.votes[hard.Epoch] = hard.Vote
	}
}
