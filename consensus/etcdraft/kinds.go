package etcdraft

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
)

// The messages of this engine, each one of etcd's. Beside Kind, Group, From, To and
// Epoch they use:
//
//	snapshot         Snapshot. The driver makes it (package consensus).
//	pre-vote         Index, IndexEpoch: the sender's last entry. Epoch is the one asked about.
//	pre-vote-reply   Reject. Epoch is the one asked about in a grant, the sender's in a refusal.
//	vote             Index, IndexEpoch: the sender's last entry. Force.
//	vote-reply       Reject.
//	append           Index, IndexEpoch: the entry before Fill or Entries. Commit.
//	append-reply     Index: everything up to it is accepted and durable. Or, with Reject,
//	                 Index: the entry that was not found; Hint, HintEpoch: where to look.
//	heartbeat        Commit. Round: the latest read round, zero if none is open.
//	heartbeat-reply  Round: as in the heartbeat.
//	timeout-now      nothing.
//
// The four about votes also carry Commit and HintEpoch: the last index that the sender
// knows decided, and its epoch (overhear).
const (
	KindSnapshot       = consensus.KindSnapshot
	KindPreVote        = consensus.MessageKind(2)
	KindPreVoteReply   = consensus.MessageKind(3)
	KindVote           = consensus.MessageKind(4)
	KindVoteReply      = consensus.MessageKind(5)
	KindAppend         = consensus.MessageKind(6)
	KindAppendReply    = consensus.MessageKind(7)
	KindHeartbeat      = consensus.MessageKind(8)
	KindHeartbeatReply = consensus.MessageKind(9)
	KindTimeoutNow     = consensus.MessageKind(10)

	kindCount = 11
)

var kindNames = [kindCount]string{
	KindSnapshot:       "snapshot",
	KindPreVote:        "pre-vote",
	KindPreVoteReply:   "pre-vote-reply",
	KindVote:           "vote",
	KindVoteReply:      "vote-reply",
	KindAppend:         "append",
	KindAppendReply:    "append-reply",
	KindHeartbeat:      "heartbeat",
	KindHeartbeatReply: "heartbeat-reply",
	KindTimeoutNow:     "timeout-now",
}

// KindName names a message kind for traces and metrics.
func KindName(k consensus.MessageKind) string {
	if known(k) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind-%d", uint8(k))
}

func known(k consensus.MessageKind) bool { return k > 0 && k < kindCount }

// isReply reports whether a message is an answer to one of ours. Only members of
// the configuration are ever asked.
func isReply(k consensus.MessageKind) bool {
	return k == KindPreVoteReply || k == KindVoteReply || k == KindAppendReply || k == KindHeartbeatReply
}

// speaksOfVotes reports whether a kind belongs to an election.
func speaksOfVotes(k consensus.MessageKind) bool { return k >= KindPreVote && k <= KindVoteReply }

// fromLeader reports whether only the leader of an epoch sends this.
func fromLeader(k consensus.MessageKind) bool {
	return k == KindAppend || k == KindHeartbeat || k == KindTimeoutNow || k == KindSnapshot
}
