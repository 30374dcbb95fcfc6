package transport

import "sync"

// peerState is what the handler was last told of a peer. The order matters: news of
// a loss is only told when it is worse than what is known (T6).
type peerState uint8

const (
	peerUnknown     peerState = iota // nothing told yet
	peerUp                           // PeerUp
	peerUnreachable                  // PeerDown(reset=false)
	peerReset                        // PeerDown(reset=true)
)

// String names the state for Stats.
func (s peerState) String() string {
	return [...]string{"unknown", "up", "unreachable", "reset"}[s]
}

// liveness turns what connection goroutines notice into the two events of Handler. A
// peer is up while the connection to it stands and the one from it has not been lost
// since. Losing the connection *from* a peer is what shows the death of its process;
// the one to it may also fail because the peer closed it for its own reasons.
//
// Each note changes the state and queues at most one event under mu, then tell delivers
// the queue under emit: events of one peer are never told out of order or at once.
type liveness struct {
	emit sync.Mutex // locked before mu
	mu   struct {
		sync.Mutex
		outbound *outbound
		inbound  *inbound
		state    peerState
		queue    []peerState
	}
}

// enter must be called with mu held.
func (l *liveness) enter(s peerState) {
	if s != l.mu.state {
		l.mu.state = s
		l.mu.queue = append(l.mu.queue, s)
	}
}

// worsen must be called with mu held.
func (l *liveness) worsen(s peerState) {
	if s > l.mu.state {
		l.enter(s)
	}
}

// outboundUp notes that the connection to the peer stands.
func (l *liveness) outboundUp(o *outbound) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.outbound = o
	l.enter(peerUp)
}

// outboundLost notes the end of o, or a failed dial when o is nil.
func (l *liveness) outboundLost(o *outbound) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.outbound == o {
		l.mu.outbound = nil
		l.worsen(peerUnreachable)
	}
}

// adopt notes a connection that was live before the peer was in the set.
func (l *liveness) adopt(in *inbound) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.inbound = in
}

// inboundUp notes a live connection from the peer. When its process is another one than
// before (restarted), the outbound connection still leads to the dead one; it is
// returned, to be dropped.
func (l *liveness) inboundUp(in *inbound, restarted bool) (stale *outbound) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.inbound = in
	if restarted {
		l.worsen(peerReset)
		stale, l.mu.outbound = l.mu.outbound, nil
	}
	if l.mu.outbound != nil {
		l.enter(peerUp)
	}
	return stale
}

// inboundLost notes the end of in. Unless it was polite, the outbound connection is
// doubtful too: it is returned, to be dropped and made anew at once.
func (l *liveness) inboundLost(in *inbound, end inboundEnd) (doubtful *outbound) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.inbound != in {
		return nil
	}
	l.mu.inbound = nil
	switch end {
	case endBye:
		return nil
	case endReset:
		l.worsen(peerReset)
	default:
		l.worsen(peerUnreachable)
	}
	doubtful, l.mu.outbound = l.mu.outbound, nil
	return doubtful
}

// tell hands queued events to the handler. It is called behind every note.
func (l *liveness) tell(id NodeID, h Handler, muted bool) {
	l.emit.Lock()
	defer l.emit.Unlock()
	l.mu.Lock()
	queue := l.mu.queue
	l.mu.queue = nil
	l.mu.Unlock()
	if muted {
		return
	}
	for _, s := range queue {
		switch s {
		case peerUp:
			h.PeerUp(id)
		case peerUnreachable:
			h.PeerDown(id, false)
		case peerReset:
			h.PeerDown(id, true)
		}
	}
}

// view returns the state and whether each connection stands.
func (l *liveness) view() (state peerState, toPeer, fromPeer bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.state, l.mu.outbound != nil, l.mu.inbound != nil
}
