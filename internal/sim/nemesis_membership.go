package sim

import (
	"slices"
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/etcdraft"
	"github.com/quorate/quorate/internal/shard"
)

// wipe takes a node's disk away. It comes back under the next incarnation, and the
// operator replaces its replicas. As in life, that is for one node at a time.
func (x *nemesis) wipe() bool {
	n := x.any()
	if n == nil || !x.s.survives(n) {
		return false
	}
	n.crash(0)
	n.wipe()
	n.restartLater(x.span())
	return true
}

// survives reports whether the cluster promises to survive the loss of a disk.
func (s *Sim) survives(n *simNode) bool {
	if s.moves != nil {
		return s.moves.spares(n)
	}
	return s.operator.whole()
}

// membership asks for a random change of one shard, if none is under way: a voter
// becomes a learner or leaves, or comes back.
func (x *nemesis) membership() bool {
	id := x.s.anyShard(x.s.rng)
	n := x.s.leaderOf(id)
	if n == nil || x.s.operator.replacing() || x.s.damaged() {
		return false
	}
	target := x.s.status(n, id).Configuration.Membership
	x.change(&target)
	return x.s.operator.propose(n, id, target)
}

// change draws another membership with at least three voters, or two of three.
func (x *nemesis) change(m *consensus.Membership) {
	node := x.s.nodes[x.s.rng.IntN(len(x.s.nodes))]
	id := shard.ReplicaOf(node.id, node.incarnation)
	voter, learner := slices.Contains(m.Voters, id), slices.Contains(m.Learners, id)
	m.Voters, m.Learners = without(m.Voters, id), without(m.Learners, id)
	switch {
	case voter && len(m.Voters) < 2: // stays
		m.Voters = with(m.Voters, id)
	case voter && x.s.chance(0.5), !voter && !learner:
		m.Learners = with(m.Learners, id)
	case learner && x.s.chance(0.8):
		m.Voters = with(m.Voters, id)
	}
}

func without(ids []consensus.ReplicaID, id consensus.ReplicaID) []consensus.ReplicaID {
	return slices.DeleteFunc(slices.Clone(ids), func(x consensus.ReplicaID) bool { return x == id })
}

func with(ids []consensus.ReplicaID, id consensus.ReplicaID) []consensus.ReplicaID {
	ids = append(without(ids, id), id)
	slices.Sort(ids)
	return ids
}

// operator does what placement does in production: it gives the replicas of a
// wiped node their successors, and while healing makes every node a voter again.
type operator struct{ s *Sim }

// operatorPeriod is how often the operator looks at every shard.
const operatorPeriod = 60 * time.Millisecond

func (o *operator) work() {
	o.s.after(operatorPeriod, func() {
		for _, id := range o.s.shardIDs() {
			if n := o.s.leaderOf(id); n != nil && (o.s.healing || o.replacing()) {
				o.mend(n, id)
			}
		}
		o.work()
	})
}

// replacing reports whether a wiped node's old replicas still count somewhere.
func (o *operator) replacing() bool {
	for _, n := range o.s.nodes {
		for inc := uint16(1); inc < n.incarnation; inc++ {
			for _, id := range o.s.shardIDs() {
				if c := &o.s.check.shard(id).configuration; c.Contains(shard.ReplicaOf(n.id, inc)) {
					return true
				}
			}
		}
	}
	return false
}

// whole reports whether the loss of one disk is within what the cluster promises to
// survive: no change of membership is under way anywhere, decided or not, and every
// shard has three voters or more. With etcd's raft a change is under way until its last entry
// is applied, also again after a restart that has forgotten that (consensus/etcdraft).
func (o *operator) whole() bool {
	for _, id := range o.s.shardIDs() {
		facts := o.s.check.shard(id)
		decided := &facts.configuration
		if decided.Joint() || len(decided.Voters) < 3 {
			return false
		}
		for _, n := range o.s.nodes {
			if !n.up {
				return false
			}
			st := o.s.status(n, id)
			if c := &st.Configuration; c.Joint() || !c.Membership.Equal(&decided.Membership) {
				return false
			}
			if o.s.engineOf(id).Name == etcdraft.Engine.Name && st.Applied < facts.configured {
				return false
			}
		}
	}
	return !o.replacing() && !o.s.damaged()
}

// mend takes one step towards every node being a voter under its incarnation:
// first all that is missing becomes learner, then learners that have caught up
// become voters and old incarnations go.
func (o *operator) mend(n *simNode, id shard.ID) {
	st := o.s.status(n, id)
	target := st.Configuration.Membership
	missing := false
	for _, node := range o.s.nodes {
		replica := shard.ReplicaOf(node.id, node.incarnation)
		if !slices.Contains(target.Voters, replica) && !slices.Contains(target.Learners, replica) {
			target.Learners = with(target.Learners, replica)
			missing = true
		}
	}
	if !missing {
		for _, p := range st.Peers {
			if p.Learner && p.Match+20 >= st.LastIndex {
				target.Learners, target.Voters = without(target.Learners, p.ID), with(target.Voters, p.ID)
			}
		}
		for _, node := range o.s.nodes {
			if slices.Contains(target.Voters, shard.ReplicaOf(node.id, node.incarnation)) {
				for inc := uint16(1); inc < node.incarnation; inc++ {
					old := shard.ReplicaOf(node.id, inc)
					target.Voters, target.Learners = without(target.Voters, old), without(target.Learners, old)
				}
			}
		}
	}
	o.propose(n, id, target)
}

// propose asks for a membership unless it is in force.
func (o *operator) propose(n *simNode, id shard.ID, target consensus.Membership) bool {
	c := o.s.status(n, id).Configuration
	if !c.Joint() && c.Membership.Equal(&target) {
		return false
	}
	err := n.host.Membership(id, target)
	o.s.trace.client(o.s.now, "op", id, "member", "voters %v learners %v at %s: %s", target.Voters, target.Learners, n.name(), errorText(err))
	n.process()
	return err == nil
}

func (s *Sim) status(n *simNode, id shard.ID) consensus.Status {
	r, _ := n.replica(id)
	return r.Status()
}
