// Package shard drives the replicas of one node: consensus machine → log →
// peers → store, for many shards over one log and one engine.
//
// A Host owns all replicas of a node. It is a stepped object: it has no
// goroutine, clock or lock of its own. One owner calls its inputs (Tick, Receive,
// Propose, Durable, Applied, ...) and then Process, which drains the machines
// and issues effects through Ports. Effects answer later through another input:
// the node answers them from its log and apply goroutines, the simulator from
// its event queue, and both run this very code.
//
//	          Receive  Propose  ReadBarrier  Tick
//	              │        │        │         │
//	              ▼        ▼        ▼         ▼
//	┌───────────────────── Host ─────────────────────┐
//	│  Replica: machine · entry cache · lessor       │
//	└──┬──────────┬──────────────┬───────────────┬───┘
//	   │ Append   │ Send         │ Apply         │ Stream
//	   ▼          ▼              ▼               ▼
//	  log       network     apply worker     snapshots
//	   │                         │               │
//	   └─► Durable               └─► Applied     └─► SnapshotSent
//
// # Invariants
//
//	H1  An entry is in the cache until it is durable in the log: the log is asked
//	    only for entries that were written to it.
//	H2  One apply job per replica is under way at a time, and jobs run in the order
//	    of their entries; an installed snapshot is such a job.
//	H3  A held message leaves only when the append it waits for is durable
//	    (C3, C4 of package consensus).
//	H4  The log is released at the smallest of: applied index that the engine
//	    cannot lose, the bounded lag granted to followers, and every snapshot
//	    being streamed.
//	H5  A filled append message carries no entry above its own epoch (C5).
//	H6  A snapshot is durable in the engine before the log records it. A crash in
//	    between leaves the engine ahead of its log, which a restart treats like a
//	    snapshot at the applied index.
//	H7  A proposal enters the log only in the epoch it was handed in for. Once an
//	    entry of a later epoch is applied, every earlier proposal that was not
//	    applied never will be.
//	H8  A lease is expired only by a leader whose barrier is applied, at or after
//	    the deadline counted from its last renewal or from that barrier.
//	H9  A replica whose log has lost what was durable says so to its machine, and to the
//	    log, until the machine reports it repaired; the log forgets it together with
//	    what the machine has repaired (C10).
//
//	H10 In a sparse log nothing above a released index or an installed snapshot is ever
//	    dropped, and an entry takes the place of an earlier one of its index; the newest
//	    that is not durable is in the cache (H1), and goes into whatever is read back
//	    beside it. What an entry's order forbids is applied as a barrier (C11).
//	H11 A group rests only when its leader and all followers that answer have the same log,
//	    durable, decided and applied, and nothing is under way. Of a group at rest either
//	    its leader rests as leader, or some replica is awake; and a replica whose leader's node is
//	    silent for an election timeout wakes. A replica that knows no leader, or hears nothing of it, and does not vote, or
//	    has not known one for long, asks the nodes for it that have groups at rest. (rest.go)
//
// # Deliberately absent
//
// Forwarding to other nodes, retries and deadlines are the router's. Files,
// sockets and goroutines are the node's.
package shard
