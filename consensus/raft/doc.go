// Package raft is Quorate's Raft: one replica of one group as a pure state machine
// behind the contract of package consensus. Sections marked § are those of the
// extended Raft paper (Ongaro and Ousterhout, 2014), "thesis §" those of Ongaro's
// dissertation.
//
// # What it promises
//
// Everything the contract asks (C1 to C12), from a majority of voters that can talk
// to each other, whatever is lost, delayed, doubled or reordered between them, and
// whatever a crash takes that was not yet durable. It makes progress while such a
// majority exists and messages arrive well within an election timeout.
//
// Reading order: kinds.go (the vocabulary), handlers.go (who does what with which
// message), election.go, replication.go, then the smaller nouns. testdata/ has the
// same as stories: elections, lost messages, crashes and changes, line by line.
//
// # What the driver must know
//
// Beyond the contract: appends to one peer should leave in the order in which Ready
// has them, or the peer asks for them again. Slices in Ready are reused, so what
// waits in AfterSync must be copied. While an Install is under way nothing is
// appended; Done.Applied at its index ends that. Done.SnapshotSent must come for
// every NeedSnapshot. Windows count entryOverhead bytes per entry beside its data.
// Commands and membership changes are refused during a transfer, read barriers are
// not. After a restart the epoch may already be one higher: a group of one campaigns
// in New.
//
// # Invariants
//
//	R1  Election safety (§5.2). An epoch has at most one leader.
//	R2  A vote counts when it is durable at the voter, the own one included, and no
//	    message carries an epoch as its sender's before the epoch is durable there.
//	R3  Log matching (§5.3). A leader never changes its log but at the end; a follower
//	    truncates only at an entry that conflicts with its leader's, never at or below
//	    its commit index.
//	R4  An epoch is opened only by a replica that a quorum would vote for: trial votes
//	    come first, and a replica that hears its leader gives none (thesis §9.6,
//	    §4.2.3). A leadership transfer is the exception, at the leader's own wish.
//	R5  A follower believes a commit index only as far as its log is verified to be
//	    the log of that epoch's leader.
//	R6  A leader decides by counting only entries of its own epoch (§5.4.2), counts a
//	    replica only up to what is durable there, itself included, and counts neither
//	    learners nor, once its configuration has no vote for it, itself.
//	R7  A snapshot replaces a log only if the log does not contain it (§7).
//	R8  The configuration in force is the last one in the log, decided or not (§6).
//	    A new one is proposed only after the one before is decided, and every change
//	    passes through a joint configuration.
//	R9  Without a lease (C12) a read barrier is answered at a commit index of a leader that has decided an
//	    entry of its epoch, after a quorum has confirmed the epoch in a round that
//	    started after the barrier was proposed (thesis §6.4).
//	R10 A replica in doubt (C10) neither votes nor campaigns, and no answer of its
//	    counts for a decision, a read round or a quorum check. It is repaired when its
//	    log holds an entry that its leader proposed after hearing of the doubt and has
//	    decided without it (doubt.go says why that is enough).
//
// # Where this differs from the paper, and why that is safe
//
//   - A leader does not wait for its own disk before it sends entries (thesis §10.2.1),
//     and all replicas may apply what is decided before it is durable with them. A
//     leader that crashes simply never counted itself (R6).
//   - Heartbeats are not empty appends. They carry no entry to compare; instead a
//     follower remembers how far its log is verified against the leader of the epoch,
//     takes the commit index over only that far (R5) and reports it. That also shows
//     the leader that an append was lost, without a retransmission timer per peer.
//   - A separate message, commit, carries the commit index when there is nothing else
//     to say. It is not answered.
//   - Replies to a leader are merged: one for all appends and one for all heartbeats
//     since the last Ready. Acknowledgements are cumulative, so nothing is lost.
//   - A rejected append names an entry to continue at instead of making the leader step
//     back one by one (§5.3 describes the idea, with less information).
//   - A state that an earlier leader sent is accepted: what it holds is decided, and
//     the epoch of the messenger does not change that (R7).
//   - A follower whose leader's connection was reset campaigns after a short random
//     delay instead of the election timeout. Only trial votes follow from it (R4).
//   - Every membership change is joint, also of one replica. The single-server rule
//     needs a further condition to be safe and saves one round trip at most.
//   - A removed leader hands over by transfer rather than by silence (thesis §4.2.2),
//     and a leader whose own disk stands still for an election timeout does the same.
//   - In a trial a replica stands back for a candidate with a better log or, with
//     equal logs, a higher id. Trial votes bind nobody, so this can only save a split
//     vote.
//   - A replica may lose its disk's memory in part and come back under its own id. The
//     paper knows no such replica; here it counts for nothing until it is repaired.
//   - Replicas that a change leaves out are told when the joint configuration is
//     decided, once and without guarantee. They learn from it that they are leaving.
//
// # Deliberately absent
//
// Forwarding of proposals. Any look into command data. Entries: see package consensus.
package raft
