package contest

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

// picture is an SVG in the making. It has no background and two sets of colours, so that
// it is readable on a light page and on a dark one.
type picture struct {
	width, height float64
	about         string // for who cannot see it
	body          strings.Builder
}

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

// num prints a coordinate with a tenth of a pixel.
func num(x float64) string { return strconv.FormatFloat(math.Round(x*10)/10, 'f', -1, 64) }

func (p *picture) text(x, y float64, class, anchor, text string) {
	fmt.Fprintf(&p.body, "<text x=\"%s\" y=\"%s\" class=\"%s\" text-anchor=\"%s\">%s</text>\n", num(x), num(y), class, anchor, html.EscapeString(text))
}

func (p *picture) line(x1, y1, x2, y2 float64, class string) {
	fmt.Fprintf(&p.body, "<line x1=\"%s\" y1=\"%s\" x2=\"%s\" y2=\"%s\" class=\"%s\"/>\n", num(x1), num(y1), num(x2), num(y2), class)
}

func (p *picture) rect(x, y, width, height float64, class string) {
	fmt.Fprintf(&p.body, "<rect x=\"%s\" y=\"%s\" width=\"%s\" height=\"%s\" class=\"%s\"/>\n", num(x), num(y), num(width), num(height), class)
}

// axis draws a grid with numbers below, and the line that is aimed at.
func (p *picture) axis(at func(float64) float64, values []float64, fair float64, unit string) {
	bottom := p.height - 40
	for _, v := range values {
		p.line(at(v), 40, at(v), bottom, "grid")
		p.text(at(v), bottom+16, "s", "middle", num(v))
	}
	p.line(at(fair), 40, at(fair), bottom, "fair")
	p.text((at(values[0])+at(values[len(values)-1]))/2, bottom+34, "s", "middle", unit)
}

func (p *picture) legend(x float64, class, name string) {
	p.rect(x, 11, 10, 10, class)
	p.text(x+16, 20, "p", "start", name)
}

func (p *picture) String() string {
	about := html.EscapeString(p.about)
	return fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%s\" height=\"%s\" viewBox=\"0 0 %s %s\" role=\"img\" aria-label=\"%s\">\n"+
		"<title>%s</title>\n<style>%s</style>\n%s</svg>\n",
		num(p.width), num(p.height), num(p.width), num(p.height), about, about, style, p.body.String())
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
	p := &picture{width: 720, about: "Loads of the emptiest and the fullest node by rival, in percent of the fair share"}
	p.height = 90 + rowHeight*float64(len(Rivals))
	at := func(v float64) float64 { return left + 460*min(v, 225)/225 }
	p.axis(at, []float64{0, 50, 100, 150, 200}, 100, "percent of the fair share, from the emptiest node to the fullest")
	p.legend(left, "oa", "12 nodes")
	p.legend(left+100, "ob", "100 nodes (pale: not ring)")
	for k, r := range Rivals {
		x, y := r.Measure(), 50+rowHeight*float64(k)
		p.text(left-10, y+19, "p", "end", r.Name)
		for i, s := range []Spread{x.Twelve, x.Hundred} {
			class := own(r) + []string{"a", "b"}[i]
			y := y + 15*float64(i)
			p.rect(at(s.Least), y, max(2, at(s.Most)-at(s.Least)), 12, class)
			p.text(at(s.Most)+6, y+10, "s", "start", fmt.Sprintf("%.0f", s.Most))
		}
	}
	return p.String()
}

// movementPicture draws what moves when one node of twelve joins or leaves.
func movementPicture() string {
	p := &picture{width: 720, about: "Keys that move when a node joins twelve and when one of them leaves, by rival, in percent"}
	p.height = 90 + rowHeight*float64(len(Rivals))
	at := func(v float64) float64 { return left + 460*min(v, 24)/24 }
	p.axis(at, []float64{0, 4, 8, 12, 16, 20}, 100.0/13, "percent of the keys; dashed: the fair share of a newcomer")
	p.legend(left, "oa", "a 13th node joins")
	p.legend(left+150, "ob", "the 6th of 12 leaves (pale: not ring)")
	for k, r := range Rivals {
		x, y := r.Measure(), 50+rowHeight*float64(k)
		p.text(left-10, y+19, "p", "end", r.Name)
		for i, n := range []int{x.Join, x.Leave} {
			class := own(r) + []string{"a", "b"}[i]
			y := y + 15*float64(i)
			p.rect(at(0), y, max(1, at(percent(n))-at(0)), 12, class)
			p.text(at(percent(n))+6, y+10, "s", "start", fmt.Sprintf("%.1f", percent(n)))
		}
	}
	return p.String()
}
