package scenarios

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/document"
)

// Scenario: the disk of the leader of three stands still for three election timeouts and
// then goes on. Nothing else is wrong with it.

const (
	stallFrom  = electionTicks
	stallUntil = stallFrom + 3*electionTicks
	stallTicks = stallUntil + 2*electionTicks
	stallWidth = 8 // commands that clients keep open
	// stallBucket is what a point of the picture sums up, in ticks.
	stallBucket = 100
)

// stalled is one run.
type stalled struct {
	sample
	handover int // when another replica led, in ticks from the stall; -1: never
	leader   consensus.ReplicaID
}

// stallRuns are by engine.
var stallRuns = sync.OnceValue(func() map[string]stalled {
	runs := map[string]stalled{}
	for _, e := range engines {
		w := setup{engine: e, voters: 3, pace: usual, seed: 1}.start()
		l := (&load{w: w, width: stallWidth}).attach()
		r := stalled{handover: -1}
		r.sample = l.measure(stallTicks, func() {
			for tick := range stallTicks {
				w.Host(1).Stuck = tick >= stallFrom && tick < stallUntil
				w.Step()
				if id := leaderOf(w.World); r.handover < 0 && id != 0 && id != 1 {
					r.handover = tick - stallFrom
				}
			}
		})
		r.leader = leaderOf(w.World)
		runs[e.Name] = r
	}
	return runs
})

// buckets are commands decided in one stallBucket after the other.
func (r *stalled) buckets() []int {
	counts := make([]int, stallTicks/stallBucket)
	for _, at := range r.decidedAt {
		if at < stallTicks {
			counts[at/stallBucket]++
		}
	}
	return counts
}

// gap is the longest time without a decided command, in ticks.
func (r *stalled) gap() (longest int) {
	for k := 1; k < len(r.decidedAt); k++ {
		longest = max(longest, r.decidedAt[k]-r.decidedAt[k-1])
	}
	return longest
}

// kept is what was decided during the stall, in percent of what is decided without one.
func (r *stalled) kept() int {
	sum := func(counts []int) (n int) {
		for _, c := range counts {
			n += c
		}
		return n
	}
	counts := r.buckets()
	before := sum(counts[:stallFrom/stallBucket])
	during := sum(counts[stallFrom/stallBucket : stallUntil/stallBucket])
	return during * 100 * stallFrom / (before * (stallUntil - stallFrom))
}

// Goal: in raft and paxos two other disks decide, and the leader hands over to one that has
// one; in etcd's raft it stays, and tells nobody what is decided before its own disk has it.
func TestStall(t *testing.T) {
	timed(t)
	for _, e := range engines {
		r := stallRuns()[e.Name]
		if e.Name == "etcdraft" {
			if r.leader != 1 || r.handover >= 0 || r.gap() < stallUntil-stallFrom-stallBucket || r.kept() > 5 {
				t.Errorf("%s: %v leads, handed over at %d, nothing decided for %d ticks, %d %% kept",
					e.Name, r.leader, r.handover, r.gap(), r.kept())
			}
			continue
		}
		if r.leader == 1 || r.handover < 0 || r.handover > stallUntil-stallFrom {
			t.Errorf("%s: %v leads, handed over at %d", e.Name, r.leader, r.handover)
		}
		if r.gap() > heartbeatTicks || r.kept() < 75 {
			t.Errorf("%s: nothing decided for %d ticks, %d %% kept", e.Name, r.gap(), r.kept())
		}
	}
}

func stallTable() string {
	var b strings.Builder
	b.WriteString("| engine | longest time without a decision | decided during the stall, of what is usual | another one leads | leads in the end |\n|---|---|---|---|---|\n")
	for _, e := range engines {
		r := stallRuns()[e.Name]
		handover := "never"
		if r.handover >= 0 {
			handover = fmt.Sprintf("%d ticks into the stall", r.handover)
		}
		fmt.Fprintf(&b, "| %s | %d ticks | %d %% | %s | %v |\n", e.Name, r.gap(), r.kept(), handover, r.leader)
	}
	return b.String()
}

// stallPicture has a panel for each engine: commands decided over time.
func stallPicture() *picture {
	const panel, gap, top, left = 96, 34, 46, 56
	n := float64(len(engines))
	p := &picture{document.Picture{Width: 720, Height: top + n*panel + (n-1)*gap + 50, Style: style,
		About: "Commands decided over time, by engine, while the disk of the leader stands still for 3000 ticks"}}
	x := scale{lo: -stallFrom, hi: stallTicks - stallFrom, begin: left, end: 700}
	bottom := float64(top)
	for _, e := range engines {
		r, high := stallRuns()[e.Name], bottom
		bottom = high + panel
		y := scale{lo: 0, hi: 100, begin: bottom, end: high}
		p.Text(left, high-8, "h", "start", e.Name)
		p.Rect(x.at(0), high, x.at(stallUntil-stallFrom)-x.at(0), panel, "shade")
		for _, v := range []float64{0, 50, 100} {
			p.Line(left, y.at(v), x.end, y.at(v), "grid")
			p.Text(left-8, y.at(v)+4, "s", "end", document.Number(v))
		}
		var points []float64
		for k, count := range r.buckets() {
			at := x.at(float64(k*stallBucket + stallBucket/2 - stallFrom))
			points = append(points, at, y.at(float64(count)))
		}
		p.Curve(fmt.Sprintf("l%d", hue(e.Name)), points)
		if r.handover >= 0 {
			at := x.at(float64(r.handover))
			p.Line(at, high, at, bottom, "mark")
			p.Text(at+6, bottom-8, "p", "start", fmt.Sprintf("%v leads", r.leader))
		}
		bottom += gap
	}
	bottom -= gap
	p.Text(left, 16, "s", "start", fmt.Sprintf("commands decided in %d ticks; grey: the disk of 1, which leads, stands still", stallBucket))
	for v := -1000.0; v <= x.hi; v += 1000 {
		p.Line(x.at(v), bottom, x.at(v), bottom+4, "axis")
		p.Text(x.at(v), bottom+18, "s", "middle", document.Number(v))
	}
	p.Line(left, bottom, x.end, bottom, "axis")
	p.Text((x.begin+x.end)/2, bottom+38, "s", "middle", "ticks since the disk stands still (an election timeout is 1000)")
	return p
}
