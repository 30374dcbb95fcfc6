package transport

import (
	"sync/atomic"
	"time"
)

// peerCounters counts what travels between this node and another since the start.
type peerCounters struct {
	sentBytes, sentPackets, sentWrites atomic.Uint64
	receivedBytes, receivedPackets     atomic.Uint64
	lost                               [sendResults]atomic.Uint64 // by reason
	connects, dialFailures, refusals   atomic.Uint64
	rtt                                atomic.Int64 // smoothed, ns
}

// observeRTT smooths as TCP does: an eighth of what is new.
func (c *peerCounters) observeRTT(d time.Duration) {
	if d < 0 {
		return // not one of our stamps
	}
	old := c.rtt.Load()
	if old == 0 {
		c.rtt.Store(int64(d))
		return
	}
	c.rtt.Store(old + (int64(d)-old)/8)
}

type transportCounters struct {
	unknown                         atomic.Uint64
	refused, evicted, malformed     atomic.Uint64
	acceptErrors                    atomic.Uint64
	snapshotsSent, snapshotsInstall atomic.Uint64
	snapshotsFailed                 atomic.Uint64
	snapshotBytesSent               atomic.Uint64
	snapshotBytesReceived           atomic.Uint64
}

// countersOf is called with mu held. Counters outlive connections and membership.
func (t *Transport) countersOf(id NodeID) *peerCounters {
	c := t.mu.counters[id]
	if c == nil {
		c = &peerCounters{}
		t.mu.counters[id] = c
	}
	return c
}

// Stats is a moment's view of a transport. All counts are since the start.
type Stats struct {
	Peers []PeerStats // by id

	Inbound    int // live inbound connections now
	Handshakes int // inbound connections that are not live yet

	Problem string // the last with an inbound connection, and its address; empty: none

	Refused      uint64 // inbound connections refused in the handshake
	Evicted      uint64 // inbound connections that made room for newer ones
	Malformed    uint64 // inbound connections closed because of what they sent
	AcceptErrors uint64
	UnknownPeer  uint64 // packets to nodes outside SetPeers

	SnapshotsSent         uint64 // installed by their receivers
	SnapshotsReceived     uint64 // installed here
	SnapshotsFailed       uint64 // in either direction
	SnapshotBytesSent     uint64
	SnapshotBytesReceived uint64
	SnapshotsReceiving    int // now
}

// PeerStats is a moment's view of one peer of SetPeers.
type PeerStats struct {
	Peer
	Remote   Identity // what it last said of itself; zero: never reached
	State    string   // unknown, up, unreachable or reset: what the handler was told
	ToPeer   bool     // the connection to it stands
	FromPeer bool     // the connection from it stands
	Problem  string   // why the last attempt failed; empty when connected
	Refused  bool     // Problem is a refusal

	SentBytes, SentPackets, SentWrites uint64
	ReceivedBytes, ReceivedPackets     uint64
	// Packets that Send refused or a broken connection lost, by reason.
	DroppedDown, DroppedFull, DroppedTooLarge uint64
	Connects, DialFailures, Refusals          uint64
	QueuedBytes                               int
	RTT                                       time.Duration // smoothed; zero: not measured yet
}

// Stats returns counters and the state of every peer, for metrics and operators.
func (t *Transport) Stats() Stats {
	c := &t.counters
	s := Stats{
		Refused: c.refused.Load(), Evicted: c.evicted.Load(), Malformed: c.malformed.Load(),
		AcceptErrors: c.acceptErrors.Load(), UnknownPeer: c.unknown.Load(),
		SnapshotsSent: c.snapshotsSent.Load(), SnapshotsReceived: c.snapshotsInstall.Load(),
		SnapshotsFailed:   c.snapshotsFailed.Load(),
		SnapshotBytesSent: c.snapshotBytesSent.Load(), SnapshotBytesReceived: c.snapshotBytesReceived.Load(),
		SnapshotsReceiving: int(t.snapshotsIn.Load()),
	}
	t.mu.Lock()
	s.Inbound, s.Handshakes = len(t.mu.inbound), t.mu.handshakes.conns.Len()
	s.Problem = t.mu.problem
	t.mu.Unlock()
	for _, p := range t.sortedPeers() {
		s.Peers = append(s.Peers, p.stats())
	}
	return s
}

func (p *peer) stats() PeerStats {
	c := p.counters
	s := PeerStats{
		Peer:      p.target,
		SentBytes: c.sentBytes.Load(), SentPackets: c.sentPackets.Load(), SentWrites: c.sentWrites.Load(),
		ReceivedBytes: c.receivedBytes.Load(), ReceivedPackets: c.receivedPackets.Load(),
		DroppedDown: c.lost[sendDown].Load(), DroppedFull: c.lost[sendFull].Load(), DroppedTooLarge: c.lost[sendTooLarge].Load(),
		Connects: c.connects.Load(), DialFailures: c.dialFailures.Load(), Refusals: c.refusals.Load(),
		QueuedBytes: p.out.queuedBytes(), RTT: time.Duration(c.rtt.Load()),
	}
	state, toPeer, fromPeer := p.live.view()
	s.State, s.ToPeer, s.FromPeer = state.String(), toPeer, fromPeer
	p.notice.Lock()
	s.Problem, s.Refused, s.Remote = p.notice.text, p.notice.refused, p.notice.remote
	p.notice.Unlock()
	return s
}
