package sim

import (
	"fmt"
	"slices"
	"strings"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/etcdraft"
	"github.com/quorate/quorate/consensus/paxos"
	"github.com/quorate/quorate/consensus/raft"
	"github.com/quorate/quorate/internal/shard"
)

// Mixed is the name of a run in which neighbouring shards have different engines.
const Mixed = "mixed"

// engineNames are the engines that a run can have, the default first.
var engineNames = []string{raft.Engine.Name, paxos.Engine.Name, etcdraft.Engine.Name, Mixed}

// KnowsEngine reports whether a run can have an engine of that name.
func KnowsEngine(name string) bool { return slices.Contains(engineNames, name) }

// EngineNames lists what KnowsEngine knows, comma between.
func EngineNames() string { return strings.Join(engineNames, ", ") }

// engineOf is the engine of a shard.
func (s *Sim) engineOf(id shard.ID) consensus.Engine {
	name := s.opts.Engine
	if name == Mixed {
		name = engineNames[int(id)%(len(engineNames)-1)]
	}
	switch name {
	case raft.Engine.Name:
		return raft.Engine
	case paxos.Engine.Name:
		return paxos.NewEngine(s.opts.swarm.window)
	case etcdraft.Engine.Name:
		return etcdraft.Engine
	}
	panic(fmt.Sprintf("sim: no engine %q", name))
}

// kindName names a message's kind in its shard's engine.
func (s *Sim) kindName(id shard.ID, kind consensus.MessageKind) string {
	return s.engineOf(id).KindName(kind)
}

// coverage counts the entries into the cells of the handler tables of our engines.
type coverage struct {
	raft  raft.Coverage
	paxos paxos.Coverage
}

func (c *coverage) cover(m consensus.Machine) {
	switch m := m.(type) {
	case *raft.Machine:
		m.Cover(&c.raft)
	case *paxos.Machine:
		m.Cover(&c.paxos)
	}
}

// cell is an entry of a handler table as a report names it.
type cell struct {
	name          string
	common, never bool
	count         uint64
}

// cells lists the handler tables of the engines that an engine's name stands for, with the
// counts of c, which may be nil.
func cells(engine string, c *coverage) (all []cell) {
	if c == nil {
		c = &coverage{}
	}
	if engine == raft.Engine.Name || engine == Mixed {
		for _, x := range raft.Cells(&c.raft) {
			all = append(all, cell{"cell raft " + x.Row + " " + x.Kind, x.Frequency == raft.Common, x.Frequency == raft.Never, x.Count})
		}
	}
	if engine == paxos.Engine.Name || engine == Mixed {
		for _, x := range paxos.Cells(&c.paxos) {
			all = append(all, cell{"cell paxos " + x.Row + " " + x.Kind, x.Frequency == paxos.Common, x.Frequency == paxos.Never, x.Count})
		}
	}
	return all
}
