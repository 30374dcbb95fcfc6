package engine

import "errors"

var (
	// ErrClosed is returned by every method of an engine that was closed or, for
	// Memory, crashed.
	ErrClosed = errors.New("engine: closed")
	// ErrInUse is returned by OpenPebble when another process holds the directory.
	ErrInUse = errors.New("engine: directory is in use by another process")
	// ErrVersion is returned by OpenPebble when the directory was written in a
	// format that this build does not know.
	ErrVersion = errors.New("engine: unknown format version")
	// ErrUnordered is returned by Ingest when the source's keys do not strictly
	// ascend or leave the span.
	ErrUnordered = errors.New("engine: ingested keys out of order or out of span")
)
