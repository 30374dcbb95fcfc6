package scenarios

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/quorate/quorate/internal/document"
)

// Scenario: messages are lost, and nothing below the engines sends them again.

// losses are what is compared, in percent.
var losses = []int{0, 1, 5}

const (
	lossSeeds = 3
	lossTicks = 5000 // measured, for each seed
	lossWidth = 8    // commands that clients keep open
)

// lossRuns are samples by engine and by place in losses.
var lossRuns = sync.OnceValue(func() map[string][]sample {
	runs := map[string][]sample{}
	for _, e := range engines {
		for _, percent := range losses {
			var s sample
			for seed := range uint64(lossSeeds) {
				pace := usual
				pace.Loss = float64(percent) / 100
				w := setup{engine: e, voters: 3, pace: pace, seed: seed + 1}.start()
				l := (&load{w: w, width: lossWidth}).attach()
				s.pool(l.measure(lossTicks, func() { w.Run(lossTicks) }))
			}
			runs[e.Name] = append(runs[e.Name], s)
		}
	}
	return runs
})

// Goal: loss costs throughput in proportion and leaves the usual command alone; what waits
// is the rare command whose messages are lost to both followers, and no longer than a few
// heartbeats.
func TestLoss(t *testing.T) {
	timed(t)
	for _, e := range engines {
		runs := lossRuns()[e.Name]
		for k := range runs {
			s := &runs[k]
			what := fmt.Sprintf("%s, %d %% lost", e.Name, losses[k])
			if s.rate() < runs[0].rate()*3/4 {
				t.Errorf("%s: %d commands in 1000 ticks, without loss %d", what, s.rate(), runs[0].rate())
			}
			if s.latency(500) > runs[0].latency(500)+2 {
				t.Errorf("%s: half of the commands take up to %d ticks, without loss %d", what, s.latency(500), runs[0].latency(500))
			}
			if got := s.latency(999); got > 4*heartbeatTicks {
				t.Errorf("%s: one in a thousand takes more than %d ticks", what, got)
			}
		}
		if quiet, noisy := runs[0].latency(999), runs[2].latency(999); noisy < 4*quiet {
			t.Errorf("%s: one in a thousand takes %d ticks with loss, %d without: the document says that they wait", e.Name, noisy, quiet)
		}
	}
	raft, paxos, etcd := lossRuns()["raft"][2], lossRuns()["paxos"][2], lossRuns()["etcdraft"][2]
	if paxos.latency(990) > raft.latency(990) {
		t.Errorf("one in a hundred takes %d ticks in paxos, %d in raft", paxos.latency(990), raft.latency(990))
	}
	if etcd.cost() < 2*raft.cost() {
		t.Errorf("etcdraft sends %.1f messages for a command, raft %.1f", etcd.cost(), raft.cost())
	}
}

// Goal: where nothing is lost and one command is open at a time, the engines are equal: what
// differs with more is how these share messages and syncs.
func TestOneByOne(t *testing.T) {
	timed(t)
	var rates []int
	for _, e := range engines {
		w := setup{engine: e, voters: 3, pace: usual, seed: 1}.start()
		l := (&load{w: w, width: 1}).attach()
		s := l.measure(lossTicks, func() { w.Run(lossTicks) })
		rates = append(rates, s.rate())
	}
	if low, high := slices.Min(rates), slices.Max(rates); low < high*95/100 {
		t.Errorf("commands decided in 1000 ticks, one after the other: %v", rates)
	}
}

func lossTable() string {
	var b strings.Builder
	b.WriteString("| lost | engine | decided in 1,000 ticks | p50 | p99 | p99.9 | messages per command |\n|---|---|---|---|---|---|---|\n")
	for k, percent := range losses {
		for _, e := range engines {
			s := &lossRuns()[e.Name][k]
			fmt.Fprintf(&b, "| %d %% | %s | %d | %d | %d | %d | %.1f |\n",
				percent, e.Name, s.rate(), s.latency(500), s.latency(990), s.latency(999), s.cost())
		}
	}
	return b.String()
}

// lossPicture has a row for each engine and loss: dots at half, 99 % and 99.9 % of the
// commands, on a logarithmic axis because the last are a dozen times the first.
func lossPicture() *picture {
	const row, gap, top, left = 22, 16, 56, 170
	rows := float64(len(losses)*len(engines))*row + float64(len(losses)-1)*gap
	p := &picture{document.Picture{Width: 720, Height: top + rows + 54, Style: style, About: "Latency of commands by engine, when no messages, one and five in a hundred are lost"}}
	x := scale{lo: 5, hi: 400, begin: left, end: 700, log: true}
	p.across(x, top-8, top+rows, []float64{5, 10, 20, 50, 100, 200, 400}, "ticks from proposed until decided (logarithmic)")
	p.Circle(left+6, 20, 5, "lead")
	p.Text(left+16, 24, "p", "start", "half of the commands")
	p.Circle(left+186, 20, 4, "node")
	p.Text(left+196, 24, "p", "start", "99 of 100")
	p.Line(left+290, 14, left+290, 26, "link")
	p.Text(left+298, 24, "p", "start", "999 of 1,000")
	y := float64(top)
	for k, percent := range losses {
		p.Text(8, y+row/2+4, "h", "start", strconv.Itoa(percent)+" % lost")
		for _, e := range engines {
			s, h, mid := &lossRuns()[e.Name][k], hue(e.Name), y+row/2
			half, most, last := x.at(float64(s.latency(500))), x.at(float64(s.latency(990))), x.at(float64(s.latency(999)))
			line := fmt.Sprintf("l%d", h)
			p.Text(left-12, mid+4, "p", "end", e.Name)
			p.Line(half, mid, last, mid, line)
			p.Line(last, mid-6, last, mid+6, line)
			p.Circle(most, mid, 4, line+" hollow")
			p.Circle(half, mid, 5, fmt.Sprintf("f%d", h))
			p.Text(last+8, mid+4, "s", "start", strconv.Itoa(s.latency(999)))
			y += row
		}
		y += gap
	}
	return p
}
