// Counter is one number that several processes agree on: the smallest complete program
// around package consensus, with real files and real TCP. It uses public packages and the
// standard library only, so what is here is what an embedder has to write. In this order:
//
//	counter.go  the driver: what to do with a Ready, and in which order
//	log.go      the durable log: an append-only file of lines with checksums
//	peers.go    messages between replicas: gob over TCP, bounded queues
//	clients.go  HTTP: POST /add?n=3, GET /
//	main.go     flags, and how the parts hang together
//
// Run three of them, then add and read. Who does not lead says who does:
//
//	P=1=127.0.0.1:7001,2=127.0.0.1:7002,3=127.0.0.1:7003
//	go run ./examples/counter -id 1 -peers $P &
//	go run ./examples/counter -id 2 -peers $P &
//	go run ./examples/counter -id 3 -peers $P &
//	for port in 8001 8002 8003; do curl -X POST "127.0.0.1:$port/add?n=3"; done
//
// The logs are counter-1.log to counter-3.log in the working directory, and can be read.
// Kill replicas as you like and start them again: while two live, the counter goes on.
//
// # Invariants
//
// C1 to C11 are package consensus'. The driver's part:
//
//	X1  One goroutine, the loop, owns the machine and whatever depends on it. All others
//	    post events to it.
//	X2  What Append holds is written and synced before AfterSync leaves and before
//	    Done.Durable is said (C3, C4). A log that cannot be written ends the process.
//	X3  The state is a function of the log: a restarted replica learns every entry again,
//	    from index 1 on.
//	X4  200 means applied. 421 and 503 mean that the command is not in any log and can be
//	    repeated, there or elsewhere. 504 means that it may be applied, once: now, later or
//	    never.
//
// # Engines
//
// -engine takes raft, etcdraft and paxos; a group stays with the one that it began with. The
// driver is the same for all. The sparse log of Paxos costs it five lines: entries that leave
// holes (logFile.keep), a message to itself (send), entries that do not count (apply).
//
// # Deliberately absent
//
//   - Snapshots. The log is kept whole, on disk and in memory, and so nobody ever needs one.
//     A real program makes its state durable with the applied index and the fence, restarts
//     from there (Config.Applied, Log.Released, Log.ReleasedEpoch), cuts its log below
//     (Done.Released), streams its state (NeedSnapshot) and takes over another's (Install).
//   - A goroutine that writes. Here the loop waits for the disk, and a slow one holds up
//     heartbeats.
//   - Changes of membership: ProposeMembership, and addresses for who joins.
//   - Lost disks. A replica that has lost its log must never come back under its id: do not
//     delete a log and start again.
//   - Names for commands, by which a client could safely repeat what ended with 504.
//   - Done.Peer, by which the death of a leader is noticed before an election timeout.
//   - Authentication: whoever reaches the peers' address is believed.
package main
