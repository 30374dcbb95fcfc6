package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/engine"
	"github.com/quorate/quorate/internal/mvcc"
	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/router"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/transport"
	"github.com/quorate/quorate/internal/wal"
)

// The shards that every cluster has.
const (
	SystemShard  = shard.ID(1) // nodes, the feature level, the catalog: every node has a replica
	DefaultShard = shard.ID(2) // the keyspace of clients that name none
)

// SystemKeyspace and DefaultKeyspace are their keyspaces' names.
const (
	SystemKeyspace  = "system"
	DefaultKeyspace = "default"
)

// Node is one running node. Its methods are safe for concurrent use.
type Node struct {
	cfg      Config
	identity identity
	boots    uint64 // starts of this node on its disk, this one included
	dir      *dataDir
	engine   *engine.Pebble
	cache    *mvcc.Cache // of all shards
	log      *logWriter
	appliers *appliers
	peers    *peerBook

	transport *transport.Transport
	listeners []net.Listener

	turn turn
	// Owned by whoever has the turn.
	host     *shard.Host
	router   *router.Router
	packet   transport.Packet
	refusals refusalLog

	keyspaces   keyspaceTable
	unquoted    keyspaceSet // those whose quota may have to be set
	unpruned    keyspaceSet // those in which something may have been compacted
	unreleased  keyspaceSet // those whose log may have grown
	flushes     int64       // of the engine when all logs were last released; the housekeeper's own
	catalog     *carrier
	mover       *mover
	liveness    *liveness
	mail        *mailbox
	stopLoop    chan struct{}
	loopDone    chan struct{}
	ctx         context.Context // ends when the node stops
	cancel      context.CancelFunc
	tasks       sync.WaitGroup
	failOnce    sync.Once
	stopOnce    sync.Once
	hasten      sync.Once   // after the first peer was met
	member      atomic.Bool // DIR/member is written: before, nothing else is (N1), not even whom it meets
	diskFull    atomic.Bool
	waiting     atomic.Int64                 // this node's requests to all shards
	recentShare atomic.Int64                 // what each keyspace may hold of its newest events, in bytes
	pruned      atomic.Uint64                // physical compactions done
	received    atomic.Uint64                // snapshots, to name their files
	reclaimed   uint64                       // of those, followed by Engine.Compact; the housekeeper's own
	levelAt     int64                        // revision of the system keyspace that it was read at; likewise
	level       atomic.Uint32                // the replicated feature level
	stages      atomic.Pointer[shard.Stages] // as of the last tick
	ready       chan struct{}                // closed once this node has served
	failed      chan error                   // holds the error that N2 is about
	disagreed   chan error                   // holds the first disagreement with a peer (N4)
}

// Start opens the data directory, joins the peers and begins to serve. It
// returns an error of one sentence for what the operator can mend; nothing on
// disk is harmed then.
func Start(ctx context.Context, cfg Config) (*Node, error) {
	cfg.setDefaults()
	n := &Node{
		cfg:      cfg,
		stopLoop: make(chan struct{}), loopDone: make(chan struct{}),
		ready: make(chan struct{}), failed: make(chan error, 1), disagreed: make(chan error, 1),
	}
	n.catalog, n.mover = newCarrier(n), newMover(n)
	n.mail = newMailbox(n.tryTurn)
	n.ctx, n.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := n.start(ctx); err != nil {
		n.abandon()
		return nil, err
	}
	return n, nil
}

func (n *Node) start(ctx context.Context) (err error) {
	if err := n.cfg.validate(); err != nil {
		return err
	}
	if n.dir, err = openDataDir(n.cfg.FS, n.cfg.DataDir, n.cfg.WALDir); err != nil {
		return err
	}
	known, err := n.dir.identity()
	if err != nil {
		return err
	}
	if known != nil {
		if err := n.adopt(known); err != nil {
			return err
		}
	} else if n.identity, err = n.newIdentity(ctx); err != nil {
		return err
	}
	if n.peers, err = openPeerBook(n.dir); err != nil {
		return err
	}
	n.liveness = newLiveness(n.cfg.Clock, n.identity.Node)
	n.catalog.mu.catalog = n.newCatalog()
	if err := n.listen(); err != nil {
		return err
	}
	if known == nil {
		if err := n.bootstrap(ctx); err != nil {
			return err
		}
	}
	n.member.Store(true)
	if err := n.openState(); err != nil {
		return err
	}
	n.run()
	return nil
}

