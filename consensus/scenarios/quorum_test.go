package scenarios

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/document"
)

// Scenario: some of five replicas have disks that take ten times as long. Who decides with
// two waits for one other disk, if its own is fast; a majority waits for two.

const (
	quorumTicks = 2000
	quorumEvery = 2 // ticks between commands, which come whether or not earlier ones have ended
	slowFsync   = 50
)

// quorumCase is which disks are slow. Replica 1 leads.
type quorumCase struct {
	name string
	slow []consensus.ReplicaID
	dead []consensus.ReplicaID
	// buys says whether deciding with two instead of three is worth much.
	buys bool
}

var quorumCases = []quorumCase{
	{name: "all disks fast"},
	{name: "two followers slow", slow: ids(4, 5)},
	{name: "leader and a follower slow", slow: ids(1, 5)},
	{name: "two followers slow, a fast one dead", slow: ids(4, 5), dead: ids(3), buys: true},
	{name: "three followers slow", slow: ids(3, 4, 5), buys: true},
	{name: "leader and two followers slow", slow: ids(1, 4, 5), buys: true},
	{name: "all four followers slow", slow: ids(2, 3, 4, 5)},
}

func ids(list ...consensus.ReplicaID) []consensus.ReplicaID { return list }

// rivals are what is compared.
var rivals = []struct {
	name        string
	engine      consensus.Engine
	writeQuorum int
}{
	{"raft", engines[0], 0},
	{"paxos", engines[1], 0},
	{"paxos, 2 of 5", engines[1], 2},
	{"etcdraft", engines[2], 0},
}

// quorumRuns are by case, then by rival.
var quorumRuns = sync.OnceValue(func() (runs [][]sample) {
	for _, c := range quorumCases {
		var row []sample
		for _, r := range rivals {
			w := setup{engine: r.engine, voters: 5, writeQuorum: r.writeQuorum, pace: usual, seed: 1}.start()
			for _, id := range c.slow {
				w.SlowDisk(id, slowFsync)
			}
			for _, id := range c.dead {
				w.Crash(w.Host(id), w.Host(id).Writes(), -1)
			}
			l := (&load{w: w, every: quorumEvery}).attach()
			row = append(row, l.measure(quorumTicks, func() { w.Run(quorumTicks) }))
		}
		runs = append(runs, row)
	}
	return runs
})

// Goal: a write quorum of two is worth a slow disk where a majority has to wait for one and
// two fast ones are left, and next to nothing elsewhere.
func TestSlowDisks(t *testing.T) {
	timed(t)
	for k, c := range quorumCases {
		row := quorumRuns()[k]
		raft, paxos, two, etcd := row[0].latency(500), row[1].latency(500), row[2].latency(500), row[3].latency(500)
		if max(raft, paxos)-min(raft, paxos) > 5 {
			t.Errorf("%s: raft takes %d ticks and paxos %d, and both wait for the same disks", c.name, raft, paxos)
		}
		if etcd < raft-5 {
			t.Errorf("%s: etcdraft takes %d ticks and raft %d", c.name, etcd, raft)
		}
		if leaderSlow := slices.Contains(c.slow, 1); leaderSlow && etcd < slowFsync {
			t.Errorf("%s: etcdraft takes %d ticks, less than its own disk", c.name, etcd)
		}
		if c.buys && paxos-two < slowFsync/2 || !c.buys && paxos-two > 5 {
			t.Errorf("%s: a majority takes %d ticks, two %d", c.name, paxos, two)
		}
	}
}

func quorumTable() string {
	var b strings.Builder
	b.WriteString("| p50 / p99 in ticks |")
	for _, r := range rivals {
		fmt.Fprintf(&b, " %s |", r.name)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(rivals)) + "\n")
	for k, c := range quorumCases {
		fmt.Fprintf(&b, "| %s |", c.name)
		for i := range quorumRuns()[k] {
			s := &quorumRuns()[k][i]
			cell := fmt.Sprintf("%d / %d", s.latency(500), s.latency(990))
			if c.buys && rivals[i].writeQuorum != 0 {
				cell = "**" + cell + "**"
			}
			fmt.Fprintf(&b, " %s |", cell)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// quorumPicture has a group of bars for each case: half of the commands, with a whisker up
// to 99 of 100.
func quorumPicture() *picture {
	const bar, gap, top, left = 13, 18, 52, 260
	rows := float64(len(quorumCases))*(float64(len(rivals))*bar+gap) - gap
	p := &picture{document.Picture{Width: 720, Height: top + rows + 50, Style: style,
		About: "Latency of commands of five replicas by case of slow disks, for a majority of three and a write quorum of two"}}
	x := scale{lo: 0, hi: 110, begin: left, end: 700}
	p.across(x, top-8, top+rows, []float64{0, 20, 40, 60, 80, 100}, "ticks from proposed until decided: half of the commands, line up to 99 of 100")
	var names []string
	for _, r := range rivals {
		names = append(names, r.name)
	}
	p.legend(left, 22, names...)
	y := float64(top)
	for k, c := range quorumCases {
		p.Text(left-12, y+float64(len(rivals))*bar/2+4, "p", "end", c.name)
		for i, r := range rivals {
			s := &quorumRuns()[k][i]
			half, most, mid := x.at(float64(s.latency(500))), x.at(float64(s.latency(990))), y+bar/2.0
			p.Rect(left, y+1, half-left, bar-2, fmt.Sprintf("f%d", hue(r.name)))
			p.Line(half, mid, most, mid, fmt.Sprintf("l%d", hue(r.name)))
			y += bar
		}
		y += gap
	}
	p.Line(left, top-8, left, top+rows, "axis")
	return p
}
