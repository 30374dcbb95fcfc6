package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/paxos"
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
	// Who waits at this process, by shard.
	waiters map[shard.ID]*shard.Waiters

	appends   []logAppend // handed in and not yet being written
	writing   bool
	retry     bool                       // the disk is full
	extraSync time.Duration              // a slow disk
	applyBusy map[shard.ID]time.Duration // when the shard's last job ends
	damaged   bool                       // the log has rotted, and may not be repaired yet
	doomed    int                        // the next start dies at this operation; zero: it does not

	skew      float64 // how fast its clock runs
	skewSince time.Duration
	clockBase time.Duration // what the clock said then
	jump      time.Duration
	wallJump  time.Duration // in either direction
	firstSeq  uint64
	submits   uint64
	handed    shard.Ticket // the last log batch
	synced    shard.Ticket // the last one that is durable

	placed *placedNode // nil: replicas do not move
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
	return n.clockBase + time.Duration(float64(n.s.now-n.skewSince)*n.skew) + n.jump
}

// wallStart is the wall clock's time when a run begins.
const wallStart = 1_700_000_000 * time.Second

// tellTime sets the process's clocks. The wall clock may go back; nothing rests on it.
func (n *simNode) tellTime() {
	n.host.SetNow(n.clock())
	n.router.SetNow(n.clock())
	n.router.SetWall(int64(wallStart + n.clock() + n.wallJump))
}

func (n *simNode) setSkew(skew float64) {
	n.clockBase += time.Duration(float64(n.s.now-n.skewSince) * n.skew)
	n.skewSince, n.skew = n.s.now, skew
}

// whenAwake runs do now, or when the paused process goes on.
func (n *simNode) whenAwake(do func()) {
	if n.paused {
		n.asleep = append(n.asleep, do)
		return
	}
	n.tellTime()
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
	if n.placed != nil && !n.placed.joined {
		n.placed.join()
		return
	}
	n.boots++
	n.up, n.paused, n.asleep = true, false, nil
	n.appends, n.writing, n.retry = nil, false, false
	n.handed, n.synced = 0, 0
	n.applyBusy = make(map[shard.ID]time.Duration)
	n.stores, n.waiters = make(map[shard.ID]*store.Store), make(map[shard.ID]*shard.Waiters)
	n.port = &port{n: n}
	n.firstSeq, n.submits = uint64(n.boots)<<32, 0
	n.s.trace.line(n.s.now, n.name(), "start", "life %d incarnation %d", n.boots, n.incarnation)
	if n.doomed > 0 && !n.s.healing {
		n.disk.dieAfter(n.doomed)
	}
	n.doomed = 0
	n.newHost()
	if err := n.open(); err != nil {
		if errors.Is(err, shard.ErrLogDamaged) && n.damaged {
			n.replaceDisk()
			return
		}
		// A disk that fails a sync ends a start as it ends a process that runs.
		if !errors.Is(err, errDead) && !errors.Is(err, errSync) {
			n.s.violate("restart", "%s: %v", n.name(), err)
		}
		n.s.report.count("recovery crash in restart")
		n.crash(0.5)
		n.restartLater(10 * time.Millisecond)
		return
	}
	n.process()
	n.tickLater()
	n.flushLater()
	if n.placed != nil {
		n.placed.started()
	}
}

func (n *simNode) newHost() {
	w := &n.s.opts.swarm
	n.router = router.New(router.Config{
		Node: n.id, Network: n.port, FirstSeq: n.firstSeq,
		Limits: router.Limits{Timeout: requestTimeout, RoundTimeout: 200 * time.Millisecond},
	})
	n.host = shard.NewHost(shard.HostConfig{
		Node: n.id, Incarnation: n.incarnation,
		Timing:  shard.Timing{Tick: w.tick, HeartbeatTicks: w.heartbeatTicks, ElectionTicks: w.electionTicks, ColdTicks: w.electionTicks},
		Limits:  shard.Limits{LagEntries: w.lagEntries, CacheBytes: w.cacheBytes, ApplyEntries: 16, ProposeCommands: 8},
		Windows: w.windows,
	}, shard.Ports{Log: n, Network: n.port, Apply: applyPort{n}, Snapshots: snapshotPort{n}, Outcome: outcome{n.router, n}})
	n.router.SetHost(n.host)
	n.tellTime()
}

