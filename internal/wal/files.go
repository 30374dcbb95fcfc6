package wal

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// openSegments opens the segments of the directory and takes stock of spares. Files
// whose first write was not finished are removed.
func (l *Log) openSegments(opts Options) error {
	s := &l.space
	names, err := s.fs.List(s.dir)
	if err != nil {
		return err
	}
	slices.Sort(names)
	var spares []string
	for _, name := range names {
		number, suffix, ok := parseName(name)
		if !ok {
			continue
		}
		s.mu.serial = max(s.mu.serial, number)
		path := s.fs.PathJoin(s.dir, name)
		switch suffix {
		case segmentSuffix:
			err = l.openSegment(path, segmentNumber(number), opts)
		case spareSuffix:
			spares = append(spares, path)
		case tempSuffix:
			err = s.fs.Remove(path)
		}
		if err != nil {
			return err
		}
	}
	slices.SortFunc(l.mu.segments, func(a, b *segment) int { return cmp.Compare(a.number, b.number) })
	for _, path := range spares {
		if err := s.adopt(path); err != nil {
			return err
		}
	}
	return l.followChain()
}

// followChain keeps the segments that lead back from the newest one. Others are left
// over from a cut that a crash interrupted: all they hold is void. A hole is refused:
// segments go away only at the front.
func (l *Log) followChain() error {
	all := l.mu.segments
	if len(all) == 0 {
		return nil
	}
	chain := []*segment{all[len(all)-1]}
	for i := len(all) - 2; i >= 0; i-- {
		after, seg := chain[len(chain)-1], all[i]
		switch {
		case seg.number == after.previous:
			chain = append(chain, seg)
		case seg.number < after.previous:
			return fmt.Errorf("%w: segment %v is missing between %v and %v: restore the file, or rejoin this node with an empty directory",
				ErrCorrupt, after.previous, seg.number, after.number)
		default:
			if err := l.space.recycle(seg); err != nil {
				return err
			}
			l.mu.segments = slices.Delete(l.mu.segments, i, i+1)
		}
	}
	return nil
}

func (l *Log) openSegment(path string, number segmentNumber, opts Options) error {
	f, err := l.space.fs.OpenReadWrite(path, diskCategory)
	if err != nil {
		return err
	}
	seg := &segment{number: number, file: f, name: path}
	l.mu.segments = append(l.mu.segments, seg) // closed with the log from here on
	h, err := seg.header()
	if err != nil {
		return err
	}
	if h.version != formatVersion {
		return fmt.Errorf("%w: %s has format version %d and this build knows only %d: run the build that wrote it", ErrVersion, path, h.version, formatVersion)
	}
	if h.keyID != 0 {
		return fmt.Errorf("%w: %s is encrypted with key %d and this build cannot decrypt", ErrVersion, path, h.keyID)
	}
	if h.number != number {
		return fmt.Errorf("%w: %s says that it is segment %v", ErrCorrupt, path, h.number)
	}
	var none [16]byte
	if opts.Identity != none && h.identity != none && !bytes.Equal(opts.Identity[:], h.identity[:]) {
		return fmt.Errorf("%w: %s belongs to %x and this node is %x: check the data directory", ErrForeign, path, h.identity, opts.Identity)
	}
	if h.size < segmentBytesMin || h.size > segmentBytesMax || h.size%batchAlign != 0 {
		return fmt.Errorf("%w: %s says that it has %d bytes", ErrCorrupt, path, h.size)
	}
	if len(l.mu.segments) == 1 {
		l.space.size = int64(h.size)
	} else if int64(h.size) != l.space.size {
		return fmt.Errorf("%w: %s says that it has %d bytes, others have %d", ErrCorrupt, path, h.size, l.space.size)
	}
	seg.size, seg.cut, seg.previous = int64(h.size), h.cut, h.previous
	return nil
}

// header reads whichever copy of the header is intact.
func (s *segment) header() (segmentHeader, error) {
	var errs []error
	for _, offset := range []int64{0, segmentHeaderCopy} {
		var b [segmentHeaderSize]byte
		if err := s.readAt(b[:], offset); err != nil {
			errs = append(errs, err)
			continue
		}
		if h, ok := decodeSegmentHeader(b[:]); ok {
			return h, nil
		}
	}
	if len(errs) == 2 {
		return segmentHeader{}, fmt.Errorf("read header of %s: %w", s.name, errors.Join(errs...))
	}
	return segmentHeader{}, fmt.Errorf("%w: %s has no intact header: restore the file, or rejoin this node with an empty directory", ErrCorrupt, s.name)
}

// adopt takes a spare file into use if it has the right size, and removes it otherwise.
func (s *space) adopt(path string) error {
	info, err := s.fs.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() != s.size || len(s.mu.spares) > keptSpares {
		return s.fs.Remove(path)
	}
	// A spare whose rename into the log was lost may carry a number in its header.
	f, err := s.fs.Open(path)
	if err != nil {
		return err
	}
	seg := segment{file: f, name: path}
	if h, err := seg.header(); err == nil {
		s.mu.serial = max(s.mu.serial, uint64(h.number))
	}
	s.mu.spares = append(s.mu.spares, path)
	return f.Close()
}
