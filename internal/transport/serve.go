package transport

import (
	"container/list"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// inboundKey: a new live connection replaces an older one with the same key (T8).
type inboundKey struct {
	node    NodeID
	purpose Purpose
}

// inbound is one accepted connection after its hello was accepted.
type inbound struct {
	t        *Transport
	conn     net.Conn
	hello    Hello
	slot     *list.Element // in Transport.mu.handshakes until it is live
	replaced atomic.Bool   // a newer connection took its place
}

// inboundEnd says how a live message connection ended.
type inboundEnd uint8

const (
	endReset  inboundEnd = iota // EOF or RST: as when the process dies
	endSilent                   // nothing came for IdleTimeout, or it was not a peer's bytes
	endBye                      // the dialler said that it closes on purpose
)

// handshakes holds connections that are not live yet, oldest first. When there are too
// many the oldest is closed: an honest handshake takes milliseconds, a flood of idle
// connections cannot keep it out (T9).
type handshakes struct{ conns list.List }

func (h *handshakes) add(c net.Conn, limit int) (slot *list.Element, evicted net.Conn) {
	if h.conns.Len() >= limit {
		evicted = h.conns.Remove(h.conns.Front()).(net.Conn)
	}
	return h.conns.PushBack(c), evicted
}

// remove is a no-op when slot was evicted before.
func (h *handshakes) remove(slot *list.Element) { h.conns.Remove(slot) }

func (h *handshakes) all() []net.Conn {
	var conns []net.Conn
	for e := h.conns.Front(); e != nil; e = e.Next() {
		conns = append(conns, e.Value.(net.Conn))
	}
	return conns
}

// Serve accepts peers until Close, and then returns nil. The listener is closed.
func (t *Transport) Serve(l net.Listener) error {
	defer l.Close()
	t.mu.Lock()
	if t.mu.closed {
		t.mu.Unlock()
		return ErrClosed
	}
	t.mu.listeners[l] = struct{}{}
	t.wg.Add(1)
	t.mu.Unlock()
	defer t.wg.Done()
	defer func() {
		t.mu.Lock()
		delete(t.mu.listeners, l)
		t.mu.Unlock()
	}()

	retry := newBackoff(t.limits.RetryMin, t.limits.RetryMax, t.config.Seed, 0)
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			retry.reset()
			t.admit(conn)
		case t.ctx.Err() != nil:
			return nil
		case !passing(err):
			return fmt.Errorf("accept peers on %v: %w", l.Addr(), err)
		default:
			t.counters.acceptErrors.Add(1)
			t.logStranger("cannot accept peer connections", err, l.Addr())
			wait(t.ctx, retry.next(), 0, nil)
		}
	}
}

