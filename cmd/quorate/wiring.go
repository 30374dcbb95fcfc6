package main

import (
	"context"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quorate/quorate/internal/env"
	"github.com/quorate/quorate/internal/node"
	"github.com/quorate/quorate/internal/pki"
	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/server"
)

// nodeDriver is the seam between the process and the node in it. Only this file starts
// what is below; tests put a node of their own here.
type nodeDriver struct {
	// initialized reports whether the data directory has state, in which case
	// Config.Bootstrap does not count any more. It writes nothing.
	initialized func(disk env.FS, c *Config) (bool, error)
	// start starts the node and its server. It returns once both run; the node may then
	// still be looking for its cluster. The listeners are its own from here on, also
	// when it fails. When stop ends it gives up starting; it does not end a node that
	// was started.
	start func(stop context.Context, c *Config, l *listeners, log *slog.Logger) (runningNode, error)
}

// listeners are the open sockets for clients; those in http serve metrics and health only.
type listeners struct {
	client, http []net.Listener
	keyspaces    []keyspaceListener
	// tls is what the https ones among them serve in, and what other members are dialled in.
	tls *pki.Store
}

// keyspaceListener is a socket for the clients of one keyspace.
type keyspaceListener struct {
	net.Listener
	keyspace string
}

// runningNode is what `serve` needs of a node. Each context bounds its call, not the node.
type runningNode interface {
	// Ready is closed when the node serves: it knows a leader and has caught up with it.
	Ready() <-chan struct{}
	// Failed delivers why the node ended by itself: a broken disk, or state that differs
	// from its peers'.
	Failed() <-chan error
	// Handover gives the leadership of every shard away. It does nothing on a follower,
	// and fails when nobody can take over.
	Handover(ctx context.Context) error
	// Drain answers the health checks with "not serving", refuses new requests, ends
	// streams, and waits for the requests that run.
	Drain(ctx context.Context) error
	// Close stops the node and leaves its disk in order.
	Close(ctx context.Context) error
}

// realNode is the nodeDriver of the real binary.
func realNode() nodeDriver {
	return nodeDriver{
		initialized: func(disk env.FS, c *Config) (bool, error) { return node.Initialized(disk, c.DataDir) },
		start:       startNode,
	}
}

// startNode starts a node and the server in front of it.
func startNode(stop context.Context, c *Config, l *listeners, log *slog.Logger) (runningNode, error) {
	clock := env.SystemClock()
	n, err := joinAndStart(stop, nodeConfig(c, clock, log), c, l.tls)
	if err != nil {
		l.close()
		return nil, err
	}
	view := clientView{n}
	srv := server.New(view, serverConfig(c, l.tls), clock, prometheus.NewRegistry(), log)
	s := &servingNode{Node: n, server: srv}
	for _, port := range l.client {
		s.ports.Go(func() {
			if err := srv.Serve(port); err != nil {
				log.Error("client port failed", "address", port.Addr().String(), "error", err.Error())
			}
		})
	}
	for _, port := range l.keyspaces {
		log.Info("a port of its own serves a keyspace", "keyspace", port.keyspace, "address", port.Addr().String())
		s.ports.Go(func() {
			if err := srv.ServeKeyspace(port.Listener, port.keyspace); err != nil {
				log.Error("client port failed", "keyspace", port.keyspace, "address", port.Addr().String(), "error", err.Error())
			}
		})
	}
	for _, port := range l.http {
		s.ports.Go(func() {
			if err := srv.ServeHTTP1(port); err != nil {
				log.Error("metrics port failed", "address", port.Addr().String(), "error", err.Error())
			}
		})
	}
	return s, nil
}

// joinAndStart asks for a place in a running cluster first, if this machine has none yet and is to
// have one. The cluster gets to know the disk by the random number that the start gives it: if the
// start fails before that is on it, the next one is another disk to the cluster.
func joinAndStart(stop context.Context, config node.Config, c *Config, store *pki.Store) (*node.Node, error) {
	if len(c.Join) > 0 {
		initialized, err := node.Initialized(config.FS, c.DataDir)
		if err == nil && !initialized {
			config.Ticket, err = joinCluster(stop, c, store, config.Seed, config.Logger)
		}
		if err != nil {
			return nil, err
		}
	}
	return node.Start(stop, config)
}

