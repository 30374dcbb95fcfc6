package node

import (
	"time"

	"github.com/quorate/quorate/internal/shard"
)

// StageTimes is the latency of one stage of this node's proposals since its start. The
// i-th bucket counts what took less than 2^i µs and was not counted before; the last one
// counts all the rest.
type StageTimes struct {
	Stage   string
	Buckets []uint64
	Sum     time.Duration
	Count   uint64
}

// Stages are the times as of the last tick.
func (n *Node) Stages() []StageTimes {
	now := n.stages.Load()
	if now == nil {
		return nil
	}
	times := make([]StageTimes, len(now))
	for i := range now {
		h := &now[i]
		times[i] = StageTimes{Stage: shard.Stage(i).String(), Buckets: h.Buckets[:], Sum: h.Sum, Count: h.Count}
	}
	return times
}
