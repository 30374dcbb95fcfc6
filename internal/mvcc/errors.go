package mvcc

import "errors"

var (
	// ErrCompacted is returned by reads and watches below the compacted revision,
	// and by Compact at or below it. The text is etcd's.
	ErrCompacted = errors.New("mvcc: required revision has been compacted")
	// ErrFutureRevision is returned by reads and Compact above the current
	// revision. The text is etcd's.
	ErrFutureRevision = errors.New("mvcc: required revision is a future revision")
	// ErrEmptyWatchRange is returned by Watch for a range that holds no key. The
	// text is etcd's.
	ErrEmptyWatchRange = errors.New("mvcc: watcher range is empty")
	// ErrWatchClosed is returned by Watcher.Next after Close.
	ErrWatchClosed = errors.New("mvcc: watcher is closed")
	// ErrReplaced is returned by a View whose span was replaced by a received
	// snapshot while it was read (M9). The read may be repeated on a new View.
	ErrReplaced = errors.New("mvcc: state was replaced during the read")
	// ErrCorrupt is returned when stored bytes do not decode: the replica stops.
	ErrCorrupt = errors.New("mvcc: corrupt record")
	// ErrVersion is returned for records of a format that this build does not know.
	ErrVersion = errors.New("mvcc: unknown record version")
)
