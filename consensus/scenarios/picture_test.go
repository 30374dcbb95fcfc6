package scenarios

import "github.com/quorate/quorate/internal/document"

// picture is one of engines, with what charts and topologies add to it.
type picture struct{ document.Picture }

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