// open recovers the log and every shard.
func (n *simNode) open() (err error) {
	if n.log, err = wal.Open(n.disk, "wal", wal.Options{SegmentBytes: n.s.opts.swarm.segmentBytes}); err != nil {
		return err
	}
	if n.log.Stats().Torn {
		n.s.report.count("recovery torn tail")
	}
	if n.placed != nil {
		return n.placed.open()
	}
	for _, id := range n.s.shardIDs() {
		if err := n.openShard(id, n.incarnation); err != nil {
			return err
		}
	}
	return nil
}

func (n *simNode) openShard(id shard.ID, incarnation uint16) error {
	if err := n.restore(id, incarnation); err != nil {
		return fmt.Errorf("shard %d: %w", id, err)
	}
	n.s.check.restarted(n, id)
	return nil
}

func (n *simNode) restore(id shard.ID, incarnation uint16) error {
	s, err := store.Open(n.memory, id, store.Options{})
	if err != nil {
		return err
	}
	state, err := n.log.State(shard.Group(id))
	if err != nil {
		return err
	}
	c, mend, err := shard.Restore(id, n.s.engineOf(id), s.Applied(), state, n.s.firstConfiguration(id))
	if err != nil {
		return err
	}
	if c.Log.Released > state.Released {
		n.s.report.count("recovery engine ahead of log")
	}
	if c.Log.InDoubt {
		n.s.report.count("recovery log damaged")
		n.s.trace.line(n.s.now, n.name(), "doubt", "shard %d: faulty %v, hard state in doubt: %v", id, state.Faulty, state.Suspect)
	}
	if mend != nil {
		if err := errors.Join(n.log.Write(mend), n.log.Sync()); err != nil {
			return err
		}
	}
	c.Rand = rand.New(rand.NewPCG(n.s.opts.Seed, uint64(n.index)<<32|uint64(n.boots)<<16|uint64(id)))
	waiters := shard.NewWaiters(func(int) {})
	_, err = n.host.Add(id, shard.ReplicaConfig{
		Engine: n.s.checkedEngine(n.s.engineOf(id), n, id), Machine: c, Store: s, Waiters: waiters,
		Incarnation: incarnation, Observe: n.s.check.observer(n, id),
	})
	if err != nil {
		return err
	}
	n.router.AddShard(id, waiters, c.Applied)
	n.stores[id], n.waiters[id] = s, waiters
	return nil
}

// replica is the running process's replica of a shard.
func (n *simNode) replica(id shard.ID) (*shard.Replica, bool) {
	if !n.up {
		return nil, false
	}
	return n.host.Replica(id)
}

