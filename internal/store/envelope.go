package store

import (
	"encoding/binary"
	"fmt"
)

// ShardID names a shard. Zero is not a valid shard.
type ShardID uint64

// RequestID is unique per request for ever: Seq starts from a stamp of the node's
// boot.
type RequestID struct {
	Node uint64
	Seq  uint64
}

// String prints the id for logs.
func (id RequestID) String() string { return fmt.Sprintf("%x/%d", id.Node, id.Seq) }

// Kind is what a command does. Numbers are written to the log: they are never
// reused.
type Kind uint8

const (
	KindPut             Kind = 1
	KindDeleteRange     Kind = 2
	KindTxn             Kind = 3
	KindCompact         Kind = 4
	KindLeaseGrant      Kind = 5
	KindLeaseRevoke     Kind = 6
	KindLeaseExpire     Kind = 7
	KindLeaseCheckpoint Kind = 8
	KindSetQuota        Kind = 9
	kindEnd             Kind = 10
)

var kindNames = [kindEnd]string{
	KindPut: "put", KindDeleteRange: "delete-range", KindTxn: "txn", KindCompact: "compact",
	KindLeaseGrant: "lease-grant", KindLeaseRevoke: "lease-revoke", KindLeaseExpire: "lease-expire",
	KindLeaseCheckpoint: "lease-checkpoint", KindSetQuota: "set-quota",
}

// String names the kind for traces and metrics.
func (k Kind) String() string {
	if k.known() {
		return kindNames[k]
	}
	return fmt.Sprintf("kind-%d", uint8(k))
}

func (k Kind) known() bool { return k > 0 && k < kindEnd }

// Envelope is a command with what every replica must know to judge it alike.
//
//	byte     version (1)
//	byte     kind
//	8 bytes  the leader's time stamp, ns since the epoch, little-endian: at a fixed
//	         place, so that the leader can stamp a command that another node encoded
//	uvarint  shard
//	uvarint  request: node, uvarint seq
//	uvarint  length of principal, bytes
//	uvarint  auth revision
//	...      body, in the kind's own encoding
type Envelope struct {
	Kind         Kind
	Shard        ShardID
	Request      RequestID
	Principal    []byte // empty until auth comes
	AuthRevision uint64
	TimeNanos    int64 // the leader's clock when it took the command; zero: unknown
	Body         []byte
}

// stampOffset is where the time stamp stands in an encoded envelope.
const stampOffset = 2

// StampEnvelope writes the leader's time into an encoded envelope, in place. The
// caller owns b: it has not been proposed yet. Anything shorter is left alone and
// fails to decode later.
func StampEnvelope(b []byte, nanos int64) {
	if len(b) >= stampOffset+8 {
		binary.LittleEndian.PutUint64(b[stampOffset:], uint64(nanos))
	}
}

const envelopeVersion = 1

// AppendEnvelope encodes e.
func AppendEnvelope(dst []byte, e *Envelope) []byte {
	dst = append(dst, envelopeVersion, byte(e.Kind))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.TimeNanos))
	dst = binary.AppendUvarint(dst, uint64(e.Shard))
	dst = binary.AppendUvarint(dst, e.Request.Node)
	dst = binary.AppendUvarint(dst, e.Request.Seq)
	dst = appendBytes(dst, e.Principal)
	dst = binary.AppendUvarint(dst, e.AuthRevision)
	return append(dst, e.Body...)
}

// DecodeEnvelope decodes what AppendEnvelope wrote; Principal and Body alias b. It
// returns ErrUnknownKind for a version or kind of a newer build.
func DecodeEnvelope(b []byte) (Envelope, error) {
	if len(b) < stampOffset {
		return Envelope{}, fmt.Errorf("%w: envelope of %d bytes", ErrMalformed, len(b))
	}
	if b[0] != envelopeVersion || !Kind(b[1]).known() {
		return Envelope{}, fmt.Errorf("%w: version %d kind %d", ErrUnknownKind, b[0], b[1])
	}
	if len(b) < stampOffset+8 {
		return Envelope{}, fmt.Errorf("%w: envelope of %d bytes", ErrMalformed, len(b))
	}
	e := Envelope{Kind: Kind(b[1]), TimeNanos: int64(binary.LittleEndian.Uint64(b[stampOffset:]))}
	d := decoder{b: b[stampOffset+8:]}
	e.Shard = ShardID(d.uvarint())
	e.Request = RequestID{Node: d.uvarint(), Seq: d.uvarint()}
	e.Principal = d.bytes()
	e.AuthRevision = d.uvarint()
	e.Body = d.b
	if d.bad {
		return Envelope{}, fmt.Errorf("%w: envelope of %d bytes", ErrMalformed, len(b))
	}
	return e, nil
}
