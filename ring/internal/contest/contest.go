package contest

import (
	"fmt"
	"math"
	"runtime"
	"strconv"
	"strings"
)

// Key is what is looked up, in each form that rivals take.
type Key struct {
	Number uint64
	Text   string
}

// Lookup finds a key's node.
type Lookup func(k *Key) uint64

// Rival is a way to spread keys over nodes.
type Rival struct {
	Name string
	// Make builds it for nodes. Before is where keys are now, for rivals that heed that;
	// nil at first.
	Make func(nodes []uint64, before Lookup) Lookup
	// Placed means that a lookup reads what was placed: its time and memory say nothing.
	Placed bool
}

// KeyCount is how many keys are spread: a cluster's keyspaces, if it has many.
const KeyCount = 10_000

// Keys are what is spread.
var Keys = makeKeys()

func makeKeys() []Key {
	keys := make([]Key, KeyCount)
	for k := range keys {
		keys[k] = Key{uint64(k), strconv.Itoa(k)}
	}
	return keys
}

// Nodes are the numbers of n nodes.
func Nodes(n int) (list []uint64) {
	for k := range n {
		list = append(list, uint64(k+1))
	}
	return list
}

// Spread is how evenly keys are spread: the loads of the fullest and of the emptiest node, in
// percent of the mean.
type Spread struct{ Most, Least float64 }

// SpreadOf measures it.
func SpreadOf(nodes []uint64, l Lookup) (s Spread) {
	load := map[uint64]int{}
	for k := range Keys {
		load[l(&Keys[k])]++
	}
	percent := func(n int) float64 { return 100 * float64(n) * float64(len(nodes)) / KeyCount }
	s.Least = percent(KeyCount)
	for _, n := range nodes {
		s.Most, s.Least = max(s.Most, percent(load[n])), min(s.Least, percent(load[n]))
	}
	return s
}

// Moved counts keys that two lookups have on different nodes.
func Moved(a, b Lookup) (n int) {
	for k := range Keys {
		if a(&Keys[k]) != b(&Keys[k]) {
			n++
		}
	}
	return n
}

// Result is what is known of a rival without measuring time.
type Result struct {
	Twelve, Hundred Spread // of 12 and of 100 nodes
	Join, Leave     int    // keys moved when a 13th node joins 12, and when the sixth leaves
}

// Measure runs a rival.
func (r Rival) Measure() (x Result) {
	twelve, hundred := Nodes(12), Nodes(100)
	l := r.Make(twelve, nil)
	x.Twelve, x.Hundred = SpreadOf(twelve, l), SpreadOf(hundred, r.Make(hundred, nil))
	x.Join = Moved(l, r.Make(Nodes(13), l))
	x.Leave = Moved(l, r.Make(append(Nodes(5), twelve[6:]...), l))
	return x
}

// BalanceTable is Markdown.
func BalanceTable(rivals []Rival) string {
	var s strings.Builder
	s.WriteString("| | 12 nodes: fullest, emptiest | 100 nodes: fullest, emptiest | a 13th joins: moved | the 6th of 12 leaves: moved |\n|---|---|---|---|---|\n")
	for _, r := range rivals {
		x := r.Measure()
		fmt.Fprintf(&s, "| %s | %.0f %%, %.0f %% | %.0f %%, %.0f %% | %.1f %% | %.1f %% |\n",
			r.Name, x.Twelve.Most, x.Twelve.Least, x.Hundred.Most, x.Hundred.Least, percent(x.Join), percent(x.Leave))
	}
	return s.String()
}

func percent(keys int) float64 { return 100 * float64(keys) / KeyCount }

// Sizes are the numbers of nodes for which time and memory are measured.
var Sizes = []int{3, 12, 100, 1000}

// fastestOf is how often a time is measured: what disturbs one makes it longer.
const fastestOf = 5

// CostTable is Markdown. Time measures the nanoseconds of a call.
func CostTable(rivals []Rival, time func(f func()) float64) string {
	var s strings.Builder
	s.WriteString("| |")
	for _, n := range Sizes {
		fmt.Fprintf(&s, " %d nodes |", n)
	}
	s.WriteString("\n|---|" + strings.Repeat("---|", len(Sizes)) + "\n")
	for _, r := range rivals {
		if r.Placed {
			continue
		}
		fmt.Fprintf(&s, "| %s |", r.Name)
		for _, n := range Sizes {
			bytes, l := heap(func() Lookup { return r.Make(Nodes(n), nil) })
			k := 0
			ns := math.Inf(1)
			for range fastestOf {
				ns = min(ns, time(func() {
					l(&Keys[k])
					if k++; k == KeyCount {
						k = 0
					}
				}))
			}
			fmt.Fprintf(&s, " %.0f ns, %s |", ns, size(bytes))
		}
		s.WriteString("\n")
	}
	return s.String()
}

func size(bytes int64) string {
	if bytes < 10<<10 {
		return fmt.Sprintf("%.1f KiB", float64(bytes)/1024)
	}
	return fmt.Sprintf("%d KiB", bytes/1024)
}

// heap is what a lookup keeps.
func heap(build func() Lookup) (int64, Lookup) {
	var before, after runtime.MemStats
	runtime.GC() // twice, so that nothing of before is freed between the two readings
	runtime.GC()
	runtime.ReadMemStats(&before)
	l := build()
	runtime.GC()
	runtime.ReadMemStats(&after)
	l(&Keys[0])
	return max(0, int64(after.HeapAlloc)-int64(before.HeapAlloc)), l
}

// Command makes the tables and pictures of docs/ring.md.
const Command = "make ring"
