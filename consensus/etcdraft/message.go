package etcdraft

import (
	"encoding/binary"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/quorate/quorate/consensus"
)

// kindOf has the kinds that leave this machine by etcd's type.
var kindOf = map[raftpb.MessageType]consensus.MessageKind{
	raftpb.MsgPreVote:       KindPreVote,
	raftpb.MsgPreVoteResp:   KindPreVoteReply,
	raftpb.MsgVote:          KindVote,
	raftpb.MsgVoteResp:      KindVoteReply,
	raftpb.MsgApp:           KindAppend,
	raftpb.MsgAppResp:       KindAppendReply,
	raftpb.MsgHeartbeat:     KindHeartbeat,
	raftpb.MsgHeartbeatResp: KindHeartbeatReply,
	raftpb.MsgTimeoutNow:    KindTimeoutNow,
}

// typeOf has etcd's types by kind.
var typeOf = [kindCount]raftpb.MessageType{
	KindSnapshot:       raftpb.MsgSnap,
	KindPreVote:        raftpb.MsgPreVote,
	KindPreVoteReply:   raftpb.MsgPreVoteResp,
	KindVote:           raftpb.MsgVote,
	KindVoteReply:      raftpb.MsgVoteResp,
	KindAppend:         raftpb.MsgApp,
	KindAppendReply:    raftpb.MsgAppResp,
	KindHeartbeat:      raftpb.MsgHeartbeat,
	KindHeartbeatReply: raftpb.MsgHeartbeatResp,
	KindTimeoutNow:     raftpb.MsgTimeoutNow,
}

// forced is what etcd writes into the context of a vote that a transfer asked for.
const forced = "CampaignTransfer"

// outgoing is one of raft's messages as it leaves. Entries leave as a span: what raft
// attaches are stubs, the driver has the data (C5).
func (m *Machine) outgoing(in *raftpb.Message) consensus.Message {
	kind, ok := kindOf[in.GetType()]
	if !ok {
		panic(fmt.Sprintf("etcdraft: raft sends %v", in.GetType()))
	}
	out := consensus.Message{
		Kind: kind, Group: m.group, From: m.id,
		To: consensus.ReplicaID(in.GetTo()), Epoch: consensus.Epoch(in.GetTerm()),
		Index: consensus.Index(in.GetIndex()), Commit: consensus.Index(in.GetCommit()), Reject: in.GetReject(),
	}
	switch kind {
	case KindAppend:
		if n := len(in.GetEntries()); n > 0 {
			out.Fill = consensus.Span{Lo: out.Index + 1, Hi: out.Index + 1 + consensus.Index(n)}
		}
		out.IndexEpoch = consensus.Epoch(in.GetLogTerm())
	case KindAppendReply:
		out.Hint, out.HintEpoch = consensus.Index(in.GetRejectHint()), consensus.Epoch(in.GetLogTerm())
	case KindPreVote, KindVote:
		out.IndexEpoch, out.Force = consensus.Epoch(in.GetLogTerm()), string(in.GetContext()) == forced
	case KindHeartbeat, KindHeartbeatReply:
		out.Round = round(in.GetContext())
	}
	if speaksOfVotes(kind) {
		out.Commit, out.HintEpoch = m.commit, m.log.epochAt(m.commit)
	}
	return out
}

// incoming is a validated message as raft takes it.
func incoming(in *consensus.Message) *raftpb.Message {
	out := &raftpb.Message{
		Type: typeOf[in.Kind].Enum(), To: new(uint64(in.To)), From: new(uint64(in.From)), Term: new(uint64(in.Epoch)),
		Index: new(uint64(in.Index)), Reject: new(in.Reject),
	}
	if !speaksOfVotes(in.Kind) {
		out.Commit = new(uint64(in.Commit))
	}
	switch in.Kind {
	case KindAppend:
		out.LogTerm = new(uint64(in.IndexEpoch))
		for k := range in.Entries {
			e := &in.Entries[k]
			out.Entries = append(out.Entries, &raftpb.Entry{
				Index: new(uint64(e.Index)), Term: new(uint64(e.Epoch)), Type: entryType(e.Kind), Data: e.Data,
			})
		}
	case KindAppendReply:
		out.RejectHint, out.LogTerm = new(uint64(in.Hint)), new(uint64(in.HintEpoch))
	case KindPreVote, KindVote:
		out.LogTerm = new(uint64(in.IndexEpoch))
		if in.Force {
			out.Context = []byte(forced)
		}
	case KindHeartbeat, KindHeartbeatReply:
		if in.Round != 0 {
			out.Context = binary.LittleEndian.AppendUint64(nil, in.Round)
		}
	case KindSnapshot:
		out.Snapshot = &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
			Index: new(uint64(in.Snapshot.Index)), Term: new(uint64(in.Snapshot.Epoch)),
			ConfState: confState(&in.Snapshot.Configuration),
		}}
	}
	return out
}

// round reads the position in raft's queue of reads that a heartbeat confirms.
func round(context []byte) uint64 {
	if len(context) != 8 {
		return 0
	}
	return binary.LittleEndian.Uint64(context)
}

// entryType is the kind as raft has to know it: it looks for membership changes.
func entryType(k consensus.EntryKind) *raftpb.EntryType {
	if k == consensus.EntryMembership {
		return raftpb.EntryConfChangeV2.Enum()
	}
	return raftpb.EntryNormal.Enum()
}
