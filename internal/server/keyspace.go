package server

import (
	"context"
	"time"

	"github.com/quorate/quorate/internal/limit"
	"github.com/quorate/quorate/internal/mvcc"
	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/store"
)

// Keyspace is one complete etcd, as the node that serves it offers it. All methods are
// safe from any goroutine. Errors are package router's, or the context's.
type Keyspace interface {
	Writer
	Reader
	Lessor
	// Status is asked for in every request: it must cost no more than a few loads.
	Status() KeyspaceStatus
	// Limiter keeps the limits of the keyspace on this node. It is the same one in every call.
	Limiter() *limit.Limiter
}

// Writer replicates commands.
type Writer interface {
	// Propose replicates a command and waits until it is applied here. The result's Err
	// is a rejection. Propose bounds its own wait: it answers router.ErrTimeout even if
	// ctx has no end. Ownership of body passes.
	Propose(ctx context.Context, kind store.Kind, body []byte) (*store.Result, error)
}

// Reader reads.
type Reader interface {
	// Barrier returns when a View taken afterwards includes everything that was
	// acknowledged before the call.
	Barrier(ctx context.Context) error
	// View is a local, serializable point of the history. The caller closes it.
	View() (*store.View, error)
	// RangeNewest answers a range of one key from memory as a View taken now would, or
	// reports that it cannot. The key is kept.
	RangeNewest(r *store.RangeRequest) (*store.RangeResponse, bool)
	// DB is where watchers register.
	DB() *mvcc.DB
}

// Lessor knows what is left of leases. Only a leader does: calls go there.
type Lessor interface {
	// RenewLease starts the lease's TTL afresh, or returns store.ErrLeaseNotFound.
	RenewLease(ctx context.Context, id int64) (ttlSeconds int64, err error)
	// RemainingLease returns the lease's granted TTL and what is left of it, or
	// store.ErrLeaseNotFound.
	RemainingLease(ctx context.Context, id int64) (grantedSeconds, remainingSeconds int64, err error)
}

// Node is the process that serves: what is not a keyspace's.
type Node interface {
	// Keyspace returns the keyspace of a name. The same one is the same value.
	Keyspace(name string) (Keyspace, bool)
	// Carriers lists the other members that carry a keyspace: who should lead comes first. A
	// keyspace whose creation was acknowledged before the call is found. Errors are
	// placement.ErrNotFound and placement.ErrDeleted, wrapped in a sentence, package router's,
	// or the context's.
	Carriers(ctx context.Context, name string) ([]uint64, error)
	// Catalog manages the keyspaces. It is the same one in every call.
	Catalog() Catalog
	// Cluster manages the nodes and where keyspaces are. It is the same one in every call.
	Cluster() Cluster
	// Members lists the cluster.
	Members(ctx context.Context, linearizable bool) ([]Member, error)
	// TransferLeadership begins to make the member to lead a keyspace that this node
	// leads. It may return before it does.
	TransferLeadership(ctx context.Context, keyspace string, to uint64) error
	ClusterID() uint64
	MemberID() uint64
	// Status is for metrics: it looks at every keyspace here.
	Status() NodeStatus
	// Disk is what the node's data takes, and what of it is live, in bytes.
	Disk() (bytes, inUse int64)
	// Stages is how long proposals took in each stage of their way, since the node's
	// start and for all its shards.
	Stages() []StageTimes
}

// Catalog manages the cluster's keyspaces; "system" and "default" are not in it. All methods
// are safe from any goroutine. Errors are package placement's, wrapped, package router's, or
// the context's. A change that answers an error of router may have been made, or may still be.
type Catalog interface {
	CreateKeyspace(ctx context.Context, spec placement.Spec) (placement.Keyspace, error)
	UpdateKeyspace(ctx context.Context, name string, change placement.Change) (placement.Keyspace, error)
	DeleteKeyspace(ctx context.Context, name string) (placement.Keyspace, error)
	UndeleteKeyspace(ctx context.Context, name string) (placement.Keyspace, error)
	// Keyspaces lists all records by name, deleted ones included. A linearizable list is
	// confirmed by the system shard's leader first. The slices are not written by either side.
	Keyspaces(ctx context.Context, linearizable bool) ([]placement.Keyspace, error)
}

