package shard

import (
	"bytes"
	"testing"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/raft"
	"github.com/quorate/quorate/internal/store"
)

// write puts a value of some size into a group.
func (f *fleet) write(id ID, size int) {
	f.t.Helper()
	f.command(id, &store.PutRequest{Key: []byte("k"), Value: bytes.Repeat([]byte{'v'}, size)})
}

// elapse lets so many election timeouts pass.
func (f *fleet) elapse(timeouts int) {
	for range timeouts * fleetElection {
		f.tick()
	}
}

// cached is what all hosts hold of their logs in memory, in bytes.
func (f *fleet) cached() (bytes int) {
	for _, x := range f.hosts {
		for _, r := range x.host.Replicas() {
			bytes += r.cache.bytes
		}
	}
	return bytes
}

// Goal: a group that has rested for long keeps nothing of its log in memory, not before, and
// goes on from there, a replica that was away included. Method: writes that one of three misses, rest, and
// its return, on every engine.
func TestColdGroup(t *testing.T) {
	eachEngine(t, func(t *testing.T, e consensus.Engine) {
		f := newFleet(t, e, 3, 1)
		f.elapse(5)
		f.hosts[2].stopped = true
		f.elapse(5)
		for range 20 {
			f.write(1, 1000)
		}
		f.elapse(5)
		if n := f.cached(); n < 40_000 {
			t.Fatalf("%d bytes are cached just after 20,000 were written to two replicas", n)
		}
		f.elapse(coldAfter + 10)
		if n := f.cached(); n != 0 {
			t.Errorf("%d bytes are cached by a group that has rested for long", n)
		}
		for _, x := range f.hosts[:2] {
			if len(x.host.cooling) != 0 {
				t.Errorf("host %d still has %d replicas to cool", x.host.cfg.Node, len(x.host.cooling))
			}
		}
		f.hosts[2].stopped = false
		f.elapse(5)
		f.write(1, 1000)
		f.elapse(5)
		want := f.hosts[0].host.order[0].Applied()
		for _, x := range f.hosts {
			if got := x.host.order[0].Applied(); got != want {
				t.Errorf("host %d has applied %d entries of %d", x.host.cfg.Node, got, want)
			}
		}
	})
}

// Goal: groups share the memory for their logs, also if they are written to one after another, and if
// they never rest. Method: twenty groups of one host, every other one with a lease, with room for
// two.
func TestCachesAreSharedInTurn(t *testing.T) {
	const groups = 20
	const total = groups * cacheShareMin
	f := newFleet(t, raft.Engine, 1, groups)
	h := f.hosts[0].host
	h.cfg.Limits.CachesBytes = total
	f.elapse(5)
	for g := range groups {
		r := h.order[g]
		if g%2 == 0 {
			r.lessor.leases[7] = &lease{id: 7, ttl: 1 << 30, position: -1}
		}
		for range 1000 {
			f.write(ID(g+1), 1000)
		}
		f.elapse(4)
		if n := f.cached(); n > total+total/4 {
			t.Errorf("after %d groups %d bytes are held, %d may be", g+1, n, total)
		}
	}
	if n := f.cached(); n < total/2 {
		t.Errorf("%d bytes are held: the test tests nothing", n)
	}
}

// Goal: replicas that are awake share the memory for their logs. Method: four groups of one
// host, written to without a pause, with room for one; then one of them alone.
func TestCachesAreShared(t *testing.T) {
	const share = 2 * cacheShareMin
	f := newFleet(t, raft.Engine, 1, 4)
	f.hosts[0].host.cfg.Limits.CachesBytes = 4 * share
	f.elapse(5)
	for range 400 {
		for g := range 4 {
			f.write(ID(g+1), 1000)
		}
	}
	if n := f.cached(); n < 3*share || n > 4*share {
		t.Errorf("four groups hold %d bytes, their share is %d", n, 4*share)
	}
	f.elapse(coldAfter + 5)
	for range 1000 {
		f.write(1, 1000)
	}
	if n := f.hosts[0].host.order[0].cache.bytes; n < 3*share || n > 4*share {
		t.Errorf("one group that is awake holds %d bytes, it may have %d", n, 4*share)
	}
}
