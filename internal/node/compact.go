package node

import (
	"context"
	"errors"
	"time"

	"github.com/quorate/quorate/internal/store"
)

const (
	// pruneStep bounds one step of physical compaction, in changes.
	pruneStep = 2000
	// compactRevisionPeriod is how often history is cut by count, as in etcd.
	compactRevisionPeriod = 5 * time.Minute
	// compactSamplesMax bounds the samples kept to cut history by age; as in etcd,
	// they are a tenth of the period apart, but not closer than the minimum.
	compactSamplesMax = 10
	compactSampleMin  = time.Second
)

// prune removes for good what compaction gave up, until the node stops.
func (n *Node) prune() {
	ticker := time.NewTicker(housekeepingPeriod)
	defer ticker.Stop()
	for {
		for _, k := range n.unpruned.take() {
			for more := true; more && n.ctx.Err() == nil; {
				var err error
				if more, err = k.prune(); err != nil {
					n.fail(err)
					return
				}
			}
		}
		select {
		case <-n.ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// prune takes one step; it never runs beside the install of a snapshot.
func (k *Keyspace) prune() (more bool, err error) {
	k.installs.Lock()
	defer k.installs.Unlock()
	if k.closed {
		return false, nil
	}
	compacted := k.store.DB().Head().Compacted
	if compacted <= k.prunedTo && !k.store.DB().WantsPrune() {
		return false, nil
	}
	more, err = k.store.DB().Prune(pruneStep)
	if err == nil && !more {
		k.prunedTo = compacted
		k.n.pruned.Add(1)
	}
	return more, err
}

// autoCompact is etcd's --auto-compaction for the default keyspace. Only its
// leader proposes; everybody samples, so that a new leader knows the past.
func (n *Node) autoCompact() {
	c := n.cfg.Compaction
	period := compactRevisionPeriod
	if c.Period > 0 {
		period = max(c.Period/compactSamplesMax, compactSampleMin)
	}
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	var samples []int64 // revisions, a period apart
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-ticker.C:
		}
		k, here := n.Keyspace(DefaultKeyspace)
		if !here {
			samples = nil
			continue
		}
		revision, err := k.revision()
		if !n.logged("read the revision to compact to", err) {
			continue
		}
		to := revision - c.Revisions
		if c.Period > 0 {
			samples = append(samples, revision)
			if time.Duration(len(samples)-1)*period <= c.Period {
				continue
			}
			to, samples = samples[0], samples[1:]
		}
		if to > 0 && k.Status().Leads {
			n.logged("compact the history", k.compact(n.ctx, to))
		}
	}
}

func (k *Keyspace) revision() (int64, error) {
	view, err := k.View()
	if err != nil {
		return 0, err
	}
	return view.Revision(), view.Close()
}

func (k *Keyspace) compact(ctx context.Context, to int64) error {
	request := store.CompactRequest{Revision: to}
	res, err := k.Propose(ctx, store.KindCompact, request.AppendTo(nil))
	if err == nil && !errors.Is(res.Err, store.ErrCompacted) {
		err = res.Err
	}
	return err
}
