package paxos

import (
	"slices"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
)

// queue collects output until the driver asks for it. Its slices and those of the Ready
// handed out last change places, so a steady state allocates nothing.
type queue struct {
	send, afterSync []consensus.Message
	entries         []consensus.Entry
	install         *consensus.Snapshot
	reads           []consensus.Read
	dropped         []consensus.ProposalID
	unknown         []consensus.ProposalID
	needSnapshot    []consensus.ReplicaID
	changed         bool
	// hard is what a Ready's Append.HardState points to.
	hard consensus.HardState
}

// send queues a message of the own epoch. It waits for the disk if the epoch is not
// durable yet (C3).
func (m *Machine) send(msg consensus.Message) {
	if m.disk.hard.Epoch < m.hard.Epoch && !mutant.On(mutant.PaxosBallotBeforeDurable) {
		m.sendDurable(msg)
		return
	}
	msg.Group, msg.From, msg.Epoch = m.group, m.id, m.hard.Epoch
	m.queue.send = append(m.queue.send, msg)
}

// sendDurable queues a message that leaves once everything up to now is durable (C4).
func (m *Machine) sendDurable(msg consensus.Message) {
	msg.Group, msg.From, msg.Epoch = m.group, m.id, m.hard.Epoch
	if msg.Kind == KindPromise && mutant.On(mutant.PaxosBallotBeforeDurable) || msg.Kind == KindAccepted && mutant.On(mutant.PaxosAckBeforeDurable) {
		m.queue.send = append(m.queue.send, msg)
		return
	}
	m.queue.afterSync = append(m.queue.afterSync, msg)
}

// sendTrial queues a message about an epoch that is nobody's yet.
func (m *Machine) sendTrial(msg consensus.Message) {
	msg.Group, msg.From = m.group, m.id
	m.queue.send = append(m.queue.send, msg)
}

// Ready implements consensus.Machine.
func (m *Machine) Ready() (*consensus.Ready, bool) {
	if m.role == consensus.Leader {
		m.flushLeader()
		m.settleReads()
	} else {
		m.flushFollower()
	}
	if !m.work() {
		return nil, false
	}
	rd, q := &m.ready, &m.queue
	m.fillAppend(&rd.Append)
	exchange(&q.send, &rd.Send)
	exchange(&q.afterSync, &rd.AfterSync)
	if rd.Append.Empty() && m.disk.settled() {
		rd.Send = append(rd.Send, rd.AfterSync...) // nothing to wait for
		rd.AfterSync = rd.AfterSync[:0]
	}
	rd.Install, q.install = q.install, nil
	rd.Learned = consensus.Span{Lo: m.learned + 1, Hi: m.commit + 1}
	m.learned = m.commit
	exchange(&q.reads, &rd.Reads)
	exchange(&q.dropped, &rd.Dropped)
	exchange(&q.unknown, &rd.Unknown)
	exchange(&q.needSnapshot, &rd.NeedSnapshot)
	rd.RoleChanged, q.changed = q.changed, false
	return rd, true
}

// work reports whether a Ready would say anything.
func (m *Machine) work() bool {
	q := &m.queue
	return len(q.send)+len(q.afterSync)+len(q.entries) > 0 ||
		m.commit > m.learned || m.hard != m.disk.handed || m.prop.record > m.disk.told && m.duty.installing == 0 || q.changed ||
		len(q.reads)+len(q.dropped)+len(q.unknown)+len(q.needSnapshot) > 0 || q.install != nil
}

// fillAppend hands over what is to become durable and numbers it.
func (m *Machine) fillAppend(a *consensus.Append) {
	q := &m.queue
	clear(a.Entries) // let go of payloads of the last round
	exchange(&q.entries, &a.Entries)
	a.HardState = nil
	if m.hard != m.disk.handed {
		q.hard = m.hard
		a.HardState = &q.hard
	}
	a.Decided = 0
	if m.commit > m.disk.told && m.duty.installing == 0 && (!a.Empty() || m.prop.record > m.disk.told) {
		a.Decided = m.commit // it costs next to nothing beside something else
	}
	if !a.Empty() {
		m.disk.handOut(m.hard, m.duty.run, max(m.disk.told, a.Decided))
	}
	a.Seq = m.disk.issued
}

// dropUpTo forgets the entries up to a slot that the driver has not got yet, and every
// message that would carry one: the log may hold a value there that came before them, and
// fill the message with that.
func (q *queue) dropUpTo(i consensus.Index) {
	q.entries = slices.DeleteFunc(q.entries, func(e consensus.Entry) bool { return e.Index <= i })
	if mutant.On(mutant.PaxosReportUnwritten) {
		return
	}
	carries := func(msg consensus.Message) bool { return !msg.Fill.Empty() && msg.Fill.Lo <= i }
	q.send = slices.DeleteFunc(q.send, carries)
	q.afterSync = slices.DeleteFunc(q.afterSync, carries)
}

// exchange hands queued to the driver and takes the driver's last slice back.
func exchange[T any](queued, out *[]T) { *queued, *out = (*out)[:0], *queued }

// keep is the length, in elements, up to which an empty buffer outlives a tick.
const keep = 64

// trim lets go of what a burst has left, so that a quiet machine is small.
func (q *queue) trim() {
	trim(&q.send)
	trim(&q.afterSync)
	trim(&q.entries)
}

func trim[T any](buf *[]T) {
	if len(*buf) == 0 && cap(*buf) > keep {
		*buf = nil
	}
}

// Shrink implements consensus.Shrinker.
func (m *Machine) Shrink() {
	if m.work() {
		return
	}
	m.queue, m.ready = queue{}, consensus.Ready{Append: consensus.Append{Seq: m.disk.issued}}
}
