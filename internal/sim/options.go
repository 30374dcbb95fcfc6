package sim

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/internal/shard"
)

// Options make a run. What is zero is drawn from the seed ("swarm"): different
// seeds have not only other faults but other mixes of faults.
type Options struct {
	Seed     uint64
	Engine   string        // of all shards, or Mixed; raft when empty
	Nodes    int           // 3 or 5 when zero
	Shards   int           // 8 when zero
	Duration time.Duration // of the faulty phase, in virtual time; 10 s when zero
	Clients  int           // 20 when zero
	Trace    io.Writer     // one line per event; nil: none
	Calm     bool          // no faults at all
	Moves    bool          // nodes come and go, and replicas move
	Only     string        // the faults to inject, by name, comma between; "": the seed's mix

	swarm swarm
}

// swarm is the run's own mix.
type swarm struct {
	tick             time.Duration
	heartbeatTicks   int
	electionTicks    int
	latencyMin       time.Duration // one way
	latencyMax       time.Duration
	loss, duplicate  float64
	syncMin, syncMax time.Duration
	applyMax         time.Duration
	readMax          time.Duration // to read entries back from the log
	faultEvery       time.Duration // mean time between faults
	segmentBytes     int64
	lagEntries       int
	keys             int // per shard
	flushEvery       time.Duration
	weights          [faultKinds]int
	readFraction     float64
	leaseTTL         int64
	think            time.Duration
	windows          shard.Windows
	cacheBytes       int  // little: messages and applies read the log back
	snapshotHappy    bool // little log is kept, so that snapshots are frequent
	window           int  // α of Paxos, in slots
	writeQuorum      int  // of shards with five voters on Paxos; zero: a majority

	// Of a run with moves.
	zones        int
	replaceAfter time.Duration // until a silent node's replicas are placed anew
}

func (o *Options) setDefaults() {
	if o.Engine == "" {
		o.Engine = engineNames[0]
	}
	rng := rand.New(rand.NewPCG(o.Seed, 0x737761726d))
	pick := func(from ...int) int { return from[rng.IntN(len(from))] }
	if o.Nodes == 0 {
		if o.Nodes = pick(3, 3, 5); o.Moves {
			o.Nodes = pick(5, 6, 7)
		}
	}
	if o.Shards == 0 {
		o.Shards = 8
	}
	if o.Duration == 0 {
		o.Duration = 10 * time.Second
	}
	if o.Clients == 0 {
		o.Clients = 20
	}
	w := &o.swarm
	w.tick, w.heartbeatTicks, w.electionTicks = 20*time.Millisecond, 3, 15
	w.latencyMin = time.Duration(pick(50, 200, 1000)) * time.Microsecond
	w.latencyMax = w.latencyMin * time.Duration(pick(2, 4, 20))
	w.loss = float64(pick(0, 0, 1, 5)) / 100
	w.duplicate = float64(pick(0, 1, 5)) / 100
	w.syncMin = time.Duration(pick(100, 500)) * time.Microsecond
	w.syncMax = w.syncMin * time.Duration(pick(2, 10, 40))
	w.applyMax = time.Duration(pick(100, 2000, 20000)) * time.Microsecond
	w.faultEvery = time.Duration(pick(150, 250, 350)) * time.Millisecond
	w.segmentBytes = int64(pick(64<<10, 256<<10))
	w.snapshotHappy = pick(0, 1) == 1
	w.lagEntries = 2000
	if w.snapshotHappy {
		w.lagEntries = pick(5, 30)
	}
	w.keys = pick(2, 5, 12)
	w.flushEvery = time.Duration(pick(300, 2000)) * time.Millisecond
	w.readFraction = float64(pick(20, 40, 60)) / 100
	w.leaseTTL = int64(pick(1, 2, 3))
	w.think = time.Duration(pick(5, 20)) * time.Millisecond
	w.windows = shard.Windows{MessageBytes: 4 << 10, InflightMessages: 16}
	w.readMax = time.Duration(pick(2, 2, 50, 300)) * time.Millisecond
	if pick(0, 0, 0, 1) == 1 { // one entry at a time, so that leaders die half way
		w.windows = shard.Windows{MessageBytes: 64, InflightMessages: 1}
		w.readMax = time.Millisecond // or catching up would outlast every bound
	}
	w.cacheBytes = pick(256, 4<<10, 1<<20)
	for i := range faultDie {
		w.weights[i] = pick(0, 1, 1, 3)
	}
	w.window, w.writeQuorum = pick(16, 64, 256), pick(0, 2)
	if o.Moves {
		if w.windows.InflightMessages == 1 {
			w.window = 16 // a change of a membership waits for a window, one entry at a time
		}
		o.setMoves(pick)
	}
	o.choose()
}

// setMoves draws what only a run with moves has. Nodes come and go more often than in a year
// of anybody's cluster; what else goes wrong leaves them the time to.
func (o *Options) setMoves(pick func(...int) int) {
	w := &o.swarm
	w.zones = pick(1, 3, 3, 4)
	w.replaceAfter = time.Duration(pick(1000, 2000, 3000)) * time.Millisecond
	for i := range w.weights {
		if faultKind(i) >= faultDie {
			w.weights[i] = pick(2, 4, 8)
		} else {
			w.weights[i] = min(1, w.weights[i])
		}
	}
}

// choose narrows the faults down to what the options ask for.
func (o *Options) choose() {
	w := &o.swarm
	for i := range w.weights {
		if o.Calm || o.Only != "" && !slices.Contains(strings.Split(o.Only, ","), faults[i].name) {
			w.weights[i] = 0
		} else if o.Only != "" {
			w.weights[i] = 1
		}
		if !faultKind(i).belongs(o.Moves) {
			w.weights[i] = 0
		}
	}
	if o.Calm {
		w.loss, w.duplicate = 0, 0
	}
}

// String describes a run's own mix for its report.
func (o *Options) String() string {
	w := &o.swarm
	return fmt.Sprintf("engine %s nodes %d shards %d clients %d latency %v-%v loss %.0f%% dup %.0f%% sync %v-%v fault every %v lag %d keys %d",
		o.Engine, o.Nodes, o.Shards, o.Clients, w.latencyMin, w.latencyMax, w.loss*100, w.duplicate*100,
		w.syncMin, w.syncMax, w.faultEvery, w.lagEntries, w.keys)
}
