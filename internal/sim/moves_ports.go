package sim

import (
	"slices"
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/store"
)

// ports are an agent's, over a node's host and router.
type ports struct{ n *simNode }

var _ placement.Ports = ports{}

// caughtUpEntries is how much a replica may lack that is to vote.
const caughtUpEntries = 10

// Catalog implements placement.Ports.
func (p ports) Catalog() *placement.Catalog { return p.n.placed.catalog }

func (p ports) status(id uint64) (consensus.Status, bool) {
	r, ok := p.n.replica(shard.ID(id))
	if !ok {
		return consensus.Status{}, false
	}
	return r.Status(), true
}

// Leads implements placement.Ports.
func (p ports) Leads(id uint64) (epoch uint64, ok bool) {
	st, ok := p.status(id)
	return uint64(st.HardState.Epoch), ok && st.Role == consensus.Leader
}

// leads is the status of a replica that leads in an epoch.
func (p ports) leads(id, epoch uint64) (consensus.Status, bool) {
	st, ok := p.status(id)
	return st, ok && st.Role == consensus.Leader && uint64(st.HardState.Epoch) == epoch
}

func nodeOf(id consensus.ReplicaID) placement.Node {
	return placement.Node{ID: uint64(shard.NodeOf(id)), Incarnation: uint16(id)}
}

// Situation implements placement.Ports.
func (p ports) Situation(id, epoch uint64) (placement.Situation, bool) {
	st, ok := p.leads(id, epoch)
	if !ok {
		return placement.Situation{}, false
	}
	carried, _ := p.n.host.Replica(shard.ID(id))
	silent, _ := p.n.placed.unheard() // a leader that is new believes the best of all
	c := &st.Configuration
	x := placement.Situation{Settled: true, Self: nodeOf(st.ID), Changing: c.Joint() || st.Transferee != 0}
	// What is not decided a later leader may undo. In Paxos no entry ends a change.
	decided := carried.Decided()
	x.Changing = x.Changing || decided.Joint() && decided.Begun == 0 || !decided.Membership.Equal(&c.Membership)
	add := func(replica consensus.ReplicaID, votes bool) {
		r := placement.Progress{Node: nodeOf(replica), Votes: votes}
		if replica == st.ID {
			r.Active, r.CaughtUp = true, true
		}
		for i := range st.Peers {
			if peer := &st.Peers[i]; peer.ID == replica {
				r.Active = carried.Hears(peer) && !silent[r.Node.ID]
				r.CaughtUp = peer.Match+caughtUpEntries >= st.LastIndex && peer.Match > 0 && !peer.InDoubt
			}
		}
		x.Replicas = append(x.Replicas, r)
	}
	for _, replica := range c.Voters {
		add(replica, true)
	}
	for _, replica := range c.Outgoing {
		if !slices.Contains(c.Voters, replica) {
			add(replica, true)
		}
	}
	for _, replica := range c.Learners {
		if !slices.Contains(c.Outgoing, replica) {
			add(replica, false)
		}
	}
	return x, true
}

// Drained implements placement.Ports: by what is applied here, and by the log, which may hold
// the change that lets the replica vote.
func (p ports) Drained(id uint64) bool {
	st, ok := p.status(id)
	if !ok || p.n.waiters[shard.ID(id)].Len() > 0 {
		return false
	}
	applied := p.n.s.firstConfiguration(shard.ID(id))
	if data := p.n.stores[shard.ID(id)].Applied().Configuration; len(data) > 0 {
		var err error
		if applied, err = consensus.DecodeConfiguration(data); err != nil {
			p.n.s.violate("engine", "%s: %v", p.n.name(), err)
		}
	}
	for _, c := range []*consensus.Configuration{&applied, &st.Configuration} {
		if slices.Contains(c.Voters, st.ID) || slices.Contains(c.Outgoing, st.ID) {
			return false
		}
	}
	return true
}

// Configure implements placement.Ports.
func (p ports) Configure(id, epoch uint64, voters, learners []placement.Node) {
	st, ok := p.leads(id, epoch)
	if !ok {
		return
	}
	target := consensus.Membership{
		Voters: replicasOf(voters), Learners: replicasOf(learners), WriteQuorum: kept(st.Configuration.WriteQuorum, len(voters)),
	}
	err := p.n.host.Membership(shard.ID(id), target)
	p.n.s.report.count("move configure: " + errorText(err))
	p.n.s.trace.replica(p.n.s.now, p.n, shard.ID(id), "member", describeMembership(target)+": "+errorText(err))
}

// kept is a write quorum among so many voters, if it is one there.
func kept(write, voters int) int {
	if 1 < write && write <= voters/2+1 {
		return write
	}
	return 0
}

// HandOver implements placement.Ports.
func (p ports) HandOver(id, epoch uint64, to placement.Node) {
	if _, ok := p.leads(id, epoch); !ok {
		return
	}
	err := p.n.host.Transfer(shard.ID(id), replicaOf(to))
	p.n.s.report.count("move hand over: " + errorText(err))
	p.n.s.trace.replica(p.n.s.now, p.n, shard.ID(id), "transfer", replicaOf(to).String()+": "+errorText(err))
}

// Barrier implements placement.Ports.
func (p ports) Barrier() {
	n := p.n
	n.placed.catchUp(func(err error) { n.placed.agent.Read(err == nil) })
}

// Write implements placement.Ports.
func (p ports) Write(x placement.Proposal) {
	n := p.n
	key := placement.Key(x.Keyspace)
	n.placed.transact("record", &store.TxnRequest{
		Compare: []store.Compare{unchanged(key, x.Next.Revision)},
		Success: []store.RequestOp{put(key, x.Next.Encode())},
	}, func(ok bool, _ error) { n.placed.agent.Written(x.Keyspace, ok) })
}

// Change implements placement.Ports.
func (p ports) Change(m placement.MemberChange) {
	n := p.n
	n.placed.transact("member", n.placed.memberTxn(&m), func(ok bool, _ error) { n.placed.agent.Changed(ok) })
}

// Planning implements placement.Ports.
func (p ports) Planning() (placement.Planning, bool) {
	n := p.n
	epoch, ok := p.Leads(uint64(systemShard))
	if !ok || uint64(n.placed.epoch) != epoch {
		return placement.Planning{}, false
	}
	silent, dead := n.placed.unheard()
	return placement.Planning{Seed: n.s.opts.Seed, Silent: silent, Dead: dead, Now: int64((wallStart + n.clock()) / time.Second)}, true
}
