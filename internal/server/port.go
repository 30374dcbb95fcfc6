package server

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/internal/env"
)

// preface is what every HTTP/2 client sends first (RFC 9113, section 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Protocols are what a client port speaks, by their names in TLS, the preferred one first. Clients
// of gRPC offer h2 alone. Who offers both is a browser, curl, or Prometheus, and wants the HTTP
// endpoints, which are served in HTTP/1.1 alone; the metrics port's, too.
var Protocols = []string{"http/1.1", "h2"}

// port splits the connections of one listener by protocol: those that open with the
// HTTP/2 preface go to gRPC's own transport, all others to HTTP/1.1. Where the listener
// accepts *tls.Conn, that is what is inside of TLS; what a client negotiates by ALPN does
// not matter, what it says does.
//
// The obvious way, a library that peeks with a matcher per protocol, holds its accept
// loop or an unbounded number of goroutines hostage to clients that connect and stay
// silent. Here a silent connection is one entry in a bounded queue with a deadline
// (I6): when the queue is full the *oldest* silent connection is closed, so that a
// client which does speak is never refused because others do not.
type port struct {
	listener net.Listener
	limits   ConnLimits
	clock    env.Clock
	log      *slog.Logger
	grpc     *handoff
	http     *handoff
	// bind binds the port's connections to a keyspace; nil: their calls choose theirs.
	bind *binding
	// hasBound is set before the first call of a connection that is bound.
	hasBound *atomic.Bool

	mu struct {
		sync.Mutex
		closed  bool
		open    int
		perAddr map[netip.Addr]int
		// silent holds the connections whose protocol is not known yet, oldest first.
		silent silentQueue
		// handshakeLogged is when the log last heard of a handshake that failed.
		handshakeLogged time.Duration
	}
	refused   atomic.Uint64 // closed because a limit was reached
	evicted   atomic.Uint64 // closed because too many others were silent, or after the deadline
	untrusted atomic.Uint64 // of those, the ones whose TLS handshake failed
	sniffs    sync.WaitGroup
}

// ConnLimits bounds what unauthenticated strangers can hold open.
type ConnLimits struct {
	// Total is the number of client connections per listener.
	Total int
	// PerAddress is the number of client connections per remote IP address.
	PerAddress int
	// Silent is the number of connections that have not shown their protocol yet.
	Silent int
	// Handshake is how long a connection may take to show its protocol, in TLS if the port
	// has it, and again to complete its first request header or HTTP/2 settings.
	Handshake time.Duration
}

// errPortClosed is returned by Accept after the port was closed.
var errPortClosed = errors.New("server: port closed")

func newPort(l net.Listener, limits ConnLimits, clock env.Clock, log *slog.Logger) *port {
	p := &port{listener: l, limits: limits, clock: clock, log: log, hasBound: new(atomic.Bool)}
	p.grpc = newHandoff(l.Addr())
	p.http = newHandoff(l.Addr())
	p.mu.perAddr = make(map[netip.Addr]int)
	return p
}

// serve accepts until the listener is closed. It returns nil after close.
func (p *port) serve() error {
	const pauseMin, pauseMax = 5 * time.Millisecond, time.Second
	pause := pauseMin
	for {
		conn, err := p.listener.Accept()
		if err == nil {
			pause = pauseMin
			p.admit(conn)
			continue
		}
		if p.isClosed() {
			return nil
		}
		// Out of file descriptors and the like pass; a closed listener does not.
		var temporary interface{ Temporary() bool }
		if !errors.As(err, &temporary) || !temporary.Temporary() {
			return err
		}
		p.log.Warn("accept failed; retrying", "addr", p.listener.Addr().String(), "pause", pause, "error", err)
		time.Sleep(pause)
		pause = min(2*pause, pauseMax)
	}
}

// admit counts the connection and starts to find out its protocol.
func (p *port) admit(raw net.Conn) {
	c := &sniffed{Conn: raw, port: p, addr: remoteAddr(raw), bind: p.bind}
	p.mu.Lock()
	if p.mu.closed || p.mu.open >= p.limits.Total || p.mu.perAddr[c.addr] >= p.limits.PerAddress {
		p.mu.Unlock()
		p.refused.Add(1)
		abort(raw)
		return
	}
	p.mu.open++
	p.mu.perAddr[c.addr]++
	var victim *sniffed
	if p.mu.silent.length >= p.limits.Silent {
		victim = p.mu.silent.oldest()
		p.mu.silent.remove(victim)
	}
	p.mu.silent.push(c)
	p.sniffs.Add(1)
	p.mu.Unlock()
	if victim != nil {
		p.evicted.Add(1)
		victim.abort()
	}
	go p.sniff(c)
}

// sniff reads until the first byte that differs from the preface, or all of it, after the TLS
// handshake if there is one.
func (p *port) sniff(c *sniffed) {
	defer p.sniffs.Done()
	c.Conn.SetDeadline(p.clock.Now().Add(p.limits.Handshake))
	isHTTP2, err := false, c.secure()
	if err == nil {
		isHTTP2, err = c.readPreface()
	}
	p.mu.Lock()
	p.mu.silent.remove(c)
	p.mu.Unlock()
	if err != nil {
		p.evicted.Add(1)
		c.abort()
		return
	}
	c.Conn.SetDeadline(time.Time{})
	to := p.http
	if isHTTP2 {
		to = p.grpc
	}
	if !to.put(c) {
		c.abort()
	}
}

func (p *port) release(c *sniffed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.open--
	if p.mu.perAddr[c.addr]--; p.mu.perAddr[c.addr] == 0 {
		delete(p.mu.perAddr, c.addr)
	}
}

// logHandshake says why TLS failed, a line per second at most: strangers must not fill the log.
func (p *port) logHandshake(from net.Addr, err error) {
	p.mu.Lock()
	now := p.clock.Monotonic()
	quiet := p.mu.closed || p.mu.handshakeLogged != 0 && now-p.mu.handshakeLogged < handshakeLogInterval
	if !quiet {
		p.mu.handshakeLogged = now
	}
	p.mu.Unlock()
	if !quiet {
		p.log.Warn("a client's TLS handshake failed", "addr", p.listener.Addr().String(), "client", from.String(), "reason", err.Error())
	}
}

// handshakeLogInterval is the shortest time between two lines about handshakes of one port.
const handshakeLogInterval = time.Second

func (p *port) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.closed
}

func (p *port) openCount() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.open
}

// close stops accepting and closes the connections that are still silent. Connections
// already handed over live on until their server ends them.
func (p *port) close() {
	p.mu.Lock()
	if p.mu.closed {
		p.mu.Unlock()
		return
	}
	p.mu.closed = true
	var silent []*sniffed
	for c := p.mu.silent.oldest(); c != nil; c = p.mu.silent.oldest() {
		p.mu.silent.remove(c)
		silent = append(silent, c)
	}
	p.mu.Unlock()
	p.listener.Close()
	p.grpc.Close()
	p.http.Close()
	for _, c := range silent {
		c.abort()
	}
	p.sniffs.Wait()
}

func remoteAddr(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{} // not IP: all share one budget
}
