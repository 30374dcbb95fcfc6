package main

import (
	"fmt"
	"strings"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/etcdraft"
	"github.com/quorate/quorate/consensus/paxos"
	"github.com/quorate/quorate/consensus/raft"
	"github.com/quorate/quorate/internal/node"
)

// engineChoice is one value of --engine.
type engineChoice struct {
	consensus.Engine
	// buys says in a line what an operator gets by it.
	buys string
}

// engineChoices are the consensus engines of this program, the default first. This is the
// only place that knows them; what is below builds the one that a shard's record names.
var engineChoices = []engineChoice{
	{Engine: raft.Engine, buys: "our Raft: repairs a member whose log is damaged; the default"},
	{Engine: paxos.Engine, buys: "our Multi-Paxos: any member can lead, whatever it has missed; knows --write-quorum"},
	{Engine: etcdraft.Engine, buys: "etcd's own Raft library, for those who want exactly that"},
}

// defaultEngine founds shards when nothing else is said.
func defaultEngine() string { return engineChoices[0].Name }

func engines() []consensus.Engine {
	list := make([]consensus.Engine, len(engineChoices))
	for i, e := range engineChoices {
		list[i] = e.Engine
	}
	return list
}

func engineNames() []string {
	names := make([]string, len(engineChoices))
	for i, e := range engineChoices {
		names[i] = e.Name
	}
	return names
}

// enginesText explains the choices in a help text.
func enginesText() string {
	var b strings.Builder
	b.WriteString("The engine that agrees on every write is chosen once, when the cluster is founded:\n\n")
	for _, e := range engineChoices {
		fmt.Fprintf(&b, "  %-9s %s\n", e.Name, e.buys)
	}
	b.WriteString("\ndocs/engines.md compares them.")
	return b.String()
}

// engineFlags are --engine and --write-quorum, of `serve` and `dev` alike.
func engineFlags() []flagSpec {
	hints := make([]string, len(engineChoices))
	for i, e := range engineChoices {
		hints[i] = e.Name + "\t" + e.buys
	}
	return []flagSpec{
		{name: flagEngine, preset: defaultEngine(), choices: engineNames(), hints: hints,
			note: "consensus engine of a new cluster, see above; what has data keeps its own"},
		{name: flagWriteQuorum, kind: natural, preset: "0",
			note: "members that decide, fewer than a majority, with --engine " + strings.Join(node.FlexibleEngines(engines()), " or ") +
				"; 0 is a majority. Of W, only W-1 lost disks or dead nodes are survived"},
	}
}

const (
	flagEngine      = "engine"
	flagWriteQuorum = "write-quorum"
)
