package main

import (
	"log/slog"
	"time"

	"github.com/quorate/quorate/internal/pki"
)

// Config is one node as the user asked for it: complete, checked, with every default
// filled in. Wiring hands it to the node and the server; nothing below knows flags.
type Config struct {
	// Name is this member's name, unique in the cluster.
	Name string
	// DataDir holds everything durable; WALDir holds the log. WALDir is empty for the
	// usual place inside DataDir.
	DataDir, WALDir string

	// Each URL is http://host:port, or https of clients, lower case, without a path. Hosts to
	// listen on are IP addresses or localhost; none of the lists is empty and none repeats itself.
	ListenClientURLs, AdvertiseClientURLs []string
	ListenPeerURLs, AdvertisePeerURLs     []string

	// ListenHTTPURLs serve metrics and health alone; may be empty.
	ListenHTTPURLs []string

	// KeyspacePorts are client ports of one keyspace each. No address is in them twice, nor in
	// another list.
	KeyspacePorts []KeyspacePort

	// TLS is for the https URLs among those above, and for those of other members. Invariant: if
	// one is listened on there is a certificate, and the other way round.
	TLS pki.Config

	Bootstrap Bootstrap
	// Join are client URLs of running nodes whose cluster this one joins; none: Bootstrap says
	// whom it founds one with. As Bootstrap it counts until the data directory has state.
	Join []string
	// Zone is what fails together with this node; with slashes further domains in it, empty: none.
	Zone string
	// Weight is its share of the load when it joins; 0 is what is recorded of it, or 1.
	Weight int
	// ReplaceAfter is how long a node may be silent before its replicas are placed anew.
	ReplaceAfter time.Duration

	// QuotaBytes is the size of the data above which writes are rejected; 0 is no quota.
	QuotaBytes int64
	// RequestBytesMax is the largest request of a client, in bytes.
	RequestBytesMax int
	// TxnOpsMax is the largest number of operations in one transaction.
	TxnOpsMax int
	// SnapshotCount is how many entries the log keeps for a member that lags.
	SnapshotCount uint64

	// Heartbeat is a leader's interval; a follower that hears nothing for Election calls
	// an election. Invariant: Heartbeat ≥ 1 ms and Election ≥ 5 × Heartbeat.
	Heartbeat, Election time.Duration

	Compaction Compaction
	Clients    Clients
	// Pprof serves Go's profiles under /debug/pprof/.
	Pprof bool
	// Engine names the consensus engine of shards that this node founds, and WriteQuorum how
	// many members decide in them. Empty and zero take what the data directory has
	// recorded, or the default engine and a majority.
	Engine      string
	WriteQuorum int
}

// KeyspacePort is a client port whose calls go to one keyspace.
type KeyspacePort struct{ Keyspace, URL string }

// Bootstrap is what founds a cluster, or lets a member join one. It counts only until
// the data directory has state.
type Bootstrap struct {
	// Cluster lists the members, sorted by name. Invariant, once checked: this member is
	// among them with exactly its AdvertisePeerURLs, and no URL is there twice.
	Cluster []Member
	// Token differs between clusters so that they never mix.
	Token string
	// Existing is false to found a cluster and true to join a running one.
	Existing bool
}

// Member is one entry of --initial-cluster.
type Member struct {
	Name     string
	PeerURLs []string
}

// Compaction says how much history is kept. The zero value keeps all of it.
type Compaction struct {
	// Period is the age below which history is kept; 0 if it is not counted by age.
	Period time.Duration
	// Revisions is the number of revisions that are kept; 0 if they are not counted.
	Revisions int64
}

// Clients says how clients are received, and how their connections are kept.
type Clients struct {
	// KeyspaceDomain is the domain below which clients choose their keyspace by the host
	// name that they dial, lower case; empty if they do not.
	KeyspaceDomain string
	// StreamsMax is the number of calls one connection may have open.
	StreamsMax uint32
	// ProgressInterval is how often watches hear of progress.
	ProgressInterval time.Duration
	// PingMin is the shortest interval of a client's pings; 0 allows any.
	PingMin time.Duration
	// PingInterval and PingTimeout are for our own pings; either 0: there are none.
	PingInterval, PingTimeout time.Duration
}

// serveConfig is everything that `serve` needs: the node, and the process around it.
type serveConfig struct {
	Node Config
	Log  logConfig
	// ShutdownTimeout bounds the time between the request to stop and the end.
	ShutdownTimeout time.Duration
	// Supervised lets a parent process follow the node: it prints readyLine when it is
	// ready, and it stops when standard input ends, which is when the parent is gone.
	Supervised bool
}

// logConfig says what is logged, how and where to.
type logConfig struct {
	Level   slog.Level
	Console bool // text instead of JSON
	Outputs []string
}
