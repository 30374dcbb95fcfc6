// Package etcdraft runs etcd's Raft (go.etcd.io/raft/v3) behind the contract of package
// consensus: one replica of one group, as a RawNode with asynchronous storage writes,
// trial votes (PreVote), CheckQuorum, reads by ReadIndex with a quorum's confirmation,
// and no forwarding of proposals. It is there for those who want exactly that engine,
// and to compare ours with it. "Raft" below means that library.
//
// # What it promises
//
// C1 to C9, and C12. C10 is out of reach: raft knows no replica that counts for nothing, so New
// refuses a log in doubt. Such a replica is removed and added anew under another id.
//
// A group runs one engine: messages of package raft and of this one do not mix, though
// the kinds look alike. Logs have the same shape; moving a group from one to the other
// is not tested.
//
// # Invariants
//
//	E1  The machine is never behind raft. After every input it collects what raft has
//	    to say (collect), and so can tell by its own fields what a message may say.
//	E2  The first entry of an epoch in a log is its barrier, and no other entry is one.
//	    Raft has no kind for it; it is known by its place. Appends that say otherwise
//	    are refused.
//	E3  Raft works with a membership from when its entry is applied, which is when the
//	    driver says Done.Applied, not from when it is appended. Status.Configuration is
//	    that of the log's end, as the contract wants. Every change is joint, and left
//	    by an entry of raft's own.
//	E4  A restarted replica does not campaign before it has applied the last membership
//	    entry but one in its log. See "Membership".
//	E5  Elections are a function of inputs and Config.Rand. See "Chance".
//	E6  Raft never sees a message that it would panic on (validate).
//	E7  Leases are not raft's (ReadOnlyLeaseBased), which count a leader's ticks: a process
//	    that is stopped and goes on would answer from one that is long over. They are those
//	    of C12 on top of raft's confirmed reads, and while this replica is bound by one, raft
//	    sees no request for a vote and is not told to campaign.
//
// # Entries
//
// The contract's machines keep no entries, raft reads entries from its Storage. But it
// looks at their index, term, type and size only: to cut messages to size, to find
// conflicts, to count bytes in flight. So Storage (entryLog) keeps 16 bytes per entry
// between released and the log's end, and makes entries with data of the right length
// from an array of zeros that nobody reads. Messages leave with a span, and the driver
// fills in the data, as for package raft (C5). That is the price:
//
//   - 16 bytes per entry in the log.
//   - The data of entries that are not durable yet. Raft copies a command when it is
//     proposed; the copy is what goes to the driver.
//   - About 150 bytes per entry that is learned and not applied. Their payload is
//     bounded (applyingBytes): further entries are learned as those are applied.
//
// # Membership
//
// In the log, on the wire and for the driver a membership entry carries an encoded
// Configuration, as in package raft. Only the leader that proposes one also needs it as
// ConfChangeV2, because raft looks into it then; the configuration takes its place on
// the way out, with the target as Voters and Learners and the previous voters as
// Outgoing. The entry by which raft leaves the joint configuration is empty; on the way
// out it gets the same configuration without Outgoing. When an entry is applied, the
// change from the configuration before to the one in it is computed and given to raft.
// Nothing has to be remembered for that, and a restarted replica finds everything in
// its log. A replica that joins with an empty log does not know its group's first
// configuration; it takes several steps into the first one that it finds.
//
// Raft relies on the durable commit index, which the contract does not have. It takes a
// membership into force when its entry is applied, so a replica that forgets that it
// has applied one may elect itself with the voters of long ago, while others decide
// without them. The log has what is needed: a leader proposes a membership only when it
// has applied the one before, so every membership entry but the last is decided. A
// restarted replica takes the last but one as its commit index, and raft does not let
// it campaign before that is applied. The last one may be forgotten: of two neighbours
// one is joint, and its quorums meet those of the other.
//
// # Chance
//
// Raft draws election timeouts from a random source of the process. Config.ElectionTick
// cannot simply be huge and Campaign be called from a timer of ours: the same number is
// the leader's CheckQuorum interval and a follower's stickiness. But raft can be told
// that time has passed without looking at its timer (TickQuiesced), and that is how a
// replica that does not lead is ticked. Stickiness is as ever, a leader's ticks draw
// nothing, and the timer that fires is ours (clock). What raft draws is never looked
// at, and a run can be repeated from its seed; a test does so. TickQuiesced is marked
// as deprecated: a later version of raft may ask for another way.
//
// # What the driver must know
//
// Beyond the contract, as in package raft: slices in Ready are reused; while an Install
// is under way nothing is appended, and Done.Applied at its index ends that;
// Done.SnapshotSent must come for every NeedSnapshot; after a restart the epoch may
// already be one higher, a group of one campaigns in New. And other than there:
//
//   - Entries are learned when they are durable here, not only elsewhere.
//   - Config.UncommittedBytes counts data until it is applied here, and one undecided
//     proposal of any size is let through. Entries without data count entryOverhead.
//   - InflightBytes is at least MessageBytes.
//   - A snapshot is taken only if its configuration has this replica in it.
//   - A leader that a change removes steps down when that is applied; the others elect
//     after their timeout. A leader whose own disk stands still goes on leading.
//   - A change of membership has ended when its last entry is applied, not when it is
//     appended. Until then elections need a majority of the previous voters, too. Who
//     replaces a lost voter must not lose or discard another one before that: package
//     raft goes on with the new voters as soon as they have the entry, this engine
//     would not elect again.
//   - The two highest replica ids belong to raft.
//
// # Where this differs from raft as others run it
//
// Raft sends vote requests before the new term is durable. Here whatever carries a term
// as the sender's own waits for that (C3). Read barriers wait until the leader has
// decided an entry of its term also in a group of one: raft answers those at once, and
// after a restart too low (C9). Messages about votes say what is decided (overhear):
// without that a change of membership can leave a group that never elects again. An
// append is ignored while a snapshot is installed.
package etcdraft