// openState opens log and engine and restores the replicas.
func (n *Node) openState() error {
	starts, err := n.dir.starts()
	if err != nil {
		return err
	}
	log, err := wal.Open(n.cfg.FS, n.dir.wal, wal.Options{
		Identity: n.identity.logIdentity(), MustExist: starts > 0, SegmentBytes: n.segmentBytes(),
	})
	if err != nil {
		return fmt.Errorf("open write-ahead log %s: %w", n.dir.wal, err)
	}
	n.log = newLogWriter(n, log)
	pebble, err := engine.OpenPebble(n.cfg.FS, n.dir.join("db"), engine.Options{
		Fatal: n.fatalEngine, Log: func(line string) { n.cfg.Logger.Warn("engine", "line", line) },
	})
	if err != nil {
		return fmt.Errorf("open engine %s: %w", n.dir.join("db"), err)
	}
	n.engine, n.cache = pebble, mvcc.NewCache(cacheBytes)
	if n.boots, err = n.dir.countStart(starts); err != nil {
		return err
	}
	n.appliers = newAppliers(n, max(2, runtime.GOMAXPROCS(0)))
	ports := shard.Ports{
		Log: n.log, Network: shardNetwork{n}, Apply: n.appliers, Snapshots: snapshotStreams{n},
	}
	n.router = router.New(router.Config{
		Node: n.identity.Node, Network: shardNetwork{n}, Limits: n.cfg.routerLimits(),
		FirstSeq: firstSeq(n.boots),
	})
	ports.Outcome = n.router
	n.host = shard.NewHost(shard.HostConfig{
		Node: n.identity.Node, Incarnation: n.identity.Incarnation, Timing: n.cfg.timing(),
		Limits: shard.Limits{LagEntries: n.cfg.LagEntries},
	}, ports)
	n.router.SetHost(n.host)
	n.shareMemory()
	return n.openOwn()
}

// segmentBytes is the log's default, or less on a small disk: the log keeps a few
// segments whatever it holds, and both must fit the largest batch.
func (n *Node) segmentBytes() int64 {
	usage, err := n.cfg.FS.GetDiskUsage(n.cfg.DataDir)
	if err != nil || usage.TotalBytes >= smallDiskBytes {
		return 0
	}
	return smallDiskSegmentBytes
}

// cacheBytes bounds the newest records kept for puts and gets of all shards. A put that
// does not find there what it replaces asks the engine, which is a third of an apply.
const cacheBytes = 48 << 20

const (
	smallDiskBytes        = 4 << 30
	smallDiskSegmentBytes = 16 << 20
)

// firstSeq is above every request number of earlier starts, whatever the clock
// says. Numbers have 55 bits (package router): a node can start 2^19 times and
// make 2^36 requests each time.
func firstSeq(boots uint64) uint64 { return boots << 36 }

func (n *Node) run() {
	n.start1(n.log.run)
	n.start1(n.log.maintain)
	for range logReaders {
		n.start1(n.log.runReader)
	}
	for _, q := range n.appliers.queues {
		n.start1(func() { n.appliers.run(q) })
	}
	go n.loop()
	n.transport.SetPeers(n.firstPeers())
	n.start1(n.housekeep)
	n.start1(n.catalog.run)
	n.start1(n.mover.run)
	n.start1(n.prune)
	if n.cfg.Compaction != (Compaction{}) {
		n.start1(n.autoCompact)
	}
}

func (n *Node) start1(f func()) {
	n.tasks.Add(1)
	go func() {
		defer n.tasks.Done()
		f()
	}()
}

// fail reports what this node cannot survive (N2).
func (n *Node) fail(err error) {
	n.failOnce.Do(func() {
		n.cfg.Logger.Error("this node cannot go on", "error", err)
		n.failed <- err
	})
}

// fatalEngine ends the process at once: the engine cannot go on, its caller must
// not, and what is not in the log's durable part was acknowledged to nobody (N2).
func (n *Node) fatalEngine(err error) {
	n.cfg.Logger.Error("the engine failed: the process ends, start it again when the disk is mended", "dir", n.cfg.DataDir, "error", err)
	n.cfg.Exit(exitEngine)
}