// passing reports errors of Accept that the next moment may cure.
func passing(err error) bool {
	for _, passing := range []error{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS,
		syscall.ECONNABORTED, syscall.EINTR, syscall.EAGAIN,
	} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

// admit starts the goroutine of an accepted connection.
func (t *Transport) admit(conn net.Conn) {
	t.mu.Lock()
	if t.mu.closed {
		t.mu.Unlock()
		conn.Close()
		return
	}
	in := &inbound{t: t, conn: conn}
	var evicted net.Conn
	in.slot, evicted = t.mu.handshakes.add(conn, t.limits.Handshakes)
	t.wg.Add(1)
	t.mu.Unlock()
	if evicted != nil {
		t.counters.evicted.Add(1)
		evicted.Close()
	}
	go in.run()
}

func (in *inbound) run() {
	t := in.t
	defer t.wg.Done()
	defer in.conn.Close()
	defer in.leave()
	err := in.welcome()
	if err != nil {
		t.counters.refused.Add(1)
		if t.ctx.Err() == nil {
			t.logStranger("peer connection refused", err, in.conn.RemoteAddr())
		}
		return
	}
	switch in.hello.Purpose {
	case PurposeMessages:
		in.receiveMessages()
	case PurposeSnapshot:
		in.receiveSnapshot()
	case PurposeProbe:
		reply := t.config.Handler.Probe(in.hello)
		// The handshake's deadline still runs, and the asker notices a loss.
		_, _ = in.conn.Write(appendProbeReply(nil, &reply))
	}
}

// leave removes the connection from the books.
func (in *inbound) leave() {
	t := in.t
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.handshakes.remove(in.slot)
	if key := (inboundKey{in.hello.Node, in.hello.Purpose}); t.mu.inbound[key] == in {
		delete(t.mu.inbound, key)
	}
}

// welcome is the acceptor's half of the handshake.
func (in *inbound) welcome() error {
	t := in.t
	if err := in.conn.SetDeadline(t.deadline(t.limits.HandshakeTimeout)); err != nil {
		return err
	}
	theirs, body, err := readHandshake(in.conn)
	if err != nil {
		return err
	}
	v := verdict{Identity: t.config.Identity, Boot: t.config.Seed}
	chosen := ourVersions
	refused := in.judge(theirs, body)
	if refused != nil {
		v.Reason, v.Text = refused.Reason, refused.Text
	} else {
		common, _ := ourVersions.common(theirs)
		chosen = versions{common, common}
	}
	if _, err := in.conn.Write(appendHandshake(chosen, appendVerdict(nil, &v))); err != nil {
		return err
	}
	if refused != nil {
		return refused
	}
	return nil
}

// judge decides about a hello: the protocol's own rules first, then the handler (T5).
func (in *inbound) judge(theirs versions, body []byte) *RefusedError {
	t, ours := in.t, &in.t.config.Identity
	if _, ok := ourVersions.common(theirs); !ok {
		return refuseVersion(theirs, ourVersions)
	}
	hello, err := decodeHello(body)
	if err != nil {
		return refuse(ReasonVersion, "%v", err)
	}
	hello.Conn = in.conn
	in.hello = hello
	probe := hello.Purpose == PurposeProbe
	if hello.Cluster != ours.Cluster && !(probe && hello.Cluster == 0) {
		return refuseCluster(hello.Cluster, ours.Cluster)
	}
	if hello.Expected != 0 && hello.Expected != ours.Node {
		return refuseNode(in.conn.LocalAddr().String(), ours, hello.Expected)
	}
	if hello.Node == ours.Node && !probe {
		return refuse(ReasonNode, "two nodes with one identity: a node at %v says it is node %v (%s), which is this node; check names and peer URLs",
			in.conn.RemoteAddr(), ours.Node, ours.Name)
	}
	if p := t.peer(hello.Node); p != nil && !probe {
		if known := p.target.Incarnation; known != 0 && known != hello.Incarnation {
			return refuseIncarnation(&hello.Identity, known)
		}
	}
	if hello.Cluster != 0 { // else a probe that knows nothing yet
		if err := t.agree(&hello.Identity); err != nil {
			return err
		}
	}
	if err := t.config.Handler.Accept(hello); err != nil {
		return refuse(ReasonHandler, "%s", err)
	}
	return nil
}

// becomeLive registers the connection once its first frame has arrived; before that it
// may be a leftover of a dialler that gave up long ago. An older one is replaced.
func (in *inbound) becomeLive() error {
	t := in.t
	key := inboundKey{in.hello.Node, in.hello.Purpose}
	t.mu.Lock()
	if t.mu.closed {
		t.mu.Unlock()
		return ErrClosed
	}
	old := t.mu.inbound[key]
	if old == nil && len(t.mu.inbound) >= t.limits.Inbound {
		t.mu.Unlock()
		return refuse(ReasonBusy, "too many peer connections (%d)", t.limits.Inbound)
	}
	p := t.peer(in.hello.Node)
	if p != nil && p.target.Incarnation != 0 && p.target.Incarnation != in.hello.Incarnation {
		t.mu.Unlock()
		return refuseIncarnation(&in.hello.Identity, p.target.Incarnation)
	}
	t.mu.inbound[key] = in
	t.mu.handshakes.remove(in.slot)
	var stale *outbound
	restarted := old != nil && old.hello.Boot != in.hello.Boot
	if p != nil && key.purpose == PurposeMessages {
		// Under mu, so that liveness learns of connections in the order of the books.
		stale = p.live.inboundUp(in, restarted)
	}
	t.mu.Unlock()
	if old != nil {
		old.replaced.Store(true)
		old.conn.Close()
	}
	if stale != nil {
		stale.abandon()
	}
	if restarted {
		// Over and over, this means two processes with one identity.
		t.log.Info("peer came back as another process", "peer", key.node.String(), "name", in.hello.Name, "address", in.conn.RemoteAddr().String())
	}
	if p != nil && key.purpose == PurposeMessages {
		p.tell()
		p.dialNow()
	}
	return in.conn.SetDeadline(time.Time{})
}

// receiveMessages is the life of a message connection.
func (in *inbound) receiveMessages() {
	end, err := in.readMessages()
	if in.replaced.Load() || in.t.ctx.Err() != nil {
		return
	}
	t := in.t
	in.leave()
	in.complain(err)
	p := t.peer(in.hello.Node)
	if p == nil {
		return
	}
	if doubtful := p.live.inboundLost(in, end); doubtful != nil {
		doubtful.abandon()
	}
	p.tell()
}

// complain counts and logs what a connection should not have done.
func (in *inbound) complain(err error) {
	var refused *RefusedError
	switch {
	case errors.Is(err, ErrMalformed), errors.Is(err, ErrTooLarge):
		in.t.counters.malformed.Add(1)
		in.t.logStranger("peer sent what cannot be read", err, in.conn.RemoteAddr())
	case errors.As(err, &refused):
		in.t.counters.refused.Add(1)
		in.t.logStranger("peer connection refused", err, in.conn.RemoteAddr())
	}
}

// readMessages delivers frames until the connection ends.
func (in *inbound) readMessages() (inboundEnd, error) {
	t := in.t
	r := t.newReader(in.conn, messageReaderBytes, t.limits.IdleTimeout)
	t.mu.Lock()
	counters := t.countersOf(in.hello.Node)
	t.mu.Unlock()
	var spare []byte // a frame's memory that nobody kept
	live := false
	for {
		kind, payload, err := readFrame(r, t.limits.FrameBytes, spare)
		if err != nil {
			return classify(err), err
		}
		spare = nil
		if !live {
			if err := in.becomeLive(); err != nil {
				return endSilent, err
			}
			live = true
		}
		counters.receivedBytes.Add(uint64(frameHeaderBytes + len(payload)))
		switch kind {
		case framePackets:
			packets, err := DecodePackets(payload, nil)
			if err != nil {
				return endSilent, err
			}
			counters.receivedPackets.Add(uint64(len(packets)))
			if !aliased(packets) {
				spare = payload
			}
			t.config.Handler.Deliver(in.hello.Node, packets)
		case framePing:
			// That the other end takes no echo may mean that it has closed; how, comes to
			// light when what it sent before has been read.
			if err := in.echo(payload); err != nil && classify(err) != endReset {
				return endSilent, err
			}
		case frameBye:
			return endBye, nil
		default:
			return endSilent, fmt.Errorf("%w: frame of kind %d on a message connection", ErrMalformed, kind)
		}
	}
}

// aliased reports whether packets refer to the memory of the frame they came in.
func aliased(packets []Packet) bool {
	for i := range packets {
		if len(packets[i].Body) > 0 || len(packets[i].Message.Entries) > 0 {
			return true
		}
	}
	return false
}

// echo answers a keepalive. The dialler reads echoes all the time, so the write waits
// for nothing unless the dialler is gone.
func (in *inbound) echo(payload []byte) error {
	if len(payload) != stampBytes {
		return fmt.Errorf("%w: keepalive of %d bytes", ErrMalformed, len(payload))
	}
	if err := in.conn.SetWriteDeadline(in.t.deadline(in.t.limits.IdleTimeout)); err != nil {
		return err
	}
	var b [frameHeaderBytes + stampBytes]byte
	_, err := in.conn.Write(appendFrame(b[:0], frameEcho, payload))
	return err
}

// classify tells the end of a process from silence and nonsense.
func classify(err error) inboundEnd {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return endReset
	case errors.Is(err, os.ErrDeadlineExceeded):
		return endSilent
	}
	return endSilent
}

// logStranger keeps and logs a problem with who knows whom.
func (t *Transport) logStranger(what string, err error, addr net.Addr) {
	text := err.Error()
	t.mu.Lock()
	t.mu.problem = fmt.Sprintf("%v: %s", addr, text)
	held, ok := t.mu.strangers.allow(t.config.Clock, text)
	t.mu.Unlock()
	if ok {
		t.log.Warn(what, "address", addr.String(), "reason", text, "suppressed", held)
	}
}
