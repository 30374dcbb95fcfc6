package node

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/store"
)

// Periods of the node's housekeeping.
const (
	housekeepingPeriod = 500 * time.Millisecond
	// releasePeriod is how often the log is released below what the engine has flushed.
	releasePeriod = 2 * time.Second
	// quotasTimeout bounds one round of setting quotas: a keyspace that decides nothing must not
	// hold up the rest of the housekeeping.
	quotasTimeout = time.Second
)

// Free space on the data directory's disk. Below the reserve, commands that need
// space are refused on this node; what frees space goes on. The log keeps a
// spare segment besides.
const (
	diskReserveBytes   = 256 << 20
	diskReservePercent = 33 // of the disk, if that is less
)

// housekeep runs until the node stops.
func (n *Node) housekeep() {
	ticker := time.NewTicker(housekeepingPeriod)
	defer ticker.Stop()
	registered, released := false, time.Duration(0)
	meter := newMeter(n)
	for {
		if !registered {
			registered = n.logged("register this member", n.announce(n.ctx))
		}
		n.watchLevel()
		n.watchDisk()
		n.giveBack()
		n.logged("set the quotas", n.setQuotas(n.ctx))
		if now := n.cfg.Clock.Monotonic(); now-released >= releasePeriod {
			released = now
			n.logged("release the log", n.releaseLog())
		}
		n.logged("report the load", meter.tick(n.ctx))
		select {
		case <-n.ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// announce registers this member and, when the default keyspace can be read too,
// lets Ready be known.
func (n *Node) announce(ctx context.Context) error {
	if err := n.register(ctx); err != nil {
		return err
	}
	if k, ok := n.Keyspace(DefaultKeyspace); ok {
		if err := k.Barrier(ctx); err != nil {
			return err
		}
	}
	close(n.ready)
	return nil
}

// setQuotas sets the quota of each keyspace that this node leads.
func (n *Node) setQuotas(ctx context.Context) error {
	if k, ok := n.keyspaces.of(DefaultShard); ok {
		k.quota.Store(n.cfg.QuotaBytes)
	}
	ctx, cancel := context.WithTimeout(ctx, quotasTimeout)
	defer cancel()
	var errs error
	for _, k := range n.unquoted.take() {
		want := k.quota.Load()
		if want == 0 {
			continue
		}
		if err := k.setQuota(ctx, want); err != nil {
			errs = errors.Join(errs, err)
			n.unquoted.add(k) // again, later
		}
	}
	return errs
}

// setQuota is a keyspace's leader's duty: the quota, with the limits on keys and leases, is
// replicated, so that every replica gives the same verdict.
func (k *Keyspace) setQuota(ctx context.Context, bytes int64) error {
	if !k.Status().Leads {
		return nil
	}
	view, err := k.View()
	if err != nil {
		return err
	}
	quota, err := view.Quota()
	limits := k.limiter.Get()
	want := store.Quota{Bytes: bytes, Keys: limits.Keys, Leases: limits.Leases}
	if err = errors.Join(err, view.Close()); err != nil || quota == want {
		return err
	}
	request := store.SetQuotaRequest(want)
	_, err = k.Propose(ctx, store.KindSetQuota, request.AppendTo(nil))
	return err
}

func (n *Node) logged(what string, err error) bool {
	if err != nil && n.ctx.Err() == nil {
		n.cfg.Logger.Warn("could not "+what, "error", err)
	}
	return err == nil
}

func (n *Node) watchLevel() {
	if at := n.keyspaces.own(SystemKeyspace).DB().Head().Revision; at != n.levelAt {
		level, err := n.readLevel()
		if !n.logged("read the feature level", err) {
			return
		}
		if level > n.cfg.MaxLevel {
			n.fail(fmt.Errorf("the cluster has feature level %d, this program knows up to %d: start a newer version", level, n.cfg.MaxLevel))
			return
		}
		n.level.Store(level)
		n.levelAt = at
	}
	n.logged("raise the feature level", n.raiseLevel(n.ctx))
}

// releaseLog releases every shard's log below what the engine cannot lose. Between two flushes of
// the engine only those can be released further in which something has happened.
func (n *Node) releaseLog() error {
	if n.log.log.Live() > n.flushBehindBytes() {
		if err := n.engine.Flush(); err != nil {
			return err
		}
	}
	flushes, list := n.engine.Stats().Flushes, n.unreleased.take()
	if flushes != n.flushes {
		list = n.keyspaces.all()
	}
	for _, k := range list {
		flushed, err := k.store.DurableApplied()
		if err != nil {
			n.flushes = -1 // then all of them again
			return fmt.Errorf("shard %d: %w", k.shard, err)
		}
		n.mail.post(event{kind: eventCall, call: func() error {
			n.host.Durably(k.shard, consensus.Index(flushed.Index))
			return nil
		}})
	}
	n.flushes = flushes
	return nil
}

// flushBehindBytes is how much live log makes the node flush the engine, so that
// the log can be released: a sixteenth of the disk, within bounds.
func (n *Node) flushBehindBytes() int64 {
	const least, most = 16 << 20, 256 << 20
	usage, err := n.cfg.FS.GetDiskUsage(n.cfg.DataDir)
	if err != nil {
		return most
	}
	return min(max(int64(usage.TotalBytes/16), least), most)
}

// watchDisk refuses what needs space while the disk is nearly full. Any goroutine
// may call it.
func (n *Node) watchDisk() {
	usage, err := n.cfg.FS.GetDiskUsage(n.cfg.DataDir)
	if err != nil {
		return // not every file system can say
	}
	reserve := min(uint64(diskReserveBytes), usage.TotalBytes/100*diskReservePercent)
	n.setNoSpace(usage.AvailBytes < reserve)
}

// giveBack gives the space of what was deleted and compacted away back now, if it
// is short.
func (n *Node) giveBack() {
	pruned := n.pruned.Load()
	if !n.diskFull.Load() || pruned == n.reclaimed {
		return
	}
	n.reclaimed = pruned
	before := n.engine.Stats().DiskBytes
	if n.logged("give disk space back", errors.Join(n.engine.Compact(), n.releaseLog())) {
		n.cfg.Logger.Info("gave disk space back", "dir", n.cfg.DataDir, "before-bytes", before, "after-bytes", n.engine.Stats().DiskBytes)
	}
}

// setDiskFull is called when the log had no room for a batch.
func (n *Node) setDiskFull(err error) {
	n.cfg.Logger.Error("the disk is full: free space or compact the keyspace", "dir", n.cfg.DataDir, "error", err)
	n.setNoSpace(true)
}

func (n *Node) setNoSpace(full bool) {
	if n.diskFull.Swap(full) == full {
		return
	}
	n.cfg.Logger.Warn("disk space changed", "full", full, "dir", n.cfg.DataDir)
	n.mail.post(event{kind: eventCall, call: func() error {
		n.router.SetNoSpace(full)
		return nil
	}})
}

// Latency is a histogram that one goroutine writes and others read.
type Latency struct {
	buckets [32]atomic.Uint64
	sum     atomic.Int64
	count   atomic.Uint64
}

// Observe counts one duration.
func (l *Latency) Observe(d time.Duration) {
	l.buckets[shard.Bucket(d)].Add(1)
	l.sum.Add(int64(d))
	l.count.Add(1)
}

// Snapshot reads the histogram; its parts may differ by what is observed meanwhile.
func (l *Latency) Snapshot() shard.Histogram {
	h := shard.Histogram{Sum: time.Duration(l.sum.Load()), Count: l.count.Load()}
	for i := range h.Buckets {
		h.Buckets[i] = l.buckets[i].Load()
	}
	return h
}
