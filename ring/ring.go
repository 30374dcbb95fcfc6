package ring

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
)

// NodeID names a node. Zero is none.
type NodeID uint64

// String prints the id as etcd prints member ids.
func (n NodeID) String() string { return strconv.FormatUint(uint64(n), 16) }

// Node is one that can carry replicas.
type Node struct {
	ID NodeID
	// Weight is how much of the load the node should have, in relation to the others. A
	// node of weight 0 is to be emptied: it has no token and gets nothing.
	Weight int
	// Domains are what fails together with the node, the largest first: its zone, then for
	// instance a rack in that zone. Equal names in different zones are different racks. A
	// node without domains is a zone of its own.
	Domains []string
}

// Limits of a ring.
const (
	WeightMax  = 1 << 20
	DomainsMax = 7
	TokensMax  = 1 << 24 // 16 bytes each

	tokensPerUnit = 128
)

// Options are what rings must have in common to give the same answers.
type Options struct {
	Seed          uint64
	Hash          Hash // default XX
	TokensPerUnit int  // tokens of a node for each unit of its weight; default 128
}

// Ring is a set of nodes and their tokens. It never changes, so goroutines may share it.
type Ring struct {
	hash  Hash
	seed  uint64
	nodes []Node    // ascending by id; a node's number is its place here
	path  [][]int32 // of each node: the numbers of its domains, the zone first

	// The circle: tokens in ascending order, and whose they are. Two nodes with one token
	// stand in the order of their ids.
	at    []Token
	owner []int32
	// jump leads from the leading bits of a position to the first token that is not below
	// the first position with these bits. There are at most as many as tokens and more than
	// half as many, so a search ends within a few steps.
	jump  []int32
	shift uint

	usable int     // nodes with a token
	zoneOf []int32 // of each node; zones are numbered from 0 on
	size   []int32 // of each zone: usable nodes
	zones  int     // zones with a usable node
}

// New makes a ring. The order of the nodes does not matter.
func New(nodes []Node, o Options) (*Ring, error) {
	r := &Ring{hash: o.Hash, seed: o.Seed, nodes: slices.Clone(nodes)}
	if r.hash == nil {
		r.hash = XX{}
	}
	perUnit := o.TokensPerUnit
	if perUnit == 0 {
		perUnit = tokensPerUnit
	}
	if perUnit < 0 || perUnit > TokensMax {
		return nil, fmt.Errorf("%w: %d for each unit of weight, the limit is %d", ErrTooLarge, perUnit, TokensMax)
	}
	slices.SortFunc(r.nodes, func(a, b Node) int { return compare(a.ID, b.ID) })
	total := 0
	for i, n := range r.nodes {
		switch {
		case n.ID == 0:
			return nil, fmt.Errorf("%w: its id is 0, which means none", ErrNode)
		case i > 0 && r.nodes[i-1].ID == n.ID:
			return nil, fmt.Errorf("%w: %v is there twice", ErrNode, n.ID)
		case n.Weight < 0 || n.Weight > WeightMax:
			return nil, fmt.Errorf("%w: the weight of %v is %d, not in [0, %d]", ErrNode, n.ID, n.Weight, WeightMax)
		case len(n.Domains) > DomainsMax:
			return nil, fmt.Errorf("%w: %v has %d domains, the limit is %d", ErrNode, n.ID, len(n.Domains), DomainsMax)
		}
		r.nodes[i].Domains = slices.Clone(n.Domains)
		if total += n.Weight * perUnit; total > TokensMax {
			return nil, fmt.Errorf("%w: the nodes up to %v have %d, the limit is %d: take smaller weights", ErrTooLarge, n.ID, total, TokensMax)
		}
	}
	r.number()
	r.lay(perUnit, total)
	return r, nil
}

