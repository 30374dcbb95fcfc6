package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
)

// segmentNumber names one use of a segment file. It is never used again, also
// when the file is (W3).
type segmentNumber uint64

// String prints the number as it stands in file names.
func (n segmentNumber) String() string { return fmt.Sprintf("%016x", uint64(n)) }

// batchNumber counts the batches of a log from 1, without gaps.
type batchNumber uint64

// batchNumberMax is not reached in the life of a log; never is above every number.
const (
	batchNumberMax = batchNumber(1 << 62)
	never          = batchNumber(1<<64 - 1)
)

const (
	formatVersion = 1

	segmentMagic      = "quoraWAL"
	segmentHeaderSize = 80
	// The header stands twice, in two pages, so that one lost sector does not cost
	// the segment.
	segmentHeaderCopy = 4096
	segmentDataStart  = 8192

	batchMagic      = 0x7441_4251 // "QBAt", little endian
	batchHeaderSize = 48
	batchAlign      = 8

	segmentBytesMin = 4 * segmentDataStart
	segmentBytesMax = 1 << 30 // offsets in the index are 32 bits wide
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// segmentHeader is the head of a segment file; doc.go draws its bytes.
type segmentHeader struct {
	version  uint32
	keyID    uint32 // zero: not encrypted; reserved
	number   segmentNumber
	size     uint64
	cut      batchNumber   // zero, or the first batch of earlier segments that is void
	previous segmentNumber // the segment before this one; zero in the first
	identity [16]byte
}

func appendSegmentHeader(dst []byte, h *segmentHeader) []byte {
	start := len(dst)
	dst = append(dst, segmentMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, h.version)
	dst = binary.LittleEndian.AppendUint32(dst, h.keyID)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.number))
	dst = binary.LittleEndian.AppendUint64(dst, h.size)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.cut))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.previous))
	dst = append(dst, h.identity[:]...)
	dst = append(dst, make([]byte, 12)...)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// decodeSegmentHeader reports false for anything but an intact header of whatever
// version: magic, version and checksum stay where they are in every version.
func decodeSegmentHeader(b []byte) (h segmentHeader, ok bool) {
	if len(b) < segmentHeaderSize || string(b[:8]) != segmentMagic {
		return h, false
	}
	if binary.LittleEndian.Uint32(b[76:]) != crc32.Checksum(b[:76], castagnoli) {
		return h, false
	}
	h.version = binary.LittleEndian.Uint32(b[8:])
	h.keyID = binary.LittleEndian.Uint32(b[12:])
	h.number = segmentNumber(binary.LittleEndian.Uint64(b[16:]))
	h.size = binary.LittleEndian.Uint64(b[24:])
	h.cut = batchNumber(binary.LittleEndian.Uint64(b[32:]))
	h.previous = segmentNumber(binary.LittleEndian.Uint64(b[40:]))
	copy(h.identity[:], b[48:64])
	return h, true
}

// batchHeader is the fixed part of a batch; doc.go draws its bytes.
type batchHeader struct {
	size      uint32 // whole batch with padding
	tableSize uint32 // fixed part and record table
	number    batchNumber
	durable   batchNumber   // every batch up to this one was durable when this one was written
	oldest    segmentNumber // the first segment that replay needs
	tableCRC  uint32
}

// put encodes h for a place in a segment.
func (h *batchHeader) put(c *checksummer, b []byte, segment segmentNumber, offset int64) {
	binary.LittleEndian.PutUint32(b[0:], batchMagic)
	binary.LittleEndian.PutUint32(b[8:], h.size)
	binary.LittleEndian.PutUint32(b[12:], h.tableSize)
	binary.LittleEndian.PutUint64(b[16:], uint64(h.number))
	binary.LittleEndian.PutUint64(b[24:], uint64(h.durable))
	binary.LittleEndian.PutUint64(b[32:], uint64(h.oldest))
	binary.LittleEndian.PutUint32(b[40:], h.tableCRC)
	binary.LittleEndian.PutUint32(b[44:], 0)
	binary.LittleEndian.PutUint32(b[4:], c.placed(segment, offset, b[8:batchHeaderSize]))
}

// decodeBatchHeader reads the header of a batch at a place in a segment. It reports
// false unless the header verifies there and its lengths fit into room, the bytes left
// in the segment.
func decodeBatchHeader(c *checksummer, b []byte, segment segmentNumber, offset, room int64) (h batchHeader, ok bool) {
	if len(b) < batchHeaderSize || binary.LittleEndian.Uint32(b) != batchMagic {
		return h, false
	}
	if binary.LittleEndian.Uint32(b[4:]) != c.placed(segment, offset, b[8:batchHeaderSize]) {
		return h, false
	}
	h.size = binary.LittleEndian.Uint32(b[8:])
	h.tableSize = binary.LittleEndian.Uint32(b[12:])
	h.number = batchNumber(binary.LittleEndian.Uint64(b[16:]))
	h.durable = batchNumber(binary.LittleEndian.Uint64(b[24:]))
	h.oldest = segmentNumber(binary.LittleEndian.Uint64(b[32:]))
	h.tableCRC = binary.LittleEndian.Uint32(b[40:])
	ok = int64(h.size) <= room && h.size%batchAlign == 0 &&
		h.tableSize >= batchHeaderSize && h.tableSize <= h.size &&
		h.number > 0 && h.number <= batchNumberMax && h.durable < h.number
	return h, ok
}

// checksummer computes checksums; it holds what would otherwise be allocated each time.
type checksummer struct{ head [49]byte }

// placed covers bytes and the place they stand at, so that what is left of an earlier
// use of the file, or was written to the wrong place, never verifies (W3).
func (c *checksummer) placed(segment segmentNumber, offset int64, b []byte) uint32 {
	if mutant.On(mutant.WALStaleBatch) {
		segment = 0
	}
	head := c.head[:16]
	binary.LittleEndian.PutUint64(head[0:], uint64(segment))
	binary.LittleEndian.PutUint64(head[8:], uint64(offset))
	return crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, b)
}

// entry covers an entry's place, its identity and its data.
func (c *checksummer) entry(segment segmentNumber, group consensus.GroupID, r *record, data []byte) uint32 {
	if mutant.On(mutant.WALStaleBatch) {
		segment = 0
	}
	head := c.head[:]
	binary.LittleEndian.PutUint64(head[0:], uint64(segment))
	binary.LittleEndian.PutUint64(head[8:], uint64(r.offset))
	binary.LittleEndian.PutUint64(head[16:], uint64(group))
	binary.LittleEndian.PutUint64(head[24:], uint64(r.index))
	binary.LittleEndian.PutUint64(head[32:], uint64(r.epoch))
	binary.LittleEndian.PutUint64(head[40:], uint64(r.orig))
	head[48] = uint8(r.entryKind)
	return crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, data)
}

func alignUp(n int) int { return (n + batchAlign - 1) &^ (batchAlign - 1) }
