// Package store is the replicated state machine of a shard: one deterministic
// function (index, entry) -> result over mvcc, with etcd's semantics for keys,
// transactions, compaction and leases.
//
// A rejection is a Result: it is part of the history and the same on every
// replica. A failure is an error of Apply: this replica must stop, since it no
// longer knows what the others know.
//
//	S1  The effects of entries, the applied index, its epoch and the configuration
//	    in force reach the engine in one batch. After a crash the state is that
//	    after some entry, and says which.
//	S2  Every entry moves the applied index: commands, rejections, barriers and
//	    memberships alike (etcd #13766, #13922, #13937).
//	S3  State, Revision, Err and Hash of a Result are a function of the entries
//	    alone: not of how they were batched, of who wanted a response, of physical
//	    compaction, of restarts, of flags or of the order of a map (etcd #6558,
//	    #18667). Applied.Chain folds the hashes, so replicas that have diverged can
//	    see it.
//	S4  A View shows the state after some Apply, never part of one.
//	S5  A lease is revoked by expiry only in the epoch whose leader measured it
//	    (etcd #12528, #15247). Revoking deletes the lease and its keys, in key
//	    order, at one revision.
//	S6  An entry of an unknown kind or version stops the replica; nothing is skipped.
//	S7  A command makes at most one revision, and a rejected one makes none.
//	S8  The quota counts logical bytes (mvcc.Head), keys and leases, and is itself
//	    replicated, so its verdict is the same everywhere. Deletes, revocations and
//	    compaction work above it, and keys that exist can be put.
//
// Time, limits that are flags, and later the auth decision enter as fields of the
// command, stamped by its proposer.
//
// Deliberately absent: clocks, goroutines, channels, locks, randomness and wire
// types. Which leases are due is the lessor's business, at the leader.
package store
