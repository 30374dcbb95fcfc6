package shard

import (
	"errors"
	"fmt"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
	"github.com/quorate/quorate/internal/store"
	"github.com/quorate/quorate/internal/wal"
)

// ErrLogDamaged is returned by Restore when the log has lost entries that were
// durable: this replica may have acknowledged them and must not vote.
var ErrLogDamaged = errors.New("the log has lost durable entries")

// RecordAhead puts into a log batch what Restore made of an engine that is ahead of
// its log. The hard state belongs to it: the machine is told that its epoch is
// durable, and would not write it again.
func RecordAhead(b *wal.Batch, id ID, c *consensus.Config) {
	b.Install(Group(id), c.Log.Released, c.Log.ReleasedEpoch)
	b.HardState(Group(id), c.HardState)
}

// Restore puts together what engine and log know of a replica. ahead says that
// the engine is ahead of the log (H6): the caller must then make what RecordAhead
// says durable before the replica starts. first is the shard's first
// configuration, for a replica that has applied nothing.
func Restore(applied store.Applied, log wal.GroupState, first consensus.Configuration) (c consensus.Config, ahead bool, err error) {
	if len(log.Faulty) > 0 || log.Suspect {
		return c, false, fmt.Errorf("%w: entries %v, hard state in doubt: %v: restore the directory, or remove the member and add it anew",
			ErrLogDamaged, log.Faulty, log.Suspect)
	}
	configuration := first
	if len(applied.Configuration) > 0 {
		if configuration, err = consensus.DecodeConfiguration(applied.Configuration); err != nil {
			return c, false, fmt.Errorf("configuration at index %d: %w", applied.Index, err)
		}
	}
	at, epoch := consensus.Index(applied.Index), consensus.Epoch(applied.Epoch)
	if at < log.Released {
		return c, false, fmt.Errorf("%w: the engine has applied up to %d, the log begins behind %d", ErrLogDamaged, at, log.Released)
	}
	c.HardState, c.Applied = log.HardState, at
	if mutant.On(mutant.ShardForgetHardState) {
		c.HardState = consensus.HardState{Epoch: max(epoch, log.ReleasedEpoch)}
		if n := len(log.Entries); n > 0 {
			c.HardState.Epoch = max(c.HardState.Epoch, log.Entries[n-1].Epoch)
		}
	}
	c.Log = consensus.LogState{
		Released: log.Released, ReleasedEpoch: log.ReleasedEpoch,
		Configuration: configuration, Entries: log.Entries,
	}
	if agrees(log, at, epoch) {
		return c, false, nil
	}
	c.Log.Released, c.Log.ReleasedEpoch, c.Log.Entries = at, epoch, nil
	c.HardState.Epoch = max(c.HardState.Epoch, epoch)
	if c.HardState.Epoch != log.HardState.Epoch {
		c.HardState.Vote = 0
	}
	return c, true, nil
}

// agrees reports whether the log holds the entry that the engine applied last.
func agrees(log wal.GroupState, at consensus.Index, epoch consensus.Epoch) bool {
	if at == log.Released {
		return true
	}
	i := at - log.Released - 1
	return i < consensus.Index(len(log.Entries)) && log.Entries[i].Orig == epoch
}
