package paxos

import (
	"fmt"
	"slices"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
	"github.com/quorate/quorate/consensus/quorum"
)

// configurationAt is a configuration and the slot of the entry that brought it. Of the
// first one known, if no change is under way in it, it is any slot that it holds in.
type configurationAt struct {
	index consensus.Index
	consensus.Configuration
}

// A change of membership is two entries. The first has the new voters, and the ones
// before in Outgoing; decided in slot i it governs from slot i+α on, alone, and the
// configuration before governs up to there: no slot is governed by two (P7). It says i
// itself, so that a replica which knows it from a snapshot or from where its log begins
// knows who governs, too. The second, in slot i+α or behind, only says to whoever reads a
// configuration that the change is over.

// since is a configuration that a state at some slot, or a log that begins there, brings.
func since(at consensus.Index, c *consensus.Configuration) configurationAt {
	if c.Joint() {
		at = c.Begun
	}
	return configurationAt{at, c.Clone()}
}

// electorate is who decides in some slots.
type electorate struct {
	// from is the first of the slots.
	from   consensus.Index
	quorum quorum.Flexible
}

// electorates returns who governs the slots above commit, ascending; the first one
// governs the slot behind commit.
func (m *Machine) electorates() []electorate { return m.prop.electorates }

// configure derives electorates and peers from the configurations of the decided prefix.
func (m *Machine) configure() {
	m.forgetConfigurations()
	es := m.prop.electorates[:0]
	next := m.commit + 1
	if base := &m.confs[0]; base.Joint() && base.index+m.window > next {
		es = append(es, electorate{next, quorum.Flexible{Voters: base.Outgoing, Write: base.OutgoingWrite}})
		next = base.index + m.window
	}
	for k := range m.confs {
		c := &m.confs[k]
		if k > 0 {
			next = c.index + m.window
		}
		if mutant.On(mutant.PaxosGovernsEarly) && k > 0 && (m.id^m.id>>16)%2 == 0 {
			next--
		}
		es = append(es, electorate{next, flexible(&c.Configuration)})
	}
	m.prop.electorates = es
	m.recordHandover()
	m.setPeers()
	m.queue.changed = true
}

// recordHandover sees to it that the log knows what is decided once the new voters of a
// change govern: they may not depend on the others for that (P7).
func (m *Machine) recordHandover() {
	for k := range m.confs {
		if c := &m.confs[k]; c.Joint() && c.index+m.window <= m.commit+1 {
			m.prop.record = max(m.prop.record, c.index+m.window-1)
		}
	}
}

// forgetConfigurations forgets what governs no slot above commit.
func (m *Machine) forgetConfigurations() {
	n := 0
	for n+1 < len(m.confs) && m.confs[n+1].index+m.window <= m.commit+1 {
		n++
	}
	m.confs = slices.Delete(m.confs, 0, n)
}

func flexible(c *consensus.Configuration) quorum.Flexible {
	f := quorum.Flexible{Voters: c.Voters, Write: c.WriteQuorum}
	if mutant.On(mutant.PaxosCountLearner) {
		f.Voters = slices.Sorted(slices.Values(slices.Concat(c.Voters, c.Learners)))
	}
	return f
}

// latest is the configuration of the last membership entry of the decided prefix.
func (m *Machine) latest() *configurationAt { return &m.confs[len(m.confs)-1] }

// governs returns the electorate of a slot above commit.
func (m *Machine) governs(i consensus.Index) *electorate {
	es := m.prop.electorates
	k := len(es) - 1
	for k > 0 && es[k].from > i {
		k--
	}
	return &es[k]
}

// adopt takes up a decided membership entry, unless the fence skips it: it is then
// applied nowhere, and governs nothing (P6, P7).
func (m *Machine) adopt(i consensus.Index) {
	c, err := decodeMembership(i, m.log.memberships[i])
	if err != nil {
		panic(fmt.Sprintf("paxos: membership entry %d was not validated: %v", i, err))
	}
	m.confs = append(m.confs, configurationAt{i, c})
	m.prop.reconfigured = true
}

// isVoter reports whether a replica votes on any slot above commit.
func (m *Machine) isVoter(id consensus.ReplicaID) bool {
	return slices.ContainsFunc(m.electorates(), func(e electorate) bool { return e.quorum.Contains(id) })
}

// electable reports whether this replica may campaign: as a voter, or as one whose vote
// has gone before the change is over. The new voters may not know yet that they are, and
// to propose takes no vote.
func (m *Machine) electable() bool {
	return m.duty.installing == 0 && (m.isVoter(m.id) || slices.Contains(m.latest().Outgoing, m.id))
}

// unchanging reports whether all slots to come have the same voters, as far as this leader
// has not proposed others.
func (m *Machine) unchanging() bool {
	es := m.electorates()
	return !m.latest().Joint() && m.lead.changing <= m.commit && !slices.ContainsFunc(es, func(e electorate) bool {
		return e.quorum.Write != es[0].quorum.Write || !slices.Equal(e.quorum.Voters, es[0].quorum.Voters)
	})
}

// soleVoter reports whether this replica alone is every quorum.
func (m *Machine) soleVoter() bool {
	return !slices.ContainsFunc(m.electorates(), func(e electorate) bool {
		return len(e.quorum.Voters) != 1 || e.quorum.Voters[0] != m.id
	})
}

