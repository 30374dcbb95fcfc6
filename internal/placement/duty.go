package placement

import (
	"maps"
	"slices"

	"github.com/quorate/quorate/consensus/mutant"
)

// Duty is a replica that a node is to carry.
type Duty struct {
	Shard       uint64
	Incarnation uint16
}

// Duties compares what a node has with what the catalog wants of it during a life of its disk.
// have is which replica of each shard its disk has anything of, open ones included. confirmed says
// that the catalog holds all that was recorded before the process began, durable that
// no crash takes the node back to an earlier one. What is to be opened has either nothing on the
// disk or just that replica's data; what is to be dropped must be gone from log and engine, durably,
// before have forgets it (L10). The system keyspace's replica is none of either: a node has it for
// as long as it is one.
func (c *Catalog) Duties(node uint64, life uint16, have map[uint64]uint16, confirmed, durable bool) (open []Duty, drop []uint64) {
	confirmed = confirmed || mutant.On(mutant.PlacementEraseUnconfirmed)
	durable = durable || mutant.On(mutant.PlacementEraseEarly)
	wanted := make(map[uint64]uint16)
	for shard, name := range c.shards {
		if shard == systemShard {
			continue
		}
		k := c.keyspaces[name]
		if n, _, ok := k.Shards[0].On(node, life); ok {
			wanted[shard] = n.Incarnation
		}
	}
	for _, shard := range slices.Sorted(maps.Keys(wanted)) {
		if has, ok := have[shard]; !ok || has == wanted[shard] {
			open = append(open, Duty{Shard: shard, Incarnation: wanted[shard]})
		}
	}
	for _, shard := range slices.Sorted(maps.Keys(have)) {
		if confirmed && durable && shard != systemShard && wanted[shard] != have[shard] {
			drop = append(drop, shard)
		}
	}
	return open, drop
}
