package scenarios

import (
	"fmt"
	"slices"
	"strings"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/document"
)

// view is an ending and the engines that came to it.
type view struct {
	ending
	engines []string
}

// views plays a scenario with all engines and puts those together that end alike.
func views(play func(consensus.Engine) ending) (all []view) {
	for _, e := range engines {
		s := play(e)
		k := slices.IndexFunc(all, func(v view) bool { return fmt.Sprint(v.ending) == fmt.Sprint(s) })
		if k < 0 {
			k, all = len(all), append(all, view{ending: s})
		}
		all[k].engines = append(all[k].engines, e.Name)
	}
	return all
}

// place is where a replica stands in its panel.
type place struct {
	x, y   float64
	beside bool // its note stands on the right, where below there are links
}

// topology draws a panel for each view: who hears whom, and who leads in the end.
func topology(about string, all []view, height float64, places []place) *picture {
	const panel = 340
	p := &picture{document.Picture{Width: panel * float64(len(all)), Height: height, Style: style, About: about}}
	for k, v := range all {
		left := panel * float64(k)
		outcome := "nobody can lead"
		if v.goesOn {
			outcome = fmt.Sprintf("%v leads, commands are decided", v.leader)
		}
		p.Text(left+panel/2, 20, "h", "middle", strings.Join(v.engines, ", "))
		p.Text(left+panel/2, 38, "p", "middle", outcome)
		for _, pair := range v.hears {
			a, b := places[pair[0]-1], places[pair[1]-1]
			p.Line(left+a.x, a.y, left+b.x, b.y, "link")
		}
		for i := range v.voters {
			at := places[i]
			at.x += left
			p.replica(&v, consensus.ReplicaID(i+1), at)
		}
	}
	return p
}

func (p *picture) replica(v *view, id consensus.ReplicaID, at place) {
	const radius = 20
	node, name, note := "node", "p", ""
	switch id {
	case v.leader:
		node, name, note = "lead", "lit", "leads"
	case v.dead:
		node, name, note = "gone", "s", "has led, dead"
	}
	if id == v.slept {
		note = strings.TrimPrefix(note+", has slept", ", ")
	}
	p.Circle(at.x, at.y, radius, node)
	p.Text(at.x, at.y+5, name, "middle", id.String())
	if at.beside {
		p.Text(at.x+radius+8, at.y+5, "s", "start", note)
		return
	}
	p.Text(at.x, at.y+radius+16, "s", "middle", note)
}
