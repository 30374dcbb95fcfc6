package paxos

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
	"github.com/quorate/quorate/consensus/quorum"
)

// established reports whether the leader has decided its barrier: it then knows all that
// was decided before, and its configurations are the newest.
func (m *Machine) established() bool { return m.lead.start != 0 && m.commit >= m.lead.start }

// proposable is the last slot that may be proposed: within the window (P8), and governed
// by electorates that have promised (P3).
func (m *Machine) proposable() consensus.Index {
	if mutant.On(mutant.PaxosWindowOverrun) {
		return m.commit + 2*m.window
	}
	return min(m.commit+m.window, m.promisedUpTo())
}

// proposeCommands proposes commands in the next slots, all or none. Sending and writing
// happens in Ready, so that what is proposed together travels together.
func (m *Machine) proposeCommands(commands []consensus.Command) error {
	switch n := consensus.Index(len(commands)); {
	case n == 0:
		return fmt.Errorf("%w: no commands", consensus.ErrInvalid)
	case n > m.window:
		return fmt.Errorf("%w: %d commands at once, the window has %d slots", consensus.ErrInvalid, n, m.window)
	case m.lead.transferee != 0:
		return fmt.Errorf("%w: to %v", consensus.ErrTransferring, m.lead.transferee)
	case m.lead.start == 0 || m.lead.last+n > m.proposable():
		return fmt.Errorf("%w: %d slots are open, %d may be", consensus.ErrBusy, m.lead.last-m.commit, m.window)
	}
	if open := m.lead.open; open > 0 {
		for i := range commands {
			open += cost(len(commands[i].Data))
		}
		if open > m.limit.uncommittedCost {
			return fmt.Errorf("%w: %d of %d bytes undecided", consensus.ErrBusy, open, m.limit.uncommittedCost)
		}
	}
	for i := range commands {
		m.propose(consensus.EntryCommand, commands[i].Data, commands[i].ID)
	}
	return nil
}

// settle takes what is decided and on the own disk out of open. What is only decided
// counts on, or a stalled disk would let the driver's write queue grow as long as the
// others decide.
func (m *Machine) settle(synced consensus.Index) {
	for l := &m.lead; l.settled < min(m.commit, synced); {
		l.settled++
		s := m.log.at(l.settled)
		l.open -= s.cost()
	}
}

// propose proposes a value of this leader's own in the next slot.
func (m *Machine) propose(kind consensus.EntryKind, data []byte, id consensus.ProposalID) {
	m.proposeEntry(consensus.Entry{Kind: kind, Data: data, Orig: m.hard.Epoch}, id)
}

// proposeEntry accepts a value in the own epoch, as an acceptor like others: it counts
// once it is durable. Its Orig stays what it was (P6).
func (m *Machine) proposeEntry(e consensus.Entry, id consensus.ProposalID) {
	e.Index, e.Epoch = m.lead.last+1, m.hard.Epoch
	if mutant.On(mutant.PaxosOrigRestamped) {
		e.Orig = e.Epoch
	}
	m.log.put(&e)
	m.queue.entries = append(m.queue.entries, e)
	m.lead.last = e.Index
	m.lead.open += cost(len(e.Data))
	m.lead.ids.Push(id)
	m.duty.run = e.Index
}

// reaches is up to where a voter has accepted everything from lo on in this epoch, and
// has it on disk.
func (m *Machine) reaches(id consensus.ReplicaID, lo consensus.Index) consensus.Index {
	if id == m.id && mutant.On(mutant.PaxosCountSelfEarly) {
		return m.lead.last
	}
	if id == m.id {
		return max(lo-1, m.disk.runIn(m.hard.Epoch))
	}
	return m.find(id).reaches(lo)
}

// advance decides what a deciding quorum of the electorate of each slot has accepted in
// this epoch (P1). Different slots may have different quorums.
func (m *Machine) advance() {
	before := m.commit
	for m.commit < m.lead.last {
		lo := m.commit + 1
		e := m.governs(lo)
		c := quorum.Decided(&e.quorum, func(id consensus.ReplicaID) consensus.Index { return m.reaches(id, lo) })
		c = min(c, m.lead.last)
		if c < lo {
			break
		}
		for m.commit < c && m.governs(m.commit+1) == e {
			m.decideOwn(m.commit + 1)
		}
		m.decided()
	}
	m.settle(m.disk.runIn(m.hard.Epoch))
	if m.commit == before {
		return
	}
	m.goOnProposing()
	m.goOn()
}

func (m *Machine) decideOwn(i consensus.Index) {
	m.lead.ids.PopFront(1)
	m.lead.first = i + 1
	m.decide(i)
}

