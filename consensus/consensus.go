package consensus

import "fmt"

// ReplicaID names one replica of a group for ever. A replica whose disk was
// lost must come back under a new id: it would otherwise vote again in an epoch
// in which it has voted already. Zero means "none".
type ReplicaID uint64

// String prints the id as etcd prints member ids.
func (id ReplicaID) String() string { return fmt.Sprintf("%x", uint64(id)) }

// GroupID names a consensus group. Zero is not a valid group.
type GroupID uint64

// Epoch orders leaderships: Raft calls it term, Paxos ballot. Zero is before
// every leadership.
type Epoch uint64

// Index is a position in a group's sequence of entries (Paxos: slot). The first
// entry has index 1; zero is the position before it.
type Index uint64

// Seq numbers the appends of one machine since it was started, from 1, without
// gaps. It is how a driver acknowledges durability (C6).
type Seq uint64

// ProposalID is chosen by the driver to recognise its proposals in Ready. It
// means nothing to the machine; uniqueness among proposals in flight is the
// driver's business. Zero: nobody waits, the end of the proposal is not reported.
type ProposalID uint64

// Instant is a reading of a driver's monotonic clock, in nanoseconds since any fixed moment
// of the process. Zero: nobody has looked.
type Instant uint64

// Span is the half-open range of indexes [Lo, Hi). It is empty when Lo >= Hi.
type Span struct{ Lo, Hi Index }

// Empty reports whether the span holds no index.
func (s Span) Empty() bool { return s.Lo >= s.Hi }

// Len is the number of indexes in the span.
func (s Span) Len() int {
	if s.Empty() {
		return 0
	}
	return int(s.Hi - s.Lo)
}

// String prints the span in its half-open notation.
func (s Span) String() string { return fmt.Sprintf("[%d,%d)", s.Lo, s.Hi) }

// EntryKind says who reads an entry's data.
type EntryKind uint8

const (
	// EntryCommand carries a command for the state machine above.
	EntryCommand EntryKind = 1
	// EntryBarrier carries nothing; a leader proposes one when its epoch starts.
	EntryBarrier EntryKind = 2
	// EntryMembership carries an encoded Configuration, read by the machine.
	EntryMembership EntryKind = 3
)

// String names the kind for traces.
func (k EntryKind) String() string {
	switch k {
	case EntryCommand:
		return "command"
	case EntryBarrier:
		return "barrier"
	case EntryMembership:
		return "membership"
	}
	return fmt.Sprintf("entry-kind-%d", uint8(k))
}

// Entry is one position of a group's sequence.
type Entry struct {
	Index Index
	Epoch Epoch // the epoch in which this replica accepted it
	Orig  Epoch // the epoch in which it was first proposed; equals Epoch in Raft
	Kind  EntryKind
	Data  []byte // never modified after it was handed over, by either side
}

// HardState is what a replica must not forget: it is durable before any message
// that follows from it leaves (C3, C4). It never regresses: Epoch only grows, and
// within an epoch Vote is set at most once.
type HardState struct {
	Epoch Epoch     // the highest epoch promised
	Vote  ReplicaID // who got this replica's vote or promise in Epoch; zero: nobody
}

// Snapshot describes a state by the position it was taken at. The state itself
// travels beside the contract, from driver to driver.
type Snapshot struct {
	Index         Index         // the last entry that the state contains
	Epoch         Epoch         // the highest Orig applied up to it (C11); without holes that entry's epoch
	Configuration Configuration // in force at Index
}

// MessageKind is an engine's own message vocabulary, KindSnapshot apart. Zero is
// never valid.
type MessageKind uint8

// KindSnapshot is the one kind that all engines share and that drivers make: the
// sender's driver fills Group, From, To, Epoch (the sender's durable one, or that of the
// Snapshot if it is higher) and Snapshot, and sends it with the state; the receiver's driver hands it to
// Step once it holds the whole state, and installs that state when Ready.Install
// says so. If Ready has no Install afterwards, the state was not needed.
const KindSnapshot MessageKind = 1

