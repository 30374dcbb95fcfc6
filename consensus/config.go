package consensus

// Rand is the machine's only source of chance.
type Rand interface {
	// Uint64N returns a uniform number in [0, n). n is never zero.
	Uint64N(n uint64) uint64
}

// Config creates or restores a machine. All limits are per machine.
type Config struct {
	Group GroupID
	ID    ReplicaID
	Rand  Rand

	// ElectionTicks is the shortest time without a leader, in ticks, after which a
	// follower campaigns; the actual time is drawn from [ElectionTicks, 2*ElectionTicks).
	ElectionTicks int
	// HeartbeatTicks is the leader's heartbeat interval in ticks, < ElectionTicks.
	HeartbeatTicks int

	// MessageBytes bounds the payload of one append message. One entry is always
	// sent, whatever its size.
	MessageBytes int
	// InflightMessages and InflightBytes bound what is sent to one follower and
	// not yet acknowledged.
	InflightMessages int
	InflightBytes    int
	// UncommittedBytes bounds a leader's payload bytes that are appended and not
	// yet decided; above it Propose returns ErrBusy.
	UncommittedBytes int
	// ReadRounds bounds the read barriers in flight; above it Propose returns ErrBusy.
	ReadRounds int

	// LeaseNanos is how long a leader answers reads by itself after a quorum has confirmed
	// it (C12), in nanoseconds; zero: it never does. It is the same, or everywhere zero, in
	// the whole group for ever, and short enough: no clock of a leader may show less than
	// that while another replica is ticked ElectionTicks-1 times. So ticks are never given in
	// arrears, and what clocks may differ by is taken off. A replica that starts takes no
	// part in elections for ElectionTicks then.
	LeaseNanos uint64

	// HardState, Log and Applied restore a replica; all zero for a new one,
	// except Log.Configuration, which then holds the first configuration.
	HardState HardState
	Log       LogState
	Applied   Index
}

// LogState is what a driver found in a replica's durable log.
type LogState struct {
	// Released is the last index that is no longer in the log, ReleasedEpoch the epoch of a
	// Snapshot there. A state that is ahead of its log restarts like a snapshot:
	// Released is then the applied index, ReleasedEpoch its epoch, and Entries is
	// empty. Ahead means that the log has no entry at the applied index or one of
	// another epoch: a crash may also take a truncation that was applied past.
	Released      Index
	ReleasedEpoch Epoch
	// Configuration is the one in force at Released; or at Configured, an index between that
	// and Config.Applied, if the driver knows only that one.
	Configuration Configuration
	Configured    Index
	// Entries describes the entries Released+1, Released+2, ... In a sparse log one with
	// epoch zero is a hole.
	Entries []EntryInfo
	// Decided is the last Append.Decided. Where the applied index is above it, what the log
	// has up to there need not be what was applied: then Released is the applied index, and
	// the entries behind it stay.
	Decided Index
	// InDoubt says that the log has lost what was durable: newer entries than these, a
	// newer hard state than Config's, or both (C10). It holds until Append.Repaired is
	// durable, also over restarts.
	InDoubt bool
}

// EntryInfo is what a machine keeps of an entry.
type EntryInfo struct {
	Epoch Epoch
	Orig  Epoch
	Kind  EntryKind
	Size  uint32 // bytes of Data
	Data  []byte // only for EntryMembership
}

// Info is what a machine keeps of the entry. Of a hole, a zero entry, it is zero.
func (e *Entry) Info() EntryInfo {
	info := EntryInfo{Epoch: e.Epoch, Orig: e.Orig, Kind: e.Kind, Size: uint32(len(e.Data))}
	if e.Kind == EntryMembership {
		info.Data = e.Data
	}
	return info
}
