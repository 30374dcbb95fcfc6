// Package mutant lists seeded bugs: known ways to get the system wrong, each
// placed at the line where a hurried author would write it. The simulator switches
// them on one at a time and must find every one; a suite that cannot find a bug
// that we planted will not find one that we did not.
//
// Without the build tag `mutants` the function On is the constant false, so the
// compiler removes every planted branch: a release binary cannot be told to
// misbehave. With the tag, On consults a process-wide set chosen by Select. That
// is global state inside otherwise pure packages, which is why the tag exists: set
// it before any machine is made, and do not change it while one lives.
//
// To plant a bug, add its Name and a line in Table here, and at the place
//
//	if mutant.On(mutant.RaftCountLearner) { ... the wrong thing ... }
package mutant

// Name identifies a mutant on a command line.
type Name string

// The mutants of consensus/raft.
const (
	RaftEpochBeforeDurable  Name = "raft-epoch-before-durable"
	RaftAckBeforeDurable    Name = "raft-ack-before-durable"
	RaftCountSelfEarly      Name = "raft-count-self-early"
	RaftCommitOldEpoch      Name = "raft-commit-old-epoch"
	RaftReadBeforeBarrier   Name = "raft-read-before-barrier"
	RaftCountLearner        Name = "raft-count-learner"
	RaftJointAsUnion        Name = "raft-joint-as-union"
	RaftAppendUnchecked     Name = "raft-append-unchecked"
	RaftSnapshotOverNewer   Name = "raft-snapshot-over-newer"
	RaftPreVoteIgnoreLeader Name = "raft-prevote-ignore-leader"
	RaftTruncateAlways      Name = "raft-truncate-always"
	RaftVoteInDoubt         Name = "raft-vote-in-doubt"
	RaftCountDoubtful       Name = "raft-count-doubtful"
)

// The mutants of consensus/paxos.
const (
	PaxosBallotBeforeDurable Name = "paxos-ballot-before-durable"
	PaxosAckBeforeDurable    Name = "paxos-ack-before-durable"
	PaxosCountSelfEarly      Name = "paxos-count-self-early"
	PaxosAcceptBelowPromise  Name = "paxos-accept-below-promise"
	PaxosValueNotHighest     Name = "paxos-value-not-highest"
	PaxosReportPart          Name = "paxos-report-part"
	PaxosLearnAnyBallot      Name = "paxos-learn-any-ballot"
	PaxosOrigRestamped       Name = "paxos-orig-restamped"
	PaxosCountLearner        Name = "paxos-count-learner"
	PaxosSnapshotForgets     Name = "paxos-snapshot-forgets"
	PaxosReadBeforeBarrier   Name = "paxos-read-before-barrier"
	PaxosWindowOverrun       Name = "paxos-window-overrun"
	PaxosGovernsEarly        Name = "paxos-governs-early"
	PaxosOldPromises         Name = "paxos-old-promises"
	PaxosNotHandedOver       Name = "paxos-not-handed-over"
	PaxosElectShort          Name = "paxos-elect-short"
	PaxosFloorIgnored        Name = "paxos-floor-ignored"
	PaxosHoleUnfilled        Name = "paxos-hole-unfilled"
	PaxosReadForNewVoters    Name = "paxos-read-for-new-voters"
	PaxosReportUnwritten     Name = "paxos-report-unwritten"
)

// The mutants of consensus/etcdraft.
const (
	EtcdraftForgetMemberships  Name = "etcdraft-forget-memberships"
	EtcdraftEpochBeforeDurable Name = "etcdraft-epoch-before-durable"
	EtcdraftReadBeforeBarrier  Name = "etcdraft-read-before-barrier"
	EtcdraftUnknownAsDropped   Name = "etcdraft-unknown-as-dropped"
)

// The mutants of leases on a clock, which all engines share (consensus/internal/lease).
const (
	LeaseFromAnswer     Name = "lease-from-answer"
	LeaseUnconfirmed    Name = "lease-unconfirmed"
	LeaseRestartForgets Name = "lease-restart-forgets"
	LeaseEpochFrees     Name = "lease-epoch-frees"
	LeaseAfterTransfer  Name = "lease-after-transfer"
	LeaseThroughChange  Name = "lease-through-change"
)

