package placement

import (
	"fmt"
	"slices"
	"strings"
)

// MemberChange is a change of the nodes: records that are written together, if those that they
// replace are still there.
type MemberChange struct {
	Member Member
	// Gone removes Member's record, and keeps that it was there.
	Gone bool
	// Empties: others take what Member carries. The change counts in Catalog.Room.
	Empties bool
	// Joins: Member takes the next number of a node that joins.
	Joins bool
	// System is the next record of the system keyspace; nil: it stays.
	System *Keyspace
}

// Join makes a machine a node, or gives it the place of one whose disk it has lost. id names a
// new node; running says who answers at this moment.
func (c *Catalog) Join(r JoinRequest, id func(count uint64) uint64, running func(uint64) bool) (MemberChange, error) {
	if err := r.check(); err != nil {
		return MemberChange{}, err
	}
	change := MemberChange{Member: Member{Name: r.Name, PeerURLs: r.PeerURLs, Zone: r.Zone, Weight: r.Weight, Incarnation: 1, Disk: r.Disk, Learner: r.Learner}}
	m := &change.Member
	for _, old := range c.Members() {
		if !slices.ContainsFunc(old.PeerURLs, func(u string) bool { return slices.Contains(r.PeerURLs, u) }) {
			continue
		}
		switch {
		case r.Disk == 0 || !sameURLs(old.PeerURLs, r.PeerURLs):
			return change, fmt.Errorf("%w: node %x (%s) has the peer URL %s: give each node its own", ErrMemberExists, old.ID, old.Name, strings.Join(old.PeerURLs, ", "))
		case old.State == Removing:
			return change, fmt.Errorf("%w: node %x (%s) with the peer URL %s is being removed: wait until it is gone", ErrMemberExists, old.ID, old.Name, strings.Join(old.PeerURLs, ", "))
		case old.Started() && old.Disk != r.Disk && running(old.ID):
			return change, fmt.Errorf("%w: node %x (%s) runs with the peer URL %s: stop it, or choose another address", ErrMemberExists, old.ID, old.Name, strings.Join(old.PeerURLs, ", "))
		}
		return c.rejoin(old, &r)
	}
	for _, old := range c.Members() {
		switch {
		case r.Disk != 0 && old.Disk == r.Disk:
			return change, fmt.Errorf("%w: this machine is node %x (%s) with the peer URL %s: join with that one, or with an empty --data-dir", ErrMemberExists, old.ID, old.Name, strings.Join(old.PeerURLs, ", "))
		case r.Name != "" && old.Name == r.Name:
			return change, fmt.Errorf("%w: node %x already has the name %q: give each node its own --name", ErrMemberExists, old.ID, old.Name)
		}
	}
	if len(c.members) >= MembersMax {
		return change, fmt.Errorf("%w: the cluster has %d nodes, which is its limit", ErrNoRoom, len(c.members))
	}
	m.ID, change.Joins = id(c.NextMember), true
	_, there := c.members[m.ID]
	if _, gone := c.removed[m.ID]; there || gone {
		return change, fmt.Errorf("%w: node %x: try again", ErrConflict, m.ID)
	}
	return change, change.addSystem(c)
}

