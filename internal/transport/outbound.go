package transport

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// outbound is one message connection to a peer.
type outbound struct {
	p    *peer
	conn net.Conn
	raw  syscall.RawConn // nil when conn is not one of the system's: see writeAtOnce

	dropOnce sync.Once
	drop     chan struct{} // closed: give the connection up, the peer's state is in doubt

	// writing guards the order of what is written.
	writing struct {
		sync.Mutex
		batch batch // the last one taken from the outbox
		done  int   // bytes of batch.buf that are written
		ended bool  // nothing may follow
	}
}

var (
	errDropped = errors.New("the connection from the peer was lost")
	errRemoved = errors.New("the peer's address or incarnation changed, or it left")
)

func newOutbound(p *peer, conn net.Conn) *outbound {
	o := &outbound{p: p, conn: conn, drop: make(chan struct{})}
	if c, ok := conn.(syscall.Conn); ok {
		o.raw, _ = c.SyscallConn() // closed already: the writer will notice
	}
	return o
}

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

	for ping := true; ; { // the first frame makes the connection live at the other end
		if err := o.write(ping); err != nil {
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
	o.sayBye()
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

// sayBye ends the stream of frames, if it is not in the middle of one. It is the best
// effort: closing follows.
func (o *outbound) sayBye() {
	w := &o.writing
	w.Lock()
	defer w.Unlock()
	w.ended = true
	if w.done == len(w.batch.buf) && o.conn.SetWriteDeadline(o.p.t.deadline(byeTimeout)) == nil {
		_, _ = o.conn.Write(appendFrame(nil, frameBye, nil))
	}
}

// write sends what writeAtOnce left, then a batch with a keepalive behind it.
func (o *outbound) write(ping bool) error {
	w := &o.writing
	w.Lock()
	defer w.Unlock()
	if w.done < len(w.batch.buf) {
		if err := o.writeRest(); err != nil {
			return err
		}
	}
	o.take()
	if ping {
		w.batch.buf = appendStamp(w.batch.buf, framePing, uint64(o.p.t.config.Clock.Monotonic()))
	}
	return o.writeRest()
}

// take exchanges the written batch for what waits. REQUIRES: writing is held.
func (o *outbound) take() {
	w := &o.writing
	w.batch = o.p.out.swap(w.batch)
	w.batch.seal()
	w.done = 0
}

// writeRest writes what is left of the batch, waiting for the network. REQUIRES: writing
// is held.
func (o *outbound) writeRest() error {
	w := &o.writing
	if w.done == len(w.batch.buf) {
		return nil
	}
	if err := o.conn.SetWriteDeadline(o.p.t.deadline(o.p.t.limits.WriteTimeout)); err != nil {
		return err
	}
	n, err := o.conn.Write(w.batch.buf[w.done:])
	o.wrote(n, err)
	return err
}

// wrote counts a write. REQUIRES: writing is held.
func (o *outbound) wrote(n int, err error) {
	w, c := &o.writing, o.p.counters
	w.done += n
	c.sentBytes.Add(uint64(n))
	c.sentWrites.Add(1)
	if err != nil {
		c.lost[sendDown].Add(w.batch.packets)
	} else if w.done == len(w.batch.buf) {
		c.sentPackets.Add(w.batch.packets)
	}
}

// atOnceBytes is the most that a caller of Flush writes itself. More than that takes
// the kernel longer than waking a goroutine does.
const atOnceBytes = 16 << 10

// writeAtOnce writes what waits in the caller's goroutine, as far as the kernel takes it
// without waiting (T2). False means that the writer has something left to do, be it to
// find out what is wrong.
//
// A message that finds its writer asleep waits longer for that to wake than it is under
// way, and a put has four such messages in a row.
func (o *outbound) writeAtOnce() bool {
	w := &o.writing
	if o.raw == nil || !w.TryLock() {
		return false
	}
	defer w.Unlock()
	if w.ended || w.done < len(w.batch.buf) || o.conn.SetWriteDeadline(o.p.t.deadline(o.p.t.limits.WriteTimeout)) != nil {
		return false
	}
	o.take()
	o.wrote(writeNoWait(o.raw, w.batch.buf), nil)
	return w.done == len(w.batch.buf)
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
