package router

import (
	"encoding/binary"
	"fmt"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/shard"
)

// packetVersion is the first byte of every forwarded packet.
const packetVersion = 1

// packetKind says what one router asks of another, or answers.
type packetKind uint8

const (
	packetPropose   packetKind = 1 // ID: request; Epoch: to enter in; Data: command
	packetRefused   packetKind = 2 // ID, Epoch: of the packetPropose; Code
	packetRead      packetKind = 3 // ID: round
	packetReadReply packetKind = 4 // ID: round; Index; Code
	packetLease     packetKind = 5 // ID: call; Lease; Renew
	packetLeaseDone packetKind = 6 // ID: call; TTL, Remaining; Code
)

// code is an answer's outcome on the wire.
type code uint8

const (
	codeOK code = iota
	codeNotLeader
	codeTooMany
	codeNotFound
)

// packet is what travels between routers. Kind decides which fields count.
//
//	version 1 byte · kind 1 byte · shard · id · epoch · index · lease · ttl ·
//	remaining (uvarints; lease as zig-zag) · code 1 byte · renew 1 byte · data (rest)
type packet struct {
	Kind           packetKind
	Shard          shard.ID
	ID             uint64
	Epoch          consensus.Epoch
	Index          consensus.Index
	Lease          int64
	TTL, Remaining int64 // seconds, never negative
	Code           code
	Renew          bool
	Data           []byte
}

func appendPacket(dst []byte, p *packet) []byte {
	dst = append(dst, packetVersion, byte(p.Kind))
	dst = binary.AppendUvarint(dst, uint64(p.Shard))
	dst = binary.AppendUvarint(dst, p.ID)
	dst = binary.AppendUvarint(dst, uint64(p.Epoch))
	dst = binary.AppendUvarint(dst, uint64(p.Index))
	dst = binary.AppendVarint(dst, p.Lease)
	dst = binary.AppendUvarint(dst, uint64(p.TTL))
	dst = binary.AppendUvarint(dst, uint64(p.Remaining))
	renew := byte(0)
	if p.Renew {
		renew = 1
	}
	dst = append(dst, byte(p.Code), renew)
	return append(dst, p.Data...)
}

// decodePacket reads a packet whose Data shares memory with b.
func decodePacket(b []byte) (packet, error) {
	var p packet
	if len(b) < 2 || b[0] != packetVersion || b[1] < byte(packetPropose) || b[1] > byte(packetLeaseDone) {
		return p, fmt.Errorf("%w: version or kind", ErrMalformed)
	}
	p.Kind = packetKind(b[1])
	r := fields{rest: b[2:]}
	p.Shard = shard.ID(r.uvarint())
	p.ID = r.uvarint()
	p.Epoch = consensus.Epoch(r.uvarint())
	p.Index = consensus.Index(r.uvarint())
	p.Lease = r.varint()
	p.TTL, p.Remaining = int64(r.uvarint()), int64(r.uvarint())
	p.Code, p.Renew = code(r.byte()), r.byte() == 1
	if r.bad || p.TTL < 0 || p.Remaining < 0 || p.Code > codeNotFound {
		return packet{}, fmt.Errorf("%w: kind %d of %d bytes", ErrMalformed, p.Kind, len(b))
	}
	p.Data = r.rest
	return p, nil
}

// fields reads a run of varints; bad latches the first failure.
type fields struct {
	rest []byte
	bad  bool
}

func (f *fields) uvarint() uint64 {
	v, n := binary.Uvarint(f.rest)
	return take(f, v, n)
}

func (f *fields) varint() int64 {
	v, n := binary.Varint(f.rest)
	return take(f, v, n)
}

func take[T int64 | uint64](f *fields, v T, n int) T {
	if n <= 0 {
		f.bad, f.rest = true, nil
		return 0
	}
	f.rest = f.rest[n:]
	return v
}

func (f *fields) byte() byte {
	if len(f.rest) == 0 {
		f.bad = true
		return 0
	}
	b := f.rest[0]
	f.rest = f.rest[1:]
	return b
}
