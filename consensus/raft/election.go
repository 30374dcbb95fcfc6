package raft

import (
	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
	"github.com/quorate/quorate/consensus/quorum"
)

// clock counts ticks.
type clock struct {
	// elapsed is the time since the election timer was reset, or since a leader
	// last checked its quorum; timeout is when a follower campaigns.
	elapsed, timeout int
	// silent is the time since the leader of this epoch was heard.
	silent int
	// beat is the time since a leader's last heartbeat.
	beat int
	// haste, when not zero, is the range of timeouts after the leader's connection
	// was reset. It doubles with each trial until it would be an ordinary timeout.
	haste int
}

// Tick implements consensus.Machine.
func (m *Machine) Tick() {
	m.clock.elapsed++
	m.queue.trim()
	m.bound.Tick()
	if m.role == consensus.Leader {
		m.tickLeader()
		return
	}
	m.clock.silent++
	waiting := m.role == consensus.Candidate && m.disk.hard != m.hard
	if waiting || !m.electable() || !m.bound.Free() {
		return // a vote that is not on disk has not been asked for yet
	}
	if m.clock.elapsed >= m.clock.timeout || m.role == consensus.Follower && m.soleVoter() {
		m.campaign()
	}
}

func (m *Machine) tickLeader() {
	m.tickTransfer()
	if m.role != consensus.Leader {
		return
	}
	m.clock.beat++
	if m.clock.beat >= m.limit.heartbeatTicks {
		m.clock.beat = 0
		m.beatAll()
	}
	if m.clock.elapsed >= m.limit.electionTicks {
		m.clock.elapsed = 0
		m.checkDisk()
		m.checkQuorum()
	}
}

// checkDisk ends a leadership whose disk has not written anything of what it was
// given for an election timeout. The group could go on deciding without it, but
// this leader soon has to refuse proposals (see proposeCommands), and others can
// write.
func (m *Machine) checkDisk() {
	before := m.lead.stalled
	m.lead.stalled = 0
	if m.disk.settled() {
		return
	}
	m.lead.stalled = m.disk.durable + 1
	if before == m.lead.stalled {
		m.leave()
	}
}

// checkQuorum ends a leadership that a quorum has not answered for an election
// timeout (thesis §6.2): its clients could wait for ever, and a leader that keeps
// stickiness up without deciding anything would block everyone.
func (m *Machine) checkQuorum() {
	heard := quorum.Tally(m.quorum, func(id consensus.ReplicaID) quorum.Vote {
		if p := m.find(id); id == m.id || p.active && p.doubt == 0 {
			return quorum.Granted
		}
		return quorum.Refused
	})
	for i := range m.peers {
		m.peers[i].active = false
	}
	if heard != quorum.Won && m.role == consensus.Leader {
		m.becomeFollower(m.hard.Epoch, 0)
	}
}

// hasteMin is the shortest timeout in haste, in ticks: a round trip and a write to
// disk must fit in.
const hasteMin = 2

// resetElectionTimer draws a new timeout (§5.2), a short one in haste.
func (m *Machine) resetElectionTimer() {
	m.clock.elapsed = 0
	if h := m.clock.haste; h > 0 {
		m.clock.timeout = hasteMin + int(m.rand.Uint64N(uint64(h)))
		return
	}
	m.clock.timeout = m.limit.electionTicks + int(m.rand.Uint64N(uint64(m.limit.electionTicks)))
}

// heard notes that the leader of this epoch is alive.
func (m *Machine) heard(leader consensus.ReplicaID) {
	if m.role != consensus.Follower {
		m.becomeFollower(m.hard.Epoch, leader)
	}
	m.bound.Heard(leader, m.hard.Epoch)
	if m.leader != leader {
		m.leader = leader
		m.queue.changed = true
	}
	m.clock.elapsed, m.clock.silent = 0, 0
	if m.clock.haste > 0 {
		m.clock.haste = 0
		m.resetElectionTimer()
	}
}

// leaderReset handles a broken connection from a replica. If that was the leader,
// its process most likely died, and waiting for the timeout only makes the outage
// longer. The replica stops being sticky and asks for trial votes after a short
// random delay. Others grant them if they saw the same; if only this connection
// broke, they refuse, no epoch has changed, and the next heartbeat calms us (R4).
func (m *Machine) leaderReset(id consensus.ReplicaID) {
	if id != m.leader || m.role != consensus.Follower || m.bound.On() {
		return
	}
	m.clock.silent = m.limit.electionTicks
	if !m.electable() {
		return
	}
	spread := max(2, m.limit.electionTicks/3)
	m.clock.haste = spread
	m.clock.elapsed = 0
	m.clock.timeout = int(m.rand.Uint64N(uint64(spread)))
	if m.clock.timeout == 0 {
		m.campaign()
	}
}