func compare[T ~uint64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// number gives domains and zones their numbers.
func (r *Ring) number() {
	domains, zones := map[string]int32{}, map[int32]int32{}
	for _, n := range r.nodes {
		names := n.Domains
		name := ""
		if len(names) == 0 {
			name, names = "node ", []string{n.ID.String()} // quoted names begin otherwise
		}
		var path []int32
		for _, d := range names {
			name += strconv.Quote(d)
			id, ok := domains[name]
			if !ok {
				id = int32(len(domains))
				domains[name] = id
			}
			path = append(path, id)
		}
		zone, ok := zones[path[0]]
		if !ok {
			zone = int32(len(zones))
			zones[path[0]] = zone
			r.size = append(r.size, 0)
		}
		r.path, r.zoneOf = append(r.path, path), append(r.zoneOf, zone)
		if n.Weight > 0 {
			r.usable++
			if r.size[zone]++; r.size[zone] == 1 {
				r.zones++
			}
		}
	}
}

// lay puts the tokens on the circle.
func (r *Ring) lay(perUnit, total int) {
	type token struct {
		at    Token
		owner int32
	}
	all := make([]token, 0, total)
	for i, n := range r.nodes {
		for k := range n.Weight * perUnit {
			all = append(all, token{r.hash.Token(r.seed, n.ID, k), int32(i)})
		}
	}
	slices.SortFunc(all, func(a, b token) int {
		if a.at != b.at {
			return compare(a.at, b.at)
		}
		return int(a.owner) - int(b.owner)
	})
	r.at, r.owner = make([]Token, total), make([]int32, total)
	for k, t := range all {
		r.at[k], r.owner[k] = t.at, t.owner
	}
	width := max(1, bits.Len(uint(total))-1) // at least one bit: one must be left of a position
	r.shift = uint(64 - width)
	r.jump = make([]int32, 1<<width)
	k := 0
	for b := range r.jump {
		for k < total && r.at[k] < Token(b)<<r.shift {
			k++
		}
		r.jump[b] = int32(k)
	}
}

// Key is the position of a key made of bytes.
func (r *Ring) Key(key []byte) Token { return r.hash.Key(r.seed, key) }

// Number is the position of a key that is a number.
func (r *Ring) Number(key uint64) Token { return r.hash.Number(r.seed, key) }

// first is the place on the circle of the first token at a position or behind it.
func (r *Ring) first(at Token) int {
	k := int(r.jump[at>>r.shift])
	for k < len(r.at) && r.at[k] < at {
		k++
	}
	if k == len(r.at) {
		return 0
	}
	return k
}

// Owner is the node whose token follows a position. It is 0 if there is no token.
func (r *Ring) Owner(at Token) NodeID {
	if len(r.at) == 0 {
		return 0
	}
	return r.nodes[r.owner[r.first(at)]].ID
}

// stackNodes is how many candidates take no heap.
const stackNodes = 16

// Candidates appends the first n candidates of a position to dst (R2). There are fewer if
// the ring has fewer nodes.
func (r *Ring) Candidates(at Token, n int, dst []NodeID) []NodeID {
	var stack [stackNodes]int32
	chosen := stack[:0]
	for range min(n, r.usable) {
		i := r.next(at, chosen, r.emptiest(chosen), nil)
		chosen = append(chosen, i)
		dst = append(dst, r.nodes[i].ID)
	}
	return dst
}

// emptiest is the least number of chosen nodes in a zone that has another one.
func (r *Ring) emptiest(chosen []int32) int {
	if len(chosen) < r.zones {
		return 0
	}
	least := len(chosen)
	for z, size := range r.size {
		if used := r.inZone(int32(z), chosen); used < int(size) {
			least = min(least, used)
		}
	}
	return least
}

// inZone counts the chosen nodes in a zone. Those of weight 0 are about to leave and do
// not count.
func (r *Ring) inZone(zone int32, chosen []int32) (n int) {
	for _, c := range chosen {
		if c >= 0 && r.zoneOf[c] == zone && r.nodes[c].Weight > 0 {
			n++
		}
	}
	return n
}

// next is the best node to be chosen beside others: of those that are open, and in the
// least crowded domains, the first that the circle has from a position on. It is -1 if
// none is open. No zone with an open node has fewer chosen ones than floor: a node that is
// as lonely as that ends the search. A nil open means all.
func (r *Ring) next(at Token, chosen []int32, floor int, open func(int32) bool) int32 {
	best, least := int32(-1), ^uint64(0)
	if len(r.at) == 0 {
		return best
	}
	k := r.first(at)
	for range r.at {
		i := r.owner[k]
		if k++; k == len(r.at) {
			k = 0
		}
		if slices.Contains(chosen, i) || open != nil && !open(i) {
			continue
		}
		if c := r.crowd(i, chosen); c < least {
			best, least = i, c
			if c == uint64(floor)<<levelBits(0) {
				break
			}
		}
	}
	return best
}

// levelBits is where a level's count stands in a crowd.
func levelBits(level int) int { return 56 - 8*level }

// crowd tells how many of the chosen nodes share a node's domains: those of its zone in
// the highest byte, those of each further domain in the next one.
func (r *Ring) crowd(i int32, chosen []int32) (c uint64) {
	for level, d := range r.path[i] {
		n := 0
		for _, x := range chosen {
			if x >= 0 && level < len(r.path[x]) && r.path[x][level] == d {
				n++
			}
		}
		if n == 0 {
			break
		}
		c |= uint64(n) << levelBits(level)
	}
	return c
}

// find is the number of a node; -1 if it is not on the ring.
func (r *Ring) find(id NodeID) int32 {
	i, ok := slices.BinarySearchFunc(r.nodes, id, func(n Node, id NodeID) int { return compare(n.ID, id) })
	if !ok {
		return -1
	}
	return int32(i)
}

// order calls visit with the nodes in the order in which the circle has them from a
// position on, each once, until it has enough. Stamps has a place for every node.
func (r *Ring) order(at Token, stamps []bool, visit func(i int32) bool) {
	clear(stamps)
	if len(r.at) == 0 {
		return
	}
	k := r.first(at)
	for left := r.usable; left > 0; {
		i := r.owner[k]
		if k++; k == len(r.at) {
			k = 0
		}
		if !stamps[i] {
			stamps[i] = true
			left--
			if !visit(i) {
				return
			}
		}
	}
}
