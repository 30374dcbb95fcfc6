package wal

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/env"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// diskCategory is how the log's writes are accounted for by an FS that does so.
const diskCategory vfs.DiskWriteCategory = "quorate-wal"

// File names: 16 hexadecimal digits and one of these.
const (
	segmentSuffix = ".wal"   // a segment of the log; the digits are its number
	spareSuffix   = ".spare" // fully written, content without meaning
	tempSuffix    = ".tmp"   // being written for the first time; removed by Open
	lockName      = "LOCK"
)

// segment is one file of the log.
type segment struct {
	number   segmentNumber
	previous segmentNumber
	cut      batchNumber
	size     int64
	file     env.File
	name     string

	// pins is held for reading while somebody reads file, so that it is neither
	// closed nor written anew under them.
	pins sync.RWMutex

	// groups names every group that has a section in the segment, once or more.
	groups []consensus.GroupID
	// freeAt, when not zero, is the batch that moved the last live record away;
	// once it is durable the file is free (W4).
	freeAt batchNumber
	// last is the newest batch in the segment, as replay found it.
	last batchNumber
	// dirty: written to since the last sync.
	dirty bool
}

// readAt fills b, or what the file has of it, with zeros behind.
func (s *segment) readAt(b []byte, offset int64) error {
	n, err := s.file.ReadAt(b, offset)
	if errors.Is(err, io.EOF) {
		clear(b[n:])
		return nil
	}
	if err == nil && n < len(b) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// space makes, hands out and takes back segment files.
type space struct {
	fs       env.FS
	dir      string
	dirFile  env.File
	size     int64
	identity [16]byte

	// making is held while a file is being written for the first time. It is
	// taken before mu.
	making sync.Mutex
	mu     struct {
		sync.Mutex
		spares []string // paths
		serial uint64   // the highest number used in any file name
	}
}

// keptSpares bounds the free files that are kept beside the one that is next.
const keptSpares = 1

func (s *space) path(number uint64, suffix string) string {
	return s.fs.PathJoin(s.dir, fmt.Sprintf("%016x%s", number, suffix))
}

// parseName splits a file name of the log into number and suffix.
func parseName(name string) (number uint64, suffix string, ok bool) {
	digits, suffix, found := strings.Cut(name, ".")
	if !found || len(digits) != 16 {
		return 0, "", false
	}
	number, err := strconv.ParseUint(digits, 16, 64)
	suffix = "." + suffix
	return number, suffix, err == nil && (suffix == segmentSuffix || suffix == spareSuffix || suffix == tempSuffix)
}

// nextSerial returns a number that no file name of the log has had.
func (s *space) nextSerial() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.serial++
	return s.mu.serial
}

// makeSpare makes sure that there is a spare. It may run beside the writer.
func (s *space) makeSpare() error {
	s.making.Lock()
	defer s.making.Unlock()
	if s.spareCount() > 0 {
		return nil
	}
	number := s.nextSerial()
	temp, path := s.path(number, tempSuffix), s.path(number, spareSuffix)
	if err := s.writeZeros(temp); err != nil {
		_ = s.fs.Remove(temp) // the error that matters is the first
		return fmt.Errorf("allocate segment file %s: %w", temp, err)
	}
	if err := s.fs.Rename(temp, path); err != nil {
		return fmt.Errorf("name segment file %s: %w", path, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.spares = append(s.mu.spares, path)
	return nil
}

// writeZeros makes a file whose blocks are all written, so that a later fdatasync
// has no metadata to write.
func (s *space) writeZeros(path string) (err error) {
	f, err := s.fs.OpenReadWrite(path, diskCategory)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	// Asking for the space first fails at once, not after most of it was written,
	// when the disk is full. File systems that cannot are no worse off.
	if err := f.Preallocate(0, s.size); isNoSpace(err) {
		return err
	}
	zeros := make([]byte, min(s.size, 256<<10))
	for at := int64(0); at < s.size; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), s.size-at)], at); err != nil {
			return err
		}
	}
	return f.Sync()
}

