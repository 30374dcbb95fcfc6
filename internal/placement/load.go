package placement

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// LoadsPrefix is before a node's id in hex, where it says what it has to do.
const LoadsPrefix = "loads/"

// LoadShardsMax bounds the shards that a node reports by themselves: its busiest.
const LoadShardsMax = 64

// Load is a node's report of what it has to do, smoothed over the last few of its periods. A node
// that has next to nothing to do has none, or one of zeros.
type Load struct {
	At     int64       `json:"at"`  // seconds since 1970
	CPU    uint64      `json:"cpu"` // of the whole process, in thousandths of a core
	Shards []ShardLoad `json:"shards,omitempty"`
	Rest   ShardLoad   `json:"rest"` // of all other shards together; their number is not told
}

// ShardLoad is what a node does for a shard, in a second.
type ShardLoad struct {
	ID       uint64 `json:"id,omitempty"`
	Requests uint64 `json:"requests,omitempty"` // that reached it from clients of its own
	Bytes    uint64 `json:"bytes,omitempty"`    // of these, and of answers as far as they are known
	Cost     uint64 `json:"cost,omitempty"`     // its part of the processor, in thousandths of a core
}

// LoadKey is where a node's load is.
func LoadKey(id uint64) string { return LoadsPrefix + strconv.FormatUint(id, 16) }

// Encode is the report's value.
func (l *Load) Encode() []byte {
	value, err := json.Marshal(l)
	if err != nil {
		panic(fmt.Sprintf("placement: a load cannot be encoded: %v", err))
	}
	return value
}

// Sum is a node's whole load.
func (l *Load) Sum() ShardLoad {
	sum := l.Rest
	for _, s := range l.Shards {
		sum.Requests, sum.Bytes, sum.Cost = sum.Requests+s.Requests, sum.Bytes+s.Bytes, sum.Cost+s.Cost
	}
	return sum
}

// loads are what the nodes have reported last.
type loads map[uint64]report

// report is a node's load. Its slice is not written.
type report struct {
	Load
	// above counts the successive reports with which the node had more than hotPercent of the mean
	// since a shard was moved for load last. Whoever has just begun to read has seen none.
	above int
}

// Load is what a node has reported last.
func (c *Catalog) Load(id uint64) (Load, bool) {
	r, ok := c.loads[id]
	return r.Load, ok
}

// putLoad takes a report over. One that cannot be read is as none: it is advice, and nothing that
// must not be lost depends on it.
func (c *Catalog) putLoad(name string, value []byte) {
	id, err := strconv.ParseUint(name, 16, 64)
	if err != nil {
		return
	}
	old, known := c.loads[id]
	var r report
	if err := json.Unmarshal(value, &r.Load); err != nil || len(r.Shards) > LoadShardsMax {
		delete(c.loads, id)
		return
	}
	c.loads[id] = r
	if known && c.above(id) {
		r.above = old.above + 1
		c.loads[id] = r
	}
	if r.above >= hotReports {
		c.stirred++
	}
}

// dropLoad forgets a node's report.
func (c *Catalog) dropLoad(name string) {
	if id, err := strconv.ParseUint(name, 16, 64); err == nil {
		delete(c.loads, id)
	}
}

// balanced begins the count of reports anew when a shard has been moved for load: those before
// that say nothing of what comes.
func (c *Catalog) balanced(name string, next *Keyspace) {
	old, ok := c.keyspaces[name]
	if !ok || old.Shards[0].Balanced == next.Shards[0].Balanced {
		return
	}
	for id, r := range c.loads {
		r.above = 0
		c.loads[id] = r
	}
}

// above reports whether a node has more than hotPercent of what all nodes have in the mean, each
// by its weight.
func (c *Catalog) above(id uint64) bool {
	sum, weight := uint64(0), uint64(0)
	for _, m := range c.members {
		if m.weight() > 0 {
			l := c.loads[m.ID].Load
			sum, weight = sum+l.Sum().Cost, weight+uint64(m.weight())
		}
	}
	m := c.members[id]
	l := c.loads[id].Load
	return m.weight() > 0 && l.Sum().Cost*weight*100 > sum*hotPercent*uint64(m.weight())
}
