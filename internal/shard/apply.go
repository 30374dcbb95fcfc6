package shard

import (
	"errors"
	"fmt"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
	"github.com/quorate/quorate/internal/store"
)

// applier is the part of a replica that apply jobs touch: one job at a time (H2).
type applier struct {
	shard   ID
	node    uint64
	store   *store.Store
	waiters *Waiters
	observe func(*store.Result) // nil: nobody
	scratch []store.Entry
}

// ApplyJob is one unit of work for the apply worker: learned entries, or a
// received snapshot to install.
type ApplyJob struct {
	replica *Replica
	entries []consensus.Entry
	read    *consensus.Span // entries are to be read from the log first
	install *stagedInstall

	leases []LeaseChange
	epoch  consensus.Epoch // the highest first epoch applied, with this job
	err    error
}

// LeaseChange is what an applied command did to a lease.
type LeaseChange struct {
	ID      int64
	TTL     int64 // seconds
	Revoked bool
}

// Shard is the shard whose jobs must stay in order.
func (j *ApplyJob) Shard() ID { return j.replica.id }

// Run does the work. It touches nothing of the owner's.
func (j *ApplyJob) Run(log LogReader) {
	a := &j.replica.applier
	if j.install != nil {
		j.err = j.install.run(a)
		return
	}
	if j.read != nil {
		j.entries, j.err = log.Read(Group(a.shard), *j.read, j.replica.host.cfg.Limits.ApplyBytes, nil)
		if j.err != nil {
			return
		}
	}
	j.err = a.apply(j)
}

// LogReader reads entries back; internal/wal's Log is one.
type LogReader interface {
	Read(g consensus.GroupID, s consensus.Span, maxBytes int, dst []consensus.Entry) ([]consensus.Entry, error)
}

// apply applies decided entries. One whose first epoch is below an earlier one's has no
// effect (C11): it goes to the store as a barrier of that earlier epoch, so that the
// applied index moves on.
func (a *applier) apply(j *ApplyJob) error {
	a.scratch = a.scratch[:0]
	j.epoch = consensus.Epoch(a.store.Applied().Epoch)
	for i := range j.entries {
		e := &j.entries[i]
		s := store.Entry{Index: uint64(e.Index), Kind: storeKind(e.Kind), Data: e.Data}
		if e.Orig < j.epoch && !mutant.On(mutant.ShardFenceIgnored) {
			s.Kind, s.Data = store.EntryBarrier, nil
		}
		j.epoch = max(j.epoch, e.Orig)
		s.Epoch = uint64(j.epoch)
		a.scratch = append(a.scratch, s)
	}
	want := func(id store.RequestID) bool { return id.Node == a.node && a.waiters.Waiting(id.Seq) }
	err := a.store.Apply(a.scratch, want, func(res *store.Result) {
		j.leases = a.leaseChanges(j.leases, res)
		if a.observe != nil {
			a.observe(res)
		}
		if res.Request.Node == a.node {
			kept := *res // the store reuses its results
			a.waiters.End(res.Request.Seq, &kept, nil)
		}
	})
	clear(a.scratch)
	return err
}

// leaseChanges notes what a result means to the lessor.
func (a *applier) leaseChanges(changes []LeaseChange, res *store.Result) []LeaseChange {
	switch {
	case res.Err != nil:
	case res.Kind == store.KindLeaseGrant:
		if l, ok := a.store.Lease(res.Lease); ok {
			changes = append(changes, LeaseChange{ID: l.ID, TTL: l.TTLSeconds})
		}
	case res.Kind == store.KindLeaseRevoke, res.Kind == store.KindLeaseExpire:
		changes = append(changes, LeaseChange{ID: res.Lease, Revoked: true})
	}
	return changes
}

func storeKind(k consensus.EntryKind) store.EntryKind {
	switch k {
	case consensus.EntryCommand:
		return store.EntryCommand
	case consensus.EntryBarrier:
		return store.EntryBarrier
	case consensus.EntryMembership:
		return store.EntryMembership
	}
	panic(fmt.Sprintf("shard: learned an entry of kind %d", k))
}

// learn takes a decided span and applies it when the worker is free.
func (r *Replica) learn(s consensus.Span) {
	if s.Lo != r.learned {
		panic(fmt.Sprintf("shard %d: learned %v behind %d", r.id, s, r.learned))
	}
	r.learned = s.Hi
	r.times.learned(s.Hi-1, r.host.now)
	r.pumpApply()
}

// pumpApply submits the next job, if there is work and none is under way (H2).
func (r *Replica) pumpApply() {
	if r.applying || r.stalled != nil || r.applied+1 >= r.learned {
		return
	}
	todo := consensus.Span{Lo: r.applied + 1, Hi: r.learned}
	todo.Hi = min(todo.Hi, todo.Lo+consensus.Index(r.host.cfg.Limits.ApplyEntries))
	job := &ApplyJob{replica: r}
	part, here := r.cache.prefix(todo)
	if todo = part; !here {
		job.read = &todo
	} else {
		entries, ok := r.cache.span(todo)
		if !ok {
			panic(fmt.Sprintf("shard %d: learned %v beyond the cache end %d", r.id, todo, r.cache.end()))
		}
		job.entries = limitBytes(entries, r.host.cfg.Limits.ApplyBytes)
	}
	r.applying = true
	r.host.ports.Apply.Submit(job)
}

// limitBytes copies the longest prefix of at most limit bytes, at least one
// entry: the cache may move its own slice while the worker reads.
func limitBytes(entries []consensus.Entry, limit int) []consensus.Entry {
	n, bytes := 0, 0
	for n < len(entries) && (n == 0 || bytes+len(entries[n].Data) <= limit) {
		bytes += len(entries[n].Data)
		n++
	}
	return append([]consensus.Entry(nil), entries[:n]...)
}

// Applied is the answer of ApplyPort. An error means that this replica has
// failed: its node must stop.
func (h *Host) Applied(job *ApplyJob) error {
	r := job.replica
	r.applying = false
	h.touch(r)
	if job.err != nil {
		return fmt.Errorf("apply shard %d behind index %d: %w", r.id, r.applied, job.err)
	}
	if err := r.noteDecided(); err != nil {
		return err
	}
	if job.install != nil {
		r.finishInstall(job.install)
		return nil
	}
	if len(job.entries) == 0 {
		return errors.New("apply job without entries")
	}
	last := &job.entries[len(job.entries)-1]
	r.applied = last.Index
	r.times.applied(last.Index, h.now)
	r.machine.Done(consensus.Done{Applied: last.Index})
	r.lessor.observe(job.leases, h.now)
	r.promoteLessor(job.epoch)
	r.cache.evict(min(r.evictable(), r.applied), h.cacheShare())
	h.ports.Outcome.Advanced(r.id, last.Index, job.epoch)
	r.pumpApply()
	return nil
}
