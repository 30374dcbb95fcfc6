// Package sim runs a whole cluster in one goroutine from one seed: the production
// machines, write-ahead log, store, host and router over a virtual clock, network
// and disk, with clients that record what they saw and checkers that judge it.
//
// A run is a function of (seed, options, program): events happen in the order of
// their virtual time, ties in the order of scheduling, and chance comes from the
// seed alone. `quorate sim --seed N --trace` shows any run again, event by event;
// TestReplay proves it.
//
// # What is production code and what is not
//
//	production   consensus machines, shard.Host, router.Router, wal.Log, store,
//	             mvcc, the packet codecs, the memory engine (a storage engine of
//	             its own, with Pebble's promises and no others)
//	virtual      clock, random source, network links, disk, goroutine scheduling:
//	             log, apply and snapshot work become events with a delay
//
// # A run
//
// Options.setDefaults draws the run's own mix ("swarm"): which faults and how often,
// how slow and lossy the links, how small caches and logs. Workers read and write,
// holders keep leases, watches follow ranges from node to node while the nemesis
// strikes; then heal ends all faults and demands that everything comes back within a
// bound. A run counts only with OperationsMin operations and FaultsMin faults.
//
// # Checkers
//
// Every entry is applied once, when it is decided, to an oracle: a store of the
// shard's own, without faults, that keeps a view of every index. Whatever is seen
// anywhere is compared with the oracle at the same index.
//
//	S1  election-safety, log-matching, leader-completeness, agreement, learn-order:
//	    after every step of a machine (check_machine.go)
//	S2  hard-state, durability: a restart finds what the disk had confirmed
//	S3  own-epoch, vote-durable, acknowledged-durable, filled: nothing leaves a node
//	    that a crash could take back (check_leaving.go)
//	S4  quorum-durable, commit-rule: nothing is decided before a quorum of disks has
//	    it, and by a Raft leader only together with an entry of its own epoch
//	S5  result-hash, response, state-hash: every replica does the same (check.go)
//	S6  at-most-once, refused, revision: each request once, a refused one never
//	S7  real-time, stale-read, read: by indexes and revisions (check_history.go)
//	S8  linearizability: blind to them, by porcupine, key by key
//	S9  watch, watch-progress: ordered, unique, complete, resumable (client_watch.go)
//	S10 lease-early, lease-renewal, lease-late (check_lease.go)
//	S11 progress: leaders, members, puts, convergence and watches within a bound of
//	    the last fault (heal.go); restart: a node always comes back
//
// # Runs with moves
//
// With Options.Moves shard 1 is the system keyspace, and the production catalog, plans and agents
// of package placement (the Ports are in moves_ports.go) say where replicas are. Nodes follow
// their own replica of it (moves_node.go), open what it names, and erase what it names no more. The nemesis
// lets nodes die, stay away, lose their disks, join, drain and go, and whole zones fail
// (nemesis_moves.go). It takes a disk away only when every shard keeps a quorum of the others: what is
// lost beyond that, we have lost ourselves. Further checkers (check_moves.go):
//
//	S12 record: epochs of records grow by one, foundings stay, incarnations are given once
//	S13 replica-reused: a replica whose data was lost or erased is never opened again
//	S14 intact-quorum: after each change of membership and each erased replica enough are
//	    intact to decide and to elect
//	S15 progress, caps, zones: at the end every move is over, every replica is erased that
//	    no record names, a plan finds nothing to do, and no node or zone has more than it should
//
// A checker that fails names itself, the virtual time, and the command that runs
// the seed again.
//
// # The trace
//
// One line per event, in fixed columns:
//
//	time in s    who  shard role   epoch commit what       details
//	    9.022833 n4   s5  follower  e4    c117   send       pre-vote-reply to n3 ...
//
// who is a node (n), a worker (c), a lease holder (l), a watch (w), the operator
// (op), the network (net) or the run itself (sim); s0 is no shard, and columns that
// do not apply hold a dash or zero.
package sim
