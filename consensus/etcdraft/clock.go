package etcdraft

import (
	"slices"

	"github.com/quorate/quorate/consensus"
)

// clock decides when a replica without a leader campaigns. Raft has a timer for that,
// drawn from a random source of the process; it never fires here (E5).
type clock struct {
	rand          consensus.Rand
	electionTicks int

	silent  int // ticks since the leader was heard, a vote was given or a campaign began
	timeout int // of silence, in ticks; drawn from [electionTicks, 2*electionTicks)
}

func (c *clock) draw() {
	c.silent = 0
	c.timeout = c.electionTicks + int(c.rand.Uint64N(uint64(c.electionTicks)))
}

// heard starts the silence anew; a hasty timeout (leaderReset) was for nothing.
func (c *clock) heard() {
	if c.silent = 0; c.timeout < c.electionTicks {
		c.draw()
	}
}

// tickElection lets time pass for raft without its own timer, so that it knows how
// long it has not heard a leader, and campaigns when ours runs out.
func (m *Machine) tickElection() {
	//nolint:staticcheck // deprecated for the use it was made for; this one needs no agreement on quiet groups
	m.node.TickQuiesced()
	if m.clock.silent++; m.clock.silent >= m.clock.timeout && m.bound.Free() {
		m.campaign()
	}
}

// campaign asks for trial votes. Raft refuses to if this replica is no voter, or has
// a membership to apply first.
func (m *Machine) campaign() {
	m.clock.draw()
	_ = m.node.Campaign() // cannot fail: what raft refuses, it refuses silently
}

// leaderReset handles a broken connection from the leader, whose process most likely
// died. Raft forgets it, and so gives trial votes, and we ask for them after a short
// random delay. If only this connection broke, the others refuse and no epoch has
// changed; the next heartbeat reminds us of the leader.
func (m *Machine) leaderReset() {
	if m.bound.On() {
		return
	}
	_ = m.node.ForgetLeader() // refused only with leases on a clock, which are off
	m.observe()
	spread := uint64(max(2, m.clock.electionTicks/3))
	m.clock.silent, m.clock.timeout = 0, int(1+m.clock.rand.Uint64N(spread))
}

// soleVoter reports whether this replica alone is the quorum of what raft works with.
func (m *Machine) soleVoter() bool {
	other := func(id consensus.ReplicaID) bool { return id != m.id }
	return len(m.active.Voters) == 1 && !slices.ContainsFunc(m.active.Voters, other) &&
		!slices.ContainsFunc(m.active.Outgoing, other)
}