// Cluster manages the nodes, and where keyspaces are. All methods are safe from any goroutine.
// Errors are as Catalog's. A change of a node returns when it is recorded: replicas move later.
type Cluster interface {
	// Join makes a machine a node, or gives it the place of one that has lost its disk.
	Join(ctx context.Context, r placement.JoinRequest) (placement.Ticket, error)
	// Nodes lists all nodes' records by id, those about to be removed included.
	Nodes(ctx context.Context, linearizable bool) ([]placement.Member, error)
	DrainNode(ctx context.Context, id uint64, drain bool) (placement.Member, error)
	WeighNode(ctx context.Context, id uint64, weight int) (placement.Member, error)
	RemoveNode(ctx context.Context, id uint64) (placement.Member, error)
	AddressNode(ctx context.Context, id uint64, peerURLs []string) (placement.Member, error)
	// Placement is where everything is, as this node sees it. It asks nobody.
	Placement(ctx context.Context) (placement.Overview, error)
	// Explain says why each replica of a keyspace is where it is.
	Explain(ctx context.Context, keyspace string) ([]string, error)
	// PlanPlacement is what would move next; loadPercent bounds a node's load in percent of its
	// fair share, 0 takes the default.
	PlanPlacement(ctx context.Context, loadPercent int) ([]placement.Proposal, error)
	// ApplyPlacement does that once, also while placement is paused.
	ApplyPlacement(ctx context.Context, loadPercent int) ([]placement.Proposal, error)
	PausePlacement(ctx context.Context, paused bool) error
}

// StageTimes is the latency of one stage: the i-th bucket counts what took less than
// 2^i µs and was not counted before; the last one counts all the rest.
type StageTimes struct {
	Stage   string
	Buckets []uint64
	Sum     time.Duration
	Count   uint64
}

// Member is one member as etcd's API lists it.
type Member struct {
	ID                   uint64
	Name                 string
	PeerURLs, ClientURLs []string
	// KeyspaceURLs are its bound ports, by keyspace.
	KeyspaceURLs map[string][]string
	IsLearner    bool
}

// KeyspaceStatus is what a node knows about a keyspace without asking anybody.
type KeyspaceStatus struct {
	// Keyspace is its name and Shard the id of the shard that holds it.
	Keyspace string
	Shard    uint64
	// Engine is the consensus engine that the shard runs on; of its voters WriteQuorum must
	// have an entry on disk before it is decided, and ElectionQuorum agree to a leader.
	Engine                      string
	WriteQuorum, ElectionQuorum int
	// Warning is what an operator must know of these numbers, in a sentence; usually empty.
	Warning string

	// Leader is the member id of the shard's leader, as far as this node knows; 0 is none.
	Leader uint64
	// Term is the shard's epoch: etcd's raft_term.
	Term uint64
	// CommitIndex and AppliedIndex are positions in the shard's log.
	// Invariant: AppliedIndex ≤ CommitIndex.
	CommitIndex, AppliedIndex uint64
	// IsLearner says that this node's replica has no vote.
	IsLearner bool
	// Starting says that the node has not announced itself yet: the member list does not
	// have its client URLs.
	Starting bool
	// InDoubt says that the replica's log has lost something, and that it does not vote
	// until its leader has repaired it.
	InDoubt bool
	// Behind says that this node has opened it, at its start perhaps, and may lack what was
	// acknowledged before. The first Barrier that succeeds ends that.
	Behind bool
	// Deleted says that it serves nobody, until it is brought back or gone.
	Deleted bool
	// Elsewhere says that others serve its clients: this node's replica comes or goes.
	Elsewhere bool
	// Corrupt says that this node's replica differs from the others, or lost data.
	Corrupt bool

	// LeaderChanges counts the leaders seen since start.
	LeaderChanges uint64
	// ProposalsPending is the number of proposals of this node that wait for their result.
	// For metrics, as SizeBytes.
	ProposalsPending int64
	// ProposalsFailed counts proposals that ended without a result.
	ProposalsFailed uint64
	// SizeBytes is the logical size of the keyspace, as its quota counts it, and
	// QuotaBytes the limit on it; 0 is none. Both are for metrics, and may be missing
	// from a Keyspace's own Status.
	SizeBytes, QuotaBytes int64
	// Limited says how often each limit has refused something here, likewise.
	Limited limit.Counts
}

// NodeStatus is what a node knows about itself.
type NodeStatus struct {
	// DiskBytes is what the node's data takes on disk; InUseBytes what of it is live.
	DiskBytes, InUseBytes int64
	// Shards describes every replica on this node, in the order of the shard ids.
	Shards []KeyspaceStatus
}
