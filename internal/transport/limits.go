package transport

import "time"

// Limits bounds everything that can grow or last. Zero fields take the default.
type Limits struct {
	// FrameBytes is the largest frame that is sent or taken: it must hold the largest
	// request or entry. All nodes of a cluster use the same. Default 16 MiB.
	FrameBytes int
	// BatchBytes is where a frame of several packets ends: what a receiver keeps alive
	// by keeping one entry. Default 256 KiB.
	BatchBytes int
	// PendingBytes bounds what waits for one peer's connection; beyond it Send returns
	// false. Default 32 MiB.
	PendingBytes int

	// DialTimeout bounds one attempt to connect. Default 1 s.
	DialTimeout time.Duration
	// HandshakeTimeout bounds a handshake, in both directions, and how long an inbound
	// connection may exist without a first frame. Default 5 s.
	HandshakeTimeout time.Duration
	// KeepaliveInterval is how often something is sent on every message connection.
	// Default 200 ms.
	KeepaliveInterval time.Duration
	// IdleTimeout is how long a message connection may bring nothing, before its peer
	// counts as unreachable: at least 2 x KeepaliveInterval, by default 5 x.
	IdleTimeout time.Duration
	// WriteTimeout bounds one write, and the wait for the echo of a keepalive: at least
	// IdleTimeout, by default 5 s.
	WriteTimeout time.Duration
	// RetryMin and RetryMax bound the waits between attempts to connect. The first
	// attempt after a working connection comes at once. Default 10 ms and 500 ms.
	RetryMin, RetryMax time.Duration
	// RefusedRetry is the wait after a refusal. Default 1 s.
	RefusedRetry time.Duration

	// Handshakes bounds inbound connections that are not live yet; the oldest gives way
	// to the newest. Default 64.
	Handshakes int
	// Inbound bounds live inbound connections. Default 1024.
	Inbound int

	// SnapshotsOut and SnapshotsIn bound the streams of this node, in total; to one peer
	// there is one at a time. Default 2 and 4.
	SnapshotsOut, SnapshotsIn int
	// SnapshotIdleTimeout is how long a stream may stand still. Default 30 s.
	SnapshotIdleTimeout time.Duration
}

// snapshotChunkBytes is the payload of a snapshot chunk, but the last.
const snapshotChunkBytes = 128 << 10

func (l Limits) withDefaults() Limits {
	setDefault(&l.FrameBytes, 16<<20)
	setDefault(&l.BatchBytes, 256<<10)
	setDefault(&l.PendingBytes, 32<<20)
	setDefault(&l.DialTimeout, time.Second)
	setDefault(&l.HandshakeTimeout, 5*time.Second)
	setDefault(&l.KeepaliveInterval, 200*time.Millisecond)
	setDefault(&l.IdleTimeout, 5*l.KeepaliveInterval)
	setDefault(&l.WriteTimeout, 5*time.Second)
	setDefault(&l.RetryMin, 10*time.Millisecond)
	setDefault(&l.RetryMax, 500*time.Millisecond)
	setDefault(&l.RefusedRetry, time.Second)
	setDefault(&l.Handshakes, 64)
	setDefault(&l.Inbound, 1024)
	setDefault(&l.SnapshotsOut, 2)
	setDefault(&l.SnapshotsIn, 4)
	setDefault(&l.SnapshotIdleTimeout, 30*time.Second)
	// Silence is measured in keepalives.
	l.IdleTimeout = max(l.IdleTimeout, 2*l.KeepaliveInterval)
	l.WriteTimeout = max(l.WriteTimeout, l.IdleTimeout)
	l.BatchBytes = min(l.BatchBytes, l.FrameBytes)
	// A chunk must fit in a frame, whatever the packets may be.
	l.FrameBytes = max(l.FrameBytes, 2*snapshotChunkBytes)
	return l
}

func setDefault[T int | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}
