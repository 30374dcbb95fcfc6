package contest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/quorate/quorate/ring"
)

// loads are the policies that the document compares.
var loads = []int{125, 105}

// event is something that happens to a cluster of 12 nodes in three zones.
type event struct {
	name  string
	after func(nodes []ring.Node) []ring.Node
}

var events = []event{
	{"a node joins a zone", func(nodes []ring.Node) []ring.Node {
		return append(nodes, ring.Node{ID: 13, Weight: 1, Domains: []string{"zone1"}})
	}},
	{"a node leaves", func(nodes []ring.Node) []ring.Node { return slices.Delete(nodes, 5, 6) }},
	{"a weight doubles", func(nodes []ring.Node) []ring.Node {
		nodes[5].Weight = 2
		return nodes
	}},
	{"a zone of four joins", func(nodes []ring.Node) []ring.Node {
		for id := ring.NodeID(13); id <= 16; id++ {
			nodes = append(nodes, ring.Node{ID: id, Weight: 1, Domains: []string{"zone4"}})
		}
		return nodes
	}},
	{"a zone is lost", func(nodes []ring.Node) []ring.Node {
		return slices.DeleteFunc(nodes, func(n ring.Node) bool { return n.Domains[0] == "zone1" })
	}},
}

// run is what an event did to a placement of three replicas for each key.
type run struct {
	event                   string
	stateless               int // replicas that would move if the first candidates had them all
	copies, needed, detours int
	most, leads             float64 // of the fullest node, in percent of its fair share
}

// threeZones is the cluster before.
func threeZones() (nodes []ring.Node) {
	for id := 1; id <= 12; id++ {
		nodes = append(nodes, ring.Node{ID: ring.NodeID(id), Weight: 1, Domains: []string{fmt.Sprint("zone", id%3+1)}})
	}
	return nodes
}

func ringOf(nodes []ring.Node) *ring.Ring {
	r, err := ring.New(nodes, ring.Options{})
	if err != nil {
		panic(err)
	}
	return r
}

// placementRuns plays all events, each from the same beginning.
func placementRuns(load int) (runs []run) {
	policy := ring.Policy{ReplicaLoad: load}
	before, start := ringOf(threeZones()), &ring.Placement{}
	for k := range Keys {
		start.Shards = append(start.Shards, ring.Shard{ID: ring.ShardID(Keys[k].Number), Want: 3})
	}
	CarryOut(before, start, policy)
	for _, e := range events {
		nodes := e.after(threeZones())
		r, p := ringOf(nodes), start.Clone()
		x := run{event: e.name, stateless: restless(before, r), needed: needed(r, p, policy)}
		moves, err := r.Plan(p, policy)
		if err != nil {
			panic(err)
		}
		for _, m := range moves {
			if m.Reason == ring.Detour && m.Kind == ring.Add {
				x.detours++
			}
		}
		x.copies = CarryOut(r, p, policy)
		list, err := r.Loads(p, policy)
		if err != nil {
			panic(err)
		}
		for _, l := range list {
			x.most = max(x.most, 100*float64(l.Replicas)/l.Share)
			x.leads = max(x.leads, 100*float64(l.Leaders)/(l.Share/3))
		}
		runs = append(runs, x)
	}
	return runs
}

// restless counts replicas that would move between the first three candidates.
func restless(before, after *ring.Ring) (n int) {
	for k := range Keys {
		was := before.Candidates(before.Number(Keys[k].Number), 3, nil)
		for _, id := range after.Candidates(after.Number(Keys[k].Number), 3, nil) {
			if !slices.Contains(was, id) {
				n++
			}
		}
	}
	return n
}

// needed is D + max(B, X) of package ring, R7: nobody copies fewer. Zones are never crowded
// in these runs.
func needed(r *ring.Ring, p *ring.Placement, policy ring.Policy) int {
	list, err := r.Loads(p, policy)
	if err != nil {
		panic(err)
	}
	there, above := 0, 0
	for _, l := range list {
		there += l.Replicas
		above += max(0, l.Replicas-l.Cap)
	}
	return 3*len(p.Shards) - there + above
}

// placementTable is Markdown.
func placementTable() string {
	var s strings.Builder
	s.WriteString("| | candidates alone: moved |")
	for _, load := range loads {
		fmt.Fprintf(&s, " cap %d %%: copied / needed | fullest: replicas, leads |", load)
	}
	s.WriteString("\n|---|---|" + strings.Repeat("---|---|", len(loads)) + "\n")
	all := [][]run{}
	for _, load := range loads {
		all = append(all, placementRuns(load))
	}
	for k, e := range events {
		fmt.Fprintf(&s, "| %s | %d |", e.name, all[0][k].stateless)
		for _, runs := range all {
			x := runs[k]
			fmt.Fprintf(&s, " %d / %d | %.0f %%, %.0f %% |", x.copies, x.needed, x.most, x.leads)
		}
		s.WriteString("\n")
	}
	return s.String()
}
