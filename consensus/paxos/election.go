package paxos

import (
	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
	"github.com/quorate/quorate/consensus/quorum"
)

// clock counts ticks.
type clock struct {
	// elapsed is the time since the election timer was reset, or since a leader last
	// checked its quorum; timeout is when a follower campaigns.
	elapsed, timeout int
	// silent is the time since the leader of this epoch was heard.
	silent int
	// beat is the time since a leader's last heartbeat, or a candidate's last request.
	beat int
	// haste, when not zero, is the range of timeouts after the leader's connection was
	// reset. It doubles with each trial until it would be an ordinary timeout.
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
	if m.role == consensus.Candidate && m.disk.hard != m.hard || !m.electable() || !m.bound.Free() {
		return // a ballot that is not on disk has not been used yet
	}
	if m.clock.elapsed >= m.clock.timeout || m.role == consensus.Follower && m.soleVoter() {
		m.campaign()
		return
	}
	if m.clock.beat++; m.role == consensus.Candidate && m.clock.beat >= m.limit.heartbeatTicks {
		m.clock.beat = 0
		m.askPromises()
	}
}

func (m *Machine) tickLeader() {
	m.tickTransfer()
	if m.role != consensus.Leader {
		return
	}
	if m.clock.beat++; m.clock.beat >= m.limit.heartbeatTicks {
		m.clock.beat = 0
		m.beatAll()
		m.askPromises()
	}
	if m.clock.elapsed >= m.limit.electionTicks {
		m.clock.elapsed = 0
		m.checkDisk()
		m.checkQuorum()
	}
}

// checkDisk ends a leadership whose disk has not written anything of what it was given
// for an election timeout.
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

// checkQuorum ends a leadership that those who decide have not answered for an election
// timeout: its clients could wait for ever, and its heartbeats would keep everyone from
// electing another.
func (m *Machine) checkQuorum() {
	const silent, answered = uint64(0), uint64(1)
	heard := true
	for k := range m.electorates() {
		reached := quorum.Decided(&m.electorates()[k].quorum, func(id consensus.ReplicaID) uint64 {
			if p := m.find(id); id == m.id || p != nil && p.active {
				return answered
			}
			return silent
		})
		heard = heard && reached == answered
	}
	for i := range m.peers {
		m.peers[i].active = false
	}
	if !heard && m.role == consensus.Leader {
		m.becomeFollower(m.hard.Epoch, 0)
	}
}

// hasteMin is the shortest timeout in haste, in ticks: a round trip and a write to disk
// must fit in.
const hasteMin = 2

// resetElectionTimer draws a new timeout, a short one in haste.
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
		// Two may lead an epoch's number, of different slots (doc.go): what one of them has
		// told, or is owed, is none of the other's.
		d := &m.duty
		d.decided, d.ack, d.beat, d.gap, d.ackRound, d.beatRound = 0, false, false, false, 0, 0
		d.apart = d.apart[:0]
		m.leader = leader
		m.queue.changed = true
	}
	m.clock.elapsed, m.clock.silent = 0, 0
	if m.clock.haste > 0 {
		m.clock.haste = 0
		m.resetElectionTimer()
	}
}

// leaderReset handles a broken connection from a replica. If that was the leader, its
// process most likely died, and waiting for the timeout only makes the outage longer. The
// trial round makes sure that nothing follows from a mistake (P9).
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

// sticky reports whether this replica believes in a living leader and therefore takes no
// part in elections, or is bound by a lease not to (C12).
func (m *Machine) sticky() bool {
	return m.role == consensus.Leader || m.leader != 0 && m.clock.silent < m.limit.electionTicks ||
		!m.bound.Free() && !m.forgetful()
}

// forgetful is a mutant's: it forgets with the epoch whom it is bound to.
func (m *Machine) forgetful() bool { return m.leader == 0 && mutant.On(mutant.LeaseEpochFrees) }

// campaign starts a trial round: nobody's epoch changes until a quorum has said that it
// would promise.
func (m *Machine) campaign() {
	m.role, m.leader = consensus.Trial, 0
	m.queue.changed = true
	m.resetElectionTimer()
	if m.clock.haste *= 2; m.clock.haste > m.limit.electionTicks {
		m.clock.haste = 0
	}
	m.clearVotes()
	m.find(m.id).vote = quorum.Granted // a trial binds nobody, so it needs no disk
	if m.tally() == quorum.Won {       // alone
		m.becomeCandidate(false)
		return
	}
	for i := range m.peers {
		if p := &m.peers[i]; p.id != m.id && !p.learner {
			m.sendTrial(consensus.Message{Kind: KindPrePrepare, To: p.id, Epoch: m.hard.Epoch + 1, Index: m.commit})
		}
	}
}