func addresses(urls []string) []string {
	list := make([]string, len(urls))
	for i, u := range urls {
		list[i] = address(u)
	}
	return list
}

func nodeConfig(c *Config, clock env.Clock, log *slog.Logger) node.Config {
	cluster := make([]node.Member, len(c.Bootstrap.Cluster))
	for i, m := range c.Bootstrap.Cluster {
		cluster[i] = node.Member{Name: m.Name, PeerURLs: m.PeerURLs}
	}
	quota := c.QuotaBytes
	if quota == 0 {
		quota = -1 // none
	}
	return node.Config{
		Name: c.Name, DataDir: c.DataDir, WALDir: c.WALDir,
		InitialCluster: cluster, Token: c.Bootstrap.Token, JoinExisting: c.Bootstrap.Existing,
		Zone: c.Zone, Weight: c.Weight, ReplaceAfter: c.ReplaceAfter,
		ListenPeer: addresses(c.ListenPeerURLs), AdvertiseClientURLs: c.AdvertiseClientURLs, AdvertiseKeyspaceURLs: c.advertiseKeyspaceURLs(),
		Engine: c.Engine, Engines: engines(), WriteQuorum: c.WriteQuorum,
		QuotaBytes: quota, Compaction: node.Compaction(c.Compaction),
		Heartbeat: c.Heartbeat, Election: c.Election,
		LagEntries:   int(c.SnapshotCount),
		CommandBytes: c.RequestBytesMax + commandOverheadBytes,
		FS:           env.OSFS(), Network: env.TCP(), Clock: clock, Logger: log, Seed: env.Seed(), CPU: env.SystemCPU(),
	}
}

// commandOverheadBytes is what our encoding of a request may be larger than the
// client's, which the server has checked.
const commandOverheadBytes = 512 << 10

func serverConfig(c *Config, store *pki.Store) server.Config {
	return server.Config{
		HTTP:                 profiles(c.Pprof),
		Limits:               server.Limits{RequestBytesMax: c.RequestBytesMax, TxnOpsMax: c.TxnOpsMax},
		ElectionTimeout:      c.Election,
		Keepalive:            keepalive(&c.Clients),
		ConcurrentStreamsMax: c.Clients.StreamsMax,
		ProgressInterval:     c.Clients.ProgressInterval,
		KeyspaceDomain:       c.Clients.KeyspaceDomain,
		Network:              env.TCP(),
		MemberTLS:            store.Client,
		Build:                server.BuildInfo{Version: readBuild().Version, Revision: readBuild().Commit},
	}
}

