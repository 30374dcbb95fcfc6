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
//	uvarint  shard
//	uvarint  request: node, uvarint seq
//	uvarint  length of principal, bytes
//	uvarint  auth revision
//	varint   the leader's time stamp, ns since the epoch
//	...      body, in the kind's own encoding
type Envelope struct {
	Kind         Kind
	Shard        ShardID
	Request      RequestID
	Principal    []byte // empty until auth comes
	AuthRevision uint64
	TimeNanos    int64
	Body         []byte
}

const envelopeVersion = 1

// AppendEnvelope encodes e.
func AppendEnvelope(dst []byte, e *Envelope) []byte {
	dst = append(dst, envelopeVersion, byte(e.Kind))
	dst = binary.AppendUvarint(dst, uint64(e.Shard))
	dst = binary.AppendUvarint(dst, e.Request.Node)
	dst = binary.AppendUvarint(dst, e.Request.Seq)
	dst = appendBytes(dst, e.Principal)
	dst = binary.AppendUvarint(dst, e.AuthRevision)
	dst = binary.AppendVarint(dst, e.TimeNanos)
	return append(dst, e.Body...)
}

// DecodeEnvelope decodes what AppendEnvelope wrote; Principal and Body alias b. It
// returns ErrUnknownKind for a version or kind of a newer build.
func DecodeEnvelope(b []byte) (Envelope, error) {
	if len(b) < 2 {
		return Envelope{}, fmt.Errorf("%w: envelope of %d bytes", ErrMalformed, len(b))
	}
	if b[0] != envelopeVersion || !Kind(b[1]).known() {
		return Envelope{}, fmt.Errorf("%w: version %d kind %d", ErrUnknownKind, b[0], b[1])
	}
	e := Envelope{Kind: Kind(b[1])}
	d := decoder{b: b[2:]}
	e.Shard = ShardID(d.uvarint())
	e.Request = RequestID{Node: d.uvarint(), Seq: d.uvarint()}
	e.Principal = d.bytes()
	e.AuthRevision = d.uvarint()
	e.TimeNanos = d.varint()
	e.Body = d.b
	if d.bad {
		return Envelope{}, fmt.Errorf("%w: envelope of %d bytes", ErrMalformed, len(b))
	}
	return e, nil
}
