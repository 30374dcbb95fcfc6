package differential

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// How often things happen that have a rhythm instead of a probability,
// counted in requests.
const (
	restartEvery = 1500
	expiryEvery  = 2000
	bigEvery     = 1000
	readAllEvery = 50
	drainEvery   = 40
)

// generator makes turns: short lists of steps that belong together. It is a
// function of its seed and of the model (keeps I2).
type generator struct {
	rng   *rand.Rand
	model *model

	turns   int
	special int            // next entry of specials
	due     map[string]int // request count at which each rhythm is next due
	cycle   map[string]int // position in small cycles such as the sort orders
	created int            // lease ids chosen so far
}

func newGenerator(seed uint64, m *model) *generator {
	return &generator{
		rng: rand.New(rand.NewPCG(seed, 0)), model: m,
		due:   map[string]int{"restart": restartEvery, "expiry": expiryEvery, "big": bigEvery, "read": readAllEvery, "drain": drainEvery},
		cycle: make(map[string]int),
	}
}

type recipe struct {
	weight int
	make   func(*generator) []step
}

// common is the everyday traffic; specials are corners that everyday traffic
// would meet too seldom. Every second turn is a special, in rotation.
var common = []recipe{
	{24, (*generator).rangeTurn},
	{20, (*generator).putTurn},
	{7, (*generator).deleteTurn},
	{22, (*generator).txnTurn},
	{5, (*generator).streamTurn},
	{4, (*generator).leaseTurn},
	{8, (*generator).watchTurn},
	{2, (*generator).compactTurn},
	{2, (*generator).clusterTurn},
}

// next returns the next turn, given how many requests have been made.
func (g *generator) next(requests int) []step {
	for _, rhythm := range []string{"restart", "expiry", "big", "read", "drain"} {
		if requests >= g.due[rhythm] {
			return g.rhythm(rhythm)
		}
	}
	g.turns++
	if g.turns%2 == 0 {
		turn := specials[g.special%len(specials)](g)
		g.special++
		return turn
	}
	total := 0
	for _, r := range common {
		total += r.weight
	}
	n := g.rng.IntN(total)
	for _, r := range common {
		if n -= r.weight; n < 0 {
			return r.make(g)
		}
	}
	panic("unreachable")
}

func (g *generator) rhythm(name string) []step {
	switch name {
	case "restart":
		g.due[name] += restartEvery
		return []step{{kind: []kind{kindRestart, kindKillRestart}[g.turn("restart", 2)]}}
	case "expiry":
		g.due[name] += expiryEvery
		return g.expiryTurn()
	case "big":
		g.due[name] += bigEvery
		return g.bigWatchTurn()
	case "read":
		g.due[name] += readAllEvery
		return []step{unary(methodRange, readEverything)}
	default:
		g.due[name] += drainEvery
		return []step{{kind: kindDrain}}
	}
}

// turn returns 0, 1, … n-1, 0, … on successive calls with one name.
func (g *generator) turn(name string, n int) int {
	i := g.cycle[name]
	g.cycle[name] = (i + 1) % n
	return i
}

func (g *generator) chance(percent int) bool { return g.rng.IntN(100) < percent }

// Keys: a dense set that ranges overlap, and the ends of the byte order.
const denseKeys = 40

func (g *generator) key() []byte {
	if g.chance(7) {
		odd := []string{"\x00", "\x00\x00", "\xff", "\xff\xff", "k", "k/", "k0", "k/1", "zz", "ключ"}
		return []byte(odd[g.rng.IntN(len(odd))])
	}
	return fmt.Appendf(nil, "k/%02d", g.rng.IntN(denseKeys))
}

// existing returns a key that the model believes is there, if any.
func (g *generator) existing() []byte {
	keys := slices.Sorted(maps.Keys(g.model.keys))
	if len(keys) == 0 {
		return g.key()
	}
	return []byte(keys[g.rng.IntN(len(keys))])
}

