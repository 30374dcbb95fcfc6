package scenarios

import (
	"testing"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/consensustest"
	"github.com/quorate/quorate/consensus/etcdraft"
	"github.com/quorate/quorate/consensus/paxos"
	"github.com/quorate/quorate/consensus/raft"
)

// engines are what is compared, in the order of the tables.
var engines = []consensus.Engine{raft.Engine, paxos.Engine, etcdraft.Engine}

// The pace of all timed scenarios. Read a tick as a millisecond: the timers are those that
// a server has unless told otherwise, between rooms of one town, with disks that answer in
// 5 ms.
const (
	electionTicks  = 1000
	heartbeatTicks = 100
)

var usual = consensustest.Pace{HopMin: 1, HopMax: 3, Fsync: 5}

// setup is who takes part in a timed run.
type setup struct {
	engine consensus.Engine
	voters int
	// writeQuorum voters decide; zero: a majority.
	writeQuorum int
	pace        consensustest.Pace
	seed        uint64
}

// start makes the group and lets replica 1 lead it.
func (s setup) start() *consensustest.Timed {
	w := consensustest.NewTimed(s.engine, consensustest.Options{}, s.pace, s.seed)
	w.Configure = func(c *consensus.Config) {
		c.ElectionTicks, c.HeartbeatTicks = electionTicks, heartbeatTicks
		c.MessageBytes, c.InflightMessages, c.InflightBytes, c.UncommittedBytes = 1<<20, 64, 1<<24, 1<<26
	}
	var first consensus.Configuration
	first.WriteQuorum = s.writeQuorum
	for i := range s.voters {
		first.Voters = append(first.Voters, consensus.ReplicaID(i+1))
	}
	for _, id := range first.Voters {
		w.Add(id, first)
	}
	w.Elect(1, 20*electionTicks)
	return w
}

// timed begins a test of timed runs, which the race detector would only slow down.
func timed(t *testing.T) {
	if raced {
		t.Skip("one goroutine: nothing to find for the race detector")
	}
}