// The mutants of internal/wal.
const (
	WALSkipSync        Name = "wal-skip-sync"
	WALStaleBatch      Name = "wal-stale-batch"
	WALTruncateCorrupt Name = "wal-truncate-corrupt"
	WALForgetCut       Name = "wal-forget-cut"
	WALReleaseBeyond   Name = "wal-release-beyond"
	WALFreeEarly       Name = "wal-free-early"
)

// The mutants of internal/store.
const (
	StoreAppliedApart Name = "store-applied-apart"
	StoreExpireAlways Name = "store-expire-always"
)

// The mutants of internal/shard.
const (
	ShardForgetHardState   Name = "shard-forget-hard-state"
	ShardForgetDamage      Name = "shard-forget-damage"
	ShardSendHeld          Name = "shard-send-held"
	ShardReleaseUnflushed  Name = "shard-release-unflushed"
	ShardProposeAnyEpoch   Name = "shard-propose-any-epoch"
	ShardLeaseKeepDeadline Name = "shard-lease-keep-deadline"
	ShardFenceIgnored      Name = "shard-fence-ignored"
	ShardReplicaReused     Name = "shard-replica-reused"
	ShardReadBackStale     Name = "shard-read-back-stale"
)

// The mutants of internal/router.
const (
	RouterRetryUnknown       Name = "router-retry-unknown"
	RouterRetryAfterSnapshot Name = "router-retry-after-snapshot"
	RouterReadUnconfirmed    Name = "router-read-unconfirmed"
	RouterReadJoinRound      Name = "router-read-join-round"
	RouterRenewUnconfirmed   Name = "router-renew-unconfirmed"
)

// The mutants of internal/placement.
const (
	PlacementEraseEarly       Name = "placement-erase-early"
	PlacementEraseUnconfirmed Name = "placement-erase-unconfirmed"
)

// Mutant describes one seeded bug.
type Mutant struct {
	Name Name
	Bug  string // what the code does wrong, in one line
}

