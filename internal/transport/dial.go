package transport

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"time"
)

// Sizes of the buffers that connections read through. Message connections read whole
// runs of frames at once; the others carry little, or frames larger than any buffer.
const (
	messageReaderBytes = 64 << 10
	smallReaderBytes   = 512
)

// patientReader gives every read its own deadline: what counts as silence is that
// nothing arrives, however long a frame takes.
type patientReader struct {
	t       *Transport
	conn    net.Conn
	timeout time.Duration
}

func (r *patientReader) Read(b []byte) (int, error) {
	if err := r.conn.SetReadDeadline(r.t.deadline(r.timeout)); err != nil {
		return 0, err
	}
	return r.conn.Read(b)
}

func (t *Transport) newReader(conn net.Conn, size int, timeout time.Duration) *bufio.Reader {
	return bufio.NewReaderSize(&patientReader{t: t, conn: conn, timeout: timeout}, size)
}

// deadline is the moment after d. Connections compare it with monotonic time when the
// clock's readings carry it.
func (t *Transport) deadline(d time.Duration) time.Time { return t.config.Clock.Now().Add(d) }

// dial connects to target and introduces this node. A zero target.ID takes whoever
// answers (a probe).
func (t *Transport) dial(ctx context.Context, target *Peer, purpose Purpose) (net.Conn, Identity, error) {
	dialing, cancel := context.WithTimeout(ctx, t.limits.DialTimeout)
	defer cancel()
	conn, err := t.config.Network.Dial(dialing, target.Addr)
	if err != nil {
		return nil, Identity{}, fmt.Errorf("dial %s: %w", target.Addr, err)
	}
	release := context.AfterFunc(ctx, func() { conn.Close() })
	remote, err := t.introduce(conn, target, purpose)
	if !release() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, Identity{}, err
	}
	return conn, remote, nil
}

// introduce is the dialler's half of the handshake.
func (t *Transport) introduce(conn net.Conn, target *Peer, purpose Purpose) (Identity, error) {
	if err := conn.SetDeadline(t.deadline(t.limits.HandshakeTimeout)); err != nil {
		return Identity{}, err
	}
	hello := Hello{Identity: t.config.Identity, Expected: target.ID, Boot: t.config.Seed, Purpose: purpose}
	if _, err := conn.Write(appendHandshake(ourVersions, appendHello(nil, &hello))); err != nil {
		return Identity{}, fmt.Errorf("handshake with %s: %w", target.Addr, err)
	}
	theirs, body, err := readHandshake(conn)
	if err != nil {
		return Identity{}, fmt.Errorf("handshake with %s: %w", target.Addr, unexpected(err))
	}
	v, err := decodeVerdict(body)
	if err != nil {
		return Identity{}, fmt.Errorf("handshake with %s: %w", target.Addr, err)
	}
	if v.Reason != 0 {
		return v.Identity, &RefusedError{Reason: v.Reason, Text: v.Text}
	}
	if err := t.judgeAcceptor(&v.Identity, target, theirs); err != nil {
		return v.Identity, err
	}
	return v.Identity, conn.SetDeadline(time.Time{})
}

// judgeAcceptor checks on the dialler's side what the acceptor has said of itself. Most
// of it the acceptor has checked too; its incarnation only the dialler can.
func (t *Transport) judgeAcceptor(v *Identity, target *Peer, theirs versions) error {
	ours := &t.config.Identity
	if _, ok := ourVersions.common(theirs); !ok {
		return refuseVersion(theirs, ourVersions)
	}
	if target.ID == 0 {
		if v.Cluster == ours.Cluster {
			return orNil(t.agree(v))
		}
		return nil // the asker looks into that itself
	}
	if v.Cluster != ours.Cluster {
		return refuseCluster(ours.Cluster, v.Cluster)
	}
	if v.Node != target.ID {
		return refuseNode(target.Addr, v, target.ID)
	}
	if target.Incarnation != 0 && v.Incarnation != target.Incarnation {
		return refuseIncarnation(v, target.Incarnation)
	}
	// The acceptor may be too old to know of terms.
	return orNil(t.agree(v))
}