// Message is what replicas of a group say to each other. One struct serves every
// engine and kind; each engine documents which fields a kind uses, all others
// are zero. A machine of a sparse engine may write to itself, to learn what its own log
// holds: the driver fills and delivers that like any other message.
type Message struct {
	Kind     MessageKind
	Group    GroupID
	From, To ReplicaID
	Epoch    Epoch // the sender's epoch (C3), or the one asked about in a trial round

	Index      Index // the position the message is about
	IndexEpoch Epoch // epoch of the entry at Index
	Commit     Index // every index <= Commit is decided, as far as the sender knows
	Round      uint64
	Reject     bool
	Force      bool  // a vote asked for by a leadership transfer: overrides stickiness
	Hint       Index // where a rejected sender should look next
	HintEpoch  Epoch
	// Doubt names the doubt that a replica is in (C10), zero: none. A replica in
	// doubt says it with every answer; a leader repeats it once Commit covers the
	// entry that ends it.
	Doubt uint64

	// Fill names entries that the driver puts into Entries before the message
	// leaves (C5). A message that arrives has an empty Fill.
	Fill    Span
	Entries []Entry

	// Snapshot announces (at a sender) or reports as fully received (at a
	// receiver) a state to install.
	Snapshot *Snapshot
}

// FillFrom puts the entries that Fill names into Entries, so that the message may leave. It
// reports false, and leaves the message as it is, if the log has moved on: it must then be
// dropped (C5). entry looks an index up in the driver's log as it is now, with the entries of
// every Append that the machine has handed out; messageBytes is Config.MessageBytes.
func (m *Message) FillFrom(entry func(Index) (Entry, bool), messageBytes int) bool {
	if m.Fill.Empty() {
		return true
	}
	entries, size := make([]Entry, 0, m.Fill.Len()), 0
	for i := m.Fill.Lo; i < m.Fill.Hi; i++ {
		e, ok := entry(i)
		if size += len(e.Data); !ok || e.Epoch > m.Epoch || size > messageBytes && m.Fill.Len() > 1 {
			return false
		}
		entries = append(entries, e)
	}
	m.Entries, m.Fill = entries, Span{}
	return true
}

// Machine is one replica of one group. It is not safe for concurrent use.
type Machine interface {
	// Propose hands in commands, a read barrier, a membership target or a
	// leadership transfer. An error means that nothing was taken: ErrNotLeader,
	// ErrBusy (a window is full: try again after progress), ErrInvalid,
	// ErrMembershipPending or ErrTransferring.
	Propose(Proposal) error
	// Step takes a peer's message. An error says why it was refused; the machine's
	// state is then unchanged.
	Step(Message) error
	// Tick advances logical time by one unit.
	Tick()
	// Ready returns the next work for the driver, and false when there is none.
	// The value and its slices are reused: they are valid until the next call
	// of Ready, whatever else is called meanwhile.
	Ready() (*Ready, bool)
	// Done tells the machine what the driver has finished.
	Done(Done)
	// Status describes the replica for operators, traces and checkers.
	Status() Status
}

// Shrinker is a Machine that can do with less memory for a while. Drivers of many groups look
// for it.
type Shrinker interface {
	// Shrink gives back what is kept only to be used again, unless Ready has something to
	// say. It ends the validity of what Ready returned last.
	Shrink()
}

// Engine makes machines of one kind.
type Engine struct {
	// Name is what operators write: "raft".
	Name string
	// New restores or creates a replica. It returns ErrInvalid wrapped with the
	// field at fault when the configuration or the restored state is impossible.
	New func(Config) (Machine, error)
	// KindName names a message kind for traces and metrics.
	KindName func(MessageKind) string
	// Sparse says that the machines' logs may have holes: entries are appended in any
	// order, one replaces an earlier one of its index with a lower epoch, and nothing is
	// ever truncated. What a sparse log holds above a released index or an installed
	// snapshot stays there, whatever happens below: it is a promise.
	Sparse bool
	// Repairs says that the machines take part with a damaged log, as C10 says. New of
	// others returns ErrInvalid for one in doubt.
	Repairs bool
	// Flexible says that the machines know Membership.WriteQuorum. Others refuse it.
	Flexible bool
	// Leases says that the machines know Config.LeaseNanos. Others refuse it.
	Leases bool
}

// ProposalKind says what is proposed.
type ProposalKind uint8

const (
	// ProposeCommands appends Commands.
	ProposeCommands ProposalKind = 1
	// ProposeReadBarrier asks for an index at which a read is linearizable (C9). With Now
	// it may be answered from a lease (C12), and its round may begin one.
	ProposeReadBarrier ProposalKind = 2
	// ProposeMembership asks for Target to become the membership.
	ProposeMembership ProposalKind = 3
	// ProposeTransfer asks the leader to hand leadership to Transferee.
	ProposeTransfer ProposalKind = 4
)

