package ring

import (
	"fmt"
	"slices"
	"strconv"
)

// ShardID names a shard.
type ShardID uint64

// String prints the id in decimal.
func (s ShardID) String() string { return strconv.FormatUint(uint64(s), 10) }

// ReplicasMax is the most replicas that a shard may have or want. Beside these it has one
// more while one is replaced.
const ReplicasMax = 31

// Shard is what is placed.
type Shard struct {
	ID   ShardID
	Want int // how many replicas there should be, at least 1
	// Replicas are the nodes that carry one. The first should lead. A new shard has none.
	Replicas []NodeID
}

// Placement says where shards are. It is state that its owner replicates; rings only
// propose moves.
type Placement struct {
	Epoch  uint64  // grows by one with every move
	Shards []Shard // ascending by id
}

// Kind is what a move does.
type Kind uint8

const (
	// Add makes a replica on a node, the last of its shard.
	Add Kind = iota + 1
	// Remove takes a node's replica away.
	Remove
	// Lead puts a node first among its shard's replicas.
	Lead
)

// String names the kind as a verb.
func (k Kind) String() string { return [...]string{"none", "add", "remove", "lead"}[k] }

// Move is one step from a placement to another.
type Move struct {
	Shard  ShardID
	Kind   Kind
	Node   NodeID
	Reason Reason
	// Other is whom the reason is about: the node that Add replaces, that replaced what
	// Remove takes, or that led before Lead. Zero if there is none.
	Other NodeID
}

// Reason is why a move is made.
type Reason uint8

const (
	// Missing: the shard has fewer replicas than it wants.
	Missing Reason = iota + 1
	// Gone: a replica's node is not on the ring.
	Gone
	// Draining: a replica's node has weight 0.
	Draining
	// Crowded: a zone has more of the shard's replicas than it must.
	Crowded
	// OverCap: a node has more replicas than its cap.
	OverCap
	// Detour: another shard needs the place.
	Detour
	// Surplus: the shard has more replicas than it wants.
	Surplus
	// Leaving: the leader's replica is about to be removed.
	Leaving
	// LeaderGone: the leader's node is not on the ring.
	LeaderGone
	// LeaderOverCap: a node leads more shards than its cap.
	LeaderOverCap
	// Hot: a node has more of the load than others. Plan knows no load and never says so: it is for
	// moves that whoever measures it makes within the caps and zones.
	Hot
)

var reasons = [...]string{
	Missing: "a replica is missing", Gone: "its node is gone", Draining: "its node is to be emptied",
	Crowded: "the zone has too many of the shard's replicas", OverCap: "its node is above its cap",
	Detour: "another shard needs the place", Surplus: "the shard has more replicas than it wants",
	Leaving: "the leader's replica goes", LeaderGone: "the leader's node is gone", LeaderOverCap: "the leader's node leads too many",
	Hot: "its node has too much of the load",
}

// String is a sentence without its beginning and end.
func (r Reason) String() string { return reasons[r] }

// String is for plans that are read.
func (m Move) String() string {
	s := fmt.Sprintf("shard %v: %v %v", m.Shard, m.Kind, m.Node)
	if m.Other != 0 {
		s += fmt.Sprintf(" %s %v", [...]string{Add: "for", Remove: "replaced by", Lead: "instead of"}[m.Kind], m.Other)
	}
	return s + ": " + m.Reason.String()
}

// Apply makes a move.
func (p *Placement) Apply(m Move) error {
	k, ok := p.search(m.Shard)
	if !ok {
		return fmt.Errorf("%w: %v: the shard is not there", ErrPlacement, m)
	}
	s := &p.Shards[k]
	at := slices.Index(s.Replicas, m.Node)
	if has := at >= 0; has != (m.Kind != Add) {
		return fmt.Errorf("%w: %v: the replicas are on %v", ErrPlacement, m, s.Replicas)
	}
	list := slices.Clone(s.Replicas) // copies of a placement may share them
	switch m.Kind {
	case Add:
		list = append(list, m.Node)
	case Remove:
		list = slices.Delete(list, at, at+1)
	case Lead:
		list = slices.Insert(slices.Delete(list, at, at+1), 0, m.Node)
	default:
		return fmt.Errorf("%w: a move of kind %d", ErrPlacement, m.Kind)
	}
	s.Replicas = list
	p.Epoch++
	return nil
}

// Clone is a placement that moves of this one do not change.
func (p *Placement) Clone() *Placement {
	return &Placement{Epoch: p.Epoch, Shards: slices.Clone(p.Shards)}
}

func (p *Placement) search(id ShardID) (int, bool) {
	return slices.BinarySearchFunc(p.Shards, id, func(s Shard, id ShardID) int { return compare(s.ID, id) })
}

// check refuses what is no placement.
func (p *Placement) check() error {
	for k, s := range p.Shards {
		switch {
		case k > 0 && p.Shards[k-1].ID >= s.ID:
			return fmt.Errorf("%w: shard %v stands behind %v", ErrPlacement, s.ID, p.Shards[k-1].ID)
		case s.Want < 1 || s.Want > ReplicasMax:
			return fmt.Errorf("%w: shard %v wants %d replicas, not 1 to %d", ErrPlacement, s.ID, s.Want, ReplicasMax)
		case len(s.Replicas) > 2*ReplicasMax:
			return fmt.Errorf("%w: shard %v has %d replicas, the limit is %d", ErrPlacement, s.ID, len(s.Replicas), 2*ReplicasMax)
		}
		for i, n := range s.Replicas {
			if n == 0 || slices.Contains(s.Replicas[:i], n) {
				return fmt.Errorf("%w: shard %v is on node %v twice, or on none", ErrPlacement, s.ID, n)
			}
		}
	}
	return nil
}
