package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/raft"
	"github.com/quorate/quorate/internal/engine"
	"github.com/quorate/quorate/internal/router"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/store"
	"github.com/quorate/quorate/internal/wal"
)

// simNode is one node: production objects over virtual ports. Its process can
// crash, pause and restart; its disk outlives the process and can be wiped.
type simNode struct {
	s     *Sim
	index int
	id    shard.NodeID
	rng   *rand.Rand

	disk        *disk
	memory      *engine.Memory
	incarnation uint16
	disks       int // wipes
	boots       int // process starts; what belongs to an earlier one is void
	up          bool
	paused      bool
	asleep      []func() // what arrived while paused

	log    *wal.Log
	host   *shard.Host
	router *router.Router
	stores map[shard.ID]*store.Store
	port   *port

	appends   []logAppend // handed in and not yet being written
	writing   bool
	extraSync time.Duration              // a slow disk
	applyBusy map[shard.ID]time.Duration // when the shard's last job ends
	skew      float64                    // how fast its clock runs
	jump      time.Duration
}

type logAppend struct {
	ticket shard.Ticket
	batch  *wal.Batch
}

func newSimNode(s *Sim, index int) *simNode {
	n := &simNode{s: s, index: index, id: shard.NodeID(index + 1), incarnation: 1, skew: 1}
	n.rng = rand.New(rand.NewPCG(s.opts.Seed, uint64(1000+index)))
	n.disk = newDisk(n.rng)
	n.memory = engine.NewMemory()
	return n
}

func (s *Sim) nodeByID(id shard.NodeID) *simNode {
	if id < 1 || int(id) > len(s.nodes) {
		return nil
	}
	return s.nodes[id-1]
}

func (n *simNode) running() bool { return n.up }

// clock is the node's own monotonic time.
func (n *simNode) clock() time.Duration {
	return time.Duration(float64(n.s.now)*n.skew) + n.jump
}

// whenAwake runs do now, or when the paused process goes on.
func (n *simNode) whenAwake(do func()) {
	if n.paused {
		n.asleep = append(n.asleep, do)
		return
	}
	n.host.SetNow(n.clock())
	n.router.SetNow(n.clock())
	do()
}

// later schedules do in this life of the process.
func (n *simNode) later(d time.Duration, do func()) {
	life := n.boots
	n.s.after(d, func() {
		if n.boots == life && n.up {
			n.whenAwake(do)
		}
	})
}

// start boots the process from what the disk holds.
func (n *simNode) start() {
	n.boots++
	n.up, n.paused, n.asleep = true, false, nil
	n.appends, n.writing = nil, false
	n.applyBusy = make(map[shard.ID]time.Duration)
	n.stores = make(map[shard.ID]*store.Store)
	n.port = &port{n: n}
	n.s.trace.line(n.s.now, n.name(), "start", "life %d incarnation %d", n.boots, n.incarnation)
	var err error
	if n.log, err = wal.Open(n.disk, "wal", wal.Options{SegmentBytes: n.s.opts.swarm.segmentBytes}); err != nil {
		n.s.violate("restart", "node %d cannot open its log: %v", n.index, err)
	}
	n.router = router.New(router.Config{
		Node: n.id, Network: n.port, FirstSeq: uint64(n.boots) << 32,
		Limits: router.Limits{Timeout: requestTimeout},
	})
	w := &n.s.opts.swarm
	n.host = shard.NewHost(shard.HostConfig{
		Node: n.id, Incarnation: n.incarnation,
		Timing:  shard.Timing{Tick: w.tick, HeartbeatTicks: w.heartbeatTicks, ElectionTicks: w.electionTicks},
		Limits:  shard.Limits{LagEntries: w.lagEntries, CacheBytes: 4 << 10, ApplyEntries: 16},
		Windows: shard.Windows{MessageBytes: 4 << 10, InflightMessages: 16},
	}, shard.Ports{Log: n, Network: n.port, Apply: applyPort{n}, Snapshots: snapshotPort{n}, Outcome: n.router})
	n.router.SetHost(n.host)
	n.host.SetNow(n.clock())
	n.router.SetNow(n.clock())
	for _, id := range n.s.shardIDs() {
		n.openShard(id)
	}
	n.process()
	n.tickLater()
	n.flushLater()
}

