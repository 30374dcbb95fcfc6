package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/shard"
)

// checkRecord: what may become of a keyspace's record (L2, L3, L6 of package placement). It counts
// the moves that come to an end.
func (m *moves) checkRecord(before, after *placement.Keyspace) {
	old, x := &before.Shards[0], &after.Shards[0]
	id := shard.ID(x.ID)
	fail := func(why string) {
		m.s.violate("record", "keyspace %s: %s\nbefore: %s\nafter: %s", after.Name, why, before.Encode(), after.Encode())
	}
	if after.Epoch != before.Epoch+1 {
		fail("the epoch does not grow by one")
	}
	if x.ID != old.ID || x.Engine != old.Engine || !slices.Equal(x.First, old.First) {
		fail("what it was founded with has changed")
	}
	last := old.Last
	for _, n := range slices.Concat(old.First, old.Replicas()) {
		last = max(last, n.Incarnation)
	}
	for _, n := range x.Replicas() {
		if !slices.ContainsFunc(old.Replicas(), n.Same) && n.Incarnation <= last {
			if node := m.s.nodeByID(shard.NodeID(n.ID)); node != nil && node.incarnation > max(1, n.Life) {
				continue // its disk is lost: it still counts, and nobody can open it
			}
			fail(fmt.Sprintf("replica %+v is not a new one", n))
		}
	}
	if wanted := after.Replicas; wanted > 0 && len(x.Nodes) < min(wanted, len(old.Nodes)) {
		fail("it has fewer voters than it wants, and than before")
	}
	for _, n := range x.Nodes {
		if !slices.ContainsFunc(slices.Concat(old.Nodes, old.Leaving), n.Same) {
			m.arrived[id]++
		}
	}
	if moving(old) && !moving(x) {
		if m.s.report.count("move ended"); !m.s.healing {
			m.s.report.Moves += m.arrived[id]
		}
		m.arrived[id] = 0
	}
}

func moving(x *placement.Shard) bool { return len(x.Joining)+len(x.Leaving) > 0 }

// opens takes note of a replica that starts: whatever was lost of it never comes back (L10).
func (m *moves) opens(n *simNode, id shard.ID) {
	replica := n.replicaID(id)
	if m.lost[id][replica] {
		m.s.violate("replica-reused", "%s opens replica %v of shard %d again, whose data is lost", n.name(), replica, id)
	}
	m.intact[id][replica] = true
}

// erased judges what a node has erased by itself.
func (m *moves) erased(n *simNode, id shard.ID) {
	replica := shard.ReplicaOf(n.id, n.placed.have[id])
	delete(m.intact[id], replica)
	m.lost[id][replica] = true
	m.checkQuorum(id, n.name()+" erasing a replica")
}

// loses takes note of a disk that is no more.
func (m *moves) loses(n *simNode) {
	for _, id := range m.s.shards {
		for replica := range m.intact[id] {
			if shard.NodeOf(replica) == n.id {
				delete(m.intact[id], replica)
				m.lost[id][replica] = true
			}
		}
	}
}

// checkQuorum: a shard has a quorum of replicas that still have what they promised, after what we do
// ourselves. What the nemesis takes away leaves one.
func (m *moves) checkQuorum(id shard.ID, after string) {
	c := &m.s.check.shard(id).configuration
	if !m.quorate(id, c, nil) {
		m.s.violate("intact-quorum", "shard %d has no quorum of intact replicas in %+v after %s", id, c, after)
	}
}

// quorate reports whether enough of a configuration is intact to decide and to elect, without
// those on a node.
func (m *moves) quorate(id shard.ID, c *consensus.Configuration, without *simNode) bool {
	for _, x := range []consensus.Membership{c.Membership, {Voters: c.Outgoing, WriteQuorum: c.OutgoingWrite}} {
		intact := 0
		for _, replica := range x.Voters {
			if m.intact[id][replica] && (without == nil || shard.NodeOf(replica) != without.id) {
				intact++
			}
		}
		decide, elect := quorums(&consensus.Configuration{Membership: x})
		if len(x.Voters) > 0 && intact < max(decide, elect) {
			return false
		}
	}
	return true
}

