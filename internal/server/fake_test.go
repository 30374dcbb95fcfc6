package server

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/quorate/quorate/internal/engine"
	"github.com/quorate/quorate/internal/env"
	"github.com/quorate/quorate/internal/limit"
	"github.com/quorate/quorate/internal/mvcc"
	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/store"
)

// fakeKeyspace is a keyspace of one replica: a real store over a memory engine, and
// what replication would do done at once.
type fakeKeyspace struct {
	store  *store.Store
	status atomic.Pointer[KeyspaceStatus]
	limits limit.Limiter

	mu       sync.Mutex // serializes Apply, as one owner would
	seq      uint64
	leases   map[int64]int64 // id to TTL
	failWith atomic.Pointer[error]
	barriers atomic.Int64
	stall    atomic.Pointer[chan struct{}] // Propose and Barrier wait for it
}

const (
	fakeClusterID = uint64(0xc1)
	fakeMember    = uint64(0xa1)
	fakeTerm      = uint64(7)
)

func newFakeKeyspace(t testing.TB, name string, opts mvcc.Options) *fakeKeyspace {
	t.Helper()
	e := engine.NewMemory()
	s, err := store.Open(e, 2, store.Options{MVCC: opts})
	if err != nil {
		t.Fatal(err)
	}
	k := &fakeKeyspace{store: s, leases: make(map[int64]int64)}
	k.setStatus(func(s *KeyspaceStatus) {
		*s = KeyspaceStatus{Keyspace: name, Shard: 2, Leader: fakeMember, Term: fakeTerm,
			Engine: "paxos", WriteQuorum: 2, ElectionQuorum: 4}
	})
	return k
}

func (k *fakeKeyspace) setStatus(change func(*KeyspaceStatus)) {
	s := KeyspaceStatus{}
	if old := k.status.Load(); old != nil {
		s = *old
	}
	change(&s)
	k.status.Store(&s)
}

// fail makes every call that would go to the leader answer err; nil ends it.
func (k *fakeKeyspace) fail(err error) {
	if err == nil {
		k.failWith.Store(nil)
		return
	}
	k.failWith.Store(&err)
}