func (n *simNode) openShard(id shard.ID) {
	s, err := store.Open(n.memory, id, store.Options{QuotaBytes: n.s.opts.swarm.quotaBytes})
	if err != nil {
		n.s.violate("restart", "node %d cannot open shard %d: %v", n.index, id, err)
	}
	state, err := n.log.State(shard.Group(id))
	if err != nil {
		n.s.violate("restart", "node %d cannot read shard %d's log: %v", n.index, id, err)
	}
	c, ahead, err := shard.Restore(s.Applied(), state, n.s.firstConfiguration())
	if err != nil {
		n.s.violate("restart", "node %d cannot restore shard %d: %v", n.index, id, err)
	}
	if ahead {
		n.s.report.count("recovery engine ahead of log")
		var b wal.Batch
		b.Install(shard.Group(id), c.Log.Released, c.Log.ReleasedEpoch)
		if err := errors.Join(n.log.Write(&b), n.log.Sync()); err != nil {
			n.s.violate("restart", "node %d: %v", n.index, err)
		}
	}
	c.Rand = rand.New(rand.NewPCG(n.s.opts.Seed, uint64(n.index)<<32|uint64(n.boots)<<16|uint64(id)))
	waiters := shard.NewWaiters()
	_, err = n.host.Add(id, shard.ReplicaConfig{
		Engine: n.s.checkedEngine(raft.Engine, n, id), Machine: c, Store: s, Waiters: waiters,
		Observe: n.s.check.observer(n, id),
	})
	if err != nil {
		n.s.violate("restart", "node %d cannot start shard %d: %v", n.index, id, err)
	}
	n.router.AddShard(id, waiters, c.Applied)
	n.stores[id] = s
}

// firstConfiguration is what every shard of a run begins with.
func (s *Sim) firstConfiguration() consensus.Configuration {
	var c consensus.Configuration
	for _, n := range s.nodes {
		c.Voters = append(c.Voters, shard.ReplicaOf(n.id, 1))
	}
	slices.Sort(c.Voters)
	return c
}

func (n *simNode) name() string { return fmt.Sprintf("n%d", n.index) }

func (n *simNode) process() {
	for range 4 {
		worked := n.router.Flush()
		n.host.Process()
		if !worked {
			return
		}
	}
}

func (n *simNode) tickLater() {
	n.later(n.s.opts.swarm.tick, func() {
		n.host.Tick()
		n.router.Tick()
		n.process()
		n.tickLater()
	})
}

// flushLater flushes the engine and releases the log, now and then.
func (n *simNode) flushLater() {
	n.later(n.s.between(0, 2*n.s.opts.swarm.flushEvery), func() {
		if n.s.chance(0.7) {
			if err := n.memory.Flush(); err != nil {
				n.s.violate("engine", "node %d flush: %v", n.index, err)
			}
		}
		for _, id := range n.s.shardIDs() {
			flushed, err := n.stores[id].DurableApplied()
			if err != nil {
				n.s.violate("engine", "node %d shard %d: %v", n.index, id, err)
			}
			n.host.Durably(id, consensus.Index(flushed.Index))
		}
		n.process()
		n.flushLater()
	})
}

// crash ends the process; the disk keeps what was synced and some of the rest.
func (n *simNode) crash(keep float64) {
	n.up = false
	n.boots++
	n.disk.crash(keep)
	n.memory = n.memory.Crash(n.rng)
	n.s.trace.line(n.s.now, n.name(), "crash", "keeping %.0f%% of what was not synced", keep*100)
	n.s.peersSee(n, consensus.PeerReset)
	n.s.check.crashed(n)
}

// peersSee tells the others that a node's connections broke.
func (s *Sim) peersSee(n *simNode, state consensus.PeerState) {
	for _, o := range s.nodes {
		if o != n && o.up && s.links.open(n.index, o.index) {
			o.later(s.between(0, 10*time.Millisecond), func() {
				o.host.PeerState(n.id, state)
				o.process()
			})
		}
	}
}
