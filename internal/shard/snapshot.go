package shard

import (
	"errors"
	"fmt"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/store"
)

// SnapshotSend is one stream of a shard's state to a peer. It is run beside the
// owner, by SnapshotPort.
type SnapshotSend struct {
	replica *Replica
	View    *store.View       // the state to export; the port closes it
	Message consensus.Message // announces the state; its Snapshot is set
}

// Shard is the shard whose state is streamed.
func (s *SnapshotSend) Shard() ID { return s.replica.id }

// streamSnapshots starts a stream to each replica that needs the state. Above
// the node's limit the machine is told that the stream failed; it asks again.
func (r *Replica) streamSnapshots(to []consensus.ReplicaID) {
	for _, id := range to {
		if r.host.snapshots >= r.host.cfg.Limits.SnapshotSends {
			r.machine.Done(consensus.Done{SnapshotSent: consensus.SnapshotSent{To: id, OK: false}})
			continue
		}
		view, at, err := r.viewAt()
		if err != nil {
			r.machine.Done(consensus.Done{SnapshotSent: consensus.SnapshotSent{To: id, OK: false}})
			continue
		}
		s := &SnapshotSend{replica: r, View: view, Message: consensus.Message{
			Kind: consensus.KindSnapshot, Group: Group(r.id), From: r.self, To: id,
			Epoch: max(r.epoch, at.Epoch), Snapshot: &at,
		}}
		r.host.snapshots++
		r.holders[s] = at.Index
		r.host.ports.Snapshots.Stream(s)
	}
}

// viewAt opens a view of the applied state and says which position it is at.
func (r *Replica) viewAt() (*store.View, consensus.Snapshot, error) {
	view, err := r.applier.store.View()
	if err != nil {
		return nil, consensus.Snapshot{}, err
	}
	a, err := view.Applied()
	at := consensus.Snapshot{Index: consensus.Index(a.Index), Epoch: consensus.Epoch(a.Epoch), Configuration: r.first}
	if err == nil && len(a.Configuration) > 0 {
		at.Configuration, err = consensus.DecodeConfiguration(a.Configuration)
	}
	if err != nil {
		_ = view.Close()
		return nil, consensus.Snapshot{}, err
	}
	return view, at, nil
}

// SnapshotSent is the answer of SnapshotPort.Stream.
func (h *Host) SnapshotSent(s *SnapshotSend, ok bool) {
	r := s.replica
	h.snapshots--
	delete(r.holders, s)
	r.machine.Done(consensus.Done{SnapshotSent: consensus.SnapshotSent{To: s.Message.To, Index: s.Message.Snapshot.Index, OK: ok}})
	h.touch(r)
}

// StagedSnapshot is a completely received and verified state, not yet visible.
type StagedSnapshot interface {
	// Install replaces the shard's state in the engine, atomically and durably (H6).
	Install(s *store.Store) error
	// Discard frees what was staged.
	Discard()
}

// stagedInstall is a staged snapshot on its way through machine and apply worker.
type stagedInstall struct {
	snapshot consensus.Snapshot
	staged   StagedSnapshot
	done     func(error)
}

// ErrSnapshotUnwanted says that a received snapshot is not newer than what the
// replica has, or that another one is being installed.
var ErrSnapshotUnwanted = errors.New("snapshot is not wanted")

// SnapshotReceived offers a completely received state; m is the peer's message
// that announces it. done is called once, on the owner's turn.
func (h *Host) SnapshotReceived(m *consensus.Message, staged StagedSnapshot, done func(error)) {
	r, ok := h.replicas[ID(m.Group)]
	refuse := func(err error) {
		staged.Discard()
		done(err)
	}
	switch {
	case !ok:
		refuse(fmt.Errorf("snapshot of shard %d: %w", m.Group, ErrUnknownShard))
		return
	case r.install != nil || r.stalled != nil || m.Snapshot == nil:
		refuse(ErrSnapshotUnwanted)
		return
	}
	r.install = &stagedInstall{snapshot: *m.Snapshot, staged: staged, done: done}
	err := r.machine.Step(*m)
	if err == nil {
		r.drainReady()
	}
	if install := r.install; install != nil && r.stalled == nil {
		// The machine did not ask for it: it has what the snapshot holds.
		r.install = nil
		if err == nil {
			err = ErrSnapshotUnwanted
		}
		refuse(err)
	}
	h.touch(r)
}

// startInstall hands the snapshot to the apply worker behind the jobs under way.
func (r *Replica) startInstall(s *consensus.Snapshot) {
	if r.install == nil || r.install.snapshot.Index != s.Index {
		panic(fmt.Sprintf("shard %d: machine installs a snapshot at %d that was not received", r.id, s.Index))
	}
	r.active()
	r.host.ports.Apply.Submit(&ApplyJob{replica: r, install: r.install})
}

func (i *stagedInstall) run(a *applier) error {
	if err := i.staged.Install(a.store); err != nil {
		return fmt.Errorf("install snapshot at %d: %w", i.snapshot.Index, err)
	}
	if at := consensus.Index(a.store.Applied().Index); at != i.snapshot.Index {
		return fmt.Errorf("install snapshot at %d: the state is one at %d", i.snapshot.Index, at)
	}
	return nil
}

// finishInstall records the installed snapshot in the log (H6) and goes on with
// the Ready that asked for it.
func (r *Replica) finishInstall(i *stagedInstall) {
	s := &i.snapshot
	if r.sparse { // what is above is a promise
		r.host.logBatch().Release(Group(r.id), s.Index, s.Epoch)
		r.cache.release(s.Index)
	} else {
		r.host.logBatch().Install(Group(r.id), s.Index, s.Epoch)
		r.cache.reset(s.Index + 1)
	}
	r.applied, r.learned, r.released, r.fence = s.Index, s.Index+1, s.Index, s.Epoch
	r.lessor.load(r.applier.store)
	r.machine.Done(consensus.Done{Applied: s.Index})
	rd := r.stalled
	r.stalled, r.install = nil, nil
	r.handle(rd)
	r.host.ports.Outcome.Installed(r.id, s.Index)
	i.staged.Discard()
	i.done(nil)
}
