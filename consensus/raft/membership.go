package raft

import (
	"fmt"
	"slices"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
	"github.com/quorate/quorate/consensus/quorum"
)

// configurationAt is a configuration and the index of the entry that brought it.
type configurationAt struct {
	index consensus.Index
	consensus.Configuration
}

// inForce is the latest configuration in the log, decided or not (§6).
func (m *Machine) inForce() *configurationAt { return &m.confs[len(m.confs)-1] }

// configure derives quorum and peers from the configuration in force.
func (m *Machine) configure() {
	c := &m.inForce().Configuration
	m.quorum = quorum.Joint{Incoming: c.Voters, Outgoing: c.Outgoing}
	if mutant.On(mutant.RaftCountLearner) {
		m.quorum.Incoming = union(c.Voters, c.Learners)
	}
	if mutant.On(mutant.RaftJointAsUnion) {
		m.quorum = quorum.Joint{Incoming: union(c.Voters, c.Outgoing)}
	}
	m.setPeers(c)
	m.queue.changed = true
}

func union(a, b []consensus.ReplicaID) []consensus.ReplicaID {
	u := slices.Concat(a, b)
	slices.Sort(u)
	return slices.Compact(u)
}

// adopt puts the configuration of an entry in force, at append (§6).
func (m *Machine) adopt(e *consensus.Entry) {
	c, err := decodeMembership(e.Data)
	if err != nil {
		panic(fmt.Sprintf("raft: membership entry %d was not validated: %v", e.Index, err))
	}
	m.confs = append(m.confs, configurationAt{e.Index, c})
	m.configure()
}

// revert falls back to the configuration before index from.
func (m *Machine) revert(from consensus.Index) {
	n := len(m.confs)
	for n > 1 && m.confs[n-1].index >= from {
		n--
	}
	if n < len(m.confs) {
		m.confs = m.confs[:n]
		m.configure()
	}
}

// releaseConfigurations forgets configurations that are superseded at released.
func (m *Machine) releaseConfigurations() {
	n := 0
	for n+1 < len(m.confs) && m.confs[n+1].index <= m.log.released {
		n++
	}
	m.confs = slices.Delete(m.confs, 0, n)
}

// electable reports whether this replica may campaign: as a voter of the
// configuration in force, or, while that is undecided, of the one before. The
// others may need a leader that their configuration still counts, although its own
// log has removed it already (thesis §4.2.2, figure 4.6); it does not count its
// own vote then.
func (m *Machine) electable() bool {
	if m.duty.installing != 0 || m.abstains() {
		return false
	}
	c := m.inForce()
	if votes(&c.Configuration, m.id) {
		return true
	}
	return c.index > m.commit && len(m.confs) > 1 && votes(&m.confs[len(m.confs)-2].Configuration, m.id)
}

// unchanging reports whether no change of membership is under way.
func (m *Machine) unchanging() bool {
	c := m.inForce()
	return !c.Joint() && c.index <= m.commit
}

func votes(c *consensus.Configuration, id consensus.ReplicaID) bool {
	return slices.Contains(c.Voters, id) || slices.Contains(c.Outgoing, id)
}

// proposeMembership starts the change to a target (§6). Every change is joint,
// also one of a single replica: one path, and no bug of the one-server rule.
func (m *Machine) proposeMembership(id consensus.ProposalID, target *consensus.Membership) error {
	if err := checkMembership(target); err != nil {
		return err
	}
	if m.lead.transferee != 0 {
		return fmt.Errorf("%w: to %v", consensus.ErrTransferring, m.lead.transferee)
	}
	now := m.inForce()
	if !m.unchanging() {
		return fmt.Errorf("%w: at index %d", consensus.ErrMembershipPending, now.index)
	}
	joint := consensus.Configuration{Membership: *target, Outgoing: now.Voters}
	m.appendConfiguration(&joint, id)
	return nil
}

func (m *Machine) appendConfiguration(c *consensus.Configuration, id consensus.ProposalID) {
	data := consensus.AppendConfiguration(nil, c)
	m.read.lease.Suspend()
	m.appendOwn(consensus.EntryMembership, data, id)
	m.adopt(&consensus.Entry{Index: m.log.last, Data: data})
}

// membershipDecided goes on with a change when its entry is decided: out of the
// joint configuration by itself, and out of the lead if the target has no place
// for this replica (§6, thesis §4.2.2).
func (m *Machine) membershipDecided() {
	now := m.inForce()
	if now.index > m.commit {
		return
	}
	if now.Joint() {
		m.farewell()
		final := consensus.Configuration{Membership: now.Membership}
		m.appendConfiguration(&final, 0)
		m.advanceCommit() // the final configuration may need fewer
		return
	}
	if !votes(&now.Configuration, m.id) {
		m.leave()
	}
}

// farewell tells those whom the target leaves out that the joint configuration is
// decided. They hear nothing from this group afterwards, and a driver may want to
// know why. If it is lost, nothing else is.
func (m *Machine) farewell() {
	target := &m.inForce().Membership
	for i := range m.peers {
		p := &m.peers[i]
		stays := slices.Contains(target.Voters, p.id) || slices.Contains(target.Learners, p.id)
		if p.flow == replicate && p.id != m.id && !stays {
			m.sendCommit(p)
		}
	}
}

func decodeMembership(data []byte) (consensus.Configuration, error) {
	c, err := consensus.DecodeConfiguration(data)
	if err == nil && c.WriteQuorum != 0 {
		err = fmt.Errorf("%w: write quorum %d", consensus.ErrMalformed, c.WriteQuorum)
	}
	return c, err
}

func checkMembership(c *consensus.Membership) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if c.WriteQuorum != 0 {
		return fmt.Errorf("%w: raft decides by majority, not by write quorum %d", consensus.ErrInvalid, c.WriteQuorum)
	}
	return nil
}

// checkConfiguration refuses an impossible configuration of a snapshot or a log's
// beginning. It may be empty: a replica that joined with an empty log does not know
// the configuration before the first membership entry, nor do states it streams.
func checkConfiguration(c *consensus.Configuration) error {
	if len(c.Voters)+len(c.Learners)+len(c.Outgoing) == 0 {
		return nil
	}
	_, err := decodeMembership(consensus.AppendConfiguration(nil, c))
	return err
}
