// Package consensus is the contract between a consensus engine and the program
// that drives it. It holds types and no implementation; the engines are in the
// packages below it: consensus/raft, consensus/paxos and consensus/etcdraft. Each has
// an example with a driver in memory; examples/counter is a complete program, with a
// log file and TCP.
//
// The three verbs are propose, accept and learn. A Machine is a pure state
// machine for one replica of one group: it has no clock, goroutine, channel,
// lock, I/O or global randomness. Its inputs are method calls, its output is
// one reusable value, Ready. A program drives it like this:
//
//	for event := range events {                  // one goroutine owns the machine
//		switch event := event.(type) {
//		case tick:     m.Tick()
//		case message:  err = m.Step(event.Message)   // an error is counted, never fatal
//		case proposal: err = m.Propose(event.Proposal)
//		case durable:  m.Done(consensus.Done{Durable: event.Seq})
//		case applied:  m.Done(consensus.Done{Applied: event.Index})
//		}
//		for rd, ok := m.Ready(); ok; rd, ok = m.Ready() {
//			log.Append(rd.Append)             // asynchronous; answers with Done.Durable
//			network.Send(fill(rd.Send))       // at once: does not wait for the log (FillFrom)
//			holdUntilDurable(rd.Append.Seq, rd.AfterSync)
//			install(rd.Install)               // a snapshot replaces the replica's state
//			apply(rd.Learned)                 // asynchronous; answers with Done.Applied
//			answer(rd.Reads, rd.Dropped, rd.Unknown)
//			stream(rd.NeedSnapshot)
//		}
//	}
//
// # Invariants
//
// Other packages cite these by number.
//
//	C1  Agreement. Two replicas of a group never learn different entries at one index.
//	C2  Order. Learned spans are contiguous and ascending; nothing is learned twice
//	    by one incarnation of a machine.
//	C3  Own epoch durable before use. No message carries an epoch as its sender's own
//	    before the hard state with that epoch is durable at the sender, so that an
//	    epoch is never led twice by one node, also across a crash. The machine keeps
//	    this by placing such messages in AfterSync.
//	C4  No acknowledgement before durability. A message that tells others "I have
//	    accepted" or "I have voted" is in AfterSync of a Ready whose Append.Seq covers
//	    what it acknowledges.
//	C5  Filled messages are true. The driver fills a Message's Fill span with entries
//	    of its log as they are at that moment; if an entry is missing or has an epoch
//	    above the message's, or they have grown beyond Config.MessageBytes together, the
//	    log has moved on and the message is dropped.
//	C6  Durability is acknowledged by Seq, which only grows, never by (index, epoch):
//	    an entry that was truncated and appended again has a new Seq.
//	C7  Appends become durable in the order of Seq.
//	C8  Dropped proposals never enter a log: retrying them is safe. Unknown proposals
//	    entered a log and may still be decided: retrying them may apply them twice.
//	C9  A read barrier's index is at or above every index decided before the barrier
//	    was proposed.
//	C10 A replica in doubt, whose log has lost what was durable, neither votes nor
//	    campaigns, and nothing that it accepts or confirms counts, until an entry that
//	    was proposed after its restart is decided without it and is in its log. It says
//	    so with Append.Repaired; the doubt ends when that is durable.
//	C11 Order of leaders. Of what is decided, an entry counts if its Orig is not below an
//	    earlier entry's: applying skips the others, commands and memberships alike. The
//	    driver keeps the highest Orig applied with its state. In logs without holes Orig
//	    never falls, and nothing is skipped.
//	C12 Leases, if Config.LeaseNanos asks for them. A leader answers a read barrier without a
//	    round only if its Proposal.Now is within LeaseNanos of the beginning of a round that a
//	    quorum has confirmed. Whoever confirms a round, or has just started, helps no other
//	    replica to lead for ElectionTicks, itself included, unless that leader has sent it a
//	    transfer; a leader that has sent one has no lease any more. While the membership
//	    changes there is none: the quorums of a change need not meet those before. So at
//	    Now nobody else had decided anything, however late the answer is: C9 holds with Now
//	    for the moment of the proposal. That is the one place where the contract relies on
//	    clocks.
//
// # What a driver may rely on, and must do
//
// Beside what the fields say:
//
//   - The log that New is given counts as durable, whatever it is: the machine acknowledges
//     it to others. What was read back and perhaps never synced is synced first.
//   - Learning goes on at Config.Applied+1. Who keeps no state of its own, and has released
//     nothing, leaves Applied zero and learns every decided entry again, from index 1 on.
//   - Entries of an Append count as in the log from when it is handed out, before they are
//     durable, and the truncation with them: Send of the same Ready may name them in Fill.
//   - AfterSync beside an empty Append waits for an earlier append, whose Seq it shows. Who
//     makes each Append durable, and says so, before it asks for more never sees that.
//   - A Ready stays as it is until the next call of Ready. All other methods may be called
//     meanwhile: messages are taken while a log is being written.
//   - Done.Durable may name the latest of several appends, Done.Applied the last of several
//     entries.
//   - The success of a proposal is not reported by its id: Dropped and Unknown are its bad
//     ends. A driver that answers clients puts a name into a command's Data, the
//     ProposalID for one, and knows it when it applies it. Such names must differ between
//     replicas and restarts, too.
//   - Read.Index may be above what was learned so far, also with the Ready that has it. It
//     never falls in one epoch, so reads wait in the order in which they come.
//   - A machine of a sparse engine counts its own promise when its message to itself has come
//     back. A group of one elects nobody without that, others need one voter more.
//
// # Deliberately absent
//
// Machines never forward proposals (the router does), never look into command
// payloads, and hold snapshots as metadata only (the driver streams the state).
// They keep epoch runs and sizes, not entries: an append message names an index
// span and the driver fills it from its cache or its log.
package consensus
