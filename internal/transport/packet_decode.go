package transport

import (
	"encoding/binary"
	"fmt"

	"github.com/quorate/quorate/consensus"
)

// DecodePackets decodes the packets that frame holds, appends them to dst and returns
// the extended slice. Entries and bodies alias frame, which must not change afterwards
// (T3). Any input is safe: the answer is packets or ErrMalformed with the reason, and
// at most four times the input is allocated (T4).
func DecodePackets(frame []byte, dst []Packet) ([]Packet, error) {
	count, err := countPackets(frame)
	if err != nil {
		return dst, err
	}
	before := len(dst)
	if cap(dst)-before < count {
		grown := make([]Packet, before, before+count)
		copy(grown, dst)
		dst = grown
	}
	for i := range count {
		size := packetLengthBytes + int(binary.LittleEndian.Uint32(frame))
		dst = append(dst, Packet{})
		if err := decodePacket(frame[:size:size], &dst[before+i]); err != nil {
			clear(dst[before:])
			return dst[:before], fmt.Errorf("packet %d of %d: %w", i+1, count, err)
		}
		frame = frame[size:]
	}
	return dst, nil
}

// countPackets walks the lengths, so that the decoder can allocate exactly.
func countPackets(frame []byte) (int, error) {
	count := 0
	for len(frame) > 0 {
		if len(frame) < minPacketBytes {
			return 0, fmt.Errorf("%w: %d bytes behind packet %d", ErrMalformed, len(frame), count)
		}
		size := uint64(binary.LittleEndian.Uint32(frame)) + packetLengthBytes
		if size < minPacketBytes || size > uint64(len(frame)) {
			return 0, fmt.Errorf("%w: packet %d claims %d of %d bytes", ErrMalformed, count+1, size, len(frame))
		}
		frame = frame[size:]
		count++
	}
	return count, nil
}

// decodePacket decodes exactly one packet, its length included.
func decodePacket(b []byte, p *Packet) error {
	format := b[packetFormatOffset]
	if version := format >> 4; version != packetVersion {
		return fmt.Errorf("%w: packet version %d, this build knows %d", ErrMalformed, version, packetVersion)
	}
	c := cursor{rest: b[packetFormatOffset+1:]}
	p.Kind = PacketKind(format & 0x0f)
	switch p.Kind {
	case PacketConsensus:
		if err := c.message(&p.Message, len(b)); err != nil {
			return err
		}
	case PacketForward:
		p.Body = c.bytes(c.uvarint())
		if err := c.padding(len(b), minPacketBytes); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%w: packet kind %d", ErrMalformed, p.Kind)
	}
	if c.bad {
		return fmt.Errorf("%w: %v packet of %d bytes is cut short", ErrMalformed, p.Kind, len(b))
	}
	if len(c.rest) > 0 {
		return fmt.Errorf("%w: %d bytes behind a %v packet", ErrMalformed, len(c.rest), p.Kind)
	}
	return nil
}

// cursor reads fields from the front of rest. bad latches the first field that was
// not there; every later read then returns zero.
type cursor struct {
	rest []byte
	bad  bool
}

func (c *cursor) fail() { c.bad, c.rest = true, nil }

func (c *cursor) uvarint() uint64 {
	if len(c.rest) > 0 && c.rest[0] < 0x80 { // the common case, small enough to inline
		v := c.rest[0]
		c.rest = c.rest[1:]
		return uint64(v)
	}
	return c.uvarintSlow()
}

func (c *cursor) uvarintSlow() uint64 {
	v, n := binary.Uvarint(c.rest)
	if n <= 0 {
		c.fail()
		return 0
	}
	c.rest = c.rest[n:]
	return v
}

func (c *cursor) u8() uint8 {
	if len(c.rest) < 1 {
		c.fail()
		return 0
	}
	v := c.rest[0]
	c.rest = c.rest[1:]
	return v
}

func (c *cursor) u16() uint16 {
	if len(c.rest) < 2 {
		c.fail()
		return 0
	}
	v := binary.LittleEndian.Uint16(c.rest)
	c.rest = c.rest[2:]
	return v
}

func (c *cursor) u32() uint32 {
	if len(c.rest) < 4 {
		c.fail()
		return 0
	}
	v := binary.LittleEndian.Uint32(c.rest)
	c.rest = c.rest[4:]
	return v
}

func (c *cursor) u64() uint64 {
	if len(c.rest) < 8 {
		c.fail()
		return 0
	}
	v := binary.LittleEndian.Uint64(c.rest)
	c.rest = c.rest[8:]
	return v
}

// bytes returns the next n bytes without copying; nil when n is zero.
func (c *cursor) bytes(n uint64) []byte {
	if n > uint64(len(c.rest)) {
		c.fail()
		return nil
	}
	if n == 0 {
		return nil
	}
	b := c.rest[:n:n]
	c.rest = c.rest[n:]
	return b
}

