package paxos

import (
	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
	"github.com/quorate/quorate/consensus/quorum"
)

// proposer is what a candidate and a leader know from phase 1.
type proposer struct {
	// electorates are who governs the slots above commit; reconfigured says that they
	// have to be derived anew.
	electorates  []electorate
	reconfigured bool
	// record is up to where the log must know what is decided: whoever governs behind may
	// not depend on those who governed before (P7).
	record consensus.Index

	// found has, for slots above commit that are not proposed yet, the value of the
	// highest epoch that any report has, or the decided one. Its size is bounded by the
	// windows of earlier leaders: what one acceptor may hold beyond what it knows decided.
	found map[consensus.Index]finding
	// upTo is the last slot that was ever in found.
	upTo consensus.Index
}

// finding is a value that phase 1 has found.
type finding struct {
	consensus.Entry
	decided bool
}

// forget ends phase 1, with the epoch that it was for.
func (p *proposer) forget() {
	clear(p.found)
	p.upTo = 0
}

// becomeCandidate opens a new ballot. It is asked for, and the own promise counts, once
// it is durable (C3).
func (m *Machine) becomeCandidate(force bool) {
	m.role, m.leader = consensus.Candidate, 0
	m.hard = consensus.HardState{Epoch: m.hard.Epoch + 1, Vote: m.id}
	m.duty = follower{run: m.commit}
	m.prop.forget()
	m.queue.changed = true
	m.resetElectionTimer()
	m.clearVotes()
	m.clock.beat = 0
	for i := range m.peers {
		m.peers[i].promise = promise{upTo: m.commit}
	}
	m.prepare(force)
}

// prepare asks every voter to promise and to report. Who has done so is asked on, behind
// the end of its report, so that it knows that the election lives: another voter's report
// may be long. This replica asks itself by message like any other, because the values that
// its own acceptor has are the driver's to read.
func (m *Machine) prepare(force bool) {
	for i := range m.peers {
		p := &m.peers[i]
		if p.learner || p.promise.done && (p.id == m.id || m.role == consensus.Leader && p.promise.floor <= m.commit) {
			continue
		}
		m.ask(p, force)
	}
}

// ask asks one of them, for the next part of its report; or for all that is not decided
// here, if it has released some of that: the state that it streamed may be lost.
func (m *Machine) ask(p *peer, force bool) {
	from := max(p.promise.upTo, m.commit)
	if p.promise.done && p.promise.floor > m.commit {
		from = m.commit
	}
	if p.id == m.id {
		m.report(m.id, from)
		return
	}
	m.send(consensus.Message{Kind: KindPrepare, To: p.id, Index: from, Force: force})
}

// askPromises asks again whoever is still needed. A leader's word for a new electorate
// overrides that its voters may have heard another one, but not that they are bound to it
// (C12): this leader may have slept through the change, and that one be behind it.
func (m *Machine) askPromises() {
	if m.role == consensus.Leader && m.promisedUpTo() == never {
		return
	}
	m.prepare(m.role == consensus.Leader && !m.bound.On())
}

// never is a slot that is never reached.
const never = consensus.Index(positionMax)

// promisedUpTo is the last slot whose electorate, and those of all slots before, have
// promised this ballot and reported by an electing quorum (P3). A report does not count in
// slots that it leaves out because they are released there; when they are decided here
// they are of no interest (P4).
func (m *Machine) promisedUpTo() consensus.Index {
	es := m.electorates()
	if mutant.On(mutant.PaxosOldPromises) {
		es = es[:1]
	}
	for k := range es {
		r := quorum.Elected(&es[k].quorum, func(id consensus.ReplicaID) quorum.Vote {
			p := m.find(id)
			if p != nil && p.promise.done && (p.promise.floor <= m.commit || p.promise.floor < es[k].from || mutant.On(mutant.PaxosFloorIgnored)) {
				return quorum.Granted
			}
			return quorum.Missing
		})
		if r != quorum.Won {
			return es[k].from - 1
		}
	}
	return never
}

