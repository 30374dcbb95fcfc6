package node

import (
	"sync"

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
	eventApplied
	eventLogRead
	eventSent
	eventCall
)

// mailbox collects what the loop is to do on its next turn: whatever arrives
// while a turn runs forms the next batch.
type mailbox struct {
	wake chan struct{} // holds one token while there may be something

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

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

// postClient adds a client's request, or returns router.ErrTooManyRequests or
// router.ErrStopped.
func (m *mailbox) postClient(e event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.closed {
		return router.ErrStopped
	}
	if m.mu.clients >= mailboxClients {
		return router.ErrTooManyRequests
	}
	m.mu.clients++
	m.add(e)
	return nil
}

// postPackets adds a peer's packets of so many bytes; false means they are lost.
func (m *mailbox) postPackets(from shard.NodeID, packets []transport.Packet, bytes int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.closed || m.mu.bytes+bytes > mailboxBytes && m.mu.bytes > 0 {
		return false
	}
	m.mu.bytes += bytes
	m.add(event{kind: eventPackets, from: from, packets: packets})
	return true
}

// post adds a completion of the node's own work; there are never more of these
// than the work that was started. False means that the loop has ended.
func (m *mailbox) post(e event) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.closed {
		return false
	}
	m.add(e)
	return true
}

func (m *mailbox) add(e event) {
	m.mu.events = append(m.mu.events, e)
	if len(m.mu.events) == 1 {
		select {
		case m.wake <- struct{}{}:
		default:
		}
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
