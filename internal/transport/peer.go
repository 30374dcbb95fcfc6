package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
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
	live     *liveness // kept when SetPeers changes the target
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
	o := &outbound{p: p, conn: conn, drop: make(chan struct{})}
	release := context.AfterFunc(p.ctx, o.abandon)
	defer release()
	p.out.setOpen(true)
	p.counters.connects.Add(1)
	p.noteConnected(remote)
	p.live.outboundUp(o)
	p.tell()

	err := o.run()

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

// outbound is one message connection to a peer.
type outbound struct {
	p    *peer
	conn net.Conn

	dropOnce sync.Once
	drop     chan struct{} // closed: give the connection up, the peer's state is in doubt
}

var (
	errDropped = errors.New("the connection from the peer was lost")
	errRemoved = errors.New("the peer's address or incarnation changed, or it left")
)

// abandon asks for the connection to be given up, and ends a write in progress.
func (o *outbound) abandon() {
	o.dropOnce.Do(func() {
		close(o.drop)
		_ = o.conn.SetWriteDeadline(o.p.t.deadline(byeTimeout)) // fails only when closed
		if o.p.t.ctx.Err() != nil {
			o.conn.Close()
		}
	})
}

// run is the writer: whatever gathered during one write is the next. It returns why
// the connection ended.
func (o *outbound) run() error {
	defer o.conn.Close()
	echoes := make(chan error, 1)
	o.p.t.wg.Add(1)
	go func() {
		defer o.p.t.wg.Done()
		err := o.readEchoes()
		if classify(err) == endReset {
			o.conn.Close() // ends a write in progress
		} else {
			o.abandon()
		}
		echoes <- err
	}()
	ticker := time.NewTicker(o.p.t.limits.KeepaliveInterval)
	defer ticker.Stop()

	var b batch
	for ping := true; ; { // the first frame makes the connection live at the other end
		b = o.p.out.swap(b)
		if err := o.write(&b, ping); err != nil {
			return o.ended(err, echoes)
		}
		ping = false
		select {
		case <-o.p.out.wake:
		case <-ticker.C:
			ping = true
		case <-o.drop:
			return o.leave(echoes)
		case err := <-echoes:
			if classify(err) == endReset {
				return err
			}
			echoes <- err
			return o.leave(echoes)
		}
	}
}

// ended prefers the reader's reason over the write error it provoked.
func (o *outbound) ended(err error, echoes <-chan error) error {
	o.conn.Close()
	readErr := <-echoes
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		return readErr
	}
	return fmt.Errorf("write: %w", err)
}

// leave closes politely, except at Close, which is meant to look like the end of the
// process that it is.
func (o *outbound) leave(echoes <-chan error) error {
	if o.p.t.ctx.Err() != nil {
		return ErrClosed
	}
	if o.conn.SetWriteDeadline(o.p.t.deadline(byeTimeout)) == nil {
		_, _ = o.conn.Write(appendFrame(nil, frameBye, nil)) // best effort: closing follows
	}
	select {
	case err := <-echoes:
		return err
	default:
	}
	if o.p.ctx.Err() != nil {
		return errRemoved
	}
	return errDropped
}

// write sends a batch, and a keepalive behind it, in one call.
func (o *outbound) write(b *batch, ping bool) error {
	b.seal()
	if ping {
		b.buf = appendStamp(b.buf, framePing, uint64(o.p.t.config.Clock.Monotonic()))
	}
	if len(b.buf) == 0 {
		return nil
	}
	if err := o.conn.SetWriteDeadline(o.p.t.deadline(o.p.t.limits.WriteTimeout)); err != nil {
		return err
	}
	n, err := o.conn.Write(b.buf)
	c := o.p.counters
	c.sentBytes.Add(uint64(n))
	c.sentWrites.Add(1)
	if err != nil {
		c.lost[sendDown].Add(b.packets)
		return err
	}
	c.sentPackets.Add(b.packets)
	return nil
}

// byeTimeout is short: the frame only tells an intact peer that this process lives.
const byeTimeout = 50 * time.Millisecond

// readEchoes measures round trips until the connection ends. That no echo comes is how a
// half-open connection shows.
func (o *outbound) readEchoes() error {
	r := o.p.t.newReader(o.conn, smallReaderBytes, o.p.t.limits.WriteTimeout)
	var buf [stampBytes]byte
	for {
		kind, payload, err := readFrame(r, stampBytes, buf[:])
		if err != nil {
			return fmt.Errorf("closed by the peer or cut: %w", err)
		}
		c := cursor{rest: payload}
		stamp := c.u64()
		if kind != frameEcho || c.bad || len(c.rest) > 0 {
			return fmt.Errorf("%w: frame of kind %d on an outbound connection", ErrMalformed, kind)
		}
		o.p.counters.observeRTT(o.p.t.config.Clock.Monotonic() - time.Duration(stamp))
	}
}
