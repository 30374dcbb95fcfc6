package paxos

import (
	"slices"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
)

// decide extends the decided prefix by one slot, which the log holds. REQUIRES: i is
// commit+1.
func (m *Machine) decide(i consensus.Index) {
	m.commit = i
	m.duty.run = max(m.duty.run, i)
	s := m.log.at(i)
	if s.orig >= m.fence {
		m.fence = s.orig
		if s.kind == consensus.EntryMembership && i > m.configured {
			m.adopt(i)
		}
	}
	if es := m.prop.electorates; len(es) > 1 && es[1].from <= i+1 {
		m.prop.reconfigured = true
	}
}

// decided is called after one or more calls of decide, when the machine is whole again.
func (m *Machine) decided() {
	if m.prop.reconfigured {
		m.prop.reconfigured = false
		m.configure()
		if m.role == consensus.Candidate || m.role == consensus.Leader {
			m.askPromises()
		}
	}
}

// grants reports whether this acceptor may promise a ballot to a replica: it does so once
// per epoch, so that an epoch has one proposer in every slot (P1).
func (m *Machine) grants(to consensus.ReplicaID) bool {
	return m.hard.Vote == to || m.hard.Vote == 0 && (m.leader == 0 || m.leader == to)
}

// onPrepare promises the ballot of this epoch, and reports what was accepted.
func (m *Machine) onPrepare(msg *consensus.Message) error {
	if msg.Force {
		m.bound.Release(msg.Epoch)
	}
	if !m.bound.FreeFor(msg.From, msg.Epoch) && !m.forgetful() {
		return nil
	}
	if !m.grants(msg.From) {
		m.send(consensus.Message{Kind: KindPromise, To: msg.From, Reject: true})
		return nil
	}
	if m.hard.Vote == 0 {
		m.hard.Vote = msg.From
	}
	if m.role != consensus.Follower {
		m.becomeFollower(m.hard.Epoch, 0)
	}
	m.clock.haste = 0 // give the candidate its time
	m.resetElectionTimer()
	m.report(msg.From, msg.Index)
	return nil
}

// onNewerPrepare takes the new epoch over, unless a living leader makes the election look
// like a mistake. A transfer says that it is none.
func (m *Machine) onNewerPrepare(msg *consensus.Message) error {
	if m.sticky() && !msg.Force {
		return nil
	}
	m.becomeFollower(msg.Epoch, 0)
	return m.onPrepare(msg)
}

// onLeaderPrepare: who leads an epoch promises it to nobody else.
func (m *Machine) onLeaderPrepare(msg *consensus.Message) error {
	m.send(consensus.Message{Kind: KindPromise, To: msg.From, Reject: true})
	return nil
}

// onOlderPrepare refuses and shows our epoch.
func (m *Machine) onOlderPrepare(msg *consensus.Message) error { return m.onLeaderPrepare(msg) }

// report sends one part of what this acceptor has accepted in slots above from: a run of
// slots without a hole, and how far that reaches. The promise that goes with it, and what
// it reports, is durable before it leaves (P2). Who asks comes back for the next part.
func (m *Machine) report(to consensus.ReplicaID, from consensus.Index) {
	reply := consensus.Message{Kind: KindPromise, To: to, Index: from, Commit: m.commit, Round: uint64(m.log.last())}
	if from < m.log.released {
		if m.duty.installing != 0 {
			return // there is no state to stream yet; it will be asked for again
		}
		m.needSnapshot(to)
		reply.Index, reply.IndexEpoch = m.log.released, m.log.releasedFence
	}
	reply.Hint = max(reply.Index, m.log.last())
	if lo := m.log.next(reply.Index + 1); lo <= m.log.last() {
		reply.Fill, _ = m.log.fit(lo, m.log.last()+1, m.limit.messageCost)
		reply.Hint = m.log.next(reply.Fill.Hi) - 1
	}
	m.sendDurable(reply)
}

// onAccept accepts values of this epoch's leader, in whatever order they come.
func (m *Machine) onAccept(msg *consensus.Message) error {
	m.heard(msg.From)
	if m.duty.installing != 0 {
		return nil // the leader will send again; nothing may be accepted now
	}
	span := consensus.Span{Lo: msg.Index + 1, Hi: msg.Index + 1 + consensus.Index(len(msg.Entries))}
	for k := range msg.Entries {
		m.accept(&msg.Entries[k])
	}
	m.extendRun()
	m.duty.ack = true
	m.duty.ackRound = max(m.duty.ackRound, msg.Round)
	if span.Lo > m.duty.run+1 && !span.Empty() {
		m.duty.acceptedApart(span)
	}
	m.learn(msg.Commit)
	return nil
}

