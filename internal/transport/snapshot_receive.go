package transport

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// receiveSnapshot is the life of a snapshot connection.
func (in *inbound) receiveSnapshot() {
	t := in.t
	// The header must come within the handshake's time; from then on the stream may
	// stand still for SnapshotIdleTimeout.
	patience := &patientReader{t: t, conn: in.conn, timeout: t.limits.HandshakeTimeout}
	r := bufio.NewReaderSize(patience, messageReaderBytes)
	kind, payload, err := readFrame(r, maxSnapshotHeaderBytes, nil)
	if err == nil && kind != frameSnapshotHeader {
		err = fmt.Errorf("%w: frame of kind %d opens a snapshot", ErrMalformed, kind)
	}
	var h SnapshotHeader
	if err == nil {
		h, err = decodeSnapshotHeader(payload)
	}
	if err == nil {
		err = in.becomeLive()
	}
	if err == nil {
		patience.timeout = t.limits.SnapshotIdleTimeout
		err = in.install(h, r)
	}
	if err != nil {
		t.counters.snapshotsFailed.Add(1)
		if t.ctx.Err() == nil {
			t.log.Warn("snapshot not installed", "from", in.hello.Node.String(), "group", uint64(h.Message.Group), "reason", err.Error())
		}
	} else {
		t.counters.snapshotsInstall.Add(1)
	}
	in.pronounce(err)
}

// install runs the handler, and tells the sender meanwhile that this node is at work.
func (in *inbound) install(h SnapshotHeader, r *bufio.Reader) error {
	t := in.t
	if n := t.snapshotsIn.Add(1); n > int64(t.limits.SnapshotsIn) {
		t.snapshotsIn.Add(-1)
		return refuse(ReasonBusy, "busy: %d snapshots are being received already; try again later", n-1)
	}
	defer t.snapshotsIn.Add(-1)
	done := make(chan struct{})
	quiet := make(chan struct{})
	go func() {
		defer close(quiet)
		in.sayBusy(done)
	}()
	state := &snapshotReader{t: t, frames: r, sum: newStreamSum()}
	err := t.config.Handler.Snapshot(in.hello.Node, h, state)
	close(done)
	// A busy frame on its way must not be cut in two by the verdict, nor hold it up.
	_ = in.conn.SetWriteDeadline(t.deadline(t.limits.WriteTimeout)) // fails only when closed
	<-quiet
	if err == nil && state.err != io.EOF {
		err = ErrSnapshotUnread
	}
	return err
}

// sayBusy writes a frame several times per SnapshotIdleTimeout. install waits for it.
func (in *inbound) sayBusy(done <-chan struct{}) {
	t := in.t
	ticker := time.NewTicker(t.limits.SnapshotIdleTimeout / 5)
	defer ticker.Stop()
	busy := appendFrame(nil, frameSnapshotBusy, nil)
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
		}
		if in.conn.SetWriteDeadline(t.deadline(t.limits.WriteTimeout)) != nil {
			return
		}
		if _, err := in.conn.Write(busy); err != nil {
			in.conn.Close() // nobody waits for this state any more: let the handler's read fail
			return
		}
	}
}

// lingerTimeout is how long a refused sender may go on sending before the connection is
// closed: closing over unread data would destroy the verdict on its way.
const lingerTimeout = time.Second

// pronounce sends the verdict.
func (in *inbound) pronounce(err error) {
	t := in.t
	v := snapshotVerdict{installed: err == nil}
	if err != nil {
		v.text = err.Error()
	}
	if in.conn.SetDeadline(t.deadline(lingerTimeout)) != nil {
		return
	}
	if _, err := in.conn.Write(appendSnapshotVerdict(nil, v)); err != nil {
		return
	}
	if closer, ok := in.conn.(interface{ CloseWrite() error }); ok {
		_ = closer.CloseWrite() // closing follows anyway
	}
	_, _ = io.Copy(io.Discard, in.conn) // until the sender closes, or the deadline
}

// snapshotReader is the state as the handler reads it. It returns io.EOF only after the
// end marker agreed with everything that came before (T7).
type snapshotReader struct {
	t      *Transport
	frames *bufio.Reader
	buf    []byte // memory of the current chunk
	rest   []byte // of the current chunk, not read yet
	sum    streamSum
	err    error // latched; io.EOF: complete and verified
}

// Read implements io.Reader.
func (s *snapshotReader) Read(b []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		if len(b) == 0 {
			return 0, nil
		}
		s.err = s.next()
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// next reads one frame.
func (s *snapshotReader) next() error {
	kind, payload, err := readFrame(s.frames, snapshotOffsetBytes+snapshotChunkBytes, s.buf)
	if err != nil {
		if !errors.Is(err, net.ErrClosed) {
			err = unexpected(err)
		}
		return fmt.Errorf("snapshot cut after %d bytes: %w", s.sum.bytes, err)
	}
	s.buf = payload
	s.t.counters.snapshotBytesReceived.Add(uint64(frameHeaderBytes + len(payload)))
	c := cursor{rest: payload}
	switch kind {
	case frameSnapshotChunk:
		if offset := c.u64(); c.bad || offset != s.sum.bytes || len(c.rest) == 0 {
			return fmt.Errorf("%w: snapshot chunk of %d bytes at offset %d, expected offset %d", ErrMalformed, len(payload), offset, s.sum.bytes)
		}
		s.rest = c.rest
		s.sum.add(c.rest)
		return nil
	case frameSnapshotEnd:
		total, hash := c.u64(), c.u64()
		if c.bad || len(c.rest) > 0 || total != s.sum.bytes || hash != s.sum.hash.Sum64() {
			return fmt.Errorf("%w: snapshot ends at %d bytes with sum %x, received %d with sum %x", ErrMalformed, total, hash, s.sum.bytes, s.sum.hash.Sum64())
		}
		return io.EOF
	case frameSnapshotAbort:
		return fmt.Errorf("%w: %s", ErrSnapshotAborted, printable(payload))
	}
	return fmt.Errorf("%w: frame of kind %d in a snapshot", ErrMalformed, kind)
}
