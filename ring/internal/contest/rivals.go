package contest

import (
	"slices"
	"strconv"

	"github.com/quorate/quorate/ring"
)

// Rivals are ring and the plain implementations.
var Rivals = []Rival{
	{Name: "ring: owner", Make: ringOwner},
	{Name: "ring: placement, cap 125 %", Make: placed(125), Placed: true},
	{Name: "ring: placement, cap 105 %", Make: placed(105), Placed: true},
	{Name: "Karger, 1 token", Make: karger(1)},
	{Name: "Karger, 128 tokens", Make: karger(128)},
	{Name: "jump", Make: jump},
	{Name: "rendezvous", Make: rendezvous},
	{Name: "Maglev, 65537 places", Make: maglev(65537)},
}

func mustRing(nodes []uint64) *ring.Ring {
	var list []ring.Node
	for _, n := range nodes {
		list = append(list, ring.Node{ID: ring.NodeID(n), Weight: 1})
	}
	r, err := ring.New(list, ring.Options{})
	if err != nil {
		panic(err)
	}
	return r
}

func ringOwner(nodes []uint64, _ Lookup) Lookup {
	r := mustRing(nodes)
	return func(k *Key) uint64 { return uint64(r.Owner(r.Number(k.Number))) }
}

// placed is a placement with one replica of each key, planned from where it was.
func placed(load int) func([]uint64, Lookup) Lookup {
	return func(nodes []uint64, before Lookup) Lookup {
		r, p := mustRing(nodes), &ring.Placement{}
		for k := range Keys {
			s := ring.Shard{ID: ring.ShardID(Keys[k].Number), Want: 1}
			if before != nil {
				s.Replicas = []ring.NodeID{ring.NodeID(before(&Keys[k]))}
			}
			p.Shards = append(p.Shards, s)
		}
		CarryOut(r, p, ring.Policy{ReplicaLoad: load})
		return func(k *Key) uint64 { return uint64(p.Shards[k.Number].Replicas[0]) }
	}
}

// CarryOut makes all moves of a plan and returns how many replicas are copied.
func CarryOut(r *ring.Ring, p *ring.Placement, policy ring.Policy) (copies int) {
	moves, err := r.Plan(p, policy)
	if err != nil {
		panic(err)
	}
	for _, m := range moves {
		if err := p.Apply(m); err != nil {
			panic(err)
		}
		if m.Kind == ring.Add {
			copies++
		}
	}
	return copies
}

func hash(seed, x uint64) uint64 { return uint64(ring.XX{}.Number(seed, x)) }

// karger is consistent hashing (1997): a key belongs to the next of some points that each
// node has on a circle, found by binary search.
func karger(tokens int) func([]uint64, Lookup) Lookup {
	type point struct{ at, node uint64 }
	return func(nodes []uint64, _ Lookup) Lookup {
		var points []point
		for _, n := range nodes {
			for k := range tokens {
				points = append(points, point{hash(uint64(k+1), n), n})
			}
		}
		slices.SortFunc(points, func(a, b point) int { return cmp(a.at, b.at) })
		return func(k *Key) uint64 {
			i, _ := slices.BinarySearchFunc(points, hash(0, k.Number), func(p point, at uint64) int { return cmp(p.at, at) })
			return points[i%len(points)].node
		}
	}
}

func cmp(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// jump is jump consistent hash (Lamping and Veach, 2014): a key jumps from bucket to
// bucket, each time as far as no growth of the number of buckets would have moved it.
func jump(nodes []uint64, _ Lookup) Lookup {
	nodes = slices.Clone(nodes)
	return func(k *Key) uint64 {
		x := hash(0, k.Number)
		bucket, next := int64(-1), int64(0)
		for next < int64(len(nodes)) {
			bucket = next
			x = x*2862933555777941757 + 1
			next = int64(float64(bucket+1) * (float64(int64(1)<<31) / float64(x>>33+1)))
		}
		return nodes[bucket]
	}
}

// rendezvous is the highest random weight (Thaler and Ravishankar, 1996): of all nodes the one whose
// hash with the key is the highest.
func rendezvous(nodes []uint64, _ Lookup) Lookup {
	nodes = slices.Clone(nodes)
	return func(k *Key) uint64 {
		best, most := uint64(0), uint64(0)
		for _, n := range nodes {
			if h := hash(n, k.Number); best == 0 || h > most {
				best, most = n, h
			}
		}
		return best
	}
}

// maglev fills a table (Eisenbud and others, 2016): the nodes take places by turns, each
// in an order of its own. The size is a prime.
func maglev(size uint64) func([]uint64, Lookup) Lookup {
	return func(nodes []uint64, _ Lookup) Lookup {
		table := make([]uint64, size)
		next := make([]uint64, len(nodes)) // how far a node is in its order
		for left := size; left > 0; {
			for k, n := range nodes {
				if left == 0 {
					break
				}
				first, step := hash(1, n)%size, hash(2, n)%(size-1)+1
				for {
					at := (first + next[k]*step) % size
					next[k]++
					if table[at] == 0 {
						table[at] = n
						left--
						break
					}
				}
			}
		}
		return func(k *Key) uint64 { return table[hash(0, k.Number)%size] }
	}
}

// Text is a node's name for rivals that take text.
func Text(node uint64) string { return "node" + strconv.FormatUint(node, 10) }
