package main

import (
	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/raft"
)

// engines are the consensus engines of this program, the default first. This is the only
// place that knows them; what is below builds the one that a shard's record names.
var engines = []consensus.Engine{raft.Engine}

func engineNames() []string {
	names := make([]string, len(engines))
	for i, e := range engines {
		names[i] = e.Name
	}
	return names
}
