package node

import (
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/router"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/transport"
)

// turn is the right to step the host and the router: whoever holds the lock owns them.
//
// A busy node's turns run on the loop's goroutine, and what arrives during one forms
// the batch of the next. When there is little to do there is no batch to wait for, and
// waking that goroutine takes longer than its turn: a put passed through it a dozen
// times on three nodes. So on a quiet node whoever brings an event runs the turn: the
// reader of the connection, the log's writer, the client's own handler.
type turn struct {
	sync.Mutex
	events []event // of the last turn, to be used again
	seen   int     // events since the last tick
	peak   int     // requests in progress at once since the last tick, at most
	ended  bool
}

// A node is quiet when between two ticks it had fewer events and requests in progress
// than this: from there on batches are worth waiting for. One client that puts makes
// about five events each time. With 64 of them on a node that runs all turns at once,
// every entry would be a batch of its own.
const (
	busyEventsPerSecond = 10000
	busyRequests        = 5
)

// slowTicks is how many ticks a node takes at once while all its replicas rest: half a
// heartbeat interval. Nobody waits for time then but the nodes that listen for this one. What
// comes in is dealt with at once, and what it wakes is ticked as ever after the next of these.
const slowTicks = ticksPerHeartbeat / 2

// loop is the goroutine that keeps time and takes the turns of a busy node.
func (n *Node) loop() {
	defer close(n.loopDone)
	ticker := time.NewTicker(n.cfg.tick())
	defer ticker.Stop()
	slow := false
	busy := int(busyEventsPerSecond * n.cfg.tick().Seconds())
	for {
		tick := false
		select {
		case <-n.mail.wake:
		case <-ticker.C:
			tick = true
		case <-n.stopLoop:
			n.turn.Lock()
			n.endLoop()
			n.turn.Unlock()
			return
		}
		n.turn.Lock()
		if tick {
			n.mail.quiet.Store(n.turn.seen < busy && n.turn.peak < busyRequests)
			n.turn.seen, n.turn.peak = 0, 0
		}
		if tick && slow && n.host.Rests() {
			n.host.Skip(slowTicks - 1)
		}
		n.step(tick)
		if rests := n.host.Rests(); rests != slow {
			slow = rests
			period := n.cfg.tick()
			if slow {
				period *= slowTicks
			}
			ticker.Reset(period)
		}
		n.turn.Unlock()
	}
}

// tryTurn runs a turn in the caller's goroutine, unless one is under way.
func (n *Node) tryTurn() bool {
	if !n.turn.TryLock() {
		return false
	}
	defer crashOnPanic()
	n.step(false)
	n.turn.Unlock()
	return true
}

// crashOnPanic ends the process when a turn panics. The caller may be a handler whose
// server recovers from panics, as net/http does: it must not survive a broken invariant,
// with the turn locked forever.
func crashOnPanic() {
	if p := recover(); p != nil {
		stack := debug.Stack()
		go func() { panic(fmt.Sprintf("%v, in a turn of the node\n\n%s", p, stack)) }()
		select {}
	}
}

// step is one turn; the caller holds it.
func (n *Node) step(tick bool) {
	if n.turn.ended {
		return
	}
	now := n.cfg.Clock.Monotonic()
	n.host.SetNow(now)
	n.router.SetNow(now)
	n.router.SetWall(n.cfg.Clock.Now().UnixNano())
	events := n.mail.take(n.turn.events)
	for i := range events {
		n.dispatch(&events[i])
	}
	n.turn.seen += len(events)
	clear(events)
	n.turn.events = events
	if tick {
		n.host.Tick()
		n.router.Tick()
		n.shareMemory()
		stages := *n.host.Stages()
		n.stages.Store(&stages)
	}
	n.process()
}

// What the keyspaces that are not cold may hold of their newest events, all together and each
// at least, in bytes.
const (
	recentsBytes   = 64 << 20
	recentShareMin = 64 << 10
)

// shareMemory divides it among them.
func (n *Node) shareMemory() {
	n.recentShare.Store(int64(max(recentShareMin, recentsBytes/max(1, n.host.Warm()))))
}

// process lets router and host do what follows, until nothing more does. The
// bound is there so that two of them refusing each other cannot starve the
// mailbox: what is left is done on the next turn or tick.
func (n *Node) process() {
	const rounds = 4
	for range rounds {
		worked := n.router.Flush()
		n.host.Process()
		if !worked {
			break
		}
	}
	n.transport.Flush()
	n.turn.peak = max(n.turn.peak, n.publish())
}

func (n *Node) dispatch(e *event) {
	switch e.kind {
	case eventSubmit:
		n.router.Submit(e.shard, e.command, e.body, e.answer)
	case eventBarrier:
		n.router.Barrier(e.shard, e.done)
	case eventLease:
		n.router.Lease(e.shard, e.lease, e.renew, e.leased)
	case eventPackets:
		n.receive(e.from, e.packets)
	case eventPeer:
		n.host.PeerState(e.from, e.state)
	case eventDurable:
		n.host.Durable(e.ticket)
	case eventApplied:
		if err := n.host.Applied(e.applied); err != nil {
			n.fail(err)
		}
	case eventLogRead:
		n.host.LogRead(e.read)
	case eventSent:
		n.host.SnapshotSent(e.sent, e.ok)
	case eventCall:
		err := e.call()
		if e.done != nil {
			e.done(err)
		}
	}
}

func (n *Node) receive(from shard.NodeID, packets []transport.Packet) {
	for i := range packets {
		p := &packets[i]
		var err error
		switch p.Kind {
		case transport.PacketConsensus:
			err = n.host.Receive(&p.Message)
		case transport.PacketForward:
			err = n.router.Receive(from, p.Body)
		}
		if err != nil {
			n.refusals.log(n.cfg.Logger, from, err)
		}
	}
}

// endLoop answers everything that waits. There is no turn after it.
func (n *Node) endLoop() {
	n.turn.ended = true
	for _, e := range n.mail.close() {
		switch e.kind {
		case eventSubmit:
			e.answer(nil, router.ErrStopped)
		case eventBarrier:
			e.done(router.ErrStopped)
		case eventLease:
			e.leased(0, 0, router.ErrStopped)
		case eventCall:
			if e.done != nil {
				e.done(router.ErrStopped)
			}
		}
	}
	n.router.Stop()
}

// ownTurn runs f with the turn, before the loop runs or while it does.
func (n *Node) ownTurn(f func() error) error {
	n.turn.Lock()
	defer n.turn.Unlock()
	if n.turn.ended {
		return router.ErrStopped
	}
	defer crashOnPanic()
	return f()
}

// onLoop runs f on the loop and waits for it.
func (n *Node) onLoop(f func() error) error {
	done := make(chan error, 1)
	if !n.mail.post(event{kind: eventCall, call: f, done: func(err error) { done <- err }}) {
		return router.ErrStopped
	}
	return <-done
}

// shardNetwork gives the host and the router the transport.
type shardNetwork struct{ n *Node }

// Send implements shard.NetworkPort.
func (s shardNetwork) Send(to shard.NodeID, m *consensus.Message) bool {
	p := &s.n.packet
	p.Kind, p.Message, p.Body = transport.PacketConsensus, *m, nil
	return s.n.transport.Send(transport.NodeID(to), p)
}

// Forward implements router.Network.
func (s shardNetwork) Forward(to shard.NodeID, body []byte) bool {
	p := &s.n.packet
	p.Kind, p.Message, p.Body = transport.PacketForward, consensus.Message{}, body
	return s.n.transport.Send(transport.NodeID(to), p)
}
