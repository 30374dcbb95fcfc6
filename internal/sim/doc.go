// Package sim runs a whole cluster in one goroutine from one seed: the production
// machines, write-ahead log, store, host and router over a virtual clock, network
// and disk, with clients that record what they saw and checkers that judge it.
//
// A run is a function of (seed, options, program): events happen in the order of
// their virtual time, ties in the order of scheduling, and chance comes from the
// seed alone. `quorate sim --seed N --trace` shows any run again, event by event.
//
// # What is production code and what is not
//
//	production   consensus machines, shard.Host, router.Router, wal.Log, store,
//	             mvcc, the packet codecs, the memory engine (a storage engine of
//	             its own, with Pebble's promises and no others)
//	virtual      clock, random source, network links, disk, goroutine scheduling:
//	             log, apply and snapshot work become events with a delay
//
// # Checkers
//
// After every step of a machine (check_machine.go): election safety, log matching,
// leader completeness, agreement, hard state never regresses, an epoch is durable
// before it is used, decided entries are durable at a quorum. After every applied
// entry (check_apply.go): result and state hashes equal at equal index, revisions
// strictly increasing. At quiescent cuts and at the end (check_history.go,
// check_watch.go, check_lease.go): linearizability, once blind to revisions by
// porcupine and once by the revisions themselves, nothing acknowledged lost,
// watches ordered, unique, complete and resumable, leases neither early nor late,
// and progress within a bound after healing.
//
// A checker that fails names itself, the virtual time, and the command that runs
// the seed again.
package sim
