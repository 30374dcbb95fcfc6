package consensustest

import (
	"math/rand/v2"

	"github.com/quorate/quorate/consensus"
)

// Clocks of a world with leases. Time stands still but for ticks and what a test lets pass.
const (
	tickNanos = 1000 // between two ticks of a clock that goes right
	// driftMax is by how much the fastest and the slowest clock are off, in thousandths.
	driftMax = 20
)

// leaseNanos is the longest lease that these clocks allow (Config.LeaseNanos).
func leaseNanos(electionTicks int) uint64 {
	return uint64(electionTicks-1) * tickNanos * (1000 - 2*driftMax) / 1000
}

// clocks are what the hosts of a world know of its time. Nil clocks are never looked at.
type clocks struct {
	now consensus.Instant
	// pace is how much time passes at most with each thing that happens by chance.
	pace uint64
	// leased are reads that were answered without a message.
	leased int
}

func newClocks(r *rand.Rand) *clocks {
	return &clocks{now: 1, pace: 1 + r.Uint64N(tickNanos/2)}
}

// drift is by how many thousandths a host's clock is fast.
func drift(id consensus.ReplicaID) int {
	return [...]int{0, -driftMax, driftMax, -driftMax / 2, driftMax / 2}[id%5]
}

// reading is what a host's clock shows; zero in a world without.
func (c *clocks) reading(h *Host) consensus.Instant {
	if c == nil {
		return 0
	}
	return 1 + c.now*consensus.Instant(1000+drift(h.ID))/1000
}

// ticks lets the time pass until a host's next tick is due; one in arrears is forgotten.
func (c *clocks) ticks(h *Host) {
	if c == nil {
		return
	}
	c.now = max(c.now, h.due)
	h.due = c.now + consensus.Instant(tickNanos*1000/(1000+drift(h.ID)))
}

func (c *clocks) answered() int {
	if c == nil {
		return 0
	}
	return c.leased
}
