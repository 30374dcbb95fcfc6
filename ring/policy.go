package ring

import (
	"fmt"
	"math/big"
)

// Policy is what a plan has to keep.
type Policy struct {
	// ReplicaLoad limits a node's replicas, in percent of its fair share; at least 100,
	// default 125.
	ReplicaLoad int
	// LeaderLoad limits the shards that a node leads in the same way. It is at least
	// ReplicaLoad, which is its default (R4).
	LeaderLoad int
	// Copies is the most Adds in one plan. A Remove costs nothing. Zero means no limit.
	Copies int
	// Leads is the most Leads in one plan that only balance. Zero means no limit.
	Leads int
}

// loadMax is what limits are limited to, in percent; there is no limit with that.
const (
	loadDefault = 125
	loadMax     = 1_000_000
)

func (p Policy) complete() (Policy, error) {
	if p.ReplicaLoad == 0 {
		p.ReplicaLoad = loadDefault
	}
	if p.LeaderLoad == 0 {
		p.LeaderLoad = p.ReplicaLoad
	}
	switch {
	case p.ReplicaLoad < 100 || p.ReplicaLoad > loadMax:
		return p, fmt.Errorf("%w: ReplicaLoad is %d %%, not in [100, %d]", ErrPolicy, p.ReplicaLoad, loadMax)
	case p.LeaderLoad < p.ReplicaLoad || p.LeaderLoad > loadMax:
		return p, fmt.Errorf("%w: LeaderLoad is %d %%, not in [%d (ReplicaLoad), %d]: a node may have to lead in proportion to what it carries",
			ErrPolicy, p.LeaderLoad, p.ReplicaLoad, loadMax)
	case p.Copies < 0 || p.Leads < 0:
		return p, fmt.Errorf("%w: Copies is %d and Leads %d, neither may be negative", ErrPolicy, p.Copies, p.Leads)
	}
	return p, nil
}

// most is how many replicas of a shard a zone must be able to take, so that there is a
// place for all: 1 while zones suffice (R3).
func (r *Ring) most(want int) int {
	want = min(want, r.usable)
	for m := 1; ; m++ {
		room := 0
		for _, size := range r.size {
			room += min(int(size), m)
		}
		if room >= want {
			return m
		}
	}
}

// ZoneMost is the most replicas of a shard that wants so many in one zone (R3).
func (r *Ring) ZoneMost(want int) int { return r.most(want) }

// share is what each node should have of the replicas of some shards (R3). All nodes are
// filled at once, in proportion to their weights. A node stops when it has a replica of
// every shard, and all nodes of a zone stop when that has most of every shard; the others go on.
func (r *Ring) share(want, shards int) []*big.Rat {
	f := filling{
		parts: zeros(len(r.nodes)), rest: big.NewRat(int64(want)*int64(shards), 1),
		room: make([]*big.Rat, len(r.size)), rising: make([]int64, len(r.size)),
	}
	for z := range r.size {
		f.room[z] = big.NewRat(int64(shards)*int64(r.most(want)), 1)
	}
	for i, n := range r.nodes {
		if n.Weight > 0 {
			f.active = append(f.active, int32(i))
			f.rising[r.zoneOf[i]] += int64(n.Weight)
			f.weight += int64(n.Weight)
		}
	}
	for len(f.active) > 0 {
		// What a unit of weight has when the first must stop.
		level := new(big.Rat).Quo(f.rest, big.NewRat(f.weight, 1))
		for z, w := range f.rising {
			if w > 0 {
				lower(level, new(big.Rat).Quo(f.room[z], big.NewRat(w, 1)))
			}
		}
		heaviest := 0
		for _, i := range f.active {
			heaviest = max(heaviest, r.nodes[i].Weight)
		}
		lower(level, big.NewRat(int64(shards), int64(heaviest)))
		f.stop(r, level, shards)
	}
	return f.parts
}

// filling is a division in progress.
type filling struct {
	parts  []*big.Rat
	active []int32  // nodes that have not stopped
	weight int64    // of these
	rest   *big.Rat // what these have together in the end, without limits

	// By zone: what it may still have beside nodes that have stopped, and the weight of
	// those that have not.
	room   []*big.Rat
	rising []int64
}

// stop ends it for those who can have no more than a level.
func (f *filling) stop(r *Ring, level *big.Rat, shards int) {
	all := new(big.Rat).Mul(level, big.NewRat(f.weight, 1)).Cmp(f.rest) >= 0
	full := make([]bool, len(f.room))
	for z, w := range f.rising {
		full[z] = new(big.Rat).Mul(level, big.NewRat(w, 1)).Cmp(f.room[z]) >= 0
	}
	active := f.active[:0]
	for _, i := range f.active {
		w, z := int64(r.nodes[i].Weight), r.zoneOf[i]
		x := new(big.Rat).Mul(level, big.NewRat(w, 1))
		if !all && !full[z] && x.Cmp(big.NewRat(int64(shards), 1)) < 0 {
			active = append(active, i)
			continue
		}
		f.parts[i] = x
		f.rest.Sub(f.rest, x)
		f.room[z].Sub(f.room[z], x)
		f.rising[z] -= w
		f.weight -= w
	}
	f.active = active
}

func lower(to, x *big.Rat) {
	if x.Cmp(to) < 0 {
		to.Set(x)
	}
}

func zeros(n int) []*big.Rat {
	list := make([]*big.Rat, n)
	for k := range list {
		list[k] = new(big.Rat)
	}
	return list
}

// capOf is so many percent of a part of a share, rounded up.
func capOf(share *big.Rat, percent, parts int) int {
	x := new(big.Rat).Mul(share, big.NewRat(int64(percent), int64(100*parts)))
	n := new(big.Int).Add(x.Num(), x.Denom())
	return int(n.Sub(n, big.NewInt(1)).Quo(n, x.Denom()).Int64())
}
