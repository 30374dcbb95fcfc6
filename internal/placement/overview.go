package placement

import (
	"fmt"

	"github.com/quorate/quorate/ring"
)

// NodeLoad is a node, and what it has and may have.
type NodeLoad struct {
	Member
	Silent, Dead        bool // as the node that answers sees it
	Replicas, Cap       int
	Leaders, LeadersCap int // of shards, by their records
	Share               float64
	// What the node has reported of itself last: in a second, and in thousandths of a core. Zero of
	// one that is silent.
	Requests, Bytes, CPU uint64
}

// Overview is where everything is, as one node sees it.
type Overview struct {
	Paused bool
	Nodes  []NodeLoad // by id
	// Moving are the keyspaces with replicas on the move, by name, and Lost those whose
	// replicas do not answer in sufficient number.
	Moving, Lost []Keyspace
	Keyspaces    int // all there are, the cluster's own among them
}

// Overview describes the whole placement.
func (c *Catalog) Overview(p Planning) (Overview, error) {
	o := Overview{Paused: c.Paused, Keyspaces: len(c.keyspaces)}
	r, err := ring.New(c.Ring(p.Dead), ring.Options{Seed: p.Seed})
	if err != nil {
		return o, err
	}
	b := planning{Planning: p, c: c}
	loads, err := r.Loads(&ring.Placement{Shards: c.placed}, ring.Policy{ReplicaLoad: p.LoadPercent})
	if err != nil {
		return o, err
	}
	of := make(map[ring.NodeID]ring.Load, len(loads))
	for _, l := range loads {
		of[l.Node] = l
	}
	for _, m := range c.Members() {
		l := of[m.place()]
		load := Load{}
		if !p.Silent[m.ID] {
			load, _ = c.Load(m.ID)
		}
		sum := load.Sum()
		o.Nodes = append(o.Nodes, NodeLoad{Member: m, Silent: p.Silent[m.ID], Dead: p.Dead[m.ID],
			Replicas: l.Replicas, Cap: l.Cap, Leaders: l.Leaders, LeadersCap: l.LeadersCap, Share: l.Share,
			Requests: sum.Requests, Bytes: sum.Bytes, CPU: load.CPU})
	}
	for _, k := range c.All() {
		if k.Shards[0].moving() {
			o.Moving = append(o.Moving, k)
		}
		if b.lost(&k.Shards[0]) {
			o.Lost = append(o.Lost, k)
		}
	}
	return o, nil
}

// Explain says why each replica of a keyspace is where it is: a text for each.
func (c *Catalog) Explain(name string, p Planning) ([]string, error) {
	k, ok := c.keyspaces[name]
	if !ok {
		return nil, fmt.Errorf("%w: %q: 'quorate keyspace list' names those that there are", ErrNotFound, shorten(name))
	}
	r, err := ring.New(c.Ring(p.Dead), ring.Options{Seed: p.Seed})
	if err != nil {
		return nil, err
	}
	placed := &ring.Placement{Shards: c.placed}
	var texts []string
	for _, place := range k.Shards[0].goal() {
		e, err := r.Explain(placed, ring.Policy{ReplicaLoad: p.LoadPercent}, ring.ShardID(k.Shards[0].ID), place)
		if err != nil {
			return nil, err
		}
		texts = append(texts, e.String())
	}
	return texts, nil
}