func (k *fakeKeyspace) disturbed(ctx context.Context) error {
	if err := k.failWith.Load(); err != nil {
		return *err
	}
	if stall := k.stall.Load(); stall != nil {
		select {
		case <-*stall:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (k *fakeKeyspace) Propose(ctx context.Context, kind store.Kind, body []byte) (*store.Result, error) {
	if err := k.disturbed(ctx); err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seq++
	id := store.RequestID{Node: fakeMember, Seq: k.seq}
	data := store.AppendEnvelope(nil, &store.Envelope{Kind: kind, Shard: 2, Request: id, Body: body})
	entry := store.Entry{Index: k.store.Applied().Index + 1, Epoch: fakeTerm, Kind: store.EntryCommand, Data: data}
	var out store.Result
	err := k.store.Apply([]store.Entry{entry}, func(store.RequestID) bool { return true }, func(r *store.Result) { out = *r })
	if err != nil {
		return nil, err
	}
	k.setStatus(func(s *KeyspaceStatus) { s.CommitIndex, s.AppliedIndex = entry.Index, entry.Index })
	switch r := out.Response.(type) {
	case *store.LeaseGrantResponse:
		k.leases[r.ID] = r.TTLSeconds
	case *store.LeaseRevokeResponse:
		clear(k.leases)
		k.store.Leases(func(l store.Lease) { k.leases[l.ID] = l.TTLSeconds })
	}
	return &out, nil
}

func (k *fakeKeyspace) Barrier(ctx context.Context) error {
	k.barriers.Add(1)
	return k.disturbed(ctx)
}

func (k *fakeKeyspace) View() (*store.View, error) { return k.store.View() }
func (k *fakeKeyspace) RangeNewest(r *store.RangeRequest) (*store.RangeResponse, bool) {
	return k.store.RangeNewest(r)
}
func (k *fakeKeyspace) DB() *mvcc.DB            { return k.store.DB() }
func (k *fakeKeyspace) Limiter() *limit.Limiter { return &k.limits }

func (k *fakeKeyspace) Status() KeyspaceStatus {
	s := *k.status.Load()
	s.Limited = k.limits.Counts()
	return s
}

func (k *fakeKeyspace) RenewLease(ctx context.Context, id int64) (int64, error) {
	if err := k.disturbed(ctx); err != nil {
		return 0, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	ttl, ok := k.leases[id]
	if !ok {
		return 0, store.ErrLeaseNotFound
	}
	return ttl, nil
}

func (k *fakeKeyspace) RemainingLease(ctx context.Context, id int64) (int64, int64, error) {
	ttl, err := k.RenewLease(ctx, id)
	return ttl, max(ttl-1, 0), err
}

// fakeNode serves the default keyspace and one more.
type fakeNode struct {
	catalog      fakeCatalog
	cluster      fakeCluster
	keyspaces    map[string]Keyspace
	members      []Member
	membersFail  error
	later        atomic.Pointer[[]Member] // instead of members
	linearizable atomic.Bool              // of the last Members
	onTransfer   func(to uint64) error
	carriers     func(name string) ([]uint64, error)
}

func (n *fakeNode) Keyspace(name string) (Keyspace, bool) {
	k, ok := n.keyspaces[name]
	return k, ok
}

func (n *fakeNode) Carriers(_ context.Context, name string) ([]uint64, error) {
	if n.carriers == nil {
		return nil, fmt.Errorf("%w: %q", placement.ErrNotFound, name)
	}
	return n.carriers(name)
}

func (n *fakeNode) Catalog() Catalog { return &n.catalog }
func (n *fakeNode) Cluster() Cluster { return &n.cluster }

func (n *fakeNode) Members(_ context.Context, linearizable bool) ([]Member, error) {
	n.linearizable.Store(linearizable)
	if later := n.later.Load(); later != nil {
		return *later, n.membersFail
	}
	return n.members, n.membersFail
}

// setMembers replaces the members while the server runs.
func (n *fakeNode) setMembers(members []Member) { n.later.Store(&members) }

func (n *fakeNode) TransferLeadership(_ context.Context, _ string, to uint64) error {
	if n.onTransfer == nil {
		return nil
	}
	return n.onTransfer(to)
}

func (n *fakeNode) ClusterID() uint64 { return fakeClusterID }
func (n *fakeNode) MemberID() uint64  { return fakeMember }

func (n *fakeNode) Stages() []StageTimes {
	return []StageTimes{{Stage: "sync", Buckets: []uint64{0, 2, 0, 1, 4}, Sum: 50 * time.Microsecond, Count: 7}}
}

func (n *fakeNode) Disk() (bytes, inUse int64) { return 1 << 20, 1 << 19 }

func (n *fakeNode) Status() NodeStatus {
	s := NodeStatus{DiskBytes: 1 << 20, InUseBytes: 1 << 19}
	for _, k := range n.keyspaces {
		s.Shards = append(s.Shards, k.Status())
	}
	return s
}

// rig is a running server on loopback with clients.
type rig struct {
	t      testing.TB
	node   *fakeNode
	k      *fakeKeyspace // the default one
	server *Server
	reg    *prometheus.Registry
	addr   string

	conn   *grpc.ClientConn
	kv     pb.KVClient
	watch  pb.WatchClient
	lease  pb.LeaseClient
	maint  pb.MaintenanceClient
	member pb.ClusterClient
}

type rigOption func(*Config, *mvcc.Options)

func newRig(t testing.TB, options ...rigOption) *rig {
	t.Helper()
	config := Config{ElectionTimeout: time.Second, CheckTimeout: time.Second, Build: BuildInfo{Version: "1.2.3-test"}}
	var opts mvcc.Options
	for _, o := range options {
		o(&config, &opts)
	}
	r := &rig{t: t, k: newFakeKeyspace(t, DefaultKeyspace, opts), reg: prometheus.NewRegistry()}
	r.node = &fakeNode{
		keyspaces: map[string]Keyspace{DefaultKeyspace: r.k, "other": newFakeKeyspace(t, "other", opts)},
		members: []Member{
			{ID: fakeMember, Name: "one", PeerURLs: []string{"http://p:2380"}, ClientURLs: []string{"http://c:2379"}},
			{ID: 2, Name: "two", PeerURLs: []string{"http://q:2380"}, IsLearner: true},
		},
	}
	r.node.cluster.founders = &r.node.members
	r.server = New(r.node, config, env.SystemClock(), r.reg, slog.New(slog.DiscardHandler))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(l) }()
	r.conn = r.dial()
	r.kv, r.watch, r.lease = pb.NewKVClient(r.conn), pb.NewWatchClient(r.conn), pb.NewLeaseClient(r.conn)
	r.maint, r.member = pb.NewMaintenanceClient(r.conn), pb.NewClusterClient(r.conn)
	t.Cleanup(func() {
		r.conn.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		r.server.Stop(ctx)
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return r
}

func (r *rig) dial(options ...grpc.DialOption) *grpc.ClientConn {
	r.t.Helper()
	conn, err := grpc.NewClient(r.addr, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20), grpc.MaxCallSendMsgSize(64<<20)))...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	return conn
}

// client is the official client.
func (r *rig) client() *clientv3.Client {
	r.t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{r.addr}, DialTimeout: 5 * time.Second})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return c
}

// put writes around the server.
func (r *rig) put(key, value string) int64 {
	r.t.Helper()
	body := (&store.PutRequest{Key: []byte(key), Value: []byte(value)}).AppendTo(nil)
	result, err := r.k.Propose(context.Background(), store.KindPut, body)
	if err != nil || result.Err != nil {
		r.t.Fatalf("put: %v, %v", err, result)
	}
	return result.Revision
}

func (r *rig) compact(revision int64) {
	r.t.Helper()
	body := (&store.CompactRequest{Revision: revision}).AppendTo(nil)
	result, err := r.k.Propose(context.Background(), store.KindCompact, body)
	if err != nil || result.Err != nil {
		r.t.Fatalf("compact: %v, %v", err, result)
	}
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// applyTxn writes around the server and its limits.
func (r *rig) applyTxn(m *pb.TxnRequest) {
	r.t.Helper()
	result, err := r.k.Propose(context.Background(), store.KindTxn, txnOf(m).AppendTo(nil))
	if err != nil || result.Err != nil {
		r.t.Fatalf("txn: %v, %v", err, result)
	}
}

func (r *rig) setQuota(bytes int64) {
	r.t.Helper()
	body := (&store.SetQuotaRequest{Bytes: bytes}).AppendTo(nil)
	if result, err := r.k.Propose(context.Background(), store.KindSetQuota, body); err != nil || result.Err != nil {
		r.t.Fatalf("set quota: %v, %v", err, result)
	}
}
