package shard

import (
	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
)

// LogRead is a read-back of entries that a message needs and the cache no longer has.
type LogRead struct {
	replica *Replica
	message consensus.Message
	entries []consensus.Entry
	err     error
}

// Run reads the entries. It touches nothing of the owner's.
func (j *LogRead) Run(log LogReader) {
	// The machine made the span to fit a message; less of it could not be sent.
	j.entries, j.err = log.Read(j.message.Group, j.message.Fill, j.replica.host.cfg.Windows.MessageBytes, nil)
}

// readBack asks the log for a message's entries. Above the limit the message is
// lost, which the machine's flow control repairs like any lost message.
func (r *Replica) readBack(m *consensus.Message) {
	if r.reads >= r.host.cfg.Limits.LogReads || !r.sparse && m.Fill.Hi > r.cache.end() {
		return
	}
	r.reads++
	r.host.ports.Log.Read(&LogRead{replica: r, message: *m})
}

// LogRead is the answer of LogPort.Read.
func (h *Host) LogRead(job *LogRead) {
	r := job.replica
	r.reads--
	h.touch(r)
	m := &job.message
	if job.err != nil || r.sparse && !r.renew(job.entries) || !fillable(m, job.entries) {
		// Released, truncated or unreadable meanwhile: the machine finds out and
		// asks for a snapshot, or sends again.
		r.machine.Done(consensus.Done{Peer: m.To, State: consensus.PeerUnreachable})
		return
	}
	m.Entries, m.Fill = job.entries, consensus.Span{}
	r.transmit(m)
}

// renew brings entries that were read back up to date: meanwhile they may have been written
// over. It reports whether that can be told: the newest of an index is in the cache, or it
// is durable and the one that the log has now (H10).
func (r *Replica) renew(entries []consensus.Entry) bool {
	if mutant.On(mutant.ShardReadBackStale) {
		return true
	}
	r.cache.overlay(entries)
	for i := range entries {
		if !r.cache.has(entries[i].Index) && !r.host.ports.Log.Holds(Group(r.id), entries[i].Index, entries[i].Epoch) {
			return false
		}
	}
	return true
}
