package transport

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// memNetwork is a network in memory for tests under testing/synctest: buffered
// connections, and links that can be cut or frozen. Every host has its own view of it.
type memNetwork struct {
	mu        sync.Mutex
	changed   chan struct{} // closed and replaced at every change of anything
	listeners map[string]*memListener
	conns     []*memConn
	cut       map[[2]string]bool // what is written from [0] to [1] does not arrive
	dials     map[[2]string]int
	dead      map[string]bool                 // killed: dials no more, until it listens again
	damage    func(from, to string, b []byte) // may change bytes under way
}

// memBufferBytes is how much a connection holds on its way.
const memBufferBytes = 64 << 10

func newMemNetwork() *memNetwork {
	return &memNetwork{
		changed: make(chan struct{}), listeners: map[string]*memListener{},
		cut: map[[2]string]bool{}, dials: map[[2]string]int{}, dead: map[string]bool{},
	}
}

// host is one node's door to the network. Its address is "host:port".
type host struct {
	*memNetwork
	name string
}

func (n *memNetwork) host(name string) host { return host{n, name} }

// notify is called with mu held.
func (n *memNetwork) notify() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// await runs step under mu until it returns true or a channel fires.
func (n *memNetwork) await(step func() bool, give ...<-chan struct{}) bool {
	var a, b <-chan struct{}
	if len(give) > 0 {
		a = give[0]
	}
	if len(give) > 1 {
		b = give[1]
	}
	for {
		n.mu.Lock()
		ok, changed := step(), n.changed
		n.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-changed:
		case <-a:
			return false
		case <-b:
			return false
		}
	}
}

type memListener struct {
	n       *memNetwork
	addr    memAddr
	backlog []*memConn
	closed  bool
}

type memAddr string

func (memAddr) Network() string  { return "mem" }
func (a memAddr) String() string { return string(a) }

func (h host) Listen(_ context.Context, addr string) (net.Listener, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listeners[addr] != nil {
		return nil, syscall.EADDRINUSE
	}
	delete(h.dead, h.name)
	l := &memListener{n: h.memNetwork, addr: memAddr(addr)}
	h.listeners[addr] = l
	return l, nil
}

func (l *memListener) Accept() (c net.Conn, err error) {
	l.n.await(func() bool {
		switch {
		case l.closed:
			err = net.ErrClosed
		case len(l.backlog) > 0:
			c, l.backlog = l.backlog[0], l.backlog[1:]
		default:
			return false
		}
		return true
	})
	return c, err
}

func (l *memListener) Close() error {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	l.close()
	return nil
}

// close is called with the network's mu held.
func (l *memListener) close() {
	l.closed = true
	for _, c := range l.backlog { // the kernel resets what was not accepted
		c.closed, c.other.ended = true, syscall.ECONNRESET
	}
	if l.n.listeners[string(l.addr)] == l {
		delete(l.n.listeners, string(l.addr))
	}
	l.n.notify()
}

func (l *memListener) Addr() net.Addr { return l.addr }

// Dial reaches a listener on "name:port"; a cut link makes it hang until ctx ends.
func (h host) Dial(ctx context.Context, addr string) (c net.Conn, err error) {
	to, _, _ := net.SplitHostPort(addr)
	h.mu.Lock()
	h.dials[[2]string{h.name, to}]++
	h.mu.Unlock()
	ok := h.await(func() bool {
		if h.dead[h.name] {
			err = syscall.ENETDOWN
			return true
		}
		if h.cut[[2]string{h.name, to}] || h.cut[[2]string{to, h.name}] {
			return false
		}
		l := h.listeners[addr]
		if l == nil {
			err = fmt.Errorf("dial %s: %w", addr, syscall.ECONNREFUSED)
			return true
		}
		near := &memConn{n: h.memNetwork, local: memAddr(h.name), remote: memAddr(to)}
		far := &memConn{n: h.memNetwork, local: memAddr(to), remote: memAddr(h.name), other: near}
		near.other = far
		for _, c := range []*memConn{near, far} {
			c.readLimit.init()
			c.writeLimit.init()
		}
		h.conns = append(h.conns, near, far)
		l.backlog = append(l.backlog, far)
		h.notify()
		c = near
		return true
	}, ctx.Done())
	if !ok {
		return nil, ctx.Err()
	}
	return c, err
}