// sticky reports whether this replica believes in a living leader and therefore
// takes no part in elections (thesis §4.2.3), or is bound by a lease not to (C12).
func (m *Machine) sticky() bool {
	return m.role == consensus.Leader || m.leader != 0 && m.clock.silent < m.limit.electionTicks ||
		!m.bound.Free() && !m.forgetful()
}

// forgetful is a mutant's: it forgets with the epoch whom it is bound to.
func (m *Machine) forgetful() bool { return m.leader == 0 && mutant.On(mutant.LeaseEpochFrees) }

// soleVoter reports whether this replica alone is the quorum.
func (m *Machine) soleVoter() bool {
	return len(m.quorum.Incoming) == 1 && m.quorum.Incoming[0] == m.id && len(m.quorum.Outgoing) == 0
}

// campaign starts a trial round: nobody's epoch changes until a quorum has said
// that it would vote (thesis §9.6).
func (m *Machine) campaign() {
	m.becomeTrial()
	if m.tally() == quorum.Won { // alone
		m.becomeCandidate(false)
		return
	}
	m.toVoters(consensus.Message{Kind: KindPreVote, Epoch: m.hard.Epoch + 1}, (*Machine).sendTrial)
}

// toVoters sends an election message with the end of the log to every voter.
func (m *Machine) toVoters(msg consensus.Message, send func(*Machine, consensus.Message)) {
	msg.Index, msg.IndexEpoch = m.log.last, m.log.lastEpoch()
	for i := range m.peers {
		if p := &m.peers[i]; p.id != m.id && !p.learner {
			msg.To = p.id
			send(m, msg)
		}
	}
}

func (m *Machine) becomeFollower(epoch consensus.Epoch, leader consensus.ReplicaID) {
	if m.role == consensus.Leader {
		m.abdicate()
	}
	changed := m.role != consensus.Follower
	if changed || epoch > m.hard.Epoch {
		m.duty = follower{verified: m.commit, installing: m.duty.installing}
	}
	if epoch > m.hard.Epoch {
		m.hard = consensus.HardState{Epoch: epoch}
	}
	m.role, m.leader = consensus.Follower, leader
	m.queue.changed = true
	if changed || leader != 0 {
		m.resetElectionTimer()
	}
}

func (m *Machine) becomeTrial() {
	m.role, m.leader = consensus.Trial, 0
	m.queue.changed = true
	m.resetElectionTimer()
	if m.clock.haste *= 2; m.clock.haste > m.limit.electionTicks {
		m.clock.haste = 0
	}
	m.clearVotes()
	if p := m.find(m.id); p != nil {
		p.vote = quorum.Granted // a trial vote binds nobody, so it needs no disk
	}
}

// becomeCandidate opens a new epoch (§5.2). The own vote counts, and the requests
// leave, once the epoch and the vote are durable (R2).
func (m *Machine) becomeCandidate(force bool) {
	m.role, m.leader = consensus.Candidate, 0
	m.hard = consensus.HardState{Epoch: m.hard.Epoch + 1, Vote: m.id}
	m.duty = follower{verified: m.commit}
	m.queue.changed = true
	m.resetElectionTimer()
	m.clearVotes()
	m.toVoters(consensus.Message{Kind: KindVote, Force: force}, (*Machine).send)
	if mutant.On(mutant.RaftEpochBeforeDurable) {
		m.collect(m.id, quorum.Granted)
	}
}

// becomeLeader starts a leadership with a barrier: what earlier epochs left behind
// is decided together with it (§5.4.2, §8).
func (m *Machine) becomeLeader() {
	m.role, m.leader = consensus.Leader, m.id
	m.queue.changed = true
	m.clock = clock{}
	m.duty = follower{}
	m.read.clear()
	next := m.log.last + 1
	m.lead = leadership{start: next, first: next, ids: m.lead.ids}
	m.lead.ids.Clear()
	for i := range m.peers {
		m.peers[i].lead(next)
	}
	m.appendOwn(consensus.EntryBarrier, nil, 0)
}

// abdicate ends what a leader has in flight (C8).
func (m *Machine) abdicate() {
	for k := range m.lead.ids.Len() {
		if id := *m.lead.ids.At(k); id != 0 {
			m.queue.unknown = append(m.queue.unknown, id)
		}
	}
	m.lead.ids.Clear()
	m.lead.transferee, m.lead.sent, m.lead.leaving = 0, false, false
	m.read.drop(&m.queue.dropped)
}

func (m *Machine) clearVotes() {
	for i := range m.peers {
		m.peers[i].vote = quorum.Missing
	}
}

func (m *Machine) tally() quorum.Result {
	return quorum.Tally(m.quorum, func(id consensus.ReplicaID) quorum.Vote { return m.find(id).vote })
}

// collect records an answer and acts on the outcome.
func (m *Machine) collect(from consensus.ReplicaID, v quorum.Vote) {
	p := m.find(from)
	if p == nil || p.vote != quorum.Missing {
		return // not in the configuration, which is the machine itself then; or heard before
	}
	p.vote = v
	switch m.tally() {
	case quorum.Won:
		if m.role == consensus.Trial {
			m.becomeCandidate(false)
		} else {
			m.becomeLeader()
		}
	case quorum.Lost:
		m.becomeFollower(m.hard.Epoch, 0)
	}
}