// agree compares the other end's terms with ours.
func (t *Transport) agree(other *Identity) *RefusedError {
	if t.config.Agree == nil {
		return nil
	}
	if err := t.config.Agree(*other); err != nil {
		return refuse(ReasonTerms, "%s", err)
	}
	return nil
}

// orNil keeps a nil pointer from becoming an error that is not nil.
func orNil(refused *RefusedError) error {
	if refused == nil {
		return nil
	}
	return refused
}

// The sentences of refusals, written once for both sides.

func refuseVersion(dialler, acceptor versions) *RefusedError {
	return refuse(ReasonVersion,
		"no common peer protocol version: one side speaks %d to %d, the other %d to %d; upgrade the older node one release at a time",
		dialler.Min, dialler.Max, acceptor.Min, acceptor.Max)
}

func refuseCluster(dialler, acceptor uint64) *RefusedError {
	return refuse(ReasonCluster,
		"wrong cluster: a node of cluster %x reached a node of cluster %x; check the initial cluster, its token and the peer URLs",
		dialler, acceptor)
}

func refuseNode(addr string, acceptor *Identity, expected NodeID) *RefusedError {
	return refuse(ReasonNode,
		"wrong node: %s is node %v (%s) and not node %v; check the peer URLs",
		addr, acceptor.Node, acceptor.Name, expected)
}

func refuseIncarnation(node *Identity, known Incarnation) *RefusedError {
	return refuse(ReasonIncarnation,
		"changed incarnation: node %v (%s) comes as incarnation %d and the cluster knows %d; its data directory was lost or replaced, so remove the member and add it again",
		node.Node, node.Name, node.Incarnation, known)
}

// Probe asks the node at addr whether it knows this one. A *RefusedError says why it
// does not want to answer.
func (t *Transport) Probe(ctx context.Context, addr string) (ProbeReply, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.ctx, cancel)()
	if t.ctx.Err() != nil {
		return ProbeReply{}, ErrClosed
	}
	conn, remote, err := t.dial(ctx, &Peer{Addr: addr}, PurposeProbe)
	if err != nil {
		return ProbeReply{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	r := t.newReader(conn, smallReaderBytes, t.limits.HandshakeTimeout)
	kind, payload, err := readFrame(r, maxProbeBytes, nil)
	if err == nil && kind != frameProbeReply {
		err = fmt.Errorf("%w: frame of kind %d in answer to a probe", ErrMalformed, kind)
	}
	if err != nil {
		return ProbeReply{}, fmt.Errorf("probe %s: %w", addr, unexpected(err))
	}
	reply, err := decodeProbeReply(payload)
	if err != nil {
		return ProbeReply{}, fmt.Errorf("probe %s: %w", addr, err)
	}
	reply.Node = remote
	return reply, nil
}

// maxProbeBytes bounds a probe's answer.
const (
	maxProbeBytes     = probeHeaderBytes + maxProbeBodyBytes
	probeHeaderBytes  = 3
	maxProbeBodyBytes = 64 << 10
)

// The bits of a probe reply's flags.
const (
	probeBootstrapped = 1 << iota
	probeMember
)

func appendProbeReply(dst []byte, r *ProbeReply) []byte {
	if len(r.Body) > maxProbeBodyBytes {
		panic(fmt.Sprintf("transport: probe reply with a body of %d bytes, limit %d", len(r.Body), maxProbeBodyBytes))
	}
	var flags byte
	if r.Bootstrapped {
		flags |= probeBootstrapped
	}
	if r.Member {
		flags |= probeMember
	}
	start := len(dst)
	dst = append(beginFrame(dst, frameProbeReply), flags, byte(r.Incarnation), byte(r.Incarnation>>8))
	dst = append(dst, r.Body...)
	sealFrame(dst[start:])
	return dst
}

func decodeProbeReply(payload []byte) (ProbeReply, error) {
	c := cursor{rest: payload}
	flags := c.u8()
	r := ProbeReply{
		Bootstrapped: flags&probeBootstrapped != 0, Member: flags&probeMember != 0,
		Incarnation: Incarnation(c.u16()),
	}
	if c.bad {
		return r, fmt.Errorf("%w: probe reply of %d bytes: %w", ErrMalformed, len(payload), io.ErrUnexpectedEOF)
	}
	r.Body = c.bytes(uint64(len(c.rest)))
	return r, nil
}