// carried are the shards that the running process carries.
func (n *simNode) carried() (ids []shard.ID) {
	if n.up {
		for _, id := range n.s.shardIDs() {
			if _, ok := n.stores[id]; ok {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// votes reports whether the node's present incarnation is a voter of a shard, by
// the latest decided configuration.
func (n *simNode) votes(id shard.ID) bool {
	c := &n.s.check.shard(id).configuration
	return slices.Contains(c.Voters, n.replicaID(id))
}

// submit hands a command to the router and returns the request id that it gets.
func (n *simNode) submit(id shard.ID, kind store.Kind, body []byte, a shard.Answer) store.RequestID {
	n.submits++
	request := store.RequestID{Node: uint64(n.id), Seq: n.firstSeq + n.submits}
	n.router.Submit(id, kind, body, a)
	return request
}

// replicaID is who the node is, or would be, in a shard.
func (n *simNode) replicaID(id shard.ID) consensus.ReplicaID {
	if r, ok := n.replica(id); ok {
		return r.Status().ID
	}
	return shard.ReplicaOf(n.id, n.incarnation)
}

// firstConfiguration is what a shard begins with.
func (s *Sim) firstConfiguration(id shard.ID) consensus.Configuration {
	if s.moves != nil {
		return s.moves.firstConfiguration(id)
	}
	var c consensus.Configuration
	if s.engineOf(id).Name == paxos.Engine.Name && len(s.nodes) == 5 {
		c.WriteQuorum = s.opts.swarm.writeQuorum
	}
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
	n.later(time.Duration(float64(n.s.opts.swarm.tick)/n.skew), func() {
		n.router.SetNoSpace(n.disk.full)
		n.host.Tick()
		n.router.Tick()
		n.process()
		n.tickLater()
	})
}

// flushLater flushes the engine, releases the log and prunes, now and then.
func (n *simNode) flushLater() {
	n.later(n.s.between(0, 2*n.s.opts.swarm.flushEvery), func() {
		if n.s.chance(0.7) {
			if err := n.memory.Flush(); err != nil {
				n.s.violate("engine", "%s flush: %v", n.name(), err)
			}
		}
		for _, id := range n.carried() {
			flushed, err := n.stores[id].DurableApplied()
			if err != nil {
				n.s.violate("engine", "%s shard %d: %v", n.name(), id, err)
			}
			n.host.Durably(id, consensus.Index(flushed.Index))
			if n.s.chance(0.3) {
				if _, err := n.stores[id].DB().Prune(40); err != nil {
					n.s.violate("engine", "%s shard %d prune: %v", n.name(), id, err)
				}
			}
		}
		if n.placed != nil {
			n.placed.carry()
		}
		n.process()
		n.flushLater()
	})
}

// crash ends the process; the disk keeps what was synced and some of the rest.
func (n *simNode) crash(keep float64) {
	n.s.trace.line(n.s.now, n.name(), "crash", "keeping %.0f%% of what was not synced", keep*100)
	n.down()
	n.disk.crash(keep)
	n.memory = n.memory.Crash(n.rng.IntN)
}

// stop ends the process in good order.
func (n *simNode) stop() {
	n.s.trace.line(n.s.now, n.name(), "stop", "")
	if err := errors.Join(n.memory.Flush(), n.log.Close()); err != nil && !errors.Is(err, errDead) && !errors.Is(err, errSync) {
		n.s.violate("stop", "%s: %v", n.name(), err)
	}
	n.down()
	n.disk.locks = make(map[string]bool)
	if n.disk.dead {
		n.disk.crash(0.5)
	}
}

// halt ends the process with its log in good order and its engine as a crash leaves it.
// It reports false if the log could not be closed.
func (n *simNode) halt() bool {
	err := n.log.Close()
	n.down()
	n.disk.crash(0.5)
	n.memory = n.memory.Crash(n.rng.IntN)
	if err != nil {
		n.restartLater(n.s.between(0, 100*time.Millisecond))
	}
	return err == nil
}

// damaged reports whether some node's log has rotted and is not repaired yet.
func (s *Sim) damaged() bool {
	for _, n := range s.nodes {
		n.damaged = n.damaged && (!n.up || n.inDoubt())
		if n.damaged {
			return true
		}
	}
	return false
}

func (n *simNode) inDoubt() bool {
	return slices.ContainsFunc(n.host.Replicas(), (*shard.Replica).InDoubt)
}

func (n *simNode) down() {
	n.up, n.paused, n.asleep = false, false, nil
	n.boots++
	n.s.peersSee(n, consensus.PeerReset)
	n.s.lost(n)
}

// restartLater starts the process after a while, unless it runs by then.
func (n *simNode) restartLater(d time.Duration) {
	n.s.after(d, func() {
		if !n.up && !n.gone() {
			n.start()
		}
	})
}

// wipe replaces the disk of a process that is down.
func (n *simNode) wipe() {
	if n.disks++; n.placed == nil {
		n.incarnation++
	} else {
		n.placed.wiped() // it gets its incarnation when it joins
	}
	n.disk, n.memory = newDisk(n.rng), engine.NewMemory()
	n.s.trace.line(n.s.now, n.name(), "wipe", "incarnation %d", n.incarnation)
}

// replaceDisk is what an operator does with a log that its engine cannot repair: the node
// comes back empty, under its next incarnation.
func (n *simNode) replaceDisk() {
	n.s.report.count("recovery damaged log refused")
	n.crash(0)
	n.wipe()
	n.damaged = false
	n.restartLater(10 * time.Millisecond)
}

// resume lets a paused process go on with what has arrived meanwhile.
func (n *simNode) resume() {
	if !n.paused {
		return
	}
	n.paused = false
	n.s.trace.line(n.s.now, n.name(), "resume", "%d events", len(n.asleep))
	asleep, life := n.asleep, n.boots
	n.asleep = nil
	if n.s.chance(0.5) { // sockets, timers and disk do not wait for each other
		n.s.rng.Shuffle(len(asleep), func(i, j int) { asleep[i], asleep[j] = asleep[j], asleep[i] })
	}
	for _, do := range asleep {
		if n.boots == life {
			n.whenAwake(do)
		}
	}
}

// heal ends what is wrong with the node.
func (n *simNode) heal() {
	n.disk.full, n.disk.badSync, n.extraSync, n.doomed = false, false, 0, 0
	n.disk.left = 0
	n.setSkew(1)
	n.resume()
	if !n.up && !n.gone() {
		n.start()
	}
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
