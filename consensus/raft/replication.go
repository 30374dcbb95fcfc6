package raft

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
	"github.com/quorate/quorate/consensus/quorum"
)

// proposeCommands appends commands to a leader's log, all or none. Sending and
// writing happens in Ready, so that what is proposed together travels together.
func (m *Machine) proposeCommands(commands []consensus.Command) error {
	if len(commands) == 0 {
		return fmt.Errorf("%w: no commands", consensus.ErrInvalid)
	}
	if m.lead.transferee != 0 {
		return fmt.Errorf("%w: to %v", consensus.ErrTransferring, m.lead.transferee)
	}
	// What is not on the own disk counts too, or a stalled disk would let the
	// driver's write queue grow as long as the others decide.
	settled := max(m.log.released, min(m.commit, m.disk.index))
	if open := m.log.costOf(settled, m.log.last); open > 0 {
		for i := range commands {
			open += cost(len(commands[i].Data))
		}
		if open > m.limit.uncommittedCost {
			return fmt.Errorf("%w: %d of %d bytes undecided", consensus.ErrBusy, open, m.limit.uncommittedCost)
		}
	}
	for i := range commands {
		m.appendOwn(consensus.EntryCommand, commands[i].Data, commands[i].ID)
	}
	return nil
}

// appendOwn adds an entry of the own epoch behind the log.
func (m *Machine) appendOwn(kind consensus.EntryKind, data []byte, id consensus.ProposalID) {
	m.queue.entries = append(m.queue.entries, consensus.Entry{
		Index: m.log.last + 1, Epoch: m.hard.Epoch, Orig: m.hard.Epoch, Kind: kind, Data: data,
	})
	m.log.append(m.hard.Epoch, len(data))
	m.lead.ids.Push(id)
}

// acked is how far a voter has the leader's log on disk.
func (m *Machine) acked(id consensus.ReplicaID) consensus.Index {
	if id != m.id {
		if p := m.find(id); p.doubt == 0 || mutant.On(mutant.RaftCountDoubtful) {
			return p.match
		}
		return 0
	}
	if mutant.On(mutant.RaftCountSelfEarly) {
		return m.log.last
	}
	return m.disk.index
}

// advanceCommit decides what a quorum has durably accepted. Only entries of the
// own epoch are decided by counting; older ones come with them (§5.4.2, R6).
func (m *Machine) advanceCommit() {
	c := quorum.Committed(m.quorum, m.acked)
	if c <= m.commit {
		return
	}
	if m.log.epochAt(c) != m.hard.Epoch && !mutant.On(mutant.RaftCommitOldEpoch) {
		return
	}
	m.commit = c
	if c >= m.lead.first {
		k := int(c - m.lead.first + 1)
		m.lead.ids.PopFront(k)
		m.lead.first = c + 1
	}
	m.membershipDecided()
}

// flushLeader sends what has come up since the last Ready: read rounds, appends as
// far as windows allow, heartbeats, news of the commit index.
func (m *Machine) flushLeader() {
	m.openRound()
	for i := range m.peers {
		p := &m.peers[i]
		if p.id == m.id {
			continue
		}
		m.sendAppends(p)
		if p.beat {
			m.sendHeartbeat(p)
		} else if p.told < m.commit && p.flow == replicate {
			m.sendCommit(p)
		}
	}
}

// sendAppends ships entries to a peer until it has all or its window is full.
func (m *Machine) sendAppends(p *peer) {
	for p.next <= m.log.last && p.flow != snapshot && !p.waiting {
		if p.next <= m.log.released {
			m.needSnapshot(p)
			return
		}
		budget := m.window(p)
		if budget == 0 {
			return
		}
		span := m.log.fit(p.next, budget)
		size := m.log.costOf(span.Lo-1, span.Hi-1)
		if p.shipped > 0 && size > budget {
			return // one large entry: wait until it is alone
		}
		m.sendAppend(p, span)
		p.ship(span.Hi-1, size)
	}
	if p.flow == probe && !p.waiting {
		// All is sent: ask with an empty append where the replica is. Also when it
		// has acknowledged all: after a restart it does not know any more that its
		// log is this leader's, and learns nothing until it does (R5).
		m.sendAppend(p, consensus.Span{})
		p.waiting = true
	}
}