// setCut stops or restores what a sends to b.
func (n *memNetwork) setCut(a, b string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]string{a, b}] = cut
	n.notify()
}

// kill does to a host's sockets what the kernel does when a process dies.
func (n *memNetwork) kill(name string, how error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dead[name] = true
	for _, l := range n.listeners {
		if host, _, _ := net.SplitHostPort(string(l.addr)); host == name {
			l.close()
		}
	}
	for _, c := range n.conns {
		if string(c.local) == name {
			c.closed = true
			if c.other.ended == nil {
				c.other.ended = how
			}
		}
	}
	n.notify()
}

func (n *memNetwork) dialCount(from, to string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials[[2]string{from, to}]
}

// memConn is one end of a connection; its fields are guarded by the network's mu.
type memConn struct {
	n                     *memNetwork
	local, remote         memAddr
	other                 *memConn
	in                    []byte // arrived, or held by a cut
	ended                 error  // after in: io.EOF or ECONNRESET
	closed                bool   // by this end
	readLimit, writeLimit memDeadline
}

func (c *memConn) Read(b []byte) (k int, err error) {
	ok := c.n.await(func() bool {
		switch {
		case c.closed:
			err = net.ErrClosed
		case c.n.cut[[2]string{string(c.remote), string(c.local)}]:
			return false
		case len(c.in) > 0:
			k = copy(b, c.in)
			c.in = c.in[k:]
			c.n.notify()
		case c.ended != nil:
			err = c.ended
		default:
			return len(b) == 0
		}
		return true
	}, c.readLimit.wait())
	if !ok {
		return 0, os.ErrDeadlineExceeded
	}
	return k, err
}

func (c *memConn) Write(b []byte) (k int, err error) {
	ok := c.n.await(func() bool {
		switch {
		case c.closed:
			err = net.ErrClosed
			return true
		case c.ended != nil || c.other.closed:
			err = syscall.EPIPE
			return true
		}
		n := min(len(b)-k, memBufferBytes-len(c.other.in))
		if n > 0 {
			at := len(c.other.in)
			c.other.in = append(c.other.in, b[k:k+n]...)
			if c.n.damage != nil {
				c.n.damage(string(c.local), string(c.remote), c.other.in[at:])
			}
			k += n
			c.n.notify()
		}
		return k == len(b)
	}, c.writeLimit.wait())
	if !ok {
		return k, os.ErrDeadlineExceeded
	}
	return k, err
}

func (c *memConn) Close() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if !c.closed {
		c.closed = true
		if c.other.ended == nil {
			c.other.ended = io.EOF
		}
		c.n.notify()
	}
	return nil
}

func (c *memConn) LocalAddr() net.Addr  { return c.local }
func (c *memConn) RemoteAddr() net.Addr { return c.remote }

func (c *memConn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}
func (c *memConn) SetReadDeadline(t time.Time) error  { c.readLimit.set(c.n, t); return nil }
func (c *memConn) SetWriteDeadline(t time.Time) error { c.writeLimit.set(c.n, t); return nil }

// memDeadline is a channel that is closed while the deadline has passed.
type memDeadline struct {
	mu    sync.Mutex
	timer *time.Timer
	fired chan struct{}
}

func (d *memDeadline) init() { d.fired = make(chan struct{}) }

func (d *memDeadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fired
}

func (d *memDeadline) set(n *memNetwork, t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.fired // its function has run or is about to
	}
	d.timer = nil
	select {
	case <-d.fired:
		d.fired = make(chan struct{})
	default:
	}
	if t.IsZero() {
		return
	}
	fired := d.fired
	if wait := time.Until(t); wait > 0 {
		d.timer = time.AfterFunc(wait, func() { close(fired) })
		return
	}
	close(fired)
}