func (m *Machine) clearVotes() {
	for i := range m.peers {
		m.peers[i].vote = quorum.Missing
	}
}

// tally returns how the own trial or election stands, in all electorates.
func (m *Machine) tally() quorum.Result {
	result := quorum.Won
	for k := range m.electorates() {
		switch quorum.Elected(&m.electorates()[k].quorum, func(id consensus.ReplicaID) quorum.Vote { return m.find(id).vote }) {
		case quorum.Lost:
			return quorum.Lost
		case quorum.Pending:
			result = quorum.Pending
		}
	}
	return result
}

// collect records an answer and acts on the outcome.
func (m *Machine) collect(from consensus.ReplicaID, v quorum.Vote) {
	p := m.find(from)
	if p == nil || p.vote != quorum.Missing {
		return
	}
	p.vote = v
	switch m.tally() {
	case quorum.Won:
		if m.role == consensus.Trial {
			m.becomeCandidate(false)
		}
	case quorum.Lost:
		m.becomeFollower(m.hard.Epoch, 0)
	}
}

func (m *Machine) becomeFollower(epoch consensus.Epoch, leader consensus.ReplicaID) {
	if m.role == consensus.Leader {
		m.abdicate()
	}
	changed := m.role != consensus.Follower
	if changed || epoch > m.hard.Epoch {
		m.duty = follower{run: m.commit, installing: m.duty.installing}
		m.prop.forget()
	}
	if epoch > m.hard.Epoch {
		m.hard = consensus.HardState{Epoch: epoch}
	}
	m.role, m.leader = consensus.Follower, leader
	m.queue.changed = true
	if changed || leader != 0 {
		m.resetElectionTimer()
	}
	m.extendRun() // a follower of the epoch that it was in already keeps what it accepted
}

// onPrePrepare answers whether this replica would promise: the epoch asked about must be
// new to it and no leader alive. Who has a state so old that it would have to be streamed
// first gets it now, before any epoch has changed for that.
func (m *Machine) onPrePrepare(msg *consensus.Message) error {
	refuse := msg.Epoch <= m.hard.Epoch || m.sticky()
	if !refuse && msg.Index < m.log.released {
		m.needSnapshot(msg.From)
		refuse = true
	}
	if refuse && m.hard.Epoch == 0 {
		return nil // just started, and bound (C12); an epoch to show there is not
	}
	if refuse {
		m.send(consensus.Message{Kind: KindPrePrepareReply, To: msg.From, Reject: true})
		return nil
	}
	if m.role == consensus.Trial && (msg.Index > m.commit || msg.Index == m.commit && msg.From > m.id) {
		// Two replicas that miss their leader at the same moment would otherwise grant
		// each other's trial and both open the epoch.
		m.becomeFollower(m.hard.Epoch, 0)
	}
	m.sendTrial(consensus.Message{Kind: KindPrePrepareReply, To: msg.From, Epoch: msg.Epoch})
	return nil
}

// onOlderPrePrepare refuses and shows our epoch.
func (m *Machine) onOlderPrePrepare(msg *consensus.Message) error {
	m.send(consensus.Message{Kind: KindPrePrepareReply, To: msg.From, Reject: true})
	return nil
}

// onPrePrepareReply is a refusal of the own epoch, or an older one.
func (m *Machine) onPrePrepareReply(msg *consensus.Message) error {
	if m.role == consensus.Trial && msg.Reject {
		m.collect(msg.From, quorum.Refused)
	}
	return nil
}

// onNewerPrePrepareReply is a grant for the epoch that we asked about, or a refusal that
// shows a later epoch.
func (m *Machine) onNewerPrePrepareReply(msg *consensus.Message) error {
	switch {
	case msg.Reject:
		m.becomeFollower(msg.Epoch, 0)
	case m.role == consensus.Trial && msg.Epoch == m.hard.Epoch+1:
		m.collect(msg.From, quorum.Granted)
	}
	return nil
}
