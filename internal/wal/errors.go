package wal

import "errors"

var (
	// ErrFull is returned by Write when there is no room for the batch and none can
	// be allocated. The batch was not taken, except that its releases may have been
	// (see Relieve), and the log stays usable: batches without entries still fit
	// into the reserve, and others again once releases or the operating system give
	// space back. A caller tries the same batch again or forgets it for good: should
	// the process die first, the log may hold it.
	ErrFull = errors.New("disk full")
	// ErrFailed is returned by Write and Sync for ever after the disk failed a write,
	// a sync or the making of a segment for another reason than want of space or file
	// descriptors: what it holds is no longer known and the process must stop (W6).
	ErrFailed = errors.New("log failed")
	// ErrInvalid is returned by Write for a batch that can never be written: an
	// entry at or below the released index, too far ahead, or a batch that is
	// larger than MaxBatchBytes. Nothing was written.
	ErrInvalid = errors.New("invalid batch")
	// ErrClosed is returned by every method of a closed log.
	ErrClosed = errors.New("log is closed")

	// ErrReleased is returned by Read when the first index asked for is no longer
	// in the log.
	ErrReleased = errors.New("entry is released")
	// ErrNotFound is returned by Read when the log holds no entry at the first
	// index asked for.
	ErrNotFound = errors.New("no such entry")
	// ErrFaulty is returned by Read when the log held an entry at the first index
	// asked for and cannot read it back. It must be fetched from peers (W5).
	ErrFaulty = errors.New("entry is damaged")

	// ErrCorrupt is returned by Open for damage that cannot be confined to entries
	// or groups: a missing segment, a segment without a readable header, or content
	// that carries a right checksum and cannot be. Nothing on disk was changed.
	ErrCorrupt = errors.New("log is corrupt")
	// ErrVersion is returned by Open for a log written in a format that this build
	// does not know. Nothing on disk was changed.
	ErrVersion = errors.New("unknown log format")
	// ErrForeign is returned by Open for a log of another node. Nothing on disk was
	// changed.
	ErrForeign = errors.New("log of another node")
	// ErrInUse is returned by Open while another process has the directory open.
	ErrInUse = errors.New("log directory is in use")
	// ErrMissing is returned by Open with Options.MustExist when there is no log.
	ErrMissing = errors.New("log is missing")
)
