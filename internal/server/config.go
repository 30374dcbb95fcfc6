package server

import (
	"cmp"
	"crypto/tls"
	"math"
	"net/http"
	"runtime"
	"time"

	"go.etcd.io/etcd/api/v3/version"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/quorate/quorate/internal/env"
)

// EtcdVersion is the version of etcd whose API is served. Clients parse it as numbers
// and switch features by it.
var EtcdVersion = version.Version

// EtcdClusterVersion is what etcd calls the cluster and storage version.
const EtcdClusterVersion = "3.7.0"

// Config is what the command line decides. A zero field takes etcd's default, or ours
// where etcd has no limit.
type Config struct {
	Limits      Limits
	Connections ConnLimits
	Keepalive   Keepalive

	// ConcurrentStreamsMax is the number of calls a connection may have open. Clients
	// queue above it.
	ConcurrentStreamsMax uint32
	// StreamsMax is the number of streaming calls the server has open in all.
	StreamsMax int
	// ElectionTimeout paces the search for streams whose keyspace lost its leader.
	ElectionTimeout time.Duration
	// CheckTimeout bounds one health check.
	CheckTimeout time.Duration
	// ProgressInterval is how often a watch that asked for progress hears of it.
	ProgressInterval time.Duration
	// StreamWorkers is the number of goroutines kept for handlers, whose stacks have grown
	// already; calls above it get goroutines of their own. Measured with 512: a tenth less
	// CPU time per put than with none.
	StreamWorkers uint32

	// KeyspaceDomain lets clients choose their keyspace by the name that they dial: a call
	// whose authority is LABEL.KeyspaceDomain, with any port, goes to the keyspace LABEL
	// unless KeyspaceMetadata says otherwise. Lower case, without dots at the ends. Empty: only
	// the metadata counts.
	KeyspaceDomain string

	// Network is the way to other members' client ports; default the operating system's.
	Network env.Network
	// MemberTLS is TLS for one connection to a member at a host, where members have https URLs;
	// default: without a certificate, and with the operating system's authorities.
	MemberTLS func(host string) *tls.Config

	// Build describes this binary; it goes into metrics and headers, never into what
	// etcd's clients parse.
	Build BuildInfo
	// HTTP serves the HTTP/1.1 paths that this package does not know; nil is 404.
	HTTP http.Handler
}

// BuildInfo identifies a binary.
type BuildInfo struct{ Version, Revision, GoVersion string }

// Limits bounds a single request.
type Limits struct {
	// RequestBytesMax is etcd's --max-request-bytes: the size of a write.
	RequestBytesMax int
	// TxnOpsMax is etcd's --max-txn-ops: compares or operations of a branch.
	TxnOpsMax int
	// WatchersMax is the number of watchers on one stream.
	WatchersMax int
}

// Keepalive is etcd's --grpc-keepalive-*.
type Keepalive struct {
	// MinTime is how often a client may ping; one that pings more is disconnected.
	MinTime time.Duration
	// Interval is how often we ping an idle client, Timeout how long it may take to answer.
	Interval, Timeout time.Duration
}

// grpcOverheadBytes is what a message may be larger than RequestBytesMax (etcd's value).
const grpcOverheadBytes = 512 << 10

func (c Config) withDefaults() Config {
	c.Limits.RequestBytesMax = cmp.Or(c.Limits.RequestBytesMax, 1536<<10)
	c.Limits.TxnOpsMax = cmp.Or(c.Limits.TxnOpsMax, 128)
	c.Limits.WatchersMax = cmp.Or(c.Limits.WatchersMax, 100_000)
	c.Connections.Total = cmp.Or(c.Connections.Total, 32<<10)
	c.Connections.PerAddress = cmp.Or(c.Connections.PerAddress, 16<<10)
	c.Connections.Silent = cmp.Or(c.Connections.Silent, 4<<10)
	c.Connections.Handshake = cmp.Or(c.Connections.Handshake, 5*time.Second)
	c.Keepalive.MinTime = cmp.Or(c.Keepalive.MinTime, 5*time.Second)
	c.Keepalive.Interval = cmp.Or(c.Keepalive.Interval, 2*time.Hour)
	c.Keepalive.Timeout = cmp.Or(c.Keepalive.Timeout, 20*time.Second)
	c.ConcurrentStreamsMax = cmp.Or(c.ConcurrentStreamsMax, 1024)
	c.StreamsMax = cmp.Or(c.StreamsMax, 64<<10)
	c.ElectionTimeout = cmp.Or(c.ElectionTimeout, time.Second)
	c.CheckTimeout = cmp.Or(c.CheckTimeout, 5*time.Second+2*c.ElectionTimeout)
	c.ProgressInterval = max(cmp.Or(c.ProgressInterval, 10*time.Minute), progressIntervalMin)
	c.StreamWorkers = cmp.Or(c.StreamWorkers, 512)
	if c.Network == nil {
		c.Network = env.TCP()
	}
	if c.MemberTLS == nil {
		c.MemberTLS = func(host string) *tls.Config {
			return &tls.Config{ServerName: host, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12}
		}
	}
	c.Build.GoVersion = cmp.Or(c.Build.GoVersion, runtime.Version())
	return c
}

// progressIntervalMin is the shortest interval of progress notifications (etcd's value).
const progressIntervalMin = 100 * time.Millisecond

func (s *Server) grpcOptions() []grpc.ServerOption {
	c := s.config
	return []grpc.ServerOption{
		grpc.UnaryInterceptor(s.unary),
		grpc.StreamInterceptor(s.stream),
		grpc.ForceServerCodecV2(&codec{metrics: s.metrics}),
		grpc.MaxRecvMsgSize(c.Limits.messageBytesMax()),
		grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.MaxConcurrentStreams(c.ConcurrentStreamsMax),
		grpc.MaxHeaderListSize(headerBytesMax),
		grpc.ConnectionTimeout(c.Connections.Handshake),
		grpc.NumStreamWorkers(c.StreamWorkers),
		grpc.StaticStreamWindowSize(streamWindowBytes),
		grpc.StaticConnWindowSize(connWindowBytes),
		grpc.WaitForHandlers(true),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime:             c.Keepalive.MinTime,
			PermitWithoutStream: false,
		}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time:    c.Keepalive.Interval,
			Timeout: c.Keepalive.Timeout,
		}),
	}
}

// Windows of flow control: what a client may send before it hears that we have read it.
// gRPC's own estimate of a good size costs a ping and its answer for nearly every
// request on a connection that is not busy. The largest request of default size fits a
// stream's window, so nobody waits a round trip in the middle of one.
const (
	streamWindowBytes = 2 << 20
	connWindowBytes   = 4 << 20
)

// messageBytesMax is the largest message we receive.
func (l Limits) messageBytesMax() int { return l.RequestBytesMax + grpcOverheadBytes }

// proposalOverheadBytes is what etcd adds to a request before it compares its size with
// --max-request-bytes: a header with a request id, and a tag and length around both.
const proposalOverheadBytes = 18

// tooLarge says whether etcd would refuse to propose a request of so many bytes.
func (l Limits) tooLarge(size int) bool { return size+proposalOverheadBytes > l.RequestBytesMax }
