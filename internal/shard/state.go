package shard

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/quorate/quorate/internal/store"
)

// A shard's state as a stream of bytes:
//
//	uvarint length of header, header (package store)
//	any number of: uvarint 1 + length of key, key, uvarint length of value, value
//	uvarint 0
//
// Its integrity is the carrier's business: the transport's frames have checksums.

// stateFieldBytes bounds one header, key or value that is read back.
const stateFieldBytes = 256 << 20

// ErrState is returned, wrapped with the reason, for a stream that is no state.
var ErrState = errors.New("malformed shard state")

// WriteState writes the viewed state of a shard to w.
func WriteState(w io.Writer, id ID, view *store.View) error {
	header, err := view.Header(id)
	if err != nil {
		return fmt.Errorf("export shard %d: %w", id, err)
	}
	b := bufio.NewWriterSize(w, 64<<10)
	var scratch []byte
	field := func(length uint64, data []byte) error {
		scratch = binary.AppendUvarint(scratch[:0], length)
		if _, err := b.Write(scratch); err != nil {
			return err
		}
		_, err := b.Write(data)
		return err
	}
	head := header.AppendTo(nil)
	err = field(uint64(len(head)), head)
	if err == nil {
		err = view.Export(func(key, value []byte) error {
			return errors.Join(field(uint64(len(key))+1, key), field(uint64(len(value)), value))
		})
	}
	if err == nil {
		err = field(0, nil)
	}
	if err = errors.Join(err, b.Flush()); err != nil {
		return fmt.Errorf("export shard %d: %w", id, err)
	}
	return nil
}

// ReadState replaces a shard's state by what WriteState wrote. It returns ErrState
// for a stream that ends early or is none; the old state then stays.
func ReadState(r io.Reader, into *store.Store) error {
	s := stateReader{r: bufio.NewReaderSize(r, 64<<10)}
	head, err := s.field(0, nil)
	if err != nil {
		return err
	}
	header, err := store.DecodeSnapshotHeader(head)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	return into.Import(header, s.pairs)
}

type stateReader struct{ r *bufio.Reader }

func (s *stateReader) pairs(yield func(key, value []byte) error) error {
	var key, value []byte
	for {
		var err error
		if key, err = s.field(1, key); err != nil {
			return err
		}
		if key == nil {
			return nil
		}
		if value, err = s.field(0, value); err != nil {
			return err
		}
		if err := yield(key, value); err != nil {
			return err
		}
	}
}

// field reads a length, from which bias is taken, and that many bytes into dst. A
// length below bias is the end: nil without error.
func (s *stateReader) field(bias uint64, dst []byte) ([]byte, error) {
	n, err := binary.ReadUvarint(s.r)
	if err != nil {
		return nil, fmt.Errorf("%w: length: %w", ErrState, err)
	}
	if n < bias {
		return nil, nil
	}
	if n -= bias; n > stateFieldBytes {
		return nil, fmt.Errorf("%w: field of %d bytes", ErrState, n)
	}
	if dst == nil || uint64(cap(dst)) < n {
		dst = make([]byte, n)
	}
	dst = dst[:n]
	if _, err := io.ReadFull(s.r, dst); err != nil {
		return nil, fmt.Errorf("%w: field: %w", ErrState, err)
	}
	return dst, nil
}
