package transport

import (
	"encoding/binary"
	"fmt"

	"github.com/quorate/quorate/consensus"
)

// PacketKind says what a packet carries. Zero is never valid; kinds fit in four bits.
type PacketKind uint8

const (
	// PacketConsensus carries a consensus.Message.
	PacketConsensus PacketKind = 1
	// PacketForward carries an opaque body of the router: a request on its way to a
	// leader, or its answer.
	PacketForward PacketKind = 2
)

// String names the kind for traces and metrics.
func (k PacketKind) String() string {
	switch k {
	case PacketConsensus:
		return "consensus"
	case PacketForward:
		return "forward"
	}
	return fmt.Sprintf("packet-kind-%d", uint8(k))
}

// Packet is the unit that Send takes and Deliver hands over.
type Packet struct {
	Kind    PacketKind
	Message consensus.Message // PacketConsensus
	Body    []byte            // PacketForward
}

// packetVersion is the high half of a packet's format byte.
const packetVersion = 1

// The smallest sizes on the wire. They are a quarter of the decoded sizes and a little
// more, so that a decoder never allocates more than four times its input (T4); what is
// smaller is padded with zeros. Real entries and most real messages are larger anyway.
const (
	minPacketBytes = 56 // Packet: 192 bytes in memory
	minEntryBytes  = 16 // consensus.Entry: 56 bytes in memory
)

// Offsets in a packet.
const (
	packetLengthBytes  = 4
	packetFormatOffset = 4
)

// The bits of a message's field set: which fields follow, in this order. A field that
// is absent is zero.
const (
	fieldReject = 1 << iota // the bit is the value
	fieldForce              // the bit is the value
	fieldEpoch
	fieldIndex
	fieldIndexEpoch
	fieldCommit
	fieldRound
	fieldHint
	fieldHintEpoch
	fieldEntries
	fieldSnapshot
	fieldDoubt

	fieldsKnown = fieldDoubt<<1 - 1
)

// The bits of an entry's flags: which fields differ from what the entry before it (the
// message itself, for the first) implies and are therefore written out.
const (
	entryIndex = 1 << iota // not the previous index + 1
	entryEpoch             // not the previous epoch
	entryOrig              // not this entry's epoch

	entryFlagsKnown = entryOrig<<1 - 1
)

// AppendPacket encodes p behind dst. It allocates only when dst is too small. A packet
// that breaks the contract (no kind, an unfilled Fill span, C5) panics: it would be
// refused or misunderstood far from the mistake.
func AppendPacket(dst []byte, p *Packet) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, packetVersion<<4|byte(p.Kind))
	switch p.Kind {
	case PacketConsensus:
		dst = appendMessage(dst, start, &p.Message)
	case PacketForward:
		dst = binary.AppendUvarint(dst, uint64(len(p.Body)))
		dst = append(dst, p.Body...)
		dst = pad(dst, start, minPacketBytes)
	default:
		panic(fmt.Sprintf("transport: encode a packet of kind %d", p.Kind))
	}
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(dst)-start-packetLengthBytes))
	return dst
}

// pad appends zeros until what begins at start has at least so many bytes.
func pad(dst []byte, start, least int) []byte {
	var zeros [minPacketBytes]byte
	if n := least - (len(dst) - start); n > 0 {
		dst = append(dst, zeros[:n]...)
	}
	return dst
}

// appendMessage encodes the message of the packet that begins at start. The padding is
// before the entries and the snapshot, which pay for their own memory.
func appendMessage(dst []byte, start int, m *consensus.Message) []byte {
	if m.Kind == 0 {
		panic("transport: encode a message without a kind")
	}
	if !m.Fill.Empty() && len(m.Entries) == 0 {
		panic(fmt.Sprintf("transport: encode a message whose span %v was not filled", m.Fill))
	}
	fields := messageFields(m)
	dst = append(dst, byte(m.Kind))
	dst = binary.LittleEndian.AppendUint16(dst, fields)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.From))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.To))
	dst = binary.AppendUvarint(dst, uint64(m.Group))
	for _, v := range [...]uint64{
		uint64(m.Epoch), uint64(m.Index), uint64(m.IndexEpoch), uint64(m.Commit),
		m.Round, uint64(m.Hint), uint64(m.HintEpoch), m.Doubt,
	} {
		if v != 0 {
			dst = binary.AppendUvarint(dst, v)
		}
	}
	dst = pad(dst, start, minPacketBytes)
	if fields&fieldEntries != 0 {
		dst = appendEntries(dst, m)
	}
	if fields&fieldSnapshot != 0 {
		dst = appendSnapshot(dst, m.Snapshot)
	}
	return dst
}