func (m *Machine) sendAppend(p *peer, span consensus.Span) {
	p.told = m.commit
	m.send(consensus.Message{
		Kind: KindAppend, To: p.id, Index: p.next - 1, IndexEpoch: m.log.epochAt(p.next - 1),
		Commit: m.commit, Round: m.read.round, Fill: span, Doubt: m.settled(p),
	})
}

// window returns what the next append to a peer may cost; zero: wait.
func (m *Machine) window(p *peer) uint64 {
	if p.shipments.Len() >= m.limit.inflightMessages || p.shipped >= m.limit.inflightCost {
		return 0
	}
	return min(m.limit.messageCost, m.limit.inflightCost-p.shipped)
}

func (m *Machine) sendHeartbeat(p *peer) {
	p.beat, p.told = false, m.commit
	m.send(consensus.Message{Kind: KindHeartbeat, To: p.id, Index: p.next - 1, Commit: m.commit, Round: m.read.round, Doubt: m.settled(p)})
}

func (m *Machine) sendCommit(p *peer) {
	p.told = m.commit
	m.send(consensus.Message{Kind: KindCommit, To: p.id, Commit: m.commit})
}

func (m *Machine) beatAll() {
	for i := range m.peers {
		m.peers[i].beat = true
	}
}

// onAppend accepts entries behind one that matches (§5.3).
func (m *Machine) onAppend(msg *consensus.Message) error {
	m.heard(msg.From)
	m.reassured(msg)
	if m.duty.installing != 0 {
		return nil // the leader will send again; nothing may be appended now
	}
	prev, entries := m.skipDecided(msg)
	unchecked := mutant.On(mutant.RaftAppendUnchecked) && prev <= m.log.last
	if !unchecked && !m.log.matches(prev, m.epochBefore(msg, prev)) {
		m.rejectAppend(msg)
		return nil
	}
	m.accept(prev, entries)
	m.duty.verified = max(m.duty.verified, prev+consensus.Index(len(entries)))
	m.duty.ack = true
	m.duty.ackRound = max(m.duty.ackRound, msg.Round)
	m.learn(msg.Commit)
	return nil
}

// skipDecided cuts what this replica knows to be decided from the front of an
// append: it is equal here (validate has seen to that) and may be released.
func (m *Machine) skipDecided(msg *consensus.Message) (consensus.Index, []consensus.Entry) {
	if msg.Index >= m.commit {
		return msg.Index, msg.Entries
	}
	k := min(m.commit-msg.Index, consensus.Index(len(msg.Entries)))
	return m.commit, msg.Entries[k:]
}

// epochBefore is the epoch that the sender has at prev, which is the message's
// Index, or the commit index if that is higher.
func (m *Machine) epochBefore(msg *consensus.Message, prev consensus.Index) consensus.Epoch {
	if msg.Index == prev {
		return msg.IndexEpoch
	}
	return m.log.epochAt(prev)
}

// accept appends what is new behind prev. Only a conflict truncates: entries that
// are here already may be followed by others that a later message brought first
// (§5.3, step 3 of AppendEntries).
func (m *Machine) accept(prev consensus.Index, entries []consensus.Entry) {
	fresh := 0
	for fresh < len(entries) && entries[fresh].Index <= m.log.last {
		if m.log.epochAt(entries[fresh].Index) != entries[fresh].Epoch {
			m.truncate(entries[fresh].Index)
			break
		}
		fresh++
	}
	m.queue.entries = append(m.queue.entries, entries[fresh:]...)
	for k := fresh; k < len(entries); k++ {
		e := &entries[k]
		m.log.append(e.Epoch, len(e.Data))
		if e.Kind == consensus.EntryMembership {
			m.adopt(e)
		}
	}
	end := prev + consensus.Index(len(entries))
	if mutant.On(mutant.RaftTruncateAlways) && end < m.log.last && end >= m.commit {
		m.truncate(end + 1)
	}
}

