package transport

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// frameKind says how to read a frame's payload. Zero is never valid.
type frameKind uint8

const (
	// On a message connection, from the dialler:
	framePackets frameKind = 1 // packets, back to back
	framePing    frameKind = 2 // u64: the sender's monotonic time in ns
	frameBye     frameKind = 3 // nothing: the dialler closes on purpose and will be back
	// On a message connection, from the acceptor:
	frameEcho frameKind = 4 // u64: the stamp of a ping
	// On a snapshot connection, from the dialler:
	frameSnapshotHeader frameKind = 5
	frameSnapshotChunk  frameKind = 6
	frameSnapshotEnd    frameKind = 7
	frameSnapshotAbort  frameKind = 8
	// On a snapshot connection, from the acceptor:
	frameSnapshotBusy    frameKind = 9 // nothing: still at work
	frameSnapshotVerdict frameKind = 10
	// On a probe connection, from the acceptor:
	frameProbeReply frameKind = 11
)

// frameHeaderBytes: CRC32C, length, kind. The checksum covers the rest of the header
// and the payload.
const (
	frameHeaderBytes  = 9
	frameLengthOffset = 4
	frameKindOffset   = 8
)

// stampBytes is the payload of pings and echoes.
const stampBytes = 8

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// beginFrame appends a header to be completed by sealFrame.
func beginFrame(dst []byte, kind frameKind) []byte {
	return append(dst, 0, 0, 0, 0, 0, 0, 0, 0, byte(kind))
}

// sealFrame completes the header of a frame that fills b.
func sealFrame(b []byte) {
	binary.LittleEndian.PutUint32(b[frameLengthOffset:], uint32(len(b)-frameHeaderBytes))
	binary.LittleEndian.PutUint32(b, crc32.Checksum(b[frameLengthOffset:], castagnoli))
}

// appendFrame appends a whole frame.
func appendFrame(dst []byte, kind frameKind, payload []byte) []byte {
	start := len(dst)
	dst = append(beginFrame(dst, kind), payload...)
	sealFrame(dst[start:])
	return dst
}

// appendStamp appends a ping or an echo.
func appendStamp(dst []byte, kind frameKind, stamp uint64) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint64(beginFrame(dst, kind), stamp)
	sealFrame(dst[start:])
	return dst
}

// unprovenBytes is how much is allocated for a frame before its bytes arrive; beyond
// it a buffer grows with what has arrived, so that a lying length costs little.
const unprovenBytes = 256 << 10

// readFrame reads one frame of at most limit payload bytes. The payload is read into
// buf when it fits there, otherwise into new memory. A clean end between frames is
// io.EOF, an end inside one io.ErrUnexpectedEOF.
func readFrame(r *bufio.Reader, limit int, buf []byte) (frameKind, []byte, error) {
	header, err := r.Peek(frameHeaderBytes)
	if err != nil {
		if err == io.EOF && len(header) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	sum := binary.LittleEndian.Uint32(header)
	length := uint64(binary.LittleEndian.Uint32(header[frameLengthOffset:]))
	kind := frameKind(header[frameKindOffset])
	running := crc32.Checksum(header[frameLengthOffset:], castagnoli)
	if length > uint64(limit) {
		return 0, nil, fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, length, limit)
	}
	_, _ = r.Discard(frameHeaderBytes) // cannot fail: peeked
	payload, err := readPayload(r, int(length), buf)
	if err != nil {
		return 0, nil, err
	}
	if crc32.Update(running, castagnoli, payload) != sum {
		return 0, nil, fmt.Errorf("%w: checksum of a frame of kind %d and %d bytes", ErrMalformed, kind, length)
	}
	return kind, payload, nil
}

func readPayload(r *bufio.Reader, length int, buf []byte) ([]byte, error) {
	if cap(buf) < length {
		buf = make([]byte, 0, min(length, unprovenBytes))
	}
	buf = buf[:0]
	for {
		have := len(buf)
		buf = buf[:min(length, cap(buf))]
		if _, err := io.ReadFull(r, buf[have:]); err != nil {
			if err == io.EOF && length > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if len(buf) == length {
			return buf, nil
		}
		grown := make([]byte, len(buf), min(length, 2*cap(buf)))
		copy(grown, buf)
		buf = grown
	}
}
