// Package mvcc keeps the history of one shard's keys over an engine: every change
// has a revision, reads may ask for any revision that is not compacted, and
// watchers are told of every change. It knows keys, values and lease numbers, but
// neither commands nor leases.
//
// Three tables hold it. The current table has the newest version of each key that
// exists; the history table has what was overwritten or deleted, newest first per
// key, and a tombstone for each deletion; the event index lists the changes by
// revision. A list of what exists now reads the first alone, however long the
// history is. Memory hardly grows with the number of keys: what stays in memory is
// a bounded ring of the newest events, a bounded cache of records, one counter per
// thousand or so keys, and a filter of a byte and a half per key, up to 24 MiB.
//
//	M1  All changes between Begin and Commit reach the engine in one batch, the
//	    head with them. After a crash the tables show one point between commits.
//	M2  A View shows one committed state, its head included, whatever the writer
//	    does meanwhile.
//	M3  The revision never decreases, also not across a restart, a compaction or
//	    the loss of every key near it: it is stored, not derived (etcd #17780).
//	M4  What can be read, watched or hashed depends on the replicated history and
//	    the replicated compacted revision alone, never on how far physical removal
//	    has come on this replica.
//	M5  Reads and watches work at the compacted revision and above, and fail with
//	    ErrCompacted below. A version is removed only when its successor is at or
//	    below the compacted revision; a tombstone or index entry only below it
//	    (etcd #18089, #19179). A tombstone never goes before what it hides.
//	M6  A watcher gets each matching event from its start on exactly once and in
//	    order, or ErrCompacted. (Where one transaction changed a key several times and
//	    the history was compacted just there, only its last change is sure to be
//	    left, as in etcd.) Batches end at revision boundaries unless they say
//	    Partial, so a client may resume after the last revision it saw.
//	M7  Progress(r) means that every matching event up to r was handed out by Next
//	    before (etcd #15220).
//	M8  The events of one revision are published together, and after their commit:
//	    whoever was told of a revision finds it in a new View.
//	M9  While the state is being replaced by a received snapshot, Views of the old
//	    one fail with ErrReplaced instead of mixing the two.
//	M10 A record in the cache is the newest of its key at the revision DB.cached or
//	    newer; only the writer puts one in, between its commit and its publication.
//	    Whoever has read a revision is shown no earlier one, by a View or by Newest.
//	M11 When the filter of known keys is complete, every key that exists is in it.
//	    Only the writer asks it, and adds what it creates before it begins anew.
//
// Deliberately absent: goroutines and clocks. Watchers are pulled, physical
// compaction is stepped, and both work in one goroutine as in many.
//
// Lock order: DB.mu is the only lock and nothing is called while it is held, the
// engine's reads and commits included.
package mvcc
