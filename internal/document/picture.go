package document

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

// Picture is an SVG in the making. It has no background; a Style with two sets of colours
// makes it readable on a light page and on a dark one.
type Picture struct {
	Width, Height float64
	About         string // for who cannot see it
	Style         string // CSS of the classes that it uses
	body          strings.Builder
}

// Number prints a coordinate with a tenth of a pixel.
func Number(x float64) string { return strconv.FormatFloat(math.Round(x*10)/10, 'f', -1, 64) }

// Put adds an element with attributes as name and value in turns.
func (p *Picture) Put(element, inside string, attributes ...any) {
	p.body.WriteString("<" + element)
	for k := 0; k < len(attributes); k += 2 {
		value := attributes[k+1]
		if x, ok := value.(float64); ok {
			value = Number(x)
		}
		fmt.Fprintf(&p.body, ` %v="%v"`, attributes[k], value)
	}
	if inside == "" {
		p.body.WriteString("/>\n")
		return
	}
	fmt.Fprintf(&p.body, ">%s</%s>\n", html.EscapeString(inside), element)
}

// Text writes at a baseline; anchor is start, middle or end.
func (p *Picture) Text(x, y float64, class, anchor, text string) {
	p.Put("text", text, "x", x, "y", y, "class", class, "text-anchor", anchor)
}

// Line draws from one point to another.
func (p *Picture) Line(x1, y1, x2, y2 float64, class string) {
	p.Put("line", "", "x1", x1, "y1", y1, "x2", x2, "y2", y2, "class", class)
}

// Rect draws a rectangle by its upper left corner.
func (p *Picture) Rect(x, y, width, height float64, class string) {
	p.Put("rect", "", "x", x, "y", y, "width", width, "height", height, "class", class)
}

// Circle draws a circle by its centre.
func (p *Picture) Circle(x, y, r float64, class string) {
	p.Put("circle", "", "cx", x, "cy", y, "r", r, "class", class)
}

// Curve draws a line through points, as x and y in turns.
func (p *Picture) Curve(class string, points []float64) {
	var list []string
	for k := 0; k < len(points); k += 2 {
		list = append(list, Number(points[k])+","+Number(points[k+1]))
	}
	p.Put("polyline", "", "points", strings.Join(list, " "), "class", class)
}

// String is the whole file.
func (p *Picture) String() string {
	about := html.EscapeString(p.About)
	return fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%s\" height=\"%s\" viewBox=\"0 0 %s %s\" role=\"img\" aria-label=\"%s\">\n"+
		"<title>%s</title>\n<style>%s</style>\n%s</svg>\n",
		Number(p.Width), Number(p.Height), Number(p.Width), Number(p.Height), about, about, p.Style, p.body.String())
}
