package node

import (
	"sync"
	"sync/atomic"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/router"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/store"
	"github.com/quorate/quorate/internal/transport"
)

// event is one input of the loop; its kind decides which fields count. One
// struct, not an interface: events are the hot path.
type event struct {
	kind eventKind

	shard   shard.ID
	command store.Kind
	body    []byte
	answer  shard.Answer       // eventSubmit
	done    func(error)        // eventBarrier, eventCall
	lease   int64              // eventLease
	renew   bool               // eventLease
	leased  router.LeaseAnswer // eventLease

	from    shard.NodeID // eventPackets, eventPeer
	packets []transport.Packet
	state   consensus.PeerState // eventPeer

	ticket  shard.Ticket        // eventDurable
	applied *shard.ApplyJob     // eventApplied
	read    *shard.LogRead      // eventLogRead
	sent    *shard.SnapshotSend // eventSent
	ok      bool                // eventSent
	call    func() error        // eventCall: anything rare, on the loop
}

type eventKind uint8

const (
	eventSubmit eventKind = iota
	eventBarrier
	eventLease
	eventPackets
	eventPeer
	eventDurable
	eventApplied // the last that atOnce looks at
	eventLogRead
	eventSent
	eventCall
)

// atOnce reports whether an event may be dealt with in the goroutine that brings it.
// The rare ones are brought under locks of the transport, or by whoever waits for them.
func (k eventKind) atOnce() bool { return k <= eventApplied && k != eventPeer }

// mailbox collects what the loop is to do on its next turn: whatever arrives
// while a turn runs forms the next batch.
type mailbox struct {
	wake chan struct{} // holds one token while there may be something
	// quiet says that there is little to do: then whoever brings an event runs the
	// turn for it, if turn says that none was under way. See loop.go.
	quiet atomic.Bool
	turn  func() bool

	mu struct {
		sync.Mutex
		events  []event
		clients int // events of clients in events
		bytes   int // of peers' packets in events
		closed  bool
	}
}

// Limits of the mailbox. Clients above theirs are told to come back later; what
// peers send above theirs is lost, which consensus repairs.
const (
	mailboxClients = 20000
	mailboxBytes   = 64 << 20
)

func newMailbox(turn func() bool) *mailbox {
	return &mailbox{wake: make(chan struct{}, 1), turn: turn}
}

// postClient adds a client's request, or returns router.ErrTooManyRequests or
// router.ErrStopped.
func (m *mailbox) postClient(e event) error {
	m.mu.Lock()
	switch {
	case m.mu.closed:
		m.mu.Unlock()
		return router.ErrStopped
	case m.mu.clients >= mailboxClients:
		m.mu.Unlock()
		return router.ErrTooManyRequests
	}
	m.mu.clients++
	m.addAndUnlock(e)
	return nil
}

// postPackets adds a peer's packets of so many bytes; false means they are lost.
func (m *mailbox) postPackets(from shard.NodeID, packets []transport.Packet, bytes int) bool {
	m.mu.Lock()
	if m.mu.closed || m.mu.bytes+bytes > mailboxBytes && m.mu.bytes > 0 {
		m.mu.Unlock()
		return false
	}
	m.mu.bytes += bytes
	m.addAndUnlock(event{kind: eventPackets, from: from, packets: packets})
	return true
}

// post adds a completion of the node's own work; there are never more of these
// than the work that was started. False means that the loop has ended.
func (m *mailbox) post(e event) bool {
	m.mu.Lock()
	if m.mu.closed {
		m.mu.Unlock()
		return false
	}
	m.addAndUnlock(e)
	return true
}

// addAndUnlock adds an event and sees to it that a turn follows. Only the first event
// needs that: the turn that takes it takes the others, too.
func (m *mailbox) addAndUnlock(e event) {
	m.mu.events = append(m.mu.events, e)
	first := len(m.mu.events) == 1
	m.mu.Unlock()
	if !first || m.quiet.Load() && e.kind.atOnce() && m.turn() {
		return
	}
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// take exchanges what has arrived for an empty slice to collect the next.
func (m *mailbox) take(empty []event) []event {
	m.mu.Lock()
	defer m.mu.Unlock()
	events := m.mu.events
	m.mu.events, m.mu.clients, m.mu.bytes = empty[:0], 0, 0
	return events
}

// close lets nothing more in and returns what is left.
func (m *mailbox) close() []event {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.closed = true
	events := m.mu.events
	m.mu.events = nil
	return events
}