// exitEngine is the exit code after an engine failure.
const exitEngine = 1

// Ready is closed once this node has served: it is registered, and a read of its
// default keyspace was confirmed by a leader.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// Failed delivers the error after which this node must not go on (N2).
func (n *Node) Failed() <-chan error { return n.failed }

// Close answers what waits and closes everything. Call HandOver first to spare
// the cluster an election.
func (n *Node) Close() error {
	var err error
	n.stopOnce.Do(func() { err = n.close() })
	return err
}

// TransferLeadership makes a member lead a keyspace that this node leads, and records that it
// should. It returns when the transfer has begun.
func (n *Node) TransferLeadership(ctx context.Context, keyspace string, to uint64) error {
	k, ok := n.keyspaces.named(keyspace)
	if !ok {
		return router.ErrUnknownKeyspace
	}
	if k.shard >= placement.FirstShard {
		_, err := n.change(ctx, func(c *placement.Catalog) (placement.Keyspace, error) { return c.Prefer(keyspace, to) })
		if err != nil {
			return fmt.Errorf("transfer leadership of %s to member %x: %w", keyspace, to, err)
		}
	}
	return n.onLoop(func() error {
		for _, id := range k.replica.Status().Configuration.Voters {
			if uint64(shard.NodeOf(id)) == to {
				return n.host.Transfer(k.shard, id)
			}
		}
		return fmt.Errorf("transfer leadership of %s to member %x: %w", keyspace, to, consensus.ErrNotMember)
	})
}

// HandOver asks every shard that this node leads to choose another leader, and
// waits until none is led here or ctx ends.
func (n *Node) HandOver(ctx context.Context) error {
	for {
		leads := false
		err := n.onLoop(func() error {
			for _, r := range n.host.Replicas() {
				if s := r.Status(); s.Role == consensus.Leader && len(s.Configuration.Voters) > 1 {
					leads = true
					if s.Transferee == 0 {
						_ = n.host.Transfer(shard.ID(s.Group), 0) // refused: tried again below
					}
				}
			}
			return nil
		})
		if err != nil || !leads {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("hand leadership over: %w", ctx.Err())
		case <-time.After(n.cfg.tick()):
		}
	}
}

// close stops the goroutines from the outside in and closes the files.
func (n *Node) close() error {
	n.cancel()
	n.transport.Close()
	close(n.stopLoop)
	<-n.loopDone
	n.log.close()
	n.appliers.close()
	n.tasks.Wait()
	err := n.engine.Flush()
	return errors.Join(err, n.engine.Close(), n.log.log.Close(), n.dir.close())
}

// abandon closes what a failed start has opened.
func (n *Node) abandon() {
	n.cancel()
	if n.transport != nil {
		n.transport.Close()
	}
	for _, l := range n.listeners {
		l.Close()
	}
	if n.engine != nil {
		n.engine.Close()
	}
	if n.log != nil {
		n.log.log.Close()
	}
	if n.dir != nil {
		n.dir.close()
	}
}

// Keyspace returns a keyspace by name, if this node serves it. A replica that comes or goes does
// not; one that the catalog has already made a voter serves from the moment it is one, but for the
// system keyspace's, which is read wherever it is.
func (n *Node) Keyspace(name string) (*Keyspace, bool) {
	k, ok := n.keyspaces.named(name)
	if !ok || k.deleted.Load() || k.elsewhere.Load() {
		return k, false
	}
	return k, k.shard == SystemShard || !k.status.Load().IsLearner
}

// Keyspaces returns all that this node carries, by shard.
func (n *Node) Keyspaces() []*Keyspace { return n.keyspaces.all() }

// ClusterID is the cluster's id, as etcd's API shows it.
func (n *Node) ClusterID() uint64 { return n.identity.Cluster }

// MemberID is this node's id, as etcd's API shows it.
func (n *Node) MemberID() uint64 { return uint64(n.identity.Node) }

// DiskBytes is what engine and log take on disk.
func (n *Node) DiskBytes() int64 { return n.engine.Stats().DiskBytes + n.log.log.Stats().Live }

// Level is the feature level that every member has announced.
func (n *Node) Level() uint32 { return n.level.Load() }
