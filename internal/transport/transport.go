package transport

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/quorate/quorate/internal/env"
)

// Handler is what a node does with what arrives. Its methods are called from
// connection goroutines, several at a time, and must not wait for anything that waits
// for the transport; Snapshot alone may take long.
type Handler interface {
	// Accept judges a dialler after the transport's own checks (T5). The text of an error
	// travels to the dialler as the reason. Probes come from nodes that may not be
	// members yet.
	Accept(Hello) error
	// Deliver hands over a frame's packets, which the handler then owns (T3). One
	// connection delivers in the order of Send, one call at a time.
	Deliver(from NodeID, packets []Packet)
	// PeerUp says that what is sent to a peer of SetPeers now has somewhere to go.
	PeerUp(NodeID)
	// PeerDown ends that, or says that the peer was not reached at all (T6). reset means
	// that the peer's process ended, as far as a connection can tell.
	PeerDown(id NodeID, reset bool)
	// Snapshot reads a state to its end and installs it. Only io.EOF from r means that
	// the state is complete and unharmed (T7); nothing may be installed before. The error
	// travels to the sender.
	Snapshot(from NodeID, h SnapshotHeader, r io.Reader) error
	// Probe answers a node that wants to know whether it is known here.
	Probe(Hello) ProbeReply
}

// Config is what a transport is made of. Network, Clock and Handler are required.
type Config struct {
	Identity Identity
	Network  env.Network
	Clock    env.Clock
	Handler  Handler
	Logger   *slog.Logger // nil: silent
	// Seed differs between any two starts: it tells peers one life of this process from
	// the next, and spreads retries. Zero: env.Seed.
	Seed uint64
	// Agree compares what the other end of a connection says of itself with this node, at
	// both ends and for probes of this cluster, too (T5). The text of an error is the
	// refusal's; nil agrees to everything.
	Agree  func(other Identity) error
	Limits Limits
}

// Transport connects a node with its peers. All methods are safe for concurrent use.
type Transport struct {
	config Config
	limits Limits
	log    *slog.Logger

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // every goroutine, and Serve

	// peers is replaced by SetPeers and read without a lock by Send and Flush.
	peers atomic.Pointer[map[NodeID]*peer]

	// mu guards who is connected. Locks are taken in the order mu, peer.live, outbox;
	// no handler is called under any of them but liveness.emit.
	mu struct {
		sync.Mutex
		closed     bool
		listeners  map[net.Listener]struct{}
		inbound    map[inboundKey]*inbound // live connections
		counters   map[NodeID]*peerCounters
		strangers  limiter    // of log lines about inbound connections
		problem    string     // the last of them
		handshakes handshakes // connections that are not live yet
	}

	snapshotsOut chan struct{} // a token per stream being sent
	snapshotsIn  atomic.Int64  // streams being received
	counters     transportCounters
}

// New returns a transport that neither listens nor dials yet.
func New(config Config) *Transport {
	if config.Handler == nil || config.Network == nil || config.Clock == nil {
		panic("transport: Config needs Network, Clock and Handler")
	}
	if id := config.Identity.Node; id == 0 || id > MaxNodeID {
		panic("transport: node id " + id.String() + " is not within 48 bits")
	}
	if n := len(config.Identity.Terms); n > maxTermsBytes {
		panic(fmt.Sprintf("transport: terms of %d bytes, limit %d", n, maxTermsBytes))
	}
	if config.Seed == 0 {
		config.Seed = env.Seed()
	}
	t := &Transport{config: config, limits: config.Limits.withDefaults(), log: config.Logger}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.mu.listeners = make(map[net.Listener]struct{})
	t.mu.strangers.burst = 10
	t.mu.counters = make(map[NodeID]*peerCounters)
	t.mu.inbound = make(map[inboundKey]*inbound)
	t.snapshotsOut = make(chan struct{}, t.limits.SnapshotsOut)
	t.peers.Store(&map[NodeID]*peer{})
	return t
}

// SetPeers replaces the set of nodes that this one keeps connections to. Connections
// from a node that left the set, or whose incarnation changed, are closed. This node's
// own id is ignored, so that a whole membership can be passed; of two with one id the
// first counts.
func (t *Transport) SetPeers(peers []Peer) {
	t.mu.Lock()
	if t.mu.closed {
		t.mu.Unlock()
		return
	}
	old := *t.peers.Load()
	next := make(map[NodeID]*peer, len(peers))
	var started []*peer
	for _, target := range peers {
		if target.ID == t.config.Identity.Node || next[target.ID] != nil {
			continue
		}
		p, known := old[target.ID]
		if !known || p.target != target {
			p = newPeer(t, target, p)
			started = append(started, p)
		}
		next[target.ID] = p
	}
	var ended []*peer
	var foreign []*inbound
	for id, p := range old {
		if next[id] == p {
			continue
		}
		ended = append(ended, p)
		if kept := next[id]; kept == nil || kept.target.Incarnation != p.target.Incarnation {
			foreign = append(foreign, t.takeInbound(id)...)
		}
	}
	for _, p := range started {
		if in := t.mu.inbound[inboundKey{p.target.ID, PurposeMessages}]; in != nil {
			p.live.adopt(in)
		}
		t.wg.Add(1)
	}
	t.peers.Store(&next)
	t.mu.Unlock()

	for _, p := range ended {
		p.stop()
	}
	for _, in := range foreign {
		in.conn.Close()
	}
	for _, p := range started {
		go p.run()
	}
}

// takeInbound removes a node's live connections from the books and returns them.
func (t *Transport) takeInbound(id NodeID) []*inbound {
	var taken []*inbound
	for _, purpose := range []Purpose{PurposeMessages, PurposeSnapshot} {
		key := inboundKey{id, purpose}
		if in := t.mu.inbound[key]; in != nil {
			delete(t.mu.inbound, key)
			taken = append(taken, in)
		}
	}
	return taken
}

// peer returns a peer of SetPeers, or nil.
func (t *Transport) peer(id NodeID) *peer { return (*t.peers.Load())[id] }

// Send encodes p into the peer's buffer; it leaves with the next Flush, or earlier
// when much is waiting. False means that the packet is lost: the peer is not
// connected, its buffer is full, or the packet is above Limits.FrameBytes. True
// promises nothing (T2). p is not kept.
func (t *Transport) Send(to NodeID, p *Packet) bool {
	peer := t.peer(to)
	if peer == nil {
		t.counters.unknown.Add(1)
		return false
	}
	return peer.send(p)
}

// Flush lets everything that was sent leave: one write per peer. A caller that sends
// several packets calls it once, behind the last.
func (t *Transport) Flush() {
	for _, p := range *t.peers.Load() {
		p.flush()
	}
}

// Close ends all connections and returns when no handler is running and none will be
// called again. Peers see it as the end of the process. It must not be called by a
// handler.
func (t *Transport) Close() {
	t.mu.Lock()
	if t.mu.closed {
		t.mu.Unlock()
		t.wg.Wait()
		return
	}
	t.mu.closed = true
	t.cancel()
	for l := range t.mu.listeners {
		l.Close()
	}
	conns := t.mu.handshakes.all()
	for _, in := range t.mu.inbound {
		conns = append(conns, in.conn)
	}
	t.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
	t.wg.Wait()
}

// sortedPeers returns the peers by id.
func (t *Transport) sortedPeers() []*peer {
	peers := *t.peers.Load()
	sorted := make([]*peer, 0, len(peers))
	for _, id := range slices.Sorted(maps.Keys(peers)) {
		sorted = append(sorted, peers[id])
	}
	return sorted
}