func answer(msg *consensus.Message) quorum.Vote {
	if msg.Reject {
		return quorum.Refused
	}
	return quorum.Granted
}

// onPreVote answers whether this replica would vote: the epoch asked about must be
// new to it, the log good enough and no leader alive (thesis §9.6, §4.2.3).
func (m *Machine) onPreVote(msg *consensus.Message) error {
	if m.abstains() {
		return nil
	}
	grant := msg.Epoch > m.hard.Epoch && m.log.upToDate(msg.Index, msg.IndexEpoch) &&
		(!m.sticky() || mutant.On(mutant.RaftPreVoteIgnoreLeader))
	if !grant && m.hard.Epoch == 0 {
		return nil // just started, and bound (C12); an epoch to show there is not
	}
	if !grant {
		m.send(consensus.Message{Kind: KindPreVoteReply, To: msg.From, Reject: true})
		return nil
	}
	if m.role == consensus.Trial && m.outranked(msg) {
		m.becomeFollower(m.hard.Epoch, 0)
	}
	m.sendTrial(consensus.Message{Kind: KindPreVoteReply, To: msg.From, Epoch: msg.Epoch})
	return nil
}

// outranked reports whether a trial of somebody else should go before ours. Two
// replicas that miss their leader at the same moment would otherwise grant each
// other's trial, both open the epoch and split its votes.
func (m *Machine) outranked(msg *consensus.Message) bool {
	if msg.IndexEpoch != m.log.lastEpoch() || msg.Index != m.log.last {
		return true // it is granted, so its log is better
	}
	return msg.From > m.id
}

// onPreVoteReply is a refusal of the own epoch, for a trial.
func (m *Machine) onPreVoteReply(msg *consensus.Message) error {
	if msg.Reject {
		m.collect(msg.From, quorum.Refused)
	}
	return nil
}

// onNewerPreVoteReply is a grant for the epoch that we asked about, or a refusal
// that shows a later epoch.
func (m *Machine) onNewerPreVoteReply(msg *consensus.Message) error {
	switch {
	case msg.Reject:
		m.becomeFollower(msg.Epoch, 0)
	case m.role == consensus.Trial && msg.Epoch == m.hard.Epoch+1:
		m.collect(msg.From, quorum.Granted)
	}
	return nil
}

// onOlderPreVoteReply is a refusal by a replica that has not reached our epoch.
func (m *Machine) onOlderPreVoteReply(msg *consensus.Message) error {
	if m.role == consensus.Trial && msg.Reject {
		m.collect(msg.From, quorum.Refused)
	}
	return nil
}

// onOlderPreVote refuses and shows our epoch.
func (m *Machine) onOlderPreVote(msg *consensus.Message) error {
	m.send(consensus.Message{Kind: KindPreVoteReply, To: msg.From, Reject: true})
	return nil
}

// onVote votes once per epoch, for a log at least as good as ours (§5.2, §5.4.1).
// Who asks need not be in our configuration: ours may lag (§6, thesis §4.1).
func (m *Machine) onVote(msg *consensus.Message) error {
	if m.abstains() {
		return nil
	}
	if msg.Force {
		m.bound.Release(msg.Epoch)
	}
	if !m.bound.Free() && !m.forgetful() {
		return nil
	}
	free := m.hard.Vote == msg.From || m.hard.Vote == 0 && m.leader == 0
	if !free || !m.log.upToDate(msg.Index, msg.IndexEpoch) {
		m.send(consensus.Message{Kind: KindVoteReply, To: msg.From, Reject: true})
		return nil
	}
	m.hard.Vote = msg.From
	if m.role != consensus.Follower {
		m.becomeFollower(m.hard.Epoch, 0)
	}
	m.clock.haste = 0 // give the candidate its time
	m.resetElectionTimer()
	m.sendDurable(consensus.Message{Kind: KindVoteReply, To: msg.From})
	return nil
}

// onNewerVote takes the new epoch over, unless a living leader makes the election
// look like a mistake (thesis §4.2.3). A transfer says that it is none.
func (m *Machine) onNewerVote(msg *consensus.Message) error {
	if m.sticky() && !msg.Force || m.abstains() {
		return nil
	}
	m.becomeFollower(msg.Epoch, 0)
	return m.onVote(msg)
}

// onOlderVote refuses and shows our epoch (§5.1).
func (m *Machine) onOlderVote(msg *consensus.Message) error {
	m.send(consensus.Message{Kind: KindVoteReply, To: msg.From, Reject: true})
	return nil
}

// onVoteReply counts a vote.
func (m *Machine) onVoteReply(msg *consensus.Message) error {
	m.collect(msg.From, answer(msg))
	return nil
}
