package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
)

// peer keeps one message connection to one node: its run goroutine dials, writes until
// the connection breaks, and dials again.
type peer struct {
	t      *Transport
	target Peer // never changes; SetPeers makes a new peer instead

	ctx  context.Context // ends with Close, or when the peer leaves the set
	stop context.CancelFunc
	kick chan struct{} // one token: dial now, the peer shows life

	out      *outbox
	current  atomic.Pointer[outbound] // the connection that takes from out; nil: none
	live     *liveness                // kept when SetPeers changes the target
	counters *peerCounters
	snapshot chan struct{} // the token of the one snapshot stream to this peer

	// notice guards what was last logged and shown about the connection.
	notice struct {
		sync.Mutex
		limiter
		text    string // the last problem; empty: none
		refused bool   // the problem is a refusal
		remote  Identity
	}
}

// newPeer is called with Transport.mu held. before is the peer it replaces, or nil.
func newPeer(t *Transport, target Peer, before *peer) *peer {
	p := &peer{
		t: t, target: target,
		kick:     make(chan struct{}, 1),
		out:      newOutbox(&t.limits),
		live:     &liveness{},
		counters: t.countersOf(target.ID),
		snapshot: make(chan struct{}, 1),
	}
	if before != nil {
		p.live, p.snapshot = before.live, before.snapshot
	}
	p.ctx, p.stop = context.WithCancel(t.ctx)
	return p
}

func (p *peer) send(packet *Packet) bool {
	r := p.out.add(packet)
	if r == sendTaken {
		return true
	}
	p.counters.lost[r].Add(1)
	if r == sendTooLarge {
		p.note("packet for peer dropped", fmt.Errorf("%w: a packet of up to %d bytes, limit %d", ErrTooLarge, sizeBound(packet), p.out.frameBytes))
	}
	return false
}

// flush lets what was sent leave: at once if that takes no waiting, else through the
// peer's goroutine, which is woken for it.
func (p *peer) flush() {
	waiting := p.out.queuedBytes()
	if waiting == 0 {
		return
	}
	o := p.current.Load()
	if o == nil || waiting > atOnceBytes || !o.writeAtOnce() {
		p.out.signal()
	}
}

// run is the peer's goroutine.
func (p *peer) run() {
	defer p.t.wg.Done()
	l := &p.t.limits
	retry := newBackoff(l.RetryMin, l.RetryMax, p.t.config.Seed, uint64(p.target.ID))
	for p.ctx.Err() == nil {
		began := p.t.config.Clock.Monotonic()
		conn, remote, err := p.t.dial(p.ctx, &p.target, PurposeMessages)
		if err == nil {
			err = p.serve(conn, remote)
			if p.t.config.Clock.Monotonic()-began >= l.RetryMax {
				retry.reset()
			}
		} else {
			p.dialFailed(err)
		}
		delay := retry.next()
		var refused *RefusedError
		if errors.As(err, &refused) {
			delay = l.RefusedRetry
		}
		wait(p.ctx, delay, l.RetryMin, p.kick)
	}
}

func (p *peer) dialFailed(err error) {
	if p.ctx.Err() != nil {
		return
	}
	var refused *RefusedError
	if errors.As(err, &refused) {
		p.counters.refusals.Add(1)
	} else {
		p.counters.dialFailures.Add(1)
	}
	p.note("no connection to peer", err)
	p.live.outboundLost(nil)
	p.tell()
}

// serve writes to one connection until it breaks or is dropped.
func (p *peer) serve(conn net.Conn, remote Identity) error {
	o := newOutbound(p, conn)
	release := context.AfterFunc(p.ctx, o.abandon)
	defer release()
	p.out.setOpen(true)
	p.current.Store(o)
	p.counters.connects.Add(1)
	p.noteConnected(remote)
	p.live.outboundUp(o)
	p.tell()

	err := o.run()

	p.current.Store(nil)
	p.counters.lost[sendDown].Add(p.out.setOpen(false))
	p.live.outboundLost(o)
	if p.ctx.Err() == nil {
		p.note("connection to peer lost", err)
		p.tell()
	}
	return err
}

// tell delivers news of the peer, unless the transport is closing or the peer left.
func (p *peer) tell() {
	muted := p.t.ctx.Err() != nil || p.t.peer(p.target.ID) == nil
	p.live.tell(p.target.ID, p.t.config.Handler, muted)
}

// dialNow cuts a wait between attempts short.
func (p *peer) dialNow() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// note keeps and logs a problem: at once when it is a new one, otherwise once a minute.
func (p *peer) note(what string, err error) {
	var refused *RefusedError
	isRefusal := errors.As(err, &refused)
	text := err.Error()
	n := &p.notice
	n.Lock()
	changed := n.text == "" || n.refused != isRefusal || (isRefusal && n.text != text)
	if changed {
		n.limiter = limiter{}
	}
	n.text, n.refused = text, isRefusal
	held, ok := n.allow(p.t.config.Clock, text)
	n.Unlock()
	if !ok {
		return
	}
	level := slog.LevelInfo
	if isRefusal {
		level, what = slog.LevelWarn, "peer connection refused"
	}
	p.t.log.Log(context.Background(), level, what,
		"peer", p.target.ID.String(), "address", p.target.Addr, "reason", text, "repeated", held)
}

func (p *peer) noteConnected(remote Identity) {
	p.notice.Lock()
	p.notice.text, p.notice.refused, p.notice.remote = "", false, remote
	p.notice.Unlock()
	p.t.log.Info("connected to peer", "peer", p.target.ID.String(), "name", remote.Name, "address", p.target.Addr)
}