// accept writes a value of the own epoch, unless that was done or the slot is decided.
func (m *Machine) accept(e *consensus.Entry) {
	if e.Index <= m.commit || m.log.at(e.Index).epoch == m.hard.Epoch {
		return
	}
	own := *e
	own.Epoch = m.hard.Epoch
	m.log.put(&own)
	m.queue.entries = append(m.queue.entries, own)
}

// acceptBelow is a mutant's: it accepts in an epoch below the promised one.
func (m *Machine) acceptBelow(msg *consensus.Message) error {
	for k := range msg.Entries {
		e := msg.Entries[k]
		if e.Index > m.commit && m.log.at(e.Index).epoch < msg.Epoch {
			e.Epoch = msg.Epoch
			m.log.put(&e)
			m.queue.entries = append(m.queue.entries, e)
		}
	}
	reply := consensus.Message{Kind: KindAcceptedApart, Group: m.group, From: m.id, To: msg.From, Epoch: msg.Epoch,
		Index: msg.Index, Hint: msg.Index + consensus.Index(len(msg.Entries))}
	if len(msg.Entries) > 0 {
		m.queue.afterSync = append(m.queue.afterSync, reply)
	}
	return nil
}

// extendRun moves run over what is accepted in this epoch.
func (m *Machine) extendRun() {
	for i := m.duty.run + 1; i <= m.log.last() && (m.log.at(i).epoch == m.hard.Epoch || m.log.at(i).epoch != 0 && mutant.On(mutant.PaxosLearnAnyBallot)); i++ {
		m.duty.run = i
	}
}

// spansMax bounds the spans apart that are acknowledged at once; the others are with the
// next heartbeat.
const spansMax = 64

// acceptedApart notes a span above run that is to be acknowledged.
func (d *follower) acceptedApart(span consensus.Span) {
	if n := len(d.apart); n > 0 && d.apart[n-1].Hi == span.Lo {
		d.apart[n-1].Hi = span.Hi
	} else if n < spansMax {
		d.apart = append(d.apart, span)
	}
}

// learn takes over a leader's commit index, as far as the slots were accepted in its
// epoch: only then is the value here the decided one (P5).
func (m *Machine) learn(commit consensus.Index) {
	m.duty.decided = max(m.duty.decided, commit)
	upTo := min(m.duty.decided, m.duty.run)
	if upTo <= m.commit {
		return
	}
	for m.commit < upTo {
		m.decide(m.commit + 1)
	}
	m.decided()
}

// onHeartbeat confirms the leader.
func (m *Machine) onHeartbeat(msg *consensus.Message) error {
	m.heard(msg.From)
	m.learn(msg.Commit)
	m.duty.beat = true
	m.duty.gap = m.duty.run < msg.Index
	m.duty.beatRound = max(m.duty.beatRound, msg.Round)
	return nil
}

// onCommit learns what is decided. No answer: it carries no promise and no question.
func (m *Machine) onCommit(msg *consensus.Message) error {
	m.heard(msg.From)
	m.learn(msg.Commit)
	return nil
}

// flushFollower answers the leader once for all its messages since the last Ready.
func (m *Machine) flushFollower() {
	d := &m.duty
	if m.leader == 0 {
		return
	}
	if d.ack && d.installing == 0 {
		m.sendDurable(consensus.Message{Kind: KindAccepted, To: m.leader, Index: d.run, Round: d.ackRound})
		for _, span := range d.apart {
			if span.Hi > d.run+1 {
				m.sendDurable(consensus.Message{Kind: KindAcceptedApart, To: m.leader, Index: span.Lo - 1, Hint: span.Hi - 1})
			}
		}
	}
	if d.beat {
		m.send(consensus.Message{
			Kind: KindHeartbeatReply, To: m.leader, Reject: d.gap, Round: d.beatRound,
			Index: max(m.commit, min(d.run, m.disk.runIn(m.hard.Epoch))), Hint: d.run, Commit: m.disk.decided,
		})
	}
	d.ack, d.beat, d.gap, d.ackRound, d.beatRound = false, false, false, 0, 0
	d.apart = slices.Delete(d.apart, 0, len(d.apart))
}
