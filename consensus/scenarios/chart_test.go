package scenarios

import (
	"fmt"
	"math"
	"strconv"
)

// scale is an axis: values from lo to hi stand at pixels from begin to end.
type scale struct {
	lo, hi, begin, end float64
	log                bool
}

func (s scale) at(v float64) float64 {
	if s.log {
		return s.begin + (s.end-s.begin)*math.Log(v/s.lo)/math.Log(s.hi/s.lo)
	}
	return s.begin + (s.end-s.begin)*(v-s.lo)/(s.hi-s.lo)
}

// across draws the grid of a horizontal axis between two heights, with its unit below.
func (p *picture) across(x scale, top, bottom float64, values []float64, unit string) {
	for _, v := range values {
		p.line(x.at(v), top, x.at(v), bottom, "grid")
		p.text(x.at(v), bottom+16, "s", "middle", num(v))
	}
	p.text((x.begin+x.end)/2, bottom+36, "s", "middle", unit)
}

// legend writes the rivals' names in their colours, from left to right.
func (p *picture) legend(x, y float64, names ...string) {
	for _, name := range names {
		p.rect(x, y-9, 10, 10, fmt.Sprintf("f%d", hue(name)))
		p.text(x+15, y, "p", "start", name)
		x += 40 + 7*float64(len(name))
	}
}

// lossPicture has a row for each engine and loss: dots at half, 99 % and 99.9 % of the
// commands, on a logarithmic axis because the last are a dozen times the first.
func lossPicture() *picture {
	const row, gap, top, left = 22, 16, 56, 170
	rows := float64(len(losses)*len(engines))*row + float64(len(losses)-1)*gap
	p := &picture{width: 720, height: top + rows + 54, about: "Latency of commands by engine, when no messages, one and five in a hundred are lost"}
	x := scale{lo: 5, hi: 400, begin: left, end: 700, log: true}
	p.across(x, top-8, top+rows, []float64{5, 10, 20, 50, 100, 200, 400}, "ticks from proposed until decided (logarithmic)")
	p.circle(left+6, 20, 5, "lead")
	p.text(left+16, 24, "p", "start", "half of the commands")
	p.circle(left+186, 20, 4, "node")
	p.text(left+196, 24, "p", "start", "99 of 100")
	p.line(left+290, 14, left+290, 26, "link")
	p.text(left+298, 24, "p", "start", "999 of 1,000")
	y := float64(top)
	for k, percent := range losses {
		p.text(8, y+row/2+4, "h", "start", strconv.Itoa(percent)+" % lost")
		for _, e := range engines {
			s, h, mid := &lossRuns()[e.Name][k], hue(e.Name), y+row/2
			half, most, last := x.at(float64(s.latency(500))), x.at(float64(s.latency(990))), x.at(float64(s.latency(999)))
			line := fmt.Sprintf("l%d", h)
			p.text(left-12, mid+4, "p", "end", e.Name)
			p.line(half, mid, last, mid, line)
			p.line(last, mid-6, last, mid+6, line)
			p.circle(most, mid, 4, line+" hollow")
			p.circle(half, mid, 5, fmt.Sprintf("f%d", h))
			p.text(last+8, mid+4, "s", "start", strconv.Itoa(s.latency(999)))
			y += row
		}
		y += gap
	}
	return p
}

// stallPicture has a panel for each engine: commands decided over time.
func stallPicture() *picture {
	const panel, gap, top, left = 96, 34, 46, 56
	n := float64(len(engines))
	p := &picture{width: 720, height: top + n*panel + (n-1)*gap + 50,
		about: "Commands decided over time, by engine, while the disk of the leader stands still for 3000 ticks"}
	x := scale{lo: -stallFrom, hi: stallTicks - stallFrom, begin: left, end: 700}
	bottom := float64(top)
	for _, e := range engines {
		r, high := stallRuns()[e.Name], bottom
		bottom = high + panel
		y := scale{lo: 0, hi: 100, begin: bottom, end: high}
		p.text(left, high-8, "h", "start", e.Name)
		p.rect(x.at(0), high, x.at(stallUntil-stallFrom)-x.at(0), panel, "shade")
		for _, v := range []float64{0, 50, 100} {
			p.line(left, y.at(v), x.end, y.at(v), "grid")
			p.text(left-8, y.at(v)+4, "s", "end", num(v))
		}
		var points []float64
		for k, count := range r.buckets() {
			at := x.at(float64(k*stallBucket + stallBucket/2 - stallFrom))
			points = append(points, at, y.at(float64(count)))
		}
		p.curve(fmt.Sprintf("l%d", hue(e.Name)), points)
		if r.handover >= 0 {
			at := x.at(float64(r.handover))
			p.line(at, high, at, bottom, "mark")
			p.text(at+6, bottom-8, "p", "start", fmt.Sprintf("%v leads", r.leader))
		}
		bottom += gap
	}
	bottom -= gap
	p.text(left, 16, "s", "start", fmt.Sprintf("commands decided in %d ticks; grey: the disk of 1, which leads, stands still", stallBucket))
	for v := -1000.0; v <= x.hi; v += 1000 {
		p.line(x.at(v), bottom, x.at(v), bottom+4, "axis")
		p.text(x.at(v), bottom+18, "s", "middle", num(v))
	}
	p.line(left, bottom, x.end, bottom, "axis")
	p.text((x.begin+x.end)/2, bottom+38, "s", "middle", "ticks since the disk stands still (an election timeout is 1000)")
	return p
}

// quorumPicture has a group of bars for each case: half of the commands, with a whisker up
// to 99 of 100.
func quorumPicture() *picture {
	const bar, gap, top, left = 13, 18, 52, 260
	rows := float64(len(quorumCases))*(float64(len(rivals))*bar+gap) - gap
	p := &picture{width: 720, height: top + rows + 50,
		about: "Latency of commands of five replicas by case of slow disks, for a majority of three and a write quorum of two"}
	x := scale{lo: 0, hi: 110, begin: left, end: 700}
	p.across(x, top-8, top+rows, []float64{0, 20, 40, 60, 80, 100}, "ticks from proposed until decided: half of the commands, line up to 99 of 100")
	var names []string
	for _, r := range rivals {
		names = append(names, r.name)
	}
	p.legend(left, 22, names...)
	y := float64(top)
	for k, c := range quorumCases {
		p.text(left-12, y+float64(len(rivals))*bar/2+4, "p", "end", c.name)
		for i, r := range rivals {
			s := &quorumRuns()[k][i]
			half, most, mid := x.at(float64(s.latency(500))), x.at(float64(s.latency(990))), y+bar/2.0
			p.rect(left, y+1, half-left, bar-2, fmt.Sprintf("f%d", hue(r.name)))
			p.line(half, mid, most, mid, fmt.Sprintf("l%d", hue(r.name)))
			y += bar
		}
		y += gap
	}
	p.line(left, top-8, left, top+rows, "axis")
	return p
}