// Command is one entry to be.
type Command struct {
	ID   ProposalID
	Data []byte
}

// Proposal is the argument of Machine.Propose; Kind decides which fields count.
type Proposal struct {
	Kind       ProposalKind
	Commands   []Command  // ProposeCommands: taken whole or not at all; the slice is not kept
	ID         ProposalID // ProposeReadBarrier, ProposeMembership
	Target     Membership // ProposeMembership
	Transferee ReplicaID  // ProposeTransfer; zero: the machine picks the most advanced voter
	// Now, of ProposeReadBarrier, is the moment at which the read may take effect: a reading
	// of the clock from after its client asked, and from before this call.
	Now Instant
}

// Append is work for the durable log, in this order: hard state, truncation,
// entries, decided, repaired. All of it becomes durable together, or a prefix of the entries
// does.
type Append struct {
	// Seq is the number of this append, or of the latest one when it is empty.
	Seq Seq
	// HardState is set when it changed.
	HardState *HardState
	// Truncate, when not zero, removes every entry at or above it first.
	Truncate Index
	// Entries are appended behind the log's end, or anywhere in a sparse log.
	Entries []Entry
	// Decided, when not zero, says that every index up to it is decided and that what the
	// log has there is the decided entry. It never falls. (Raft has no use for it.)
	Decided Index
	// Repaired says that the replica is no longer in doubt (C10).
	Repaired bool
}

// Empty reports whether there is nothing to write.
func (a *Append) Empty() bool {
	return a.HardState == nil && a.Truncate == 0 && len(a.Entries) == 0 && a.Decided == 0 && !a.Repaired
}

// Read answers a read barrier: once Index is applied, the read may be served.
type Read struct {
	ID    ProposalID
	Index Index
}

// Ready is one round of work for the driver. All of it may be empty except what
// made Machine.Ready return true.
type Ready struct {
	// Send may leave at once; a leader's appends leave before its own log is durable.
	Send []Message
	// Append goes to the durable log; its Seq comes back in Done.Durable.
	Append Append
	// AfterSync may leave only once Append.Seq is durable (C3, C4), also when
	// Append is empty: then an earlier append is still on its way.
	AfterSync []Message
	// Install, when not nil, replaces this replica's state with the received
	// snapshot, and its log restarts behind it; a sparse log keeps what it has above. It is
	// done before Learned.
	Install *Snapshot
	// Learned entries are decided and to be applied in order (C2). The driver
	// has them in its cache or log.
	Learned Span
	// Reads are barriers that are satisfied.
	Reads []Read
	// Dropped and Unknown end proposals without a decision (C8).
	Dropped []ProposalID
	Unknown []ProposalID
	// NeedSnapshot lists replicas whose next entry is released here. The driver
	// streams its state to each and answers with Done.SnapshotSent.
	NeedSnapshot []ReplicaID
	// RoleChanged is set when Status has a new role, leader, epoch or configuration.
	RoleChanged bool
}

// PeerState is what the driver knows of a peer's connection.
type PeerState uint8

const (
	// PeerUnreachable: messages to the peer are being lost.
	PeerUnreachable PeerState = 1
	// PeerReset: the connection from the peer broke as it does when a process
	// dies. A follower of that leader may campaign at once, PreVote makes it safe; with
	// leases (Config.LeaseNanos) it waits like anybody else.
	PeerReset PeerState = 2
)

// SnapshotSent reports the end of a stream that NeedSnapshot asked for.
type SnapshotSent struct {
	To    ReplicaID
	Index Index // of the state that was streamed
	OK    bool  // false: the stream failed or was refused
}

// Done tells a machine what its driver has finished; zero fields say nothing.
type Done struct {
	// Durable: every append up to this Seq is durable (C7).
	Durable Seq
	// Applied: every entry up to this index is applied, and an Install at or
	// below it is complete and recorded in the log.
	Applied Index
	// Released: the log no longer holds entries at or below this index.
	Released Index
	// Peer and State: a change of a peer's connection.
	Peer  ReplicaID
	State PeerState
	// SnapshotSent: a snapshot stream ended.
	SnapshotSent SnapshotSent
}
