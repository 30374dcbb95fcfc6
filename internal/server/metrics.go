package server

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/internal/limit"
)

// metrics holds what the server counts. The names that begin with etcd_ or grpc_ are
// the ones etcd's dashboards and alerts read; ours begin with quorate_ and carry the
// shard. What only the node can count (disk, peers) the node registers itself, at the
// registry it shares with us.
type metrics struct {
	rpc *rpcMetrics

	sentBytes, receivedBytes atomic.Uint64

	unaryVersions, streamVersions counterSet

	healthOK, healthFailed prometheus.Counter
	healthGauge            *prometheus.GaugeVec
	healthChecks           *prometheus.CounterVec
	streamFailures         *prometheus.CounterVec

	watchStreams, watchers atomic.Int64
}

// clientVersionsMax bounds the label client_api_version, which clients choose freely.
const clientVersionsMax = 32

func newMetrics(reg *prometheus.Registry, node Node, ports func() []*port, build BuildInfo) *metrics {
	m := &metrics{
		rpc:          newRPCMetrics(),
		healthOK:     newCounter("etcd_server_health_success", "The total number of successful health checks."),
		healthFailed: newCounter("etcd_server_health_failures", "The total number of failed health checks."),
		healthGauge: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "etcd_server_healthcheck",
			Help: "The result of each kind of healthcheck."}, []string{"type", "name"}),
		healthChecks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "etcd_server_healthchecks_total",
			Help: "The total number of each kind of healthcheck."}, []string{"type", "name", "status"}),
		streamFailures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "etcd_network_server_stream_failures_total",
			Help: "The total number of stream failures from the local server."}, []string{"Type", "API"}),
	}
	m.unaryVersions.limit = clientVersionsMax
	m.streamVersions.limit = clientVersionsMax
	reg.MustRegister(m.rpc, m.healthOK, m.healthFailed, m.healthGauge, m.healthChecks, m.streamFailures,
		newStatusCollector(m, node, ports, build),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func newCounter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func (m *metrics) healthCheck(kind, name string, ok bool) {
	value, status := 0.0, "error"
	if ok {
		value, status = 1, "success"
	}
	m.healthGauge.WithLabelValues(kind, name).Set(value)
	m.healthChecks.WithLabelValues(kind, name, status).Inc()
}

// streamFailed counts a stream that broke. A client that hung up broke nothing.
func (m *metrics) streamFailed(ctx context.Context, err error, direction, api string) {
	if ctx.Err() != nil || status.Code(err) == codes.Canceled {
		return
	}
	m.streamFailures.WithLabelValues(direction, api).Inc()
}

// statusCollector reads gauges at scrape time instead of keeping copies of them.
type statusCollector struct {
	metrics *metrics
	node    Node
	ports   func() []*port
	build   BuildInfo
}

func newStatusCollector(m *metrics, node Node, ports func() []*port, build BuildInfo) *statusCollector {
	return &statusCollector{metrics: m, node: node, ports: ports, build: build}
}

// gauge is one name of the status collector.
type gauge struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func newGauge(name, help string, labels ...string) gauge {
	return gauge{prometheus.NewDesc(name, help, labels, nil), prometheus.GaugeValue}
}

func newTotal(name, help string, labels ...string) gauge {
	return gauge{prometheus.NewDesc(name, help, labels, nil), prometheus.CounterValue}
}

var (
	gaugeHasLeader     = newGauge("etcd_server_has_leader", "Whether or not a leader exists. 1 is existence, 0 is not.")
	gaugeIsLeader      = newGauge("etcd_server_is_leader", "Whether or not this member is a leader. 1 if is, 0 otherwise.")
	gaugeIsLearner     = newGauge("etcd_server_is_learner", "Whether or not this member is a learner. 1 if is, 0 otherwise.")
	totalLeaderChanges = newTotal("etcd_server_leader_changes_seen_total", "The number of leader changes seen.")
	gaugeCommitted     = newGauge("etcd_server_proposals_committed_total", "The total number of consensus proposals committed.")
	gaugeApplied       = newGauge("etcd_server_proposals_applied_total", "The total number of consensus proposals applied.")
	gaugePending       = newGauge("etcd_server_proposals_pending", "The current number of pending proposals to commit.")
	totalFailed        = newTotal("etcd_server_proposals_failed_total", "The total number of failed proposals seen.")
	gaugeQuota         = newGauge("etcd_server_quota_backend_bytes", "Current backend storage quota size in bytes.")
	gaugeSize          = newGauge("etcd_mvcc_db_total_size_in_bytes", "Total size of the underlying database physically allocated in bytes.")
	gaugeSizeInUse     = newGauge("etcd_mvcc_db_total_size_in_use_in_bytes", "Total size of the underlying database logically in use in bytes.")
	gaugeVersion       = newGauge("etcd_server_version", "Which version is running. 1 for 'server_version' label with current version.", "server_version")
	gaugeCluster       = newGauge("etcd_cluster_version", "Which version is running. 1 for 'cluster_version' label with current cluster version", "cluster_version")
	gaugeServerID      = newGauge("etcd_server_id", "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID.", "server_id")
	totalSent          = newTotal("etcd_network_client_grpc_sent_bytes_total", "The total number of bytes sent to grpc clients.")
	totalReceived      = newTotal("etcd_network_client_grpc_received_bytes_total", "The total number of bytes received from grpc clients.")
	totalRequests      = newTotal("etcd_server_client_requests_total", "The total number of client requests per client version.", "type", "client_api_version")
	gaugeWatchStreams  = newGauge("etcd_debugging_mvcc_watch_stream_total", "Total number of watch streams.")
	gaugeWatchers      = newGauge("etcd_debugging_mvcc_watcher_total", "Total number of watchers.")

	gaugeBuild          = newGauge("quorate_build_info", "1, labelled with the build.", "version", "revision", "goversion")
	gaugeShardHasLeader = newGauge("quorate_shard_has_leader", "Whether this node knows a leader of the shard.", "shard", "keyspace")
	gaugeShardIsLeader  = newGauge("quorate_shard_is_leader", "Whether this node leads the shard.", "shard", "keyspace")
	gaugeShardInDoubt   = newGauge("quorate_shard_in_doubt", "Whether the replica's damaged log is still being repaired.", "shard", "keyspace")
	gaugeShardEngine    = newGauge("quorate_shard_engine", "1, labelled with the consensus engine that the shard runs on.", "shard", "keyspace", "engine")
	gaugeShardWrites    = newGauge("quorate_shard_write_quorum", "Voters that must have an entry on disk before it is decided.", "shard", "keyspace")
	gaugeShardElects    = newGauge("quorate_shard_election_quorum", "Voters that must agree to a leader.", "shard", "keyspace")
	gaugeShardTerm      = newGauge("quorate_shard_epoch", "The shard's current epoch.", "shard", "keyspace")
	gaugeShardCommit    = newGauge("quorate_shard_commit_index", "The last decided log position known here.", "shard", "keyspace")
	gaugeShardApplied   = newGauge("quorate_shard_applied_index", "The last log position applied here.", "shard", "keyspace")
	gaugeShardPending   = newGauge("quorate_shard_proposals_pending", "Proposals of this node that wait for their result.", "shard", "keyspace")
	totalShardFailed    = newTotal("quorate_shard_proposals_failed_total", "Proposals that ended without a result.", "shard", "keyspace")
	gaugeShardSize      = newGauge("quorate_shard_size_bytes", "Logical size of the shard, as its quota counts it.", "shard", "keyspace")
	totalLimited        = newTotal("quorate_keyspace_limited_total", "What a limit of the keyspace has refused on this node: calls, watchers or leases.", "keyspace", "limit")
	histogramStage      = newGauge("quorate_stage_seconds", "Time of this node's own proposals in each stage on its leaders.", "stage")
	gaugeConns          = newGauge("quorate_client_connections", "Open client connections.")
	totalRefused        = newTotal("quorate_client_connections_refused_total", "Connections closed at once because a limit was reached.")
	totalEvicted        = newTotal("quorate_client_connections_evicted_total", "Connections closed because they did not show a protocol in time.")
	totalUntrusted      = newTotal("quorate_client_tls_failures_total", "Connections whose TLS handshake failed. They count as evicted, too.")
)

// Describe implements prometheus.Collector. The collector is unchecked: which shards
// exist is known at the time of the scrape.
func (*statusCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *statusCollector) Collect(ch chan<- prometheus.Metric) {
	set := func(g gauge, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(g.desc, g.kind, v, labels...)
	}
	c.collectProcess(set)
	status := c.node.Status()
	set(gaugeSize, float64(status.DiskBytes))
	set(gaugeSizeInUse, float64(status.InUseBytes))
	member := c.node.MemberID()
	for i := range status.Shards {
		s := &status.Shards[i]
		if s.Keyspace == DefaultKeyspace {
			collectDefault(set, s, member)
		}
		collectShard(set, s, member)
	}
	for _, s := range c.node.Stages() {
		ch <- prometheus.MustNewConstHistogram(histogramStage.desc, s.Count, s.Sum.Seconds(), s.cumulative(), s.Stage)
	}
}

// cumulative is the buckets as Prometheus wants them, by their upper bounds in seconds.
func (s *StageTimes) cumulative() map[float64]uint64 {
	buckets := make(map[float64]uint64, len(s.Buckets))
	below := uint64(0)
	for i, n := range s.Buckets[:len(s.Buckets)-1] {
		below += n
		buckets[(time.Microsecond << i).Seconds()] = below
	}
	return buckets
}

func (c *statusCollector) collectProcess(set func(gauge, float64, ...string)) {
	m := c.metrics
	set(gaugeVersion, 1, EtcdVersion)
	set(gaugeCluster, 1, EtcdClusterVersion)
	set(gaugeServerID, 1, strconv.FormatUint(c.node.MemberID(), 16))
	set(gaugeBuild, 1, c.build.Version, c.build.Revision, c.build.GoVersion)
	set(totalSent, float64(m.sentBytes.Load()))
	set(totalReceived, float64(m.receivedBytes.Load()))
	m.unaryVersions.each(func(v string, n uint64) { set(totalRequests, float64(n), "unary", v) })
	m.streamVersions.each(func(v string, n uint64) { set(totalRequests, float64(n), "stream", v) })
	set(gaugeWatchStreams, float64(m.watchStreams.Load()))
	set(gaugeWatchers, float64(m.watchers.Load()))
	var open int
	var refused, evicted, untrusted uint64
	for _, p := range c.ports() {
		open += p.openCount()
		refused += p.refused.Load()
		evicted += p.evicted.Load()
		untrusted += p.untrusted.Load()
	}
	set(gaugeConns, float64(open))
	set(totalRefused, float64(refused))
	set(totalEvicted, float64(evicted))
	set(totalUntrusted, float64(untrusted))
}

// collectDefault reports the default keyspace under etcd's names: to a dashboard that
// knows nothing of shards, this node is an etcd.
func collectDefault(set func(gauge, float64, ...string), s *KeyspaceStatus, member uint64) {
	set(gaugeHasLeader, flag(s.Leader != 0))
	set(gaugeIsLeader, flag(s.Leader == member && member != 0))
	set(gaugeIsLearner, flag(s.IsLearner))
	set(totalLeaderChanges, float64(s.LeaderChanges))
	set(gaugeCommitted, float64(s.CommitIndex))
	set(gaugeApplied, float64(s.AppliedIndex))
	set(gaugePending, float64(s.ProposalsPending))
	set(totalFailed, float64(s.ProposalsFailed))
	set(gaugeQuota, float64(s.QuotaBytes))
}

func collectShard(set func(gauge, float64, ...string), s *KeyspaceStatus, member uint64) {
	shard := strconv.FormatUint(s.Shard, 10)
	set(gaugeShardHasLeader, flag(s.Leader != 0), shard, s.Keyspace)
	set(gaugeShardIsLeader, flag(s.Leader == member && member != 0), shard, s.Keyspace)
	set(gaugeShardInDoubt, flag(s.InDoubt), shard, s.Keyspace)
	set(gaugeShardEngine, 1, shard, s.Keyspace, s.Engine)
	set(gaugeShardWrites, float64(s.WriteQuorum), shard, s.Keyspace)
	set(gaugeShardElects, float64(s.ElectionQuorum), shard, s.Keyspace)
	set(gaugeShardTerm, float64(s.Term), shard, s.Keyspace)
	set(gaugeShardCommit, float64(s.CommitIndex), shard, s.Keyspace)
	set(gaugeShardApplied, float64(s.AppliedIndex), shard, s.Keyspace)
	set(gaugeShardPending, float64(s.ProposalsPending), shard, s.Keyspace)
	set(totalShardFailed, float64(s.ProposalsFailed), shard, s.Keyspace)
	set(gaugeShardSize, float64(s.SizeBytes), shard, s.Keyspace)
	for kind, n := range s.Limited {
		if n > 0 { // thousands of keyspaces have no limits
			set(totalLimited, float64(n), s.Keyspace, limit.Kind(kind).String())
		}
	}
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
