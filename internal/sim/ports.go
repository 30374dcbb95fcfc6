package sim

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/router"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/store"
	"github.com/quorate/quorate/internal/wal"
)

// Append implements shard.LogPort: what arrives while a sync runs is the next batch.
func (n *simNode) Append(t shard.Ticket, b *wal.Batch) {
	n.appends, n.handed = append(n.appends, logAppend{t, b}), t
	n.writeLog()
}

func (n *simNode) writeLog() {
	if n.writing || len(n.appends) == 0 {
		return
	}
	n.writing = true
	w := &n.s.opts.swarm
	n.later(n.s.between(0, w.syncMin/4), func() {
		taken := n.appends
		n.appends = nil
		for i := range taken {
			err := n.log.Write(taken[i].batch)
			if err == nil {
				continue
			}
			if !errors.Is(err, wal.ErrFull) {
				n.fatal(err)
				return
			}
			// A full disk waits: nothing is torn, nothing acknowledged.
			n.s.report.count("error log: " + rootText(err))
			n.s.trace.line(n.s.now, n.name(), "log", "%v", err)
			n.appends = append(slices.Clone(taken[i:]), n.appends...)
			taken, n.retry = taken[:i], true
			break
		}
		n.later(n.s.between(w.syncMin, w.syncMax)+n.extraSync, func() { n.syncLog(taken) })
	})
}

// fullRetry is the pause between attempts to write to a full disk.
const fullRetry = 50 * time.Millisecond

func (n *simNode) syncLog(taken []logAppend) {
	if err := n.log.Sync(); err != nil {
		n.fatal(err)
		return
	}
	if len(taken) > 0 {
		n.synced = taken[len(taken)-1].ticket
		n.host.Durable(n.synced)
		n.process()
	}
	again := func() { n.writing = false; n.writeLog() }
	if n.retry {
		n.retry = false
		n.later(fullRetry, again)
		return
	}
	again()
}

// fatal is what a node does when its disk fails: its process ends at once, and
// nothing that was not synced is ever acknowledged.
func (n *simNode) fatal(err error) {
	n.s.report.count("error log: " + rootText(err))
	n.crash(0.5)
	n.restartLater(n.s.between(10*time.Millisecond, 500*time.Millisecond))
}

// Read implements shard.LogPort.
func (n *simNode) Read(job *shard.LogRead) {
	n.later(n.s.between(0, n.s.opts.swarm.readMax), func() {
		job.Run(n.log)
		n.later(n.s.between(0, n.s.opts.swarm.readMax), func() {
			n.host.LogRead(job)
			n.process()
		})
	})
}

// HighestOrig implements shard.LogPort.
func (n *simNode) HighestOrig(g consensus.GroupID, s consensus.Span) (consensus.Epoch, bool) {
	return n.log.HighestOrig(g, s)
}

// Holds implements shard.LogPort.
func (n *simNode) Holds(g consensus.GroupID, i consensus.Index, epoch consensus.Epoch) bool {
	return n.log.Holds(g, i, epoch)
}

type applyPort struct{ n *simNode }

// Submit implements shard.ApplyPort: jobs of a shard run in order, each after a delay.
func (p applyPort) Submit(job *shard.ApplyJob) {
	n := p.n
	at := max(n.s.now, n.applyBusy[job.Shard()]) + n.s.between(0, n.s.opts.swarm.applyMax)
	n.applyBusy[job.Shard()] = at
	n.later(at-n.s.now, func() {
		job.Run(n.log)
		if err := n.host.Applied(job); err != nil {
			n.s.violate("apply", "%s: %v", n.name(), err)
		}
		n.s.check.applied(n, job.Shard())
		if n.placed != nil && job.Shard() == systemShard {
			n.placed.followLater()
		}
		n.process()
	})
}

type snapshotPort struct{ n *simNode }

// Stream implements shard.SnapshotPort.
func (p snapshotPort) Stream(job *shard.SnapshotSend) {
	n := p.n
	to := n.s.nodeByID(shard.NodeOf(job.Message.To))
	var state bytes.Buffer
	if err := errors.Join(shard.WriteState(&state, job.Shard(), job.View), job.View.Close()); err != nil {
		n.s.violate("snapshot", "node %d cannot export shard %d: %v", n.index, job.Shard(), err)
	}
	n.s.report.count("snapshot sent")
	x := &stream{from: n, to: to, life: to.boots, job: job}
	n.later(n.links().delay(n.index, to.index)+n.s.between(0, 50*time.Millisecond), func() {
		if x.broken() {
			x.end(false)
			return
		}
		staged := &stagedBytes{data: state.Bytes()}
		x.attend()
		to.whenAwake(func() {
			m := job.Message
			to.host.SnapshotReceived(&m, staged, func(err error) {
				n.s.report.count("snapshot received: " + errorText(err))
				x.answer(err == nil)
			})
			to.process()
		})
	})
}

// stream is a snapshot on its way; like a connection it ends when one of its ends
// dies or the link between them does.
type stream struct {
	from, to *simNode
	life     int // of the receiver
	job      *shard.SnapshotSend
	ended    bool
}

func (x *stream) broken() bool {
	links := x.from.links()
	return !x.to.up || x.to.boots != x.life || !links.open(x.from.index, x.to.index) || !links.open(x.to.index, x.from.index)
}

// attend looks whether the connection still stands, as keepalives do.
func (x *stream) attend() {
	x.from.later(100*time.Millisecond, func() {
		if x.ended {
			return
		}
		if x.broken() {
			x.end(false)
			return
		}
		x.attend()
	})
}

// answer takes the receiver's verdict back to the sender.
func (x *stream) answer(ok bool) {
	x.from.later(x.from.links().delay(x.to.index, x.from.index), func() {
		if !x.broken() {
			x.end(ok)
		}
	})
}

func (x *stream) end(ok bool) {
	if x.ended {
		return
	}
	x.ended = true
	x.from.host.SnapshotSent(x.job, ok)
	x.from.process()
}

func (n *simNode) links() *network { return n.s.links }

// stagedBytes is a shard.StagedSnapshot in memory.
type stagedBytes struct{ data []byte }

// Install implements shard.StagedSnapshot.
func (b *stagedBytes) Install(into *store.Store) error {
	return shard.ReadState(bytes.NewReader(b.data), into)
}

// Discard implements shard.StagedSnapshot.
func (b *stagedBytes) Discard() {}

// outcome is a node's router; its agent and the checkers hear what the router does.
type outcome struct {
	*router.Router
	n *simNode
}

// RoleChanged implements shard.Outcome.
func (o outcome) RoleChanged(id shard.ID, s shard.LeaderState) {
	o.Router.RoleChanged(id, s)
	if p := o.n.placed; p != nil {
		p.agent.Look(uint64(id))
	}
}

// Advanced implements shard.Outcome.
func (o outcome) Advanced(id shard.ID, index consensus.Index, epoch consensus.Epoch) {
	o.Router.Advanced(id, index, epoch)
	f := o.n.s.check.shard(id)
	if epoch <= f.ledIn {
		return
	}
	if r, ok := o.n.replica(id); ok {
		if st := r.Status(); st.Role == consensus.Leader && st.HardState.Epoch == epoch {
			f.led, f.ledIn = o.n.s.now, epoch
		}
	}
}
