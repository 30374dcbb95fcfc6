package wal

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// leftovers are files that do not belong to the log. They are dealt with once it is
// certain that the log can be opened.
type leftovers struct {
	temps   []string   // whose first write was not finished
	spares  []string   // paths
	orphans []*segment // made void by a cut
}

// openSegments opens the segments of the directory.
func (l *Log) openSegments(opts Options) error {
	s := &l.space
	names, err := s.fs.List(s.dir)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		number, suffix, ok := parseName(name)
		if !ok {
			continue
		}
		s.mu.serial = max(s.mu.serial, number)
		path := s.fs.PathJoin(s.dir, name)
		switch suffix {
		case segmentSuffix:
			if err := l.openSegment(path, segmentNumber(number), opts); err != nil {
				return err
			}
		case spareSuffix:
			l.left.spares = append(l.left.spares, path)
		case tempSuffix:
			l.left.temps = append(l.left.temps, path)
		}
	}
	slices.SortFunc(l.mu.segments, func(a, b *segment) int { return cmp.Compare(a.number, b.number) })
	return l.followChain()
}

// followChain keeps the segments that lead back from the newest one. Others are left
// over from a cut that a crash interrupted: all they hold is void. A hole is refused:
// segments go away only at the front.
func (l *Log) followChain() error {
	var chain, orphans []*segment
	for _, seg := range slices.Backward(l.mu.segments) {
		if n := len(chain); n == 0 || seg.number == chain[n-1].previous {
			chain = append(chain, seg)
		} else if after := chain[n-1]; seg.number > after.previous {
			orphans = append(orphans, seg)
		} else {
			return fmt.Errorf("%w: segment %v is missing between %v and %v: restore the file, or rejoin this node with an empty directory",
				ErrCorrupt, after.previous, seg.number, after.number)
		}
	}
	slices.Reverse(chain)
	l.mu.segments, l.left.orphans = chain, orphans
	return nil
}

// tidy makes the names that were found durable, and uses leftovers or removes them.
func (l *Log) tidy() error {
	left := l.left
	l.left = leftovers{}
	if err := l.space.dirFile.Sync(); err != nil {
		return fmt.Errorf("%w: sync directory: %w", ErrFailed, err)
	}
	for _, path := range left.temps {
		if err := l.space.fs.Remove(path); err != nil {
			return err
		}
	}
	for _, path := range left.spares {
		if err := l.space.adopt(path); err != nil {
			return err
		}
	}
	return l.recycleAll(left.orphans)
}

// recycleAll takes segments out of the log. On an error it closes the rest.
func (l *Log) recycleAll(segments []*segment) error {
	for i, seg := range segments {
		if err := l.space.recycle(seg); err != nil {
			for _, rest := range segments[i+1:] {
				_ = rest.file.Close() // the error that matters is the first
			}
			return err
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
	h, damaged, err := seg.header()
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
	if damaged >= 0 {
		return seg.mendHeader(&h, damaged)
	}
	return nil
}

// mendHeader writes a damaged copy of the header anew, so that damage to the other one, some
// day, does not take both.
func (s *segment) mendHeader(h *segmentHeader, offset int64) error {
	_, err := s.file.WriteAt(appendSegmentHeader(nil, h), offset)
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("mend the header of %s: %w", s.name, err)
	}
	return nil
}

// header reads whichever copy of the header is intact, and says where a damaged one is; -1
// if both are whole.
func (s *segment) header() (h segmentHeader, damaged int64, err error) {
	var errs []error
	damaged = -1
	found := false
	for _, offset := range []int64{0, segmentHeaderCopy} {
		var b [segmentHeaderSize]byte
		if err := s.readAt(b[:], offset); err != nil {
			errs = append(errs, err)
			continue
		}
		if one, ok := decodeSegmentHeader(b[:]); !ok {
			damaged = offset
		} else if !found {
			h, found = one, true
		}
	}
	switch {
	case found:
		return h, damaged, nil
	case len(errs) == 2:
		return h, damaged, fmt.Errorf("read header of %s: %w", s.name, errors.Join(errs...))
	}
	return h, damaged, fmt.Errorf("%w: %s has no intact header: restore the file, or rejoin this node with an empty directory", ErrCorrupt, s.name)
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
	if h, _, err := seg.header(); err == nil {
		s.mu.serial = max(s.mu.serial, uint64(h.number))
	}
	s.mu.spares = append(s.mu.spares, path)
	return f.Close()
}