// onPromise takes a part of a report, or a refusal.
func (m *Machine) onPromise(msg *consensus.Message) error {
	p := m.find(msg.From)
	if msg.Reject {
		m.refused(p)
		return nil
	}
	p.active = true
	from := max(p.promise.upTo, m.commit)
	if msg.Index > from {
		if msg.IndexEpoch == 0 {
			return nil // the part before was lost: it is asked for again
		}
		p.promise.floor = msg.Index
	}
	before := p.promise
	p.promise.given, p.promise.commit = true, msg.Commit
	settled := m.commit // slots up to here need no report any more
	if m.role == consensus.Leader {
		settled = max(m.lead.last, m.promisedUpTo())
	}
	for k := range msg.Entries {
		if e := &msg.Entries[k]; e.Index > settled {
			m.discover(e, msg.Commit)
		}
	}
	p.promise.upTo = max(from, msg.Hint)
	p.promise.done = p.promise.done || p.promise.upTo >= consensus.Index(msg.Round) || mutant.On(mutant.PaxosReportPart)
	news := !before.given || p.promise.upTo > before.upTo || p.promise.done != before.done
	m.learnFound()
	if news {
		m.clock.elapsed = 0 // the election goes on
	}
	if m.role == consensus.Leader {
		m.goOnProposing()
		m.goOn()
		return nil
	}
	if p = m.find(msg.From); p != nil && news && !p.promise.done {
		m.ask(p, false)
	}
	m.electIfReady()
	return nil
}

// refused notes a refusal, which ends a candidacy that cannot win any more, and the lead of
// who has slept through a change: another one leads this epoch's number in the slots of the
// new voters.
func (m *Machine) refused(p *peer) {
	if p.vote = quorum.Refused; m.tally() == quorum.Lost {
		m.becomeFollower(m.hard.Epoch, 0)
	}
}

// discover takes up one reported value: the decided one, or the one of the highest epoch
// (Paxos Made Simple, §2.2, P2c).
func (m *Machine) discover(e *consensus.Entry, commit consensus.Index) {
	had, ok := m.prop.found[e.Index]
	if ok && (had.decided || had.Epoch >= e.Epoch && e.Index > commit && !mutant.On(mutant.PaxosValueNotHighest)) {
		return
	}
	if m.prop.found == nil {
		m.prop.found = make(map[consensus.Index]finding)
	}
	m.prop.found[e.Index] = finding{*e, e.Index <= commit}
	m.prop.upTo = max(m.prop.upTo, e.Index)
}

// learnFound moves the decided prefix over what reports say is decided. Such a value is
// the only one that this ballot could propose, so it may be accepted in its epoch.
func (m *Machine) learnFound() {
	if m.role == consensus.Leader || m.duty.installing != 0 {
		return
	}
	before := m.commit
	for {
		f, ok := m.prop.found[m.commit+1]
		if !ok || !f.decided {
			break
		}
		delete(m.prop.found, f.Index)
		m.accept(&f.Entry)
		m.decide(f.Index)
	}
	if m.commit > before {
		m.decided()
	}
}

// electIfReady ends phase 1 once every electorate has promised.
func (m *Machine) electIfReady() {
	if m.role == consensus.Candidate && m.promisedUpTo() == never && m.electable() {
		m.becomeLeader()
	}
}

// becomeLeader begins phase 2: first whatever phase 1 has found, then a barrier.
func (m *Machine) becomeLeader() {
	m.role, m.leader = consensus.Leader, m.id
	m.queue.changed = true
	m.clock = clock{}
	m.duty = follower{run: m.commit}
	m.read.clear()
	m.lead = leadership{settled: m.commit, last: m.commit, first: m.commit + 1, ids: m.lead.ids}
	m.lead.ids.Clear()
	for i := range m.peers {
		m.peers[i].lead(m.commit + 1)
		m.peers[i].beat = true
	}
	m.goOnProposing()
}

// goOnProposing proposes what phase 1 has found, as far as the window and the promises
// allow: the value of the highest epoch in each slot, and a no-op in each that is empty,
// up to the last one (P3). Then the leader's own barrier: from there on it is established.
func (m *Machine) goOnProposing() {
	limit := m.proposable()
	for m.lead.last < min(m.prop.upTo, limit) {
		i := m.lead.last + 1
		f, ok := m.prop.found[i]
		if !ok && mutant.On(mutant.PaxosHoleUnfilled) {
			m.lead.last, m.duty.run = i, i
			m.lead.ids.Push(0)
			continue
		}
		if !ok {
			m.propose(consensus.EntryBarrier, nil, 0)
			continue
		}
		delete(m.prop.found, i)
		m.proposeEntry(f.Entry, 0)
	}
	if m.lead.start == 0 && m.lead.last < limit && m.lead.last >= m.prop.upTo {
		m.propose(consensus.EntryBarrier, nil, 0)
		m.lead.start = m.lead.last
	}
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
