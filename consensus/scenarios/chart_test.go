package scenarios

import (
	"fmt"
	"math"

	"github.com/quorate/quorate/internal/document"
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
		p.Line(x.at(v), top, x.at(v), bottom, "grid")
		p.Text(x.at(v), bottom+16, "s", "middle", document.Number(v))
	}
	p.Text((x.begin+x.end)/2, bottom+36, "s", "middle", unit)
}

// legend writes the rivals' names in their colours, from left to right.
func (p *picture) legend(x, y float64, names ...string) {
	for _, name := range names {
		p.Rect(x, y-9, 10, 10, fmt.Sprintf("f%d", hue(name)))
		p.Text(x+15, y, "p", "start", name)
		x += 40 + 7*float64(len(name))
	}
}
