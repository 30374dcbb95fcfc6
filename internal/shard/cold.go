package shard

import "fmt"

// A replica at rest still has in memory what it used last: entries of its log, events for watchers, an
// index of its keys. Once it has rested for long it is cold, and lets go of all that: what stays is who
// its members are and where its log ends. The rest is on disk, and read again when it is asked for.
// Those that are not cold share what the node has for them.

// coldAfter is how long a replica rests before it is cold, in election timeouts: long enough
// that one which is used now and then does not read its disk each time.
const coldAfter = 30

// coldPerTick bounds the replicas that go cold in a tick, and with them how long it takes.
const coldPerTick = 64

// cacheShareMin is what a replica may keep of its log however many are awake, in bytes.
const cacheShareMin = 64 << 10

// cooling are replicas that have gone to rest, roughly in that order: each at most once.
type cooling []*Replica

// rested notes that a replica has gone to rest.
func (h *Host) rested(r *Replica) {
	r.restedAt = h.ticks
	if !r.cooling {
		r.cooling = true
		h.cooling = append(h.cooling, r)
	}
}

// cool lets those replicas go cold that have rested for long.
func (h *Host) cool() {
	after := h.cfg.Timing.ColdTicks
	for range min(coldPerTick, len(h.cooling)) {
		r := h.cooling[0]
		due := r.gone || !r.resting || h.ticks-r.restedAt >= after
		if !due {
			return
		}
		h.cooling[0] = nil
		h.cooling = h.cooling[1:]
		r.cooling = false
		if !r.gone && r.resting {
			r.cool()
		}
	}
}

// trim has those that are not cold let go of what is beyond their share, which grows smaller as they become
// more. Once in an election timeout is enough: they have it when they apply something.
func (h *Host) trim() {
	if h.ticks%h.cfg.Timing.ElectionTicks != 0 {
		return
	}
	share := h.cacheShare()
	for _, list := range [][]*Replica{h.awake, h.cooling} {
		for _, r := range list {
			r.trim(share)
		}
	}
}

func (r *Replica) trim(share int) {
	r.cache.evict(min(r.evictable(), r.applied), share)
	r.applier.store.DB().Trim()
}

// cool lets go of what can be read again. A replica that rests has nothing under way (H11).
func (r *Replica) cool() {
	if r.applying || r.install != nil || r.stalled != nil {
		panic(fmt.Sprintf("shard %d: cold with a job of its worker under way", r.id))
	}
	r.cache.evict(min(r.evictable(), r.applied), -1)
	r.cache.trim()
	r.applier.store.Cool()
	r.cold = true
	r.host.cold++
}

// cacheShare is what a replica may keep of its log in memory, in bytes.
func (h *Host) cacheShare() int {
	l := &h.cfg.Limits
	return min(l.CacheBytes, max(cacheShareMin, l.CachesBytes/max(1, h.Warm())))
}

// Warm is the number of replicas that are not cold.
func (h *Host) Warm() int { return len(h.order) - h.cold }

// Awake is the number of replicas that are not at rest.
func (h *Host) Awake() int { return len(h.order) - h.resting }
