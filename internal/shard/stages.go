package shard

import (
	"math/bits"
	"time"

	"github.com/quorate/quorate/consensus"
)

// Stage is one step of a proposal's way through the node that leads its shard.
// Times are local and never replicated.
type Stage uint8

const (
	// StageQueue: from arrival to the machine's acceptance.
	StageQueue Stage = iota
	// StageSync: from acceptance to durable in this node's log.
	StageSync
	// StageLearn: from acceptance to decided by a quorum.
	StageLearn
	// StageApply: from decided to applied here.
	StageApply
	// StageCount is the number of stages.
	StageCount
)

// String names the stage as its metric label.
func (s Stage) String() string {
	return [...]string{"queue", "sync", "learn", "apply"}[s]
}

// Stages holds one histogram per stage.
type Stages [StageCount]Histogram

// Histogram counts durations by powers of two of microseconds.
type Histogram struct {
	Buckets [32]uint64 // bucket i counts durations < 2^i µs and not in bucket i-1
	Sum     time.Duration
	Count   uint64
}

func (h *Histogram) observe(d time.Duration) {
	h.Buckets[Bucket(d)]++
	h.Sum += d
	h.Count++
}

// Bucket is the bucket of Histogram that counts d.
func Bucket(d time.Duration) int {
	return min(bits.Len64(uint64(max(d, 0)/time.Microsecond)), len(Histogram{}.Buckets)-1)
}

// stageBatches bounds the batches of one replica whose times are followed at
// once; further ones are not measured.
const stageBatches = 64

// stageTimes follows this replica's own proposals, a batch at a time.
type stageTimes struct {
	stages  *Stages
	batches []stageBatch // by ascending last index
	queued  time.Duration
	fresh   bool // a batch was proposed and its append has not been seen
}

type stageBatch struct {
	last              consensus.Index
	accepted, decided time.Duration
	synced            bool
}

// proposed notes when the oldest command of the next append arrived.
func (t *stageTimes) proposed(queued time.Duration) {
	if !t.fresh {
		t.queued, t.fresh = queued, true
	}
}

// appended starts to follow a batch.
func (t *stageTimes) appended(last consensus.Index, now time.Duration) {
	if !t.fresh {
		return
	}
	t.fresh = false
	t.stages[StageQueue].observe(now - t.queued)
	if len(t.batches) < stageBatches {
		t.batches = append(t.batches, stageBatch{last: last, accepted: now})
	}
}

func (t *stageTimes) synced(upTo consensus.Index, now time.Duration) {
	for i := range t.batches {
		if b := &t.batches[i]; b.last <= upTo && !b.synced {
			b.synced = true
			t.stages[StageSync].observe(now - b.accepted)
		}
	}
}

func (t *stageTimes) learned(upTo consensus.Index, now time.Duration) {
	for i := range t.batches {
		if b := &t.batches[i]; b.last <= upTo && b.decided == 0 {
			b.decided = now
			t.stages[StageLearn].observe(now - b.accepted)
		}
	}
}

// applied ends the batches up to an index.
func (t *stageTimes) applied(upTo consensus.Index, now time.Duration) {
	n := 0
	for n < len(t.batches) && t.batches[n].last <= upTo {
		if b := &t.batches[n]; b.decided != 0 {
			t.stages[StageApply].observe(now - b.decided)
		}
		n++
	}
	t.batches = append(t.batches[:0], t.batches[n:]...)
}
