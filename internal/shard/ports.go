package shard

import (
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/wal"
)

// Ports are the effects of a Host. Every call returns at once; what takes time
// answers through the named input of Host, on the owner's turn.
type Ports struct {
	Log       LogPort
	Network   NetworkPort
	Apply     ApplyPort
	Snapshots SnapshotPort
	Outcome   Outcome
}

// LogPort is the node's log.
type LogPort interface {
	// Append makes the batch durable, in the order of tickets. It answers with
	// Host.Durable; the batch belongs to the log until then.
	Append(ticket Ticket, batch *wal.Batch)
	// Read runs job.Run beside the owner. It answers with Host.LogRead.
	Read(job *LogRead)
	// HighestOrig is the highest first epoch of a span's entries, from memory; false: the
	// log does not hold them all.
	HighestOrig(g consensus.GroupID, s consensus.Span) (consensus.Epoch, bool)
	// Holds reports whether the log has an entry of this epoch at an index, from memory.
	Holds(g consensus.GroupID, i consensus.Index, epoch consensus.Epoch) bool
}

// Ticket numbers the batches that a host hands to its log, from 1.
type Ticket uint64

// NetworkPort carries consensus messages to other nodes.
type NetworkPort interface {
	// Send encodes the message at once or loses it; it reports which.
	Send(to NodeID, m *consensus.Message) bool
}

// ApplyPort runs apply jobs beside the owner.
type ApplyPort interface {
	// Submit runs job.Run; jobs of one shard run in the order of submission. It
	// answers with Host.Applied.
	Submit(job *ApplyJob)
}

// SnapshotPort streams snapshots to other nodes.
type SnapshotPort interface {
	// Stream exports job's state to a peer. It answers with Host.SnapshotSent.
	Stream(job *SnapshotSend)
}

// Outcome receives what became of what was handed to a replica. It is called on
// the owner's turn, from within Process or Applied, and must not call the host
// back at once.
type Outcome interface {
	// ReadReady: the barrier is satisfied once index is applied here.
	ReadReady(id ID, read consensus.ProposalID, index consensus.Index)
	// Dropped: these proposals and read barriers never took effect.
	Dropped(id ID, proposals []consensus.ProposalID)
	// RoleChanged: the replica's role, leader or epoch is a new one.
	RoleChanged(id ID, s LeaderState)
	// Advanced: entries up to index are applied here, one by one; epoch is the last one's.
	Advanced(id ID, index consensus.Index, epoch consensus.Epoch)
	// Installed: a snapshot at index replaced the state. What the entries that it
	// skips answered is not known here.
	Installed(id ID, index consensus.Index)
}

// LeaderState is who leads a shard as this replica sees it.
type LeaderState struct {
	Leader consensus.ReplicaID // zero: unknown
	Epoch  consensus.Epoch
	Leads  bool // this replica is the leader
}

// Limits bound what one replica holds. The zero value of a field means its default.
type Limits struct {
	CacheBytes     int // newest entries kept in memory behind the durable ones; default 16 MiB
	CachesBytes    int // the same of all replicas that are not cold, in equal shares of 64 KiB at least; default 64 MiB
	UnsyncedBytes  int // entries accepted and not yet durable here; default 64 MiB
	QueuedCommands int // proposals waiting for the machine; default 5000, as etcd's gap limit
	QueuedBytes    int // of those proposals; default 64 MiB
	ProposeBytes   int // handed to the machine in one call; default 1 MiB
	// ProposeCommands are handed to the machine in one call, all or none; default 256. It
	// must be below the smallest window of an engine.
	ProposeCommands int
	ApplyBytes      int // applied in one engine batch; default 4 MiB
	ApplyEntries    int // applied in one engine batch; default 1024
	LagEntries      int // log entries kept for followers behind the applied index; default 10000
	LagBytes        int // of those entries; default 64 MiB
	LogReads        int // read-backs for peers under way; default 8
	SnapshotSends   int // snapshot streams under way per node; default 2
	ExpiryBatch     int // leases expired per tick; default 100
}

func (l *Limits) setDefaults() {
	for _, d := range []struct {
		field *int
		value int
	}{
		{&l.CacheBytes, 16 << 20}, {&l.CachesBytes, 64 << 20}, {&l.UnsyncedBytes, 64 << 20},
		{&l.QueuedCommands, 5000}, {&l.QueuedBytes, 64 << 20},
		{&l.ProposeBytes, 1 << 20}, {&l.ProposeCommands, 256}, {&l.ApplyBytes, 4 << 20}, {&l.ApplyEntries, 1024},
		{&l.LagEntries, 10000}, {&l.LagBytes, 64 << 20}, {&l.LogReads, 8}, {&l.SnapshotSends, 2}, {&l.ExpiryBatch, 100},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
}

// Timing is the machines' logical time. Ticks are the owner's business.
type Timing struct {
	Tick           time.Duration // between two calls of Host.Tick
	HeartbeatTicks int
	ElectionTicks  int
	ColdTicks      int // of rest until a replica keeps nothing in memory that it can read again; default 30 election timeouts
}
