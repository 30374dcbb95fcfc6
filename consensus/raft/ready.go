package raft

import (
	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
)

// queue collects output until the driver asks for it. Its slices and those of the
// Ready handed out last change places, so a steady state allocates nothing.
type queue struct {
	send, afterSync []consensus.Message
	// truncate, when not zero, is the first index that the driver's log has and
	// ours no longer; entries are to be appended behind.
	truncate consensus.Index
	entries  []consensus.Entry
	// written is the last index handed to the driver, as truncations leave it.
	written      consensus.Index
	install      *consensus.Snapshot
	reads        []consensus.Read
	dropped      []consensus.ProposalID
	unknown      []consensus.ProposalID
	needSnapshot []consensus.ReplicaID
	changed      bool
	// hard is what a Ready's Append.HardState points to.
	hard consensus.HardState
}

// truncateFrom removes entries at or above from that are waiting, and has the driver
// remove those it was given.
func (q *queue) truncateFrom(from consensus.Index) {
	for len(q.entries) > 0 && q.entries[len(q.entries)-1].Index >= from {
		q.entries = q.entries[:len(q.entries)-1]
	}
	if from <= q.written {
		q.truncate, q.written = from, from-1
	}
}

// forgetEntries drops what was to be written: a snapshot replaces the log.
func (q *queue) forgetEntries(behind consensus.Index) {
	q.entries, q.truncate, q.written = q.entries[:0], 0, behind
}

// send queues a message of the own epoch. It waits for the disk if the epoch is
// not durable yet (C3, R2).
func (m *Machine) send(msg consensus.Message) {
	if m.disk.hard.Epoch < m.hard.Epoch && !mutant.On(mutant.RaftEpochBeforeDurable) {
		m.sendDurable(msg)
		return
	}
	msg.Group, msg.From, msg.Epoch = m.group, m.id, m.hard.Epoch
	m.queue.send = append(m.queue.send, msg)
}

// sendDurable queues a message that leaves once everything up to now is durable (C4).
func (m *Machine) sendDurable(msg consensus.Message) {
	msg.Group, msg.From, msg.Epoch = m.group, m.id, m.hard.Epoch
	if msg.Kind == KindVoteReply && mutant.On(mutant.RaftEpochBeforeDurable) {
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
		m.commit > m.learned || m.hard != m.disk.handed || q.truncate != 0 || q.changed ||
		m.doubt.repaired && m.doubt.seq == 0 ||
		len(q.reads)+len(q.dropped)+len(q.unknown)+len(q.needSnapshot) > 0 || q.install != nil
}

// fillAppend hands over what is to become durable and numbers it.
func (m *Machine) fillAppend(a *consensus.Append) {
	q := &m.queue
	clear(a.Entries) // let go of payloads of the last round
	exchange(&q.entries, &a.Entries)
	a.Truncate, q.truncate = q.truncate, 0
	a.HardState = nil
	if m.hard != m.disk.handed {
		q.hard = m.hard
		a.HardState = &q.hard
	}
	m.fillRepaired(a)
	if !a.Empty() {
		last := m.log.last
		if m.duty.installing != 0 {
			last = 0 // the log that this append belongs to is being replaced
		} else {
			q.written = last
		}
		m.disk.handOut(last, m.hard)
	}
	if a.Repaired {
		m.doubt.seq = m.disk.issued
	}
	a.Seq = m.disk.issued
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
	m.queue, m.ready = queue{written: m.queue.written}, consensus.Ready{Append: consensus.Append{Seq: m.disk.issued}}
}