// truncate removes the end of a follower's log from index on.
func (m *Machine) truncate(from consensus.Index) {
	if from <= m.commit {
		panic(fmt.Sprintf("raft: truncation at %d, decided up to %d", from, m.commit))
	}
	m.log.truncate(from)
	m.disk.truncate(from)
	m.queue.truncateFrom(from)
	m.revert(from)
}

// rejectAppend tells the leader where our log may meet its own: at our last entry
// not behind the one it asked for and of no later epoch (§5.3, quick backtracking).
func (m *Machine) rejectAppend(msg *consensus.Message) {
	hint := max(m.commit, m.log.backOff(msg.Index, msg.IndexEpoch))
	m.send(consensus.Message{
		Kind: KindAppendReply, To: msg.From, Reject: true, Index: msg.Index,
		Hint: hint, HintEpoch: m.log.epochAt(hint), Doubt: m.doubt.name,
	})
}

// learn takes over a leader's commit index as far as our log is the leader's (R5).
func (m *Machine) learn(commit consensus.Index) {
	m.duty.decided = max(m.duty.decided, commit)
	m.commit = max(m.commit, min(m.duty.decided, m.duty.verified))
}

// onHeartbeat confirms the leader.
func (m *Machine) onHeartbeat(msg *consensus.Message) error {
	m.heard(msg.From)
	m.reassured(msg)
	m.learn(msg.Commit)
	m.duty.beat = true
	m.duty.gap = m.duty.verified < msg.Index
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
	m.settleDoubt()
	if d.ack && d.installing == 0 {
		reply := consensus.Message{Kind: KindAppendReply, To: m.leader, Index: d.verified, Round: d.ackRound, Doubt: m.doubt.name}
		if mutant.On(mutant.RaftAckBeforeDurable) {
			m.send(reply)
		} else {
			m.sendDurable(reply)
		}
	}
	if d.beat {
		m.send(consensus.Message{
			Kind: KindHeartbeatReply, To: m.leader, Reject: d.gap, Round: d.beatRound,
			Index: min(d.verified, m.disk.index), Hint: d.verified, Doubt: m.doubt.name,
		})
	}
	d.ack, d.beat, d.gap, d.ackRound, d.beatRound = false, false, false, 0, 0
}

// onAppendReply moves a peer's window, or finds where its log meets ours.
func (m *Machine) onAppendReply(msg *consensus.Message) error {
	p := m.answered(msg)
	if msg.Reject {
		m.rejected(p, msg)
		return nil
	}
	m.accepted(p, msg.Index)
	return nil
}

// rejected backs off by a whole run of epochs (§5.3). A rejection of something
// else than what is under way is late and says nothing new.
func (m *Machine) rejected(p *peer, msg *consensus.Message) {
	late := msg.Index <= p.match || p.flow == snapshot || p.flow == probe && msg.Index != p.next-1
	if late {
		return
	}
	meet := m.log.backOff(min(msg.Hint, msg.Index-1), msg.HintEpoch)
	p.toProbe(meet + 1)
}

// accepted takes note of what a peer has on disk.
func (m *Machine) accepted(p *peer, match consensus.Index) {
	news := p.acknowledged(match)
	if p.match >= m.log.released && (p.flow == snapshot && news || p.flow == probe && match >= p.next-1) {
		p.toReplicate()
	}
	if !news {
		return
	}
	m.advanceCommit()
	m.transferIfReady()
}

// onHeartbeatReply is a sign of life, a late acknowledgement if a reply was lost,
// and the way a lost append is noticed.
func (m *Machine) onHeartbeatReply(msg *consensus.Message) error {
	p := m.answered(msg)
	if p.flow == probe {
		p.waiting = false
	}
	if p.flow == replicate && msg.Reject {
		if p.gapAt == msg.Hint+1 {
			p.toProbe(msg.Hint + 1)
		} else {
			p.gapAt = msg.Hint + 1
		}
	}
	m.accepted(p, msg.Index)
	return nil
}
