package server

import (
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// sniffed is a connection whose first bytes were read to learn its protocol. It gives
// them again to whoever reads first, and gives its place back when it is closed.
type sniffed struct {
	net.Conn
	port *port
	addr netip.Addr
	// bind binds the connection to a keyspace, or is nil. Written as ahead is.
	bind *binding

	// ahead holds the bytes read while sniffing; pending is what of them was not given
	// out yet. Written by the sniffer before the hand-over, afterwards only by the one
	// reader that net/http and grpc-go each have.
	ahead   [len(preface)]byte
	pending []byte

	next, prev *sniffed // in port.mu.silent
	queued     bool     // in port.mu.silent
	closed     atomic.Bool
}

// readPreface reports whether the connection opens with the HTTP/2 preface. It never
// reads a byte more than it needs, and none at all past the preface.
func (c *sniffed) readPreface() (bool, error) {
	n := 0
	for n < len(preface) {
		m, err := c.Conn.Read(c.ahead[n:])
		n += m
		c.pending = c.ahead[:n]
		if string(c.ahead[:n]) != preface[:n] {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// Read gives the sniffed bytes first.
func (c *sniffed) Read(b []byte) (int, error) {
	if len(c.pending) > 0 {
		n := copy(b, c.pending)
		c.pending = c.pending[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// LocalAddr tells a bound connection's calls where they belong.
func (c *sniffed) LocalAddr() net.Addr {
	if c.bind == nil {
		return c.Conn.LocalAddr()
	}
	return &boundAddr{c.Conn.LocalAddr(), c.bind}
}

// Close gives the connection's place back, once.
func (c *sniffed) Close() error {
	c.leave()
	return c.Conn.Close()
}

// abort is Close for a connection that no server has got.
func (c *sniffed) abort() {
	c.leave()
	abort(c.Conn)
}

func (c *sniffed) leave() {
	if !c.closed.Swap(true) {
		c.port.release(c)
	}
}

// abort closes a connection without TLS's farewell, for which Close would wait while the other
// side does not read.
func abort(c net.Conn) {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	c.Close()
}

// silentQueue is a doubly linked list with O(1) removal from the middle: connections
// leave it in any order, and the oldest is the one to sacrifice.
type silentQueue struct {
	head, tail *sniffed
	length     int
}

func (q *silentQueue) oldest() *sniffed { return q.head }

func (q *silentQueue) push(c *sniffed) {
	c.queued = true
	c.prev = q.tail
	if q.tail == nil {
		q.head = c
	} else {
		q.tail.next = c
	}
	q.tail = c
	q.length++
}

// remove takes c out; it is a no-op when c is not in the queue any more.
func (q *silentQueue) remove(c *sniffed) {
	if !c.queued {
		return
	}
	if c.prev == nil {
		q.head = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next == nil {
		q.tail = c.prev
	} else {
		c.next.prev = c.prev
	}
	c.next, c.prev, c.queued = nil, nil, false
	q.length--
}

// handoff is a net.Listener fed with connections that another listener accepted.
type handoff struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newHandoff(addr net.Addr) *handoff {
	return &handoff{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

// put hands c to the accepting server, or reports that there is none any more.
func (h *handoff) put(c net.Conn) bool {
	select {
	case h.conns <- c:
		return true
	case <-h.done:
		return false
	}
}

// Accept implements net.Listener.
func (h *handoff) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, errPortClosed
	}
}

// Close implements net.Listener.
func (h *handoff) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

// Addr implements net.Listener.
func (h *handoff) Addr() net.Addr { return h.addr }