// flushLeader sends what has come up since the last Ready: read rounds, values as far as
// windows allow, heartbeats, news of the commit index.
func (m *Machine) flushLeader() {
	m.openRound()
	for i := range m.peers {
		p := &m.peers[i]
		if p.id == m.id {
			continue
		}
		m.sendAccepts(p)
		if p.beat {
			m.sendHeartbeat(p)
		} else if p.told < m.commit && p.flow == replicate {
			p.told = m.commit
			m.send(consensus.Message{Kind: KindCommit, To: p.id, Commit: m.commit})
		}
	}
}

// sendAccepts ships values to a peer until it has all or its window is full.
func (m *Machine) sendAccepts(p *peer) {
	for p.flow == replicate && p.next <= m.lead.last {
		if p.next <= m.log.released {
			// A state is worth its transfer once the peer has shown that it is there.
			if p.active && m.needSnapshot(p.id) {
				p.toSnapshot()
			}
			return
		}
		budget := m.budget(p)
		if budget == 0 {
			return
		}
		span, size := m.log.fit(p.next, m.lead.last+1, budget)
		if p.shipped > 0 && size > budget {
			return // one large value: wait until it is alone
		}
		p.told = m.commit
		m.send(consensus.Message{
			Kind: KindAccept, To: p.id, Index: span.Lo - 1, Fill: span, Commit: m.commit, Round: m.read.round,
		})
		p.ship(span.Hi-1, size)
	}
}

// budget returns what the next accept to a peer may cost; zero: wait.
func (m *Machine) budget(p *peer) uint64 {
	if p.shipments.Len() >= m.limit.inflightMessages || p.shipped >= m.limit.inflightCost {
		return 0
	}
	return min(m.limit.messageCost, m.limit.inflightCost-p.shipped)
}

func (m *Machine) sendHeartbeat(p *peer) {
	p.beat, p.resent, p.told = false, false, m.commit
	last := m.lead.last
	if p.flow == replicate {
		last = p.next - 1
	}
	m.send(consensus.Message{Kind: KindHeartbeat, To: p.id, Index: last, Commit: m.commit, Round: m.read.round})
}

func (m *Machine) beatAll() {
	for i := range m.peers {
		m.peers[i].beat = true
	}
}

// onAccepted moves a peer's window and decides what follows.
func (m *Machine) onAccepted(msg *consensus.Message) error {
	p := m.answered(msg)
	m.acknowledged(p, msg.Index)
	return nil
}

// onAcceptedApart counts slots behind a gap. What is missing before them was overtaken,
// or lost: when they are followed by more, it is sent again.
func (m *Machine) onAcceptedApart(msg *consensus.Message) error {
	p := m.answered(msg)
	news := p.acknowledgedApart(consensus.Span{Lo: msg.Index + 1, Hi: min(msg.Hint, m.lead.last) + 1})
	if p.flow == replicate && p.match < msg.Index {
		m.complain(p, p.match)
	}
	if news {
		m.advance()
	}
	return nil
}

// answered takes note of who answers a leader.
func (m *Machine) answered(msg *consensus.Message) *peer {
	p := m.find(msg.From)
	p.active = true
	p.round = max(p.round, msg.Round)
	return p
}

// acknowledged takes note of what a peer has on disk. It may know of decisions that this
// leader has not made yet.
func (m *Machine) acknowledged(p *peer, match consensus.Index) {
	match = min(match, m.lead.last)
	news := p.acknowledged(match)
	if p.flow == snapshot && news && p.match >= m.log.released {
		p.toReplicate(0)
	}
	if !news {
		return
	}
	m.advance()
	m.transferIfReady()
}

// complain notes that slots behind have are missing at a peer. The second time they are
// sent again, even if the peer has acknowledged them once: a restart forgets that they are
// decided, and to have accepted them in an earlier epoch is not enough to learn them (P5).
// That happens once between two heartbeats: what is sent again is acknowledged again, out
// of order as like as not, so that complaints would breed complaints.
func (m *Machine) complain(p *peer, have consensus.Index) {
	if p.gapAt != have+1 {
		p.gapAt = have + 1
		return
	}
	if p.resent {
		return
	}
	p.resent = true
	p.match = min(p.match, have)
	p.toReplicate(have + 1)
	p.next = have + 1
}

// onHeartbeatReply is a sign of life, a late acknowledgement if a reply was lost, and the
// way a lost accept is noticed.
func (m *Machine) onHeartbeatReply(msg *consensus.Message) error {
	p := m.answered(msg)
	if msg.Commit > p.decided {
		p.decided = msg.Commit
		m.goOn()
	}
	if p = m.find(msg.From); m.role == consensus.Leader && p != nil {
		m.acknowledged(p, msg.Index)
	}
	if p = m.find(msg.From); m.role != consensus.Leader || p == nil {
		return nil // a decision has changed more than the commit index
	}
	switch {
	case p.flow == probe:
		p.toReplicate(0)
		p.next = max(min(msg.Hint, m.lead.last), p.match) + 1
	case p.flow == replicate && msg.Reject:
		m.complain(p, min(msg.Hint, m.lead.last))
	}
	return nil
}
