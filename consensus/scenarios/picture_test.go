package scenarios

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

// picture is an SVG in the making. It has no background and two sets of colours, so that it
// is readable on a light page and on a dark one.
type picture struct {
	width, height float64
	about         string // for who cannot see it
	body          strings.Builder
}

// style holds the classes that pictures use: p primary text, s secondary text, h heading,
// grid and axis lines, shade behind a time in which something is wrong, node and link of a
// topology, and for each rival a fill f0... and a line l0...
const style = `
svg { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; }
.p, .h { fill: #1f2328; } .s { fill: #59636e; font-size: 12px; } .h { font-weight: 600; }
.grid { stroke: #d1d9e0; } .axis { stroke: #818b98; } .shade { fill: #818b98; opacity: .18; }
.node { fill: #fff; stroke: #59636e; stroke-width: 1.5; } .gone { fill: none; stroke: #818b98; stroke-dasharray: 4 3; }
.link { stroke: #59636e; stroke-width: 1.5; } .lead { fill: #1f2328; } .lit { fill: #fff; font-weight: 600; } .mark { stroke: #1f2328; stroke-dasharray: 3 3; }
.f0 { fill: #2f6fde; } .f1 { fill: #c8620a; } .f2 { fill: #f0a35e; } .f3 { fill: #17866a; } .hollow { fill: #fff; }
.l0 { stroke: #2f6fde; } .l1 { stroke: #c8620a; } .l2 { stroke: #f0a35e; } .l3 { stroke: #17866a; }
.l0, .l1, .l2, .l3 { stroke-width: 2; fill: none; }
@media (prefers-color-scheme: dark) {
.p, .h { fill: #f0f6fc; } .s { fill: #9198a1; } .grid { stroke: #3d444d; } .axis { stroke: #656c76; }
.node, .hollow { fill: #0d1117; } .node, .link { stroke: #9198a1; } .mark { stroke: #f0f6fc; }
.f0 { fill: #5b9bff; } .f1 { fill: #f0883e; } .f2 { fill: #b35f1c; } .f3 { fill: #3fbf9a; } .lead { fill: #f0f6fc; } .lit { fill: #0d1117; }
.l0 { stroke: #5b9bff; } .l1 { stroke: #f0883e; } .l2 { stroke: #b35f1c; } .l3 { stroke: #3fbf9a; }
}
`

// hue is the number of the classes in which a rival is drawn.
func hue(name string) int {
	for k, r := range rivals {
		if r.name == name {
			return k
		}
	}
	panic(name + " has no colour")
}

// num prints a coordinate with a tenth of a pixel.
func num(x float64) string { return strconv.FormatFloat(math.Round(x*10)/10, 'f', -1, 64) }

// put adds an element with attributes as name and value in turns.
func (p *picture) put(element, inside string, attributes ...any) {
	p.body.WriteString("<" + element)
	for k := 0; k < len(attributes); k += 2 {
		value := attributes[k+1]
		if x, ok := value.(float64); ok {
			value = num(x)
		}
		fmt.Fprintf(&p.body, ` %v="%v"`, attributes[k], value)
	}
	if inside == "" {
		p.body.WriteString("/>\n")
		return
	}
	fmt.Fprintf(&p.body, ">%s</%s>\n", html.EscapeString(inside), element)
}

// text writes at a baseline; anchor is start, middle or end.
func (p *picture) text(x, y float64, class, anchor, text string) {
	p.put("text", text, "x", x, "y", y, "class", class, "text-anchor", anchor)
}

func (p *picture) line(x1, y1, x2, y2 float64, class string) {
	p.put("line", "", "x1", x1, "y1", y1, "x2", x2, "y2", y2, "class", class)
}

func (p *picture) rect(x, y, width, height float64, class string) {
	p.put("rect", "", "x", x, "y", y, "width", width, "height", height, "class", class)
}

func (p *picture) circle(x, y, r float64, class string) {
	p.put("circle", "", "cx", x, "cy", y, "r", r, "class", class)
}

// curve draws a line through points, as x and y in turns.
func (p *picture) curve(class string, points []float64) {
	var list []string
	for k := 0; k < len(points); k += 2 {
		list = append(list, num(points[k])+","+num(points[k+1]))
	}
	p.put("polyline", "", "points", strings.Join(list, " "), "class", class)
}

// String is the whole file.
func (p *picture) String() string {
	about := html.EscapeString(p.about)
	return fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%s\" height=\"%s\" viewBox=\"0 0 %s %s\" role=\"img\" aria-label=\"%s\">\n"+
		"<title>%s</title>\n<style>%s</style>\n%s</svg>\n",
		num(p.width), num(p.height), num(p.width), num(p.height), about, about, style, p.body.String())
}
