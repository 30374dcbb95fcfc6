package transport

import "sync"

// outbox is where packets for one peer wait, already encoded. It is a double buffer:
// senders fill one half under a short lock while the writer writes the other, so a slow
// connection never holds a sender up, and what gathered during one write is the next.
type outbox struct {
	batchBytes, pendingBytes, frameBytes int

	wake chan struct{} // one token: there is something to write

	mu struct {
		sync.Mutex
		open bool // a connection takes from this outbox
		fill batch
	}
}

// batch is a run of frames, not sealed before the writer has them.
type batch struct {
	buf     []byte
	frames  []int // where each frame begins
	packets uint64
}

// sendResult says what became of a packet.
type sendResult uint8

const (
	sendTaken sendResult = iota
	sendDown
	sendFull
	sendTooLarge
	sendResults
)

// earlyFlushBytes is when the writer starts without waiting for Flush, so that a long
// run of sends overlaps with the network.
const earlyFlushBytes = 128 << 10

func newOutbox(l *Limits) *outbox {
	return &outbox{
		batchBytes: l.BatchBytes, pendingBytes: l.PendingBytes, frameBytes: l.FrameBytes,
		wake: make(chan struct{}, 1),
	}
}

// add encodes p. The bound is checked before: nothing is encoded that does not fit.
func (o *outbox) add(p *Packet) sendResult {
	bound := sizeBound(p)
	if bound > o.frameBytes {
		return sendTooLarge
	}
	o.mu.Lock()
	if !o.mu.open {
		o.mu.Unlock()
		return sendDown
	}
	b := &o.mu.fill
	// An empty outbox takes any packet: otherwise one above the bound would never leave.
	if len(b.buf) > 0 && len(b.buf)+bound > o.pendingBytes {
		o.mu.Unlock()
		return sendFull
	}
	if n := len(b.frames); n == 0 || len(b.buf)-b.frames[n-1]+bound > o.batchBytes {
		b.frames = append(b.frames, len(b.buf))
		b.buf = beginFrame(b.buf, framePackets)
	}
	b.buf = AppendPacket(b.buf, p)
	b.packets++
	early := len(b.buf) >= earlyFlushBytes
	o.mu.Unlock()
	if early {
		o.signal()
	}
	return sendTaken
}

// signal wakes the writer.
func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// swap takes what waits and leaves an empty batch, built in the memory of the used one.
func (o *outbox) swap(used batch) batch {
	used.reset()
	o.mu.Lock()
	full := o.mu.fill
	o.mu.fill = used
	o.mu.Unlock()
	return full
}

// setOpen starts or stops taking packets, and drops what waits: what was meant for one
// connection is stale on the next. It returns the number of packets dropped.
func (o *outbox) setOpen(open bool) uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mu.open = open
	dropped := o.mu.fill.packets
	o.mu.fill.reset()
	return dropped
}

// queuedBytes is what waits.
func (o *outbox) queuedBytes() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.mu.fill.buf)
}

// reset empties the batch. Memory of a burst is given back once it is mostly unused.
func (b *batch) reset() {
	if cap(b.buf) > 4*earlyFlushBytes && len(b.buf) < cap(b.buf)/8 {
		b.buf = nil
	}
	b.buf, b.frames, b.packets = b.buf[:0], b.frames[:0], 0
}

// seal completes every frame.
func (b *batch) seal() {
	for i, start := range b.frames {
		end := len(b.buf)
		if i+1 < len(b.frames) {
			end = b.frames[i+1]
		}
		sealFrame(b.buf[start:end])
	}
}
