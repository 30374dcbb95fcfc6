// Package node is one running node: it gives the stepped objects of shard and
// router a clock, a disk, a network and goroutines.
//
// # Goroutines
//
//	loop        keeps time, and steps Host and Router when the node is busy; on a quiet
//	            one the goroutine that brings an event does (loop.go)
//	log         writes and syncs the write-ahead log, one batch after the other (log.go)
//	log readers read entries back for slow peers (log.go)
//	appliers    run apply jobs, one shard's in order (log.go)
//	transport   connections to the peers; they post to the mailbox (peers.go)
//	snapshots   streams to peers, one goroutine each, bounded by the host (snapshot.go)
//	carrier     follows the catalog (follow.go), opens and closes replicas (carrier.go)
//	mover       takes the steps of shards on the move, and plans for the cluster while
//	            this node leads the system keyspace (mover.go); its writes and barriers
//	            have goroutines of their own, as many as placement.Agent allows
//	housekeeper flushes, releases the log, watches the disk, registers this
//	            member, raises the feature level (housekeeping.go) and reports the load (load.go)
//
// Everything that reaches Host and Router passes the mailbox, which is bounded for
// clients and peers; completions of the node's own work always fit. It is emptied in
// turns, one at a time: the goroutine that has the turn owns Host and Router.
//
// # Data directory
//
//	DIR/LOCK      held while a node runs
//	DIR/member    who this node is: cluster, node, incarnation, first members; on what
//	              each shard was founded
//	DIR/peers     who it has met, and on which disks
//	DIR/nodes     where the other nodes were, as it knew last
//	DIR/starts    how often it was started: request numbers begin with it
//	DIR/wal/      the write-ahead log of all shards
//	DIR/db/       the engine
//	DIR/snap/     snapshots being received; emptied at start
//
// # Invariants
//
//	N1  A node writes DIR/member before anything else, atomically; a directory
//	    without it is empty, one with it belongs to exactly that member.
//	N2  A failed sync, write or apply ends the process (through Config.Fatal):
//	    a node never goes on with a log or a state it cannot trust.
//	N3  A node without state asks its peers before it bootstraps: when one of them
//	    has state that includes it, its disk was lost, and it refuses to vote again.
//	N4  A shard runs on the engine and began with the write quorum that were recorded when
//	    it was founded; no message goes to or comes from a peer that recorded others.
//	N5  A node carries the system keyspace, and exactly those shards whose record in the
//	    catalog names it, on the engine that is recorded there, each under the incarnation
//	    that the record says. It erases those that no record names it for any more.
//	N6  A replica is closed and erased only when the catalog that does not name it is
//	    durable here: no later start finds an earlier one, and opens a replica anew that
//	    has forgotten what it promised.
package node
