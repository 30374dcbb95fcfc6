package contest

import (
	"fmt"
	"strings"

	"github.com/quorate/quorate/internal/document"
)

// picture is one of docs/ring.md, with what its charts share.
type picture struct{ document.Picture }

// style: p names, s numbers and axes, h headings; a and b the two things compared in a
// picture, o the ring's own; fair the line that is aimed at.
const style = `
svg { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; }
.p, .h { fill: #1f2328; } .s { fill: #59636e; font-size: 12px; } .h { font-weight: 600; }
.grid { stroke: #d1d9e0; } .fair { stroke: #1f2328; stroke-dasharray: 4 3; }
.a { fill: #8fb2ee; } .b { fill: #93d0bd; } .oa { fill: #2f6fde; } .ob { fill: #17866a; }
@media (prefers-color-scheme: dark) {
.p, .h { fill: #f0f6fc; } .s { fill: #9198a1; } .grid { stroke: #3d444d; } .fair { stroke: #f0f6fc; }
.a { fill: #2c4a7c; } .b { fill: #1d5a49; } .oa { fill: #5b9bff; } .ob { fill: #3fbf9a; }
}
`

// axis draws a grid with numbers below, and the line that is aimed at.
func (p *picture) axis(at func(float64) float64, values []float64, fair float64, unit string) {
	bottom := p.Height - 40
	for _, v := range values {
		p.Line(at(v), 40, at(v), bottom, "grid")
		p.Text(at(v), bottom+16, "s", "middle", document.Number(v))
	}
	p.Line(at(fair), 40, at(fair), bottom, "fair")
	p.Text((at(values[0])+at(values[len(values)-1]))/2, bottom+34, "s", "middle", unit)
}

func (p *picture) legend(x float64, class, name string) {
	p.Rect(x, 11, 10, 10, class)
	p.Text(x+16, 20, "p", "start", name)
}

// own tells whether a rival is ring.
func own(r Rival) string {
	if strings.HasPrefix(r.Name, "ring") {
		return "o"
	}
	return ""
}

const (
	left      = 210.0
	rowHeight = 42.0
)

// balancePicture draws from the emptiest node to the fullest.
func balancePicture() string {
	p := &picture{document.Picture{Width: 720, Style: style, About: "Loads of the emptiest and the fullest node by rival, in percent of the fair share"}}
	p.Height = 90 + rowHeight*float64(len(Rivals))
	at := func(v float64) float64 { return left + 460*min(v, 225)/225 }
	p.axis(at, []float64{0, 50, 100, 150, 200}, 100, "percent of the fair share, from the emptiest node to the fullest")
	p.legend(left, "oa", "12 nodes")
	p.legend(left+100, "ob", "100 nodes (pale: not ring)")
	for k, r := range Rivals {
		x, y := r.Measure(), 50+rowHeight*float64(k)
		p.Text(left-10, y+19, "p", "end", r.Name)
		for i, s := range []Spread{x.Twelve, x.Hundred} {
			class := own(r) + []string{"a", "b"}[i]
			y := y + 15*float64(i)
			p.Rect(at(s.Least), y, max(2, at(s.Most)-at(s.Least)), 12, class)
			p.Text(at(s.Most)+6, y+10, "s", "start", fmt.Sprintf("%.0f", s.Most))
		}
	}
	return p.String()
}

// movementPicture draws what moves when one node of twelve joins or leaves.
func movementPicture() string {
	p := &picture{document.Picture{Width: 720, Style: style, About: "Keys that move when a node joins twelve and when one of them leaves, by rival, in percent"}}
	p.Height = 90 + rowHeight*float64(len(Rivals))
	at := func(v float64) float64 { return left + 460*min(v, 24)/24 }
	p.axis(at, []float64{0, 4, 8, 12, 16, 20}, 100.0/13, "percent of the keys; dashed: the fair share of a newcomer")
	p.legend(left, "oa", "a 13th node joins")
	p.legend(left+150, "ob", "the 6th of 12 leaves (pale: not ring)")
	for k, r := range Rivals {
		x, y := r.Measure(), 50+rowHeight*float64(k)
		p.Text(left-10, y+19, "p", "end", r.Name)
		for i, n := range []int{x.Join, x.Leave} {
			class := own(r) + []string{"a", "b"}[i]
			y := y + 15*float64(i)
			p.Rect(at(0), y, max(1, at(percent(n))-at(0)), 12, class)
			p.Text(at(percent(n))+6, y+10, "s", "start", fmt.Sprintf("%.1f", percent(n)))
		}
	}
	return p.String()
}
