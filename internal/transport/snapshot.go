package transport

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"github.com/quorate/quorate/consensus"
)

// SnapshotHeader opens a snapshot stream.
type SnapshotHeader struct {
	// Message is what the receiving replica steps once the state is complete: it names
	// the group, the replicas and, in Message.Snapshot, the position of the state.
	Message consensus.Message
	// Format is the version of the state that follows; it means nothing here.
	Format uint32
	// Bytes is how much state to expect, for progress; zero: unknown.
	Bytes uint64
	// Body is the driver's business: at most 64 KiB.
	Body []byte
}

// Bounds of a snapshot connection's frames, but for chunks.
const (
	maxSnapshotBodyBytes    = 64 << 10
	maxSnapshotMessageBytes = 64 << 10
	maxSnapshotHeaderBytes  = snapshotHeaderFixedBytes + maxSnapshotBodyBytes + maxSnapshotMessageBytes
	maxSnapshotTextBytes    = 1 << 10
)

// Fixed parts of the frames.
const (
	snapshotHeaderFixedBytes = 16 // format u32, bytes u64, length of the body u32
	snapshotOffsetBytes      = 8  // before a chunk's data
	snapshotEndBytes         = 16 // total u64, xxhash64 u64
)

// appendSnapshotHeader appends the header's frame. It returns ErrTooLarge when a part
// is above its bound.
func appendSnapshotHeader(dst []byte, h *SnapshotHeader) ([]byte, error) {
	if len(h.Body) > maxSnapshotBodyBytes {
		return dst, fmt.Errorf("%w: snapshot header with a body of %d bytes, limit %d", ErrTooLarge, len(h.Body), maxSnapshotBodyBytes)
	}
	start := len(dst)
	dst = beginFrame(dst, frameSnapshotHeader)
	dst = binary.LittleEndian.AppendUint32(dst, h.Format)
	dst = binary.LittleEndian.AppendUint64(dst, h.Bytes)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(h.Body)))
	dst = append(dst, h.Body...)
	message := len(dst)
	dst = AppendPacket(dst, &Packet{Kind: PacketConsensus, Message: h.Message})
	if n := len(dst) - message; n > maxSnapshotMessageBytes {
		return dst[:start], fmt.Errorf("%w: snapshot header with a message of %d bytes, limit %d", ErrTooLarge, n, maxSnapshotMessageBytes)
	}
	sealFrame(dst[start:])
	return dst, nil
}

func decodeSnapshotHeader(payload []byte) (SnapshotHeader, error) {
	c := cursor{rest: payload}
	h := SnapshotHeader{Format: c.u32(), Bytes: c.u64()}
	h.Body = c.bytes(uint64(c.u32()))
	if c.bad {
		return h, fmt.Errorf("%w: snapshot header of %d bytes", ErrMalformed, len(payload))
	}
	packets, err := DecodePackets(c.rest, nil)
	if err != nil {
		return h, err
	}
	if len(packets) != 1 || packets[0].Kind != PacketConsensus || packets[0].Message.Snapshot == nil {
		return h, fmt.Errorf("%w: snapshot header without a snapshot message", ErrMalformed)
	}
	h.Message = packets[0].Message
	return h, nil
}

// streamSum follows a snapshot's bytes on both sides: how many, and their hash. Frames
// have checksums of their own; this one finds frames that are missing, doubled or of
// another stream.
type streamSum struct {
	bytes uint64
	hash  *xxhash.Digest
}

func newStreamSum() streamSum { return streamSum{hash: xxhash.New()} }

func (s *streamSum) add(b []byte) {
	s.bytes += uint64(len(b))
	_, _ = s.hash.Write(b) // cannot fail
}

// snapshotVerdict is the receiver's last word.
type snapshotVerdict struct {
	installed bool
	text      string
}

func appendSnapshotVerdict(dst []byte, v snapshotVerdict) []byte {
	start := len(dst)
	dst = append(beginFrame(dst, frameSnapshotVerdict), 0)
	if v.installed {
		dst[len(dst)-1] = 1
	}
	dst = append(dst, cut(v.text, maxSnapshotTextBytes)...)
	sealFrame(dst[start:])
	return dst
}

func decodeSnapshotVerdict(payload []byte) (snapshotVerdict, error) {
	c := cursor{rest: payload}
	installed := c.u8()
	if c.bad || installed > 1 {
		return snapshotVerdict{}, fmt.Errorf("%w: snapshot verdict of %d bytes", ErrMalformed, len(payload))
	}
	return snapshotVerdict{installed: installed == 1, text: printable(c.rest)}, nil
}