func messageFields(m *consensus.Message) uint16 {
	var f uint16
	set := func(present bool, bit uint16) {
		if present {
			f |= bit
		}
	}
	set(m.Reject, fieldReject)
	set(m.Force, fieldForce)
	set(m.Epoch != 0, fieldEpoch)
	set(m.Index != 0, fieldIndex)
	set(m.IndexEpoch != 0, fieldIndexEpoch)
	set(m.Commit != 0, fieldCommit)
	set(m.Round != 0, fieldRound)
	set(m.Hint != 0, fieldHint)
	set(m.HintEpoch != 0, fieldHintEpoch)
	set(len(m.Entries) != 0, fieldEntries)
	set(m.Snapshot != nil, fieldSnapshot)
	set(m.Doubt != 0, fieldDoubt)
	return f
}

func appendEntries(dst []byte, m *consensus.Message) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(m.Entries)))
	index, epoch := m.Index, m.Epoch
	for i := range m.Entries {
		e := &m.Entries[i]
		start := len(dst)
		flags := byte(0)
		if e.Index != index+1 {
			flags |= entryIndex
		}
		if e.Epoch != epoch {
			flags |= entryEpoch
		}
		if e.Orig != e.Epoch {
			flags |= entryOrig
		}
		dst = append(dst, byte(e.Kind), flags)
		if flags&entryIndex != 0 {
			dst = binary.AppendUvarint(dst, uint64(e.Index))
		}
		if flags&entryEpoch != 0 {
			dst = binary.AppendUvarint(dst, uint64(e.Epoch))
		}
		if flags&entryOrig != 0 {
			dst = binary.AppendUvarint(dst, uint64(e.Orig))
		}
		dst = binary.AppendUvarint(dst, uint64(len(e.Data)))
		dst = append(dst, e.Data...)
		dst = pad(dst, start, minEntryBytes)
		index, epoch = e.Index, e.Epoch
	}
	return dst
}

// snapshotBegun, in the write quorum of a snapshot's configuration, says that the write
// quorum of the outgoing voters and the beginning of the change follow.
const snapshotBegun = 1 << 31

// appendSnapshot writes all fields at fixed width: snapshots are rare, and fixed ids
// keep the decoder within T4 whatever the counts claim.
func appendSnapshot(dst []byte, s *consensus.Snapshot) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(s.Index))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(s.Epoch))
	c := &s.Configuration
	write, begun := uint32(c.WriteQuorum), c.OutgoingWrite != 0 || c.Begun != 0
	if begun {
		write |= snapshotBegun
	}
	dst = binary.LittleEndian.AppendUint32(dst, write)
	if begun {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(c.OutgoingWrite))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(c.Begun))
	}
	sets := [...][]consensus.ReplicaID{c.Voters, c.Outgoing, c.Learners}
	for _, ids := range sets {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(ids)))
	}
	for _, ids := range sets {
		for _, id := range ids {
			dst = binary.LittleEndian.AppendUint64(dst, uint64(id))
		}
	}
	return dst
}

// Upper bounds of what encoding adds to the bytes that a packet carries.
const (
	packetOverheadBytes   = 160 // format, message fields, counts and a snapshot's fixed part
	entryOverheadBytes    = 42  // kind, flags, three positions and a size; covers the padding
	replicaIDOnWireBytes  = 8
	snapshotOverheadBytes = 48
)

// sizeBound is at least the number of bytes that AppendPacket appends for p.
func sizeBound(p *Packet) int {
	n := packetOverheadBytes + len(p.Body)
	for i := range p.Message.Entries {
		n += entryOverheadBytes + len(p.Message.Entries[i].Data)
	}
	if s := p.Message.Snapshot; s != nil {
		c := &s.Configuration
		n += snapshotOverheadBytes + replicaIDOnWireBytes*(len(c.Voters)+len(c.Outgoing)+len(c.Learners))
	}
	return n
}