// profiles serves Go's profiles, if they are wanted.
func profiles(wanted bool) http.Handler {
	if !wanted {
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// keepalive writes "off" as the server reads it: its zeros are defaults.
func keepalive(c *Clients) server.Keepalive {
	k := server.Keepalive{MinTime: c.PingMin, Interval: c.PingInterval, Timeout: c.PingTimeout}
	if k.MinTime == 0 {
		k.MinTime = 1
	}
	if k.Interval == 0 || k.Timeout == 0 {
		k.Interval, k.Timeout = math.MaxInt64, math.MaxInt64 // gRPC's infinity
	}
	return k
}

// servingNode is a node with its server: what `serve` runs.
type servingNode struct {
	*node.Node
	server *server.Server
	ports  sync.WaitGroup
}

// Handover implements runningNode.
func (s *servingNode) Handover(ctx context.Context) error { return s.Node.HandOver(ctx) }

// Drain implements runningNode.
func (s *servingNode) Drain(ctx context.Context) error {
	s.server.Stop(ctx)
	s.ports.Wait()
	return ctx.Err()
}

// Close implements runningNode.
func (s *servingNode) Close(context.Context) error {
	ended, cancel := context.WithCancel(context.Background())
	cancel() // whoever wanted to drain has done so
	s.server.Stop(ended)
	return s.Node.Close()
}

// clientView is a node as the server wants to see it.
type clientView struct{ *node.Node }

// Keyspace implements server.Node. The system keyspace is no client's.
func (v clientView) Keyspace(name string) (server.Keyspace, bool) {
	k, ok := v.Node.Keyspace(name)
	if !ok || name == node.SystemKeyspace {
		return nil, false
	}
	return keyspaceView{k}, true
}

// Carriers implements server.Node.
func (v clientView) Carriers(ctx context.Context, name string) ([]uint64, error) {
	nodes, err := v.Node.Carriers(ctx, name)
	members := make([]uint64, len(nodes))
	for i, n := range nodes {
		members[i] = uint64(n)
	}
	return members, err
}

// Catalog implements server.Node.
func (v clientView) Catalog() server.Catalog { return catalogView(v) }

// Cluster implements server.Node.
func (v clientView) Cluster() server.Cluster { return clusterView(v) }

// clusterView is a node's part in the cluster as the server wants to see it.
type clusterView struct{ *node.Node }

// Nodes implements server.Cluster.
func (v clusterView) Nodes(ctx context.Context, linearizable bool) ([]placement.Member, error) {
	return v.Node.Members(ctx, linearizable)
}

// catalogView is a node's catalog as the server wants to see it.
type catalogView struct{ *node.Node }

// Keyspaces implements server.Catalog.
func (v catalogView) Keyspaces(ctx context.Context, linearizable bool) ([]placement.Keyspace, error) {
	return v.KeyspaceRecords(ctx, linearizable)
}

// Members implements server.Node.
func (v clientView) Members(ctx context.Context, linearizable bool) ([]server.Member, error) {
	infos, err := v.Node.Members(ctx, linearizable)
	if err != nil {
		return nil, err
	}
	members := make([]server.Member, len(infos))
	for i, m := range infos {
		members[i] = server.Member{
			ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, KeyspaceURLs: m.KeyspaceURLs, IsLearner: m.Learner && !m.Started(),
		}
	}
	return members, nil
}

// Status implements server.Node.
func (v clientView) Status() server.NodeStatus {
	var s server.NodeStatus
	s.DiskBytes, s.InUseBytes = v.Disk()
	for _, k := range v.Node.Keyspaces() {
		if k.Name() == node.SystemKeyspace {
			continue
		}
		status := keyspaceView{k}.Status()
		size, quota := k.Size()
		status.SizeBytes, status.QuotaBytes, status.ProposalsPending = size, max(quota, 0), int64(k.Pending())
		status.Limited = k.Limiter().Counts()
		s.Shards = append(s.Shards, status)
	}
	return s
}

// Disk implements server.Node. Space comes back by itself, so all of it is in use.
func (v clientView) Disk() (bytes, inUse int64) {
	bytes = v.DiskBytes()
	return bytes, bytes
}

// Stages implements server.Node.
func (v clientView) Stages() []server.StageTimes {
	var times []server.StageTimes
	for _, s := range v.Node.Stages() {
		times = append(times, server.StageTimes(s))
	}
	return times
}

// keyspaceView is a keyspace as the server wants to see it.
type keyspaceView struct{ *node.Keyspace }

// Status implements server.Keyspace.
func (k keyspaceView) Status() server.KeyspaceStatus {
	s := k.Keyspace.Status()
	return server.KeyspaceStatus{
		Keyspace: k.Name(), Shard: uint64(k.Shard()),
		Leader: s.Leader, Term: s.Term, CommitIndex: s.CommitIndex, AppliedIndex: s.AppliedIndex,
		Engine: s.Engine, WriteQuorum: s.Decides, ElectionQuorum: s.Elects, Warning: s.Warning,
		IsLearner: s.IsLearner, Starting: s.Starting, Deleted: s.Deleted, Elsewhere: s.Elsewhere, Behind: s.Behind, InDoubt: s.InDoubt, LeaderChanges: s.LeaderChanges,
	}
}