// sameURLs compares lists whose order does not matter.
func sameURLs(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// rejoin gives a machine the place of a node: on its first start, on a new disk, or when it asks
// again.
func (c *Catalog) rejoin(old Member, r *JoinRequest) (MemberChange, error) {
	change := MemberChange{Member: old}
	m := &change.Member
	if m.Started() && m.Disk != r.Disk {
		if m.Incarnation == IncarnationMax {
			return change, fmt.Errorf("%w: node %x has lost its disk too often: remove it, and let it join anew", ErrNoRoom, m.ID)
		}
		m.Incarnation++
	}
	m.Name, m.Disk = r.Name, r.Disk
	if r.Zone != "" {
		m.Zone = r.Zone
	}
	if r.Weight != 0 {
		m.Weight = r.Weight
	}
	return change, change.addSystem(c)
}

// addSystem gives the node a replica of the system keyspace, unless it has one.
func (change *MemberChange) addSystem(c *Catalog) error {
	k := c.keyspaces[System]
	m := &change.Member
	if _, _, ok := k.Shards[0].On(m.ID, m.Incarnation); ok {
		return nil
	}
	next := k.Shards[0].clone()
	incarnation, err := next.next()
	if err != nil {
		return err
	}
	next.Last = incarnation
	next.Learners = append(next.Learners, nodeAt(m.place(), incarnation))
	record := k.with(next)
	change.System = &record
	return nil
}

// Drain empties a node, or lets it carry its share again.
func (c *Catalog) Drain(id uint64, drain bool) (MemberChange, error) {
	m, err := c.staying(id)
	switch {
	case err != nil:
	case !drain:
		m.State = ""
	case m.State != Draining:
		m.State = Draining
		err = c.fits(&m, "drain")
	}
	return MemberChange{Member: m, Empties: drain}, err
}

// Weigh changes a node's share.
func (c *Catalog) Weigh(id uint64, weight int) (MemberChange, error) {
	m, err := c.staying(id)
	if err == nil {
		err = CheckWeight(weight)
	}
	m.Weight = weight
	return MemberChange{Member: m}, err
}

// Address changes where a node is found by its peers.
func (c *Catalog) Address(id uint64, peerURLs []string) (MemberChange, error) {
	m, err := c.staying(id)
	if err == nil && len(peerURLs) == 0 {
		err = fmt.Errorf("%w: it has no peer URL", ErrMember)
	}
	if err != nil {
		return MemberChange{}, err
	}
	for _, o := range c.Members() {
		if o.ID != id && slices.ContainsFunc(o.PeerURLs, func(u string) bool { return slices.Contains(peerURLs, u) }) {
			return MemberChange{}, fmt.Errorf("%w: node %x (%s) has the peer URL %s: give each node its own", ErrMemberExists, o.ID, o.Name, strings.Join(o.PeerURLs, ", "))
		}
	}
	m.PeerURLs = peerURLs
	return MemberChange{Member: m}, nil
}

// Announce is what a node says of itself. What others decide about it stays. It is no news if the
// node was removed, or if another disk has its place: the record must not go back to an earlier life.
func (c *Catalog) Announce(self Member) (change MemberChange, news bool) {
	old, ok := c.members[self.ID]
	_, gone := c.removed[self.ID]
	other := old.Disk != self.Disk && old.Started() && old.Disk != diskUnknown
	if gone || ok && (max(1, old.Incarnation) != max(1, self.Incarnation) || other) {
		return MemberChange{Member: self}, false
	}
	self.Revision = old.Revision
	if ok {
		self.State, self.Learner = old.State, old.Learner
		if old.Zone != "" {
			self.Zone = old.Zone
		}
		if old.Weight != 0 {
			self.Weight = old.Weight
		}
		self.PeerURLs = old.PeerURLs
	}
	same := self
	same.Revision = old.Revision
	return MemberChange{Member: self}, !ok || string(same.Encode()) != string(old.Encode())
}

// RemoveNode begins to take a node out for good. silent are the nodes that do not answer.
func (c *Catalog) RemoveNode(id uint64, silent map[uint64]bool) (MemberChange, error) {
	m, err := c.staying(id)
	if err != nil {
		return MemberChange{Member: m}, err
	}
	m.State = Removing
	if len(c.members) == 1 {
		return MemberChange{Member: m}, fmt.Errorf("%w: node %x is the only one: add others first", ErrUnsafe, id)
	}
	if err := c.fits(&m, "remove"); err != nil {
		return MemberChange{Member: m}, err
	}
	for _, k := range c.All() {
		s := &k.Shards[0]
		if k.State == Deleted || !slices.ContainsFunc(s.Nodes, func(n Node) bool { return n.ID == id }) {
			continue
		}
		now, then := c.answering(s.Nodes, silent), 0
		rest := slices.DeleteFunc(slices.Clone(s.Nodes), func(n Node) bool { return n.ID == id })
		if then = c.answering(rest, silent); c.spare(s, id, silent) {
			rest, then = s.Nodes, now // another takes its place
		}
		if 2*now <= len(s.Nodes) || len(rest) > 0 && 2*then <= len(rest) {
			return MemberChange{Member: m}, fmt.Errorf("%w: of the %d replicas of keyspace %s %d answer, and without node %x (%s) none could be decided any more: start the others again, or add nodes, first",
				ErrUnsafe, len(s.Nodes), k.Name, now, id, m.Name)
		}
	}
	return MemberChange{Member: m, Empties: true}, nil
}

// answering counts the replicas on nodes that are not silent.
func (c *Catalog) answering(nodes []Node, silent map[uint64]bool) (count int) {
	for _, n := range nodes {
		if m, ok := c.members[n.ID]; ok && n.On(m.ID, m.Incarnation) && !silent[n.ID] {
			count++
		}
	}
	return count
}

// spare reports whether some other node could take a replica of a shard.
func (c *Catalog) spare(s *Shard, but uint64, silent map[uint64]bool) bool {
	for id, m := range c.members {
		if id != but && m.weight() > 0 && !silent[id] && !slices.ContainsFunc(s.Nodes, func(n Node) bool { return n.ID == id }) {
			return true
		}
	}
	return false
}

// fits refuses what would leave a keyspace with nowhere to go.
func (c *Catalog) fits(leaving *Member, verb string) error {
	left := 0
	for _, m := range c.members {
		if m.ID != leaving.ID && m.weight() > 0 {
			left++
		}
	}
	if left == 0 {
		return fmt.Errorf("%w: node %x (%s) is the only one that may carry replicas: add others, or let others carry replicas again, before you %s it", ErrNoRoom, leaving.ID, leaving.Name, verb)
	}
	for _, k := range c.Keyspaces() {
		s := &k.Shards[0]
		on := slices.ContainsFunc(s.Replicas(), func(n Node) bool { return n.ID == leaving.ID })
		if on && k.Replicas > left && k.State != Deleted {
			return fmt.Errorf("%w: keyspace %q wants %d replicas and %d nodes would be left for them: add a node, or lower its replicas, before you %s node %x (%s)",
				ErrNoRoom, k.Name, k.Replicas, left, verb, leaving.ID, leaving.Name)
		}
	}
	return nil
}

// Emptied lists the nodes that are to be removed and carry nothing any more: their records go.
func (c *Catalog) Emptied() []MemberChange {
	var list []MemberChange
	if system := c.keyspaces[System]; system.Shards[0].moving() {
		return nil // who is a learner by the record may still vote
	}
	for _, m := range c.Members() {
		if m.State != Removing || c.carries(m.ID) {
			continue
		}
		change := MemberChange{Member: m, Gone: true}
		k := c.keyspaces[System]
		next := k.Shards[0].clone()
		next.Learners = slices.DeleteFunc(next.Learners, func(n Node) bool { return n.ID == m.ID })
		if len(next.Learners) < len(k.Shards[0].Learners) {
			record := k.with(next)
			change.System = &record
		}
		list = append(list, change)
	}
	return list
}

// carries reports whether a node has a replica, but for one of the system keyspace that never
// votes.
func (c *Catalog) carries(id uint64) bool {
	carriers := c.carriers()
	for _, k := range c.keyspaces {
		s := &k.Shards[0]
		if k.State == Deleted && k.Replicas > carriers {
			continue // it has nowhere to go, and nobody waits for it
		}
		for _, n := range s.Replicas() {
			if n.ID == id && !contains(s.Learners, n) {
				return true
			}
		}
	}
	return false
}

// carriers is how many nodes may carry replicas.
func (c *Catalog) carriers() (n int) {
	for _, m := range c.members {
		if m.weight() > 0 {
			n++
		}
	}
	return n
}

// staying is a node that is not being removed.
func (c *Catalog) staying(id uint64) (Member, error) {
	m, ok := c.members[id]
	switch {
	case !ok:
		if r, gone := c.removed[id]; gone {
			return m, fmt.Errorf("%w: node %x (%s) was removed", ErrMemberNotFound, id, r.Name)
		}
		return m, fmt.Errorf("%w: %x: 'quorate node list' names those that there are", ErrMemberNotFound, id)
	case m.State == Removing:
		return m, fmt.Errorf("%w: node %x (%s) is being removed", ErrMember, id, m.Name)
	}
	return m, nil
}