// setPeers makes peers match the configurations, ordered by id, and keeps what is known
// of those that stay.
func (m *Machine) setPeers() {
	ids := []consensus.ReplicaID{m.id}
	for k := range m.prop.electorates {
		ids = append(ids, m.prop.electorates[k].quorum.Voters...)
	}
	for k := range m.confs {
		ids = append(ids, m.confs[k].Learners...)
	}
	ids = append(ids, m.latest().Outgoing...) // until the change is over
	slices.Sort(ids)
	ids = slices.Compact(ids)
	peers := make([]peer, len(ids))
	for i, id := range ids {
		if old := m.find(id); old != nil {
			peers[i] = *old
		} else {
			// Active: a newcomer gets a whole period to answer before it counts
			// against the leader, who asks it where it stands.
			peers[i] = peer{id: id, active: true, beat: true, next: m.commit + 1}
		}
		peers[i].learner = !m.isVoter(id)
	}
	m.peers = peers
}

// proposeMembership starts the change to a target.
func (m *Machine) proposeMembership(id consensus.ProposalID, target *consensus.Membership) error {
	if err := target.Validate(); err != nil {
		return err
	}
	if err := checkWriteQuorum(target); err != nil {
		return err
	}
	if m.lead.transferee != 0 {
		return fmt.Errorf("%w: to %v", consensus.ErrTransferring, m.lead.transferee)
	}
	now := m.latest()
	if !m.established() || now.Joint() || m.lead.changing > m.commit {
		return fmt.Errorf("%w: at index %d", consensus.ErrMembershipPending, max(now.index, m.lead.changing))
	}
	if m.lead.last >= m.proposable() {
		return fmt.Errorf("%w: %d slots are open", consensus.ErrBusy, m.lead.last-m.commit)
	}
	m.proposeConfiguration(&consensus.Configuration{
		Membership: *target, Outgoing: now.Voters, OutgoingWrite: now.WriteQuorum, Begun: m.lead.last + 1,
	}, id)
	return nil
}

func (m *Machine) proposeConfiguration(c *consensus.Configuration, id consensus.ProposalID) {
	m.read.lease.Suspend()
	m.propose(consensus.EntryMembership, consensus.AppendConfiguration(nil, c), id)
	m.lead.changing = m.lead.last
}

// goOn carries a change further that is decided: no-ops up to the first slot that the
// new voters govern, whose promises are asked for meanwhile, then the entry that ends it,
// and out of the lead if there is no place in it for this replica.
func (m *Machine) goOn() {
	now := m.latest()
	if !m.established() || m.lead.changing > m.commit {
		return
	}
	if !now.Joint() {
		if !m.isVoter(m.id) {
			m.leave()
		}
		return
	}
	begin := now.index + m.window
	for m.lead.last+1 < begin && m.lead.last < m.proposable() {
		m.propose(consensus.EntryBarrier, nil, 0)
	}
	if m.lead.last+1 >= begin && m.lead.last < m.proposable() && m.handedOver(begin) {
		m.proposeConfiguration(&consensus.Configuration{Membership: now.Membership}, 0)
	}
}

// handedOver reports whether those who govern from a slot on can do without those who
// governed before: a deciding quorum of them knows durably what was decided.
func (m *Machine) handedOver(begin consensus.Index) bool {
	es := m.electorates()
	if mutant.On(mutant.PaxosNotHandedOver) {
		return true
	}
	return begin-1 <= quorum.Decided(&es[len(es)-1].quorum, func(id consensus.ReplicaID) consensus.Index {
		if id == m.id {
			return m.disk.decided
		}
		return m.find(id).decided
	})
}

// decodeMembership reads the membership entry of a slot.
func decodeMembership(at consensus.Index, data []byte) (consensus.Configuration, error) {
	c, err := consensus.DecodeConfiguration(data)
	switch {
	case err != nil:
		return c, err
	case c.Joint() && c.Begun != at:
		return c, fmt.Errorf("%w: change of slot %d in slot %d", consensus.ErrInvalid, c.Begun, at)
	}
	return c, checkWriteQuorum(&c.Membership)
}

// checkWriteQuorum refuses a write quorum of one: a decision would be on one disk.
func checkWriteQuorum(c *consensus.Membership) error {
	if c.WriteQuorum == 1 && len(c.Voters) > 1 {
		return fmt.Errorf("%w: write quorum 1 of %d voters: one lost disk would lose decisions", consensus.ErrInvalid, len(c.Voters))
	}
	return nil
}

// checkConfiguration refuses an impossible configuration of a snapshot or a log's
// beginning at a slot. It may be empty: a replica that joined with an empty log does not
// know the configuration before the first membership entry, nor do states that it streams.
func checkConfiguration(at consensus.Index, c *consensus.Configuration) error {
	if len(c.Voters)+len(c.Learners)+len(c.Outgoing) == 0 {
		return nil
	}
	if c.Joint() && (c.Begun == 0 || c.Begun > at) {
		return fmt.Errorf("%w: the change at slot %d is under way at %d", consensus.ErrInvalid, c.Begun, at)
	}
	_, err := decodeMembership(c.Begun, consensus.AppendConfiguration(nil, c))
	return err
}