// spares reports whether the cluster promises to survive the loss of a node's disk: all voters
// of its shards run, no change of membership is under way, and without it each has a quorum in whatever
// configuration anybody may have. While keyspaces are created a node that is lost may be about to
// found one, with others that nobody misses yet.
func (m *moves) spares(n *simNode) bool {
	if m.catalog.Len() < m.wanted {
		return false
	}
	for _, id := range m.s.shards {
		facts := m.s.check.shard(id)
		x := m.known[id]
		target := consensus.Configuration{Membership: consensus.Membership{
			Voters: replicasOf(x.Nodes), WriteQuorum: kept(facts.configuration.WriteQuorum, len(x.Nodes)),
		}}
		if facts.configuration.Joint() || !m.quorate(id, &facts.configuration, n) || !m.quorate(id, &target, n) {
			return false
		}
		for _, replica := range facts.configuration.Voters {
			o := m.s.nodeByID(shard.NodeOf(replica))
			r, ok := o.replica(id)
			if !ok && o.gone() && !m.intact[id][replica] {
				continue
			}
			if !ok || o.paused || r.Status().ID != replica {
				return false
			}
			st := r.Status()
			if st.Applied < facts.configured || st.Configuration.Joint() || !m.quorate(id, &st.Configuration, n) {
				return false
			}
		}
	}
	return true
}

// heal ends what is under way: who drains may carry again, and of the machines that never come back
// half are removed.
func (m *moves) heal() {
	for _, n := range m.s.nodes {
		if n.gone() && m.s.chance(0.5) {
			m.insist("remove", func(c *placement.Catalog) (placement.MemberChange, error) {
				return c.RemoveNode(uint64(n.id), map[uint64]bool{uint64(n.id): true})
			}, func() bool { return m.state(n) != "" || !m.isMember(n) })
		} else if !n.gone() {
			m.insist("undrain", func(c *placement.Catalog) (placement.MemberChange, error) { return c.Drain(uint64(n.id), false) },
				func() bool { return m.state(n) != placement.Draining })
		}
	}
	next, text := m.s.now, ""
	m.s.demand("placement", func() string {
		if m.s.now >= next { // a plan costs more than an event
			next, text = m.s.now+settlePeriod, m.unsettled()
		}
		return text
	})
	m.checkPlaces()
}

// settlePeriod is how often it is asked whether all is at its place.
const settlePeriod = 100 * time.Millisecond

func (m *moves) isMember(n *simNode) bool {
	_, ok := m.catalog.Member(uint64(n.id))
	return ok
}

func (m *moves) state(n *simNode) placement.MemberState {
	r, _ := m.catalog.Member(uint64(n.id))
	return r.State
}

// insist has a change of the nodes made, again if one that was under way undoes it.
func (m *moves) insist(what string, next func(*placement.Catalog) (placement.MemberChange, error), done func() bool) {
	tries := 0
	var try func()
	try = func() {
		if tries++; tries > 20 {
			return
		}
		if n := m.anyNode(); n != nil && !done() {
			n.later(0, func() { n.placed.change(what, next, func(*placement.MemberChange, error) {}) })
		}
		m.s.after(2*requestTimeout, try)
	}
	try()
}

// planning is what the last plan must find nothing to do with.
func (m *moves) planning() placement.Planning {
	dead := make(map[uint64]bool)
	for _, n := range m.s.nodes {
		if n.gone() {
			dead[uint64(n.id)] = true
		}
	}
	return placement.Planning{Seed: m.s.opts.Seed, Silent: dead, Dead: dead}
}

