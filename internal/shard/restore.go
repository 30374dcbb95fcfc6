package shard

import (
	"errors"
	"fmt"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
	"github.com/quorate/quorate/internal/store"
	"github.com/quorate/quorate/internal/wal"
)

// ErrLogDamaged is returned by Restore when the log has lost what was durable and no
// peer can make up for it.
var ErrLogDamaged = errors.New("the log has lost what was durable")

// Restore puts together what engine and log know of a replica. first is the shard's
// first configuration, for a replica that has applied nothing. mend, when not nil, is what
// the log must hold durably before the replica starts:
//
//   - The engine is ahead of the log (H6): the log restarts at the applied index, with the
//     epoch that the machine is told is durable.
//   - Entries that are applied are damaged: they are released, nothing else is missing.
//   - Others are damaged, or the hard state may be too old: the log ends before the damage,
//     and the replica is in doubt until its leader has repaired it (H9), if its engine can.
func Restore(id ID, engine consensus.Engine, applied store.Applied, log wal.GroupState, first consensus.Configuration) (c consensus.Config, mend *wal.Batch, err error) {
	configuration := first
	if len(applied.Configuration) > 0 {
		if configuration, err = consensus.DecodeConfiguration(applied.Configuration); err != nil {
			return c, nil, fmt.Errorf("configuration at index %d: %w", applied.Index, err)
		}
	}
	at := consensus.Index(applied.Index)
	if at < log.Released {
		return c, nil, fmt.Errorf("%w: the engine has applied up to %d, the log begins behind %d: restore the directory, or remove the member and add it anew",
			ErrLogDamaged, at, log.Released)
	}
	r := restoring{group: Group(id), log: log, sparse: engine.Sparse, at: at, epoch: consensus.Epoch(applied.Epoch)}
	r.findDamage()
	if r.inDoubt && !engine.Repairs {
		return c, nil, fmt.Errorf("%w: entries %v, hard state in doubt: %v, and engine %s cannot make up for what this replica may have promised: "+
			"restore the directory from a backup, or remove the member and add it anew", ErrLogDamaged, log.Faulty, log.Suspect, engine.Name)
	}
	if r.inDoubt && len(configuration.Voters) < 2 {
		return c, nil, fmt.Errorf("%w: entries %v, hard state in doubt: %v, and there is no other voter to repair it: restore the directory from a backup",
			ErrLogDamaged, log.Faulty, log.Suspect)
	}
	r.recover()
	c.HardState, c.Applied = r.hardState(), at
	c.Log = consensus.LogState{
		Released: r.log.Released, ReleasedEpoch: r.log.ReleasedEpoch,
		Configuration: configuration, Configured: at, Entries: r.log.Entries, Decided: r.log.Decided, InDoubt: r.inDoubt,
	}
	return c, r.mend(), nil
}

// restoring is a log on its way to what its machine can start from.
type restoring struct {
	group  consensus.GroupID
	log    wal.GroupState
	sparse bool
	at     consensus.Index // what the engine has applied
	epoch  consensus.Epoch

	ahead   bool            // the engine is ahead: the log restarts at its state
	below   bool            // something applied is damaged
	holed   bool            // the entry applied last is: the log cannot say which it was
	lost    consensus.Index // the first entry behind it that is damaged; zero: none
	inDoubt bool
}

// findDamage tells what is lost from what the engine has anyway.
func (r *restoring) findDamage() {
	if mutant.On(mutant.ShardForgetDamage) {
		return
	}
	for _, span := range r.log.Faulty {
		r.below = r.below || span.Lo <= r.at
		r.holed = r.holed || span.Lo <= r.at && r.at < span.Hi
		if span.Hi > r.at+1 && r.lost == 0 {
			r.lost = max(span.Lo, r.at+1)
		}
	}
	r.inDoubt = r.log.Suspect || r.lost != 0
}

// recover cuts the log down to what is whole and agrees with the engine.
func (r *restoring) recover() {
	l := &r.log
	if r.lost != 0 {
		l.Entries = l.Entries[:min(len(l.Entries), int(r.lost-l.Released-1))]
	}
	k := int(r.at - l.Released)
	if r.sparse {
		r.recoverSparse(min(k, len(l.Entries)))
		return
	}
	// What is whole behind a hole stays, whatever the hole held: it was acknowledged.
	r.ahead = k > len(l.Entries) || !r.holed && !agrees(*l, r.at, r.epoch)
	switch {
	case r.ahead:
		l.Released, l.ReleasedEpoch, l.Entries = r.at, r.epoch, nil
	case r.below && k > 0:
		l.Released, l.ReleasedEpoch, l.Entries = r.at, r.epoch, l.Entries[k:]
	}
}

// recoverSparse releases what the engine has if the log may hold something else there, or
// something damaged; what is above stays, as a promise. It is the first k entries.
func (r *restoring) recoverSparse(k int) {
	l := &r.log
	r.ahead = r.at > max(l.Released, l.Decided)
	if r.ahead || r.below && r.at > l.Released {
		l.Released, l.ReleasedEpoch, l.Entries = r.at, r.epoch, l.Entries[k:]
	}
}

// hardState is what the replica has promised as far as log and engine know.
func (r *restoring) hardState() consensus.HardState {
	hs := r.log.HardState
	if mutant.On(mutant.ShardForgetHardState) {
		hs = consensus.HardState{Epoch: max(r.epoch, r.log.ReleasedEpoch)}
		if n := len(r.log.Entries); n > 0 {
			hs.Epoch = max(hs.Epoch, r.log.Entries[n-1].Epoch)
		}
	}
	least := r.log.ReleasedEpoch
	if n := len(r.log.Entries); n > 0 && !r.sparse { // a sparse log has no entry above its hard state
		least = r.log.Entries[n-1].Epoch
	}
	if hs.Epoch < least && (r.ahead || r.inDoubt) {
		hs = consensus.HardState{Epoch: least}
	}
	return hs
}

// mend is what makes the log agree with what the replica starts from.
func (r *restoring) mend() *wal.Batch {
	if !r.ahead && !r.below && !r.inDoubt {
		return nil
	}
	var b wal.Batch
	switch {
	case r.ahead && r.sparse:
		b.Release(r.group, r.log.Released, r.log.ReleasedEpoch)
	case r.ahead:
		b.Install(r.group, r.log.Released, r.log.ReleasedEpoch)
	case r.below:
		b.Release(r.group, r.log.Released, r.log.ReleasedEpoch)
	}
	if r.lost != 0 {
		b.Truncate(r.group, r.lost)
	}
	if r.inDoubt {
		b.Suspect(r.group)
	}
	b.HardState(r.group, r.hardState())
	return &b
}

// agrees reports whether the log holds the entry that the engine applied last.
func agrees(log wal.GroupState, at consensus.Index, epoch consensus.Epoch) bool {
	if at == log.Released {
		return true
	}
	i := at - log.Released - 1
	return i < consensus.Index(len(log.Entries)) && log.Entries[i].Orig == epoch
}
