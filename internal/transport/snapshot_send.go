package transport

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// SendSnapshot streams a state to a peer and returns nil when the peer has installed it.
// write writes the state; an error of its own ends the stream and is returned. Streams
// wait for each other: one at a time to a peer, Limits.SnapshotsOut in total. It lasts
// until the receiver's verdict, so ctx should end some time.
func (t *Transport) SendSnapshot(ctx context.Context, to NodeID, h SnapshotHeader, write func(io.Writer) error) error {
	if h.Message.Snapshot == nil {
		panic("transport: snapshot stream without Message.Snapshot")
	}
	err := t.sendSnapshot(ctx, to, &h, write)
	if err != nil {
		t.counters.snapshotsFailed.Add(1)
		return fmt.Errorf("send snapshot of group %d at index %d to node %v: %w", h.Message.Group, h.Message.Snapshot.Index, to, err)
	}
	t.counters.snapshotsSent.Add(1)
	return nil
}

func (t *Transport) sendSnapshot(ctx context.Context, to NodeID, h *SnapshotHeader, write func(io.Writer) error) error {
	p := t.peer(to)
	if p == nil {
		return ErrUnknownPeer
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(p.ctx, func() { cancel(p.gone()) })()
	for _, tokens := range []chan struct{}{p.snapshot, t.snapshotsOut} {
		select {
		case tokens <- struct{}{}:
			defer func() { <-tokens }()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	conn, _, err := t.dial(ctx, &p.target, PurposeSnapshot)
	if err != nil {
		return cause(ctx, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	return cause(ctx, t.stream(conn, h, write))
}

// gone says why a peer's context ended.
func (p *peer) gone() error {
	if p.t.ctx.Err() != nil {
		return ErrClosed
	}
	return errRemoved
}

// cause prefers the reason of a cancelled context over the broken connection it left.
func cause(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// stream sends everything over a fresh connection and waits for the verdict.
func (t *Transport) stream(conn net.Conn, h *SnapshotHeader, write func(io.Writer) error) error {
	header, err := appendSnapshotHeader(nil, h)
	if err != nil {
		return err
	}
	w := &snapshotWriter{t: t, conn: conn, sum: newStreamSum(), verdict: make(chan error, 1)}
	if err := w.extend(); err != nil {
		return err
	}
	go w.awaitVerdict()
	err = w.write(header)
	if err == nil {
		err = w.state(write)
	}
	if err != nil {
		// The receiver may have refused in the middle: its words explain a broken write.
		var broken *streamError
		if !errors.As(err, &broken) {
			conn.Close() // the reason is here, no verdict is needed
			<-w.verdict
			return err
		}
	}
	return <-w.verdict
}

// streamError marks a failed write to the connection, as opposed to an error of the
// function that produces the state.
type streamError struct{ err error }

func (e *streamError) Error() string { return e.err.Error() }
func (e *streamError) Unwrap() error { return e.err }

// snapshotWriter cuts a state into chunks.
type snapshotWriter struct {
	t       *Transport
	conn    net.Conn
	sum     streamSum
	chunk   []byte     // a frame under construction; empty: none begun
	verdict chan error // one value: nil when the receiver has installed the state
}

// extend gives both directions another SnapshotIdleTimeout. It is called at the start and
// for every sign of life of the receiver: one that is busy installing takes its time.
func (w *snapshotWriter) extend() error {
	return w.conn.SetDeadline(w.t.deadline(w.t.limits.SnapshotIdleTimeout))
}

func (w *snapshotWriter) write(b []byte) error {
	n, err := w.conn.Write(b)
	w.t.counters.snapshotBytesSent.Add(uint64(n))
	if err != nil {
		return &streamError{err}
	}
	return nil
}

// state sends everything behind the header.
func (w *snapshotWriter) state(write func(io.Writer) error) error {
	err := write(w)
	if err == nil {
		err = w.flush()
	}
	if err != nil {
		var broken *streamError
		if !errors.As(err, &broken) {
			text := cut(err.Error(), maxSnapshotTextBytes)
			_ = w.write(appendFrame(nil, frameSnapshotAbort, []byte(text))) // closing says the same
		}
		return err
	}
	end := beginFrame(make([]byte, 0, frameHeaderBytes+snapshotEndBytes), frameSnapshotEnd)
	end = binary.LittleEndian.AppendUint64(end, w.sum.bytes)
	end = binary.LittleEndian.AppendUint64(end, w.sum.hash.Sum64())
	sealFrame(end)
	return w.write(end)
}

// Write implements io.Writer for the producer of the state.
func (w *snapshotWriter) Write(b []byte) (int, error) {
	written := 0
	for len(b) > 0 {
		if len(w.chunk) == 0 {
			w.chunk = beginFrame(w.chunk, frameSnapshotChunk)
			w.chunk = binary.LittleEndian.AppendUint64(w.chunk, w.sum.bytes)
		}
		n := min(len(b), frameHeaderBytes+snapshotOffsetBytes+snapshotChunkBytes-len(w.chunk))
		w.chunk = append(w.chunk, b[:n]...)
		w.sum.add(b[:n])
		written, b = written+n, b[n:]
		if len(w.chunk) == frameHeaderBytes+snapshotOffsetBytes+snapshotChunkBytes {
			if err := w.flush(); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

func (w *snapshotWriter) flush() error {
	if len(w.chunk) == 0 {
		return nil
	}
	sealFrame(w.chunk)
	err := w.write(w.chunk)
	w.chunk = w.chunk[:0]
	return err
}

// awaitVerdict reads what the receiver says until its last word. It is a goroutine of
// SendSnapshot, which waits for it.
func (w *snapshotWriter) awaitVerdict() {
	err := w.readVerdict()
	// Whatever it is, nothing more needs to be written.
	_ = w.conn.SetWriteDeadline(time.Unix(1, 0)) // fails only when closed
	w.verdict <- err
}

func (w *snapshotWriter) readVerdict() error {
	r := bufio.NewReaderSize(w.conn, smallReaderBytes)
	for {
		kind, payload, err := readFrame(r, 1+maxSnapshotTextBytes, nil)
		switch {
		case err != nil:
			return fmt.Errorf("no verdict: %w", unexpected(err))
		case kind == frameSnapshotBusy:
			if err := w.extend(); err != nil {
				return fmt.Errorf("no verdict: %w", err)
			}
		case kind == frameSnapshotVerdict:
			v, err := decodeSnapshotVerdict(payload)
			if err == nil && !v.installed {
				err = fmt.Errorf("%w: %s", ErrSnapshotFailed, v.text)
			}
			return err
		default:
			return fmt.Errorf("%w: frame of kind %d on a snapshot connection", ErrMalformed, kind)
		}
	}
}