func (s *space) spareCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.spares)
}

// takeSpare removes a spare from the list, making one if there is none.
func (s *space) takeSpare() (string, error) {
	for {
		s.mu.Lock()
		if n := len(s.mu.spares); n > 0 {
			path := s.mu.spares[n-1]
			s.mu.spares = s.mu.spares[:n-1]
			s.mu.Unlock()
			return path, nil
		}
		s.mu.Unlock()
		if err := s.makeSpare(); err != nil {
			return "", err
		}
	}
}

// open makes a spare into an empty segment of the log. The rename is what makes it
// part of the log, and it happens after the header is durable: a segment that is
// found under its name has its header.
//
// It goes behind the segment previous; cut is zero or the first batch to make void.
func (s *space) open(previous segmentNumber, cut batchNumber) (*segment, error) {
	spare, err := s.takeSpare()
	if err != nil {
		return nil, err
	}
	number := segmentNumber(s.nextSerial())
	seg := &segment{number: number, previous: previous, cut: cut, size: s.size, name: s.path(uint64(number), segmentSuffix)}
	if err := s.openSpare(seg, spare); err != nil {
		s.mu.Lock()
		s.mu.spares = append(s.mu.spares, spare)
		s.mu.Unlock()
		return nil, fmt.Errorf("open segment %v: %w", number, err)
	}
	return seg, nil
}

func (s *space) openSpare(seg *segment, spare string) error {
	f, err := s.fs.OpenReadWrite(spare, diskCategory)
	if err != nil {
		return err
	}
	h := segmentHeader{
		version: formatVersion, number: seg.number, size: uint64(s.size),
		cut: seg.cut, previous: seg.previous, identity: s.identity,
	}
	if err := writeSegmentHeader(f, &h); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := s.fs.Rename(spare, seg.name); err != nil {
		return errors.Join(err, f.Close())
	}
	seg.file = f
	if err := s.dirFile.Sync(); err != nil {
		return fmt.Errorf("%w: sync directory: %w", ErrFailed, err)
	}
	return nil
}

func writeSegmentHeader(f env.File, h *segmentHeader) error {
	var page [segmentDataStart]byte
	appendSegmentHeader(page[:0], h)
	copy(page[segmentHeaderCopy:], page[:segmentHeaderSize])
	if _, err := f.WriteAt(page[:], 0); err != nil {
		return err
	}
	if err := f.SyncData(); err != nil {
		return fmt.Errorf("%w: sync segment header: %w", ErrFailed, err)
	}
	return nil
}

// recycle takes a segment out of the log: its file becomes a spare, or is removed
// when there are enough.
func (s *space) recycle(seg *segment) error {
	spare := s.path(uint64(seg.number), spareSuffix)
	keep := s.spareCount() < keptSpares
	if keep {
		if err := s.fs.Rename(seg.name, spare); err != nil {
			return fmt.Errorf("recycle segment %v: %w", seg.number, err)
		}
	} else if err := s.fs.Remove(seg.name); err != nil {
		return fmt.Errorf("remove segment %v: %w", seg.number, err)
	}
	// The name must be gone before the content changes: see open.
	if err := s.dirFile.Sync(); err != nil {
		return fmt.Errorf("%w: sync directory: %w", ErrFailed, err)
	}
	seg.pins.Lock() // waits for readers
	err := seg.file.Close()
	seg.pins.Unlock()
	if err != nil {
		return fmt.Errorf("%w: close segment %v: %w", ErrFailed, seg.number, err)
	}
	if keep {
		s.mu.Lock()
		s.mu.spares = append(s.mu.spares, spare)
		s.mu.Unlock()
	}
	return nil
}

// isNoSpace reports whether an error says that the disk is full.
func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// isScarce reports whether an error says that something has run out that may come back:
// space, or file descriptors.
func isScarce(err error) bool {
	return isNoSpace(err) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}
