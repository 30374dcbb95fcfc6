package paxos

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
)

// The messages of this engine. Beside Kind, Group, From, To and Epoch they use:
//
//	pre-prepare        Index: the sender's commit index. Epoch is the one asked about.
//	pre-prepare-reply  Reject. Epoch is the one asked about in a grant, the sender's in a refusal.
//	prepare            Index: up to here the sender needs no report. Force.
//	promise            Reject. Or a part of the report: what the sender has accepted in
//	                   (Index, Hint] is in Fill or Entries, and nothing else is there. Last is
//	                   in Round: the last slot that it has accepted. Commit: the sender's.
//	                   IndexEpoch, when not zero: everything up to Index is released there,
//	                   and this is the highest Orig of it.
//	accept             Index: the slot before Fill or Entries. Commit, Round.
//	accepted           Index: everything up to it is decided, or accepted in this epoch and
//	                   durable. Round.
//	accepted-apart     the same of the slots in (Index, Hint].
//	heartbeat          Index: the last slot sent. Commit, Round.
//	heartbeat-reply    Index as in accepted. Hint: the same, durable or not. Reject: slots
//	                   between Hint and the heartbeat's Index are missing. Commit: up to here
//	                   the sender knows durably what is decided. Round.
//	commit             Commit. Nobody answers it.
//	snapshot           Snapshot.
//	timeout-now        nothing.
const (
	KindSnapshot        = consensus.KindSnapshot
	KindPrePrepare      = consensus.MessageKind(2)
	KindPrePrepareReply = consensus.MessageKind(3)
	KindPrepare         = consensus.MessageKind(4)
	KindPromise         = consensus.MessageKind(5)
	KindAccept          = consensus.MessageKind(6)
	KindAccepted        = consensus.MessageKind(7)
	KindAcceptedApart   = consensus.MessageKind(8)
	KindHeartbeat       = consensus.MessageKind(9)
	KindHeartbeatReply  = consensus.MessageKind(10)
	KindCommit          = consensus.MessageKind(11)
	KindTimeoutNow      = consensus.MessageKind(12)

	kindCount = 13
)

var kindNames = [kindCount]string{
	KindSnapshot:        "snapshot",
	KindPrePrepare:      "pre-prepare",
	KindPrePrepareReply: "pre-prepare-reply",
	KindPrepare:         "prepare",
	KindPromise:         "promise",
	KindAccept:          "accept",
	KindAccepted:        "accepted",
	KindAcceptedApart:   "accepted-apart",
	KindHeartbeat:       "heartbeat",
	KindHeartbeatReply:  "heartbeat-reply",
	KindCommit:          "commit",
	KindTimeoutNow:      "timeout-now",
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
// the configurations in force are ever asked.
func isReply(k consensus.MessageKind) bool {
	switch k {
	case KindPrePrepareReply, KindPromise, KindAccepted, KindAcceptedApart, KindHeartbeatReply:
		return true
	}
	return false
}

// carriesEntries reports whether a kind may have entries.
func carriesEntries(k consensus.MessageKind) bool { return k == KindPromise || k == KindAccept }
