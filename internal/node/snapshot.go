package node

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/quorate/quorate/internal/env"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/store"
	"github.com/quorate/quorate/internal/transport"
)

// snapshotStreams is the node's shard.SnapshotPort: one goroutine per stream,
// which the host bounds.
type snapshotStreams struct{ n *Node }

// Stream implements shard.SnapshotPort.
func (s snapshotStreams) Stream(job *shard.SnapshotSend) {
	s.n.start1(func() {
		err := s.send(job)
		job.View.Close()
		to := shard.NodeOf(job.Message.To)
		if err != nil {
			s.n.cfg.Logger.Warn("snapshot was not sent", "shard", job.Shard(), "to", to, "error", err)
		} else {
			s.n.cfg.Logger.Info("snapshot sent", "shard", job.Shard(), "to", to, "index", job.Message.Snapshot.Index)
		}
		s.n.mail.post(event{kind: eventSent, sent: job, ok: err == nil})
	})
}

func (s snapshotStreams) send(job *shard.SnapshotSend) error {
	ctx, cancel := context.WithCancel(s.n.ctx)
	defer cancel()
	to := transport.NodeID(shard.NodeOf(job.Message.To))
	header := transport.SnapshotHeader{Message: job.Message}
	return s.n.transport.SendSnapshot(ctx, to, header, func(w io.Writer) error {
		return shard.WriteState(w, job.Shard(), job.View)
	})
}

// Snapshot implements transport.Handler: the state goes to a file first, so that
// the engine takes it whole or not at all.
func (h peerHandler) Snapshot(from transport.NodeID, header transport.SnapshotHeader, r io.Reader) error {
	n := h.n
	m := header.Message
	// A name of its own: the sender may stream again while this one still waits.
	name := n.dir.fs.PathJoin(n.dir.join("snap"), fmt.Sprintf("shard-%d-from-%v-%d.tmp", m.Group, from, n.received.Add(1)))
	k, ok := n.keyspaces.of(shard.ID(m.Group))
	if !ok {
		return fmt.Errorf("snapshot of shard %d: %w", m.Group, shard.ErrUnknownShard)
	}
	staged := &stagedFile{fs: n.cfg.FS, name: name, keyspace: k}
	if err := staged.fill(r); err != nil {
		staged.Discard()
		return fmt.Errorf("receive snapshot of shard %d: %w", m.Group, err)
	}
	done := make(chan error, 1)
	receive := func() error {
		n.host.SnapshotReceived(&m, staged, func(err error) { done <- err })
		return nil
	}
	if !n.mail.post(event{kind: eventCall, call: receive}) {
		staged.Discard()
		return errStopping
	}
	select {
	case err := <-done:
		return err
	case <-n.ctx.Done():
		return errStopping
	}
}

// stagedFile is a shard.StagedSnapshot: a verified stream in a temporary file.
type stagedFile struct {
	fs       env.FS
	name     string
	keyspace *Keyspace
}

func (s *stagedFile) fill(r io.Reader) error {
	if err := s.fs.MkdirAll(s.fs.PathDir(s.name), 0o700); err != nil {
		return err
	}
	f, err := s.fs.Create(s.name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// Install implements shard.StagedSnapshot.
func (s *stagedFile) Install(into *store.Store) error {
	f, err := s.fs.Open(s.name)
	if err != nil {
		return err
	}
	defer f.Close()
	k := s.keyspace
	k.installs.Lock() // no physical compaction meanwhile
	defer k.installs.Unlock()
	k.prunedTo = 0 // the state may have what was removed here
	k.n.unpruned.add(k)
	return shard.ReadState(f, into)
}

// Discard implements shard.StagedSnapshot.
func (s *stagedFile) Discard() { _ = s.fs.Remove(s.name) } // emptied at start if it stays