// unsettled says what is still to move; "" when nothing is.
func (m *moves) unsettled() string {
	for _, n := range m.s.nodes {
		switch {
		case n.gone():
		case !n.up:
			return n.name() + " has not joined"
		case m.isMember(n) && m.state(n) != "" && !m.needed(n):
			return fmt.Sprintf("%s is still %s", n.name(), m.state(n))
		default:
			open, drop := m.catalog.Duties(uint64(n.id), n.incarnation, n.placed.having(), true, true)
			for _, d := range open {
				if _, ok := n.replica(shard.ID(d.Shard)); !ok {
					return fmt.Sprintf("%s does not carry shard %d yet", n.name(), d.Shard)
				}
			}
			if len(drop) > 0 {
				return fmt.Sprintf("%s still has something of shards %v", n.name(), drop)
			}
		}
	}
	for _, k := range m.catalog.All() {
		if text := m.unsettledShard(&k); text != "" {
			return text
		}
	}
	proposals, err := m.catalog.Plan(m.planning())
	switch {
	case err != nil:
		return err.Error()
	case len(proposals) > 0:
		return fmt.Sprintf("a plan still wants %v %s of keyspace %s, which is %+v", proposals[0].Moves, proposals[0].Note, proposals[0].Keyspace, proposals[0].Next.Shards[0])
	}
	return ""
}

// needed reports whether a node that is to be removed has to stay: enough others were there when
// somebody asked for it, and some of them have died since.
func (m *moves) needed(n *simNode) bool {
	others := m.staying()
	return m.state(n) == placement.Removing && slices.ContainsFunc(m.catalog.Keyspaces(), func(k placement.Keyspace) bool {
		_, _, on := k.Shards[0].On(uint64(n.id), n.incarnation)
		return on && k.Replicas > others
	})
}

func (m *moves) unsettledShard(k *placement.Keyspace) string {
	x := &k.Shards[0]
	id := shard.ID(x.ID)
	c := &m.s.check.shard(id).configuration
	leader := m.s.leaderOf(id)
	switch {
	case moving(x) || x.Settling:
		return fmt.Sprintf("shard %d moves: %s", id, k.Encode())
	case leader == nil:
		return fmt.Sprintf("shard %d has no leader", id)
	case c.Joint() || !slices.Equal(c.Voters, replicasOf(x.Nodes)) || !slices.Equal(c.Learners, replicasOf(x.Learners)):
		return fmt.Sprintf("shard %d has %+v, recorded is %s", id, c, k.Encode())
	case k.Name != placement.System && k.Name != placement.Default && uint64(leader.id) != x.Nodes[0].ID:
		return fmt.Sprintf("shard %d is led by %s, recorded is %s", id, leader.name(), k.Encode())
	}
	return ""
}

// checkPlaces: zones and caps, once everything is where it should be.
func (m *moves) checkPlaces() {
	o, err := m.catalog.Overview(m.planning())
	if err != nil {
		m.s.violate("places", "%v", err)
	}
	size := make(map[string]int)
	for i := range o.Nodes {
		l := &o.Nodes[i]
		if l.Dead || l.State != "" {
			continue
		}
		if size[l.Zone]++; l.Replicas > l.Cap {
			m.s.violate("caps", "node %x carries %d replicas, its cap is %d\n%s", l.ID, l.Replicas, l.Cap, m.listing())
		}
	}
	for _, k := range m.catalog.All() {
		x := &k.Shards[0]
		most, in := 1, make(map[string]int)
		for ; room(size, most) < len(x.Nodes) && most < len(x.Nodes); most++ {
		}
		for _, n := range x.Nodes {
			r, _ := m.catalog.Member(n.ID)
			if in[r.Zone]++; in[r.Zone] > most {
				m.s.violate("zones", "keyspace %s has %d replicas in zone %s, %d are enough\n%s", k.Name, in[r.Zone], r.Zone, most, m.listing())
			}
		}
	}
}

// room is how many replicas of a shard find a place with at most so many in a zone.
func room(size map[string]int, most int) (places int) {
	for _, nodes := range size {
		places += min(nodes, most)
	}
	return places
}

// listing is the catalog.
func (m *moves) listing() (text string) {
	for _, x := range m.catalog.Members() {
		text += string(x.Encode()) + "\n"
	}
	for _, k := range m.catalog.All() {
		text += string(k.Encode()) + "\n"
	}
	return text
}
