package shard

import (
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
)

// ErrQueueFull is returned by Host.Propose when a replica's queue is at its limit.
var ErrQueueFull = errors.New("too many requests")

// ErrUnknownShard is returned for a shard that this node does not carry.
var ErrUnknownShard = errors.New("no replica of the shard on this node")

// ErrReplicaBusy is returned by Remove while work of a replica is under way.
var ErrReplicaBusy = errors.New("the replica is busy")

// proposalQueue holds commands that the machine has not taken yet: those of the
// owner's current turn, and more when the machine is busy.
type proposalQueue struct {
	commands []consensus.Command
	bytes    int
	since    time.Duration // when the oldest one arrived
}

// add takes a command or returns ErrQueueFull.
func (q *proposalQueue) add(c consensus.Command, l *Limits, now time.Duration) error {
	if len(q.commands) >= l.QueuedCommands || q.bytes+len(c.Data) > l.QueuedBytes {
		return ErrQueueFull
	}
	if len(q.commands) == 0 {
		q.since = now
	}
	q.commands = append(q.commands, c)
	q.bytes += len(c.Data)
	return nil
}

// flush proposes what is queued. What the machine is too busy for stays; what it
// does not want because it does not lead is reported as dropped. It reports
// whether the machine took anything.
func (q *proposalQueue) flush(r *Replica) bool {
	taken, accepted := 0, false
	for taken < len(q.commands) && r.waiting < r.host.cfg.Limits.UnsyncedBytes {
		n := q.chunk(taken, &r.host.cfg.Limits)
		err := r.machine.Propose(consensus.Proposal{Kind: consensus.ProposeCommands, Commands: q.commands[taken : taken+n]})
		switch {
		case err == nil:
			accepted = true
			r.times.proposed(q.since)
		case errors.Is(err, consensus.ErrBusy), errors.Is(err, consensus.ErrTransferring):
			q.drop(taken)
			return accepted
		default:
			r.dropCommands(q.commands[taken : taken+n])
		}
		taken += n
	}
	q.drop(taken)
	return accepted
}

// chunk is how many commands from the given one fit a proposal.
func (q *proposalQueue) chunk(from int, l *Limits) int {
	bytes, n := 0, 0
	for from+n < len(q.commands) && n < l.ProposeCommands {
		bytes += len(q.commands[from+n].Data)
		if n > 0 && bytes > l.ProposeBytes {
			break
		}
		n++
	}
	return n
}

func (q *proposalQueue) drop(n int) {
	if n == 0 {
		return
	}
	for i := range n {
		q.bytes -= len(q.commands[i].Data)
	}
	rest := copy(q.commands, q.commands[n:])
	clear(q.commands[rest:])
	q.commands = q.commands[:rest]
}

func (r *Replica) dropCommands(commands []consensus.Command) {
	if len(commands) == 0 {
		return
	}
	ids := make([]consensus.ProposalID, len(commands))
	for i := range commands {
		ids[i] = commands[i].ID
	}
	r.host.ports.Outcome.Dropped(r.id, ids)
}

// Propose queues a command for the shard's machine on this node; it enters the
// log at the end of this turn if the node leads the shard in the given epoch (H7).
// It returns ErrUnknownShard, ErrQueueFull or consensus.ErrNotLeader, and then
// nothing was taken.
func (h *Host) Propose(id ID, epoch consensus.Epoch, c consensus.Command) error {
	r, ok := h.replicas[id]
	if !ok {
		return fmt.Errorf("propose to shard %d: %w", id, ErrUnknownShard)
	}
	if !r.state.Leads || r.state.Epoch != epoch && !mutant.On(mutant.ShardProposeAnyEpoch) {
		return consensus.ErrNotLeader
	}
	r.active()
	h.touch(r)
	return r.queue.add(c, &h.cfg.Limits, h.now)
}

// ReadBarrier asks the shard's machine for a read barrier; Outcome.ReadReady or
// Outcome.Dropped answers. It returns ErrUnknownShard or the machine's refusal.
func (h *Host) ReadBarrier(id ID, read consensus.ProposalID) error {
	r, ok := h.replicas[id]
	if !ok {
		return fmt.Errorf("read barrier of shard %d: %w", id, ErrUnknownShard)
	}
	r.active()
	h.touch(r)
	return r.machine.Propose(consensus.Proposal{Kind: consensus.ProposeReadBarrier, ID: read})
}

// Transfer asks the shard's machine to hand leadership over; a zero target lets
// it choose.
func (h *Host) Transfer(id ID, to consensus.ReplicaID) error {
	r, ok := h.replicas[id]
	if !ok {
		return fmt.Errorf("transfer leadership of shard %d: %w", id, ErrUnknownShard)
	}
	r.active()
	h.touch(r)
	return r.machine.Propose(consensus.Proposal{Kind: consensus.ProposeTransfer, Transferee: to})
}

// Membership asks the shard's machine to make target its membership. It returns
// ErrUnknownShard or the machine's refusal; a nil error means that the change has
// begun, not that it will be decided.
func (h *Host) Membership(id ID, target consensus.Membership) error {
	r, ok := h.replicas[id]
	if !ok {
		return fmt.Errorf("change membership of shard %d: %w", id, ErrUnknownShard)
	}
	r.active()
	h.touch(r)
	return r.machine.Propose(consensus.Proposal{Kind: consensus.ProposeMembership, Target: target})
}