// padding consumes the zeros that fill up what began when before bytes were left, so
// that it has at least so many bytes.
func (c *cursor) padding(before, least int) error {
	n := least - (before - len(c.rest))
	if n <= 0 || c.bad {
		return nil
	}
	for _, b := range c.bytes(uint64(n)) {
		if b != 0 {
			return fmt.Errorf("%w: padding is not zero", ErrMalformed)
		}
	}
	return nil
}

// message decodes the message of a packet of size bytes.
func (c *cursor) message(m *consensus.Message, size int) error {
	m.Kind = consensus.MessageKind(c.u8())
	fields := c.u16()
	if m.Kind == 0 || fields&^fieldsKnown != 0 {
		return fmt.Errorf("%w: message kind %d, fields %#x", ErrMalformed, m.Kind, fields)
	}
	m.From, m.To = consensus.ReplicaID(c.u64()), consensus.ReplicaID(c.u64())
	m.Group = consensus.GroupID(c.uvarint())
	optional := func(bit uint16) uint64 {
		if fields&bit == 0 {
			return 0
		}
		return c.uvarint()
	}
	m.Reject, m.Force = fields&fieldReject != 0, fields&fieldForce != 0
	m.Epoch = consensus.Epoch(optional(fieldEpoch))
	m.Index = consensus.Index(optional(fieldIndex))
	m.IndexEpoch = consensus.Epoch(optional(fieldIndexEpoch))
	m.Commit = consensus.Index(optional(fieldCommit))
	m.Round = optional(fieldRound)
	m.Hint = consensus.Index(optional(fieldHint))
	m.HintEpoch = consensus.Epoch(optional(fieldHintEpoch))
	m.Doubt = optional(fieldDoubt)
	if err := c.padding(size, minPacketBytes); err != nil {
		return err
	}
	if fields&fieldEntries != 0 {
		if err := c.entries(m); err != nil {
			return err
		}
	}
	if fields&fieldSnapshot != 0 {
		m.Snapshot = c.snapshot()
	}
	return nil
}

func (c *cursor) entries(m *consensus.Message) error {
	count := c.uvarint()
	if count == 0 || count > uint64(len(c.rest)/minEntryBytes) {
		return fmt.Errorf("%w: %d entries in %d bytes", ErrMalformed, count, len(c.rest))
	}
	m.Entries = make([]consensus.Entry, count)
	index, epoch := m.Index, m.Epoch
	for i := range m.Entries {
		e := &m.Entries[i]
		before := len(c.rest)
		e.Kind = consensus.EntryKind(c.u8())
		flags := c.u8()
		if flags&^entryFlagsKnown != 0 {
			return fmt.Errorf("%w: entry flags %#x", ErrMalformed, flags)
		}
		e.Index, e.Epoch = index+1, epoch
		if flags&entryIndex != 0 {
			e.Index = consensus.Index(c.uvarint())
		}
		if flags&entryEpoch != 0 {
			e.Epoch = consensus.Epoch(c.uvarint())
		}
		e.Orig = e.Epoch
		if flags&entryOrig != 0 {
			e.Orig = consensus.Epoch(c.uvarint())
		}
		e.Data = c.bytes(c.uvarint())
		if c.bad {
			return fmt.Errorf("%w: entry %d of %d is cut short", ErrMalformed, i+1, count)
		}
		if err := c.padding(before, minEntryBytes); err != nil {
			return err
		}
		index, epoch = e.Index, e.Epoch
	}
	return nil
}

func (c *cursor) snapshot() *consensus.Snapshot {
	index, epoch, writeQuorum := c.u64(), c.u64(), c.u32()
	outgoingWrite, begun := uint32(0), uint64(0)
	if writeQuorum&snapshotBegun != 0 {
		outgoingWrite, begun = c.u32(), c.u64()
	}
	voters, outgoing, learners := uint64(c.u32()), uint64(c.u32()), uint64(c.u32())
	if c.bad || voters+outgoing+learners > uint64(len(c.rest)/replicaIDOnWireBytes) {
		c.fail()
		return nil
	}
	s := &consensus.Snapshot{Index: consensus.Index(index), Epoch: consensus.Epoch(epoch)}
	s.Configuration.WriteQuorum = int(writeQuorum &^ snapshotBegun)
	s.Configuration.OutgoingWrite, s.Configuration.Begun = int(outgoingWrite), consensus.Index(begun)
	s.Configuration.Voters = c.replicas(voters)
	s.Configuration.Outgoing = c.replicas(outgoing)
	s.Configuration.Learners = c.replicas(learners)
	return s
}

func (c *cursor) replicas(n uint64) []consensus.ReplicaID {
	if n == 0 {
		return nil
	}
	ids := make([]consensus.ReplicaID, n)
	for i := range ids {
		ids[i] = consensus.ReplicaID(c.u64())
	}
	return ids
}