func (g *generator) missing() []byte {
	for range 20 {
		if k := g.key(); g.model.keys[string(k)] == nil {
			return k
		}
	}
	return fmt.Appendf(nil, "m/%d", g.rng.IntN(1000))
}

// span returns a key and a range end of one of the forms that a range can
// have; single keys are the caller's to choose.
func (g *generator) span() (key, end []byte) {
	a, b := g.key(), g.key()
	if bytes.Compare(a, b) > 0 {
		a, b = b, a
	}
	switch g.rng.IntN(10) {
	case 0:
		return []byte{0}, []byte{0}
	case 1, 2:
		return a, []byte{0}
	case 3, 4:
		return []byte("k/"), prefixEnd([]byte("k/"))
	case 5:
		p := fmt.Appendf(nil, "k/%d", g.rng.IntN(4))
		return p, prefixEnd(p)
	case 6:
		return b, a
	}
	return a, b
}

func (g *generator) value() []byte {
	switch g.rng.IntN(10) {
	case 0:
		return nil
	case 1:
		return bytes.Repeat([]byte{byte(g.rng.IntN(256))}, 1000)
	case 2, 3, 4, 5:
		return fmt.Appendf(nil, "v%d", g.rng.IntN(8)) // few values, so that sorting meets ties
	}
	return fmt.Appendf(nil, "v%d", g.rng.Uint64())
}

// revision returns a revision of the wanted age, or the nearest there is.
func (g *generator) revision(age string) int64 {
	low, cur := max(1, g.model.compacted), g.model.rev
	switch age {
	case "old":
		if cur > low+1 {
			return low + 1 + g.rng.Int64N(cur-low-1)
		}
		return cur
	case "at compacted":
		return low
	case "future":
		return cur + 1 + g.rng.Int64N(1000)
	case "compacted":
		return 1 + g.rng.Int64N(max(1, low-1))
	case "negative":
		return []int64{-1, -2, -1000, math.MinInt64}[g.rng.IntN(4)]
	case "current":
		return cur
	}
	return 0
}

func (g *generator) anyRevision() int64 {
	ages := []string{"", "", "", "old", "old", "current", "at compacted", "future", "compacted", "negative"}
	return g.revision(ages[g.rng.IntN(len(ages))])
}

// lease returns the id of a live lease, or 0 if there is none.
func (g *generator) lease() int64 {
	if len(g.model.leases) == 0 {
		return 0
	}
	return g.model.leases[g.rng.IntN(len(g.model.leases))].id
}

func (g *generator) unknownLease() int64 { return 1<<40 + g.rng.Int64N(1000) }

// chosenLease returns a fresh id for a lease, negative every fourth time.
func (g *generator) chosenLease() int64 {
	g.created++
	if g.created%4 == 0 {
		return -int64(1000 + g.created)
	}
	return int64(1000 + g.created)
}

// sortedKeys lists a map's keys in order, for choices that must not depend on
// the order of a map.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func (g *generator) clusterTurn() []step {
	age := []string{"", "", "old", "current", "at compacted", "compacted", "future", "negative"}[g.rng.IntN(8)]
	switch g.turn("cluster", 7) {
	case 0:
		return []step{unary(methodMemberList, &pb.MemberListRequest{Linearizable: g.chance(50)})}
	case 1:
		return []step{unary(methodStatus, &pb.StatusRequest{})}
	case 2:
		return []step{unary(methodHash, &pb.HashRequest{})}
	}
	rev := g.revision(age)
	if g.model.points[rev] {
		rev = 0 // see notCompared
	}
	return []step{unary(methodHashKV, &pb.HashKVRequest{Revision: rev})}
}

func (g *generator) compactTurn() []step {
	rev, low := g.model.rev, max(0, g.model.compacted)
	target := low + 1
	if room := rev - low - 40; room > 1 { // leave old revisions to read
		target = low + 1 + g.rng.Int64N(room)
	} else if !g.chance(20) {
		return g.putTurn()
	}
	if g.chance(5) {
		target = rev
	}
	return []step{unary(methodCompact, &pb.CompactionRequest{Revision: target, Physical: g.chance(50)})}
}