// Table lists every mutant in the order of this file.
var Table = []Mutant{
	{RaftEpochBeforeDurable, "votes and vote requests leave, and the own vote counts, before the hard state is durable"},
	{RaftAckBeforeDurable, "a follower acknowledges entries before they are durable"},
	{RaftCountSelfEarly, "a leader counts its own entries before they are durable"},
	{RaftCommitOldEpoch, "entries of an earlier epoch are decided by counting replicas (Raft Figure 8)"},
	{RaftReadBeforeBarrier, "a new leader answers reads before it has decided an entry of its epoch"},
	{RaftCountLearner, "learners count towards quorums"},
	{RaftJointAsUnion, "a joint configuration decides with a majority of all voters instead of one of each side"},
	{RaftAppendUnchecked, "a follower appends without comparing the entry before"},
	{RaftSnapshotOverNewer, "a snapshot replaces a log that already contains it and more"},
	{RaftPreVoteIgnoreLeader, "trial votes are granted although the leader was heard a moment ago"},
	{RaftTruncateAlways, "an append removes everything behind its last entry, also when nothing conflicts"},
	{RaftVoteInDoubt, "a replica whose log has lost votes or entries takes part in elections before it is repaired"},
	{RaftCountDoubtful, "a leader counts what a replica in doubt acknowledges and confirms"},
	{PaxosBallotBeforeDurable, "a ballot is asked for and promised before it is durable"},
	{PaxosAckBeforeDurable, "an acceptor acknowledges values before they are durable"},
	{PaxosCountSelfEarly, "a leader counts its own acceptance before it is durable"},
	{PaxosAcceptBelowPromise, "an acceptor accepts values of a ballot below the one it has promised"},
	{PaxosValueNotHighest, "phase 1 takes the value reported last, not the one of the highest ballot"},
	{PaxosReportPart, "a promise counts before its report is complete"},
	{PaxosLearnAnyBallot, "a follower learns by watermark what it accepted at another ballot"},
	{PaxosOrigRestamped, "a value that is proposed again gets the new ballot as its Orig, so the fence lets it pass"},
	{PaxosCountLearner, "learners count towards quorums"},
	{PaxosSnapshotForgets, "a snapshot empties the acceptor's log, what is above it included"},
	{PaxosReadBeforeBarrier, "a new leader answers reads before its barrier is decided"},
	{PaxosWindowOverrun, "a leader proposes beyond the window"},
	{PaxosGovernsEarly, "a configuration governs one slot too early"},
	{PaxosOldPromises, "promises of the old configuration count for the new one"},
	{PaxosNotHandedOver, "a change is over before the new voters know durably what the old ones decided"},
	{PaxosElectShort, "an electing quorum is one voter short"},
	{PaxosFloorIgnored, "a promise counts in slots that it could not report because they are released"},
	{PaxosHoleUnfilled, "a new leader takes the holes between what phase 1 has found for filled, and serves"},
	{PaxosReadForNewVoters, "a read that only the new voters confirm is answered at the old voters' last known decision"},
	{PaxosReportUnwritten, "a report of values that a snapshot keeps from being written is filled with older ones"},
	{EtcdraftForgetMemberships, "a restart campaigns with the membership at the applied index, whatever the log has behind it"},
	{EtcdraftEpochBeforeDurable, "messages leave before the epoch in them is durable"},
	{EtcdraftReadBeforeBarrier, "a new leader answers reads before it has decided an entry of its epoch"},
	{EtcdraftUnknownAsDropped, "proposals that a deposed leader has appended are said never to have entered a log"},
	{LeaseFromAnswer, "a lease runs from when its round was confirmed, not from when it was sent"},
	{LeaseUnconfirmed, "a round begins a lease before anybody has confirmed it"},
	{LeaseRestartForgets, "a restarted voter helps others at once, although it may have confirmed a leader before"},
	{LeaseEpochFrees, "a voter that hears of a later epoch is no longer bound to the leader of the one before"},
	{LeaseAfterTransfer, "a leader that has sent a transfer goes on with its lease"},
	{LeaseThroughChange, "a lease outlasts a change of membership"},
	{WALSkipSync, "the log says durable without a sync"},
	{WALStaleBatch, "checksums leave out the segment's number, so that batches of an earlier use of the file verify"},
	{WALTruncateCorrupt, "damage in the middle of the log is taken for its torn end and cut off, with all behind it"},
	{WALForgetCut, "what stood behind a torn end is not made void when the log goes on"},
	{WALReleaseBeyond, "a release removes one entry more than was asked for"},
	{WALFreeEarly, "a segment is recycled before the batch that moved its live entries away is known durable"},
	{StoreAppliedApart, "the applied index is committed in a batch of its own, before the effects"},
	{StoreExpireAlways, "a lease is expired as a deposed leader saw it: with its deadlines, in another's epoch"},
	{ShardForgetHardState, "a restart takes the epoch from the last entry and forgets the vote: an epoch can be led twice"},
	{ShardForgetDamage, "a restart takes what a damaged log still holds for all that it held, and votes"},
	{ShardSendHeld, "messages that wait for the log leave at once"},
	{ShardReleaseUnflushed, "the log is released up to what is applied, flushed or not"},
	{ShardProposeAnyEpoch, "a proposal enters the log in any epoch, not only in the one it was handed in for"},
	{ShardReplicaReused, "a node whose disk was lost comes back under its old replica ids"},
	{ShardReadBackStale, "entries that were written over while they were read back leave as they were"},
	{ShardFenceIgnored, "what an old leader failed to get decided is applied behind its successor's commands"},
	{ShardLeaseKeepDeadline, "a leader that returns goes on with the lease deadlines of its earlier leadership"},
	{RouterRetryUnknown, "a write is handed in again as soon as the leader changes, whatever became of it"},
	{RouterRetryAfterSnapshot, "a write is handed in again after a snapshot that may contain it"},
	{RouterReadUnconfirmed, "a follower answers linearizable reads without asking the leader"},
	{RouterReadJoinRound, "a read joins a barrier round that was asked for before it arrived"},
	{RouterRenewUnconfirmed, "a lease is renewed without confirming the leadership first"},
	{PlacementEraseEarly, "a replica is erased before the catalog that names it no more is durable on its node"},
	{PlacementEraseUnconfirmed, "a restarted node erases a replica that its catalog, which a crash took back, does not name yet"},
}
