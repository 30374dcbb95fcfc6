package server

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/api/quorate/v1"
)

// bind serves one more port of r, for a keyspace, and returns a rig that speaks to it. The
// port listens on every address of the machine.
func (r *rig) bind(keyspace string) *rig {
	r.t.Helper()
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		r.t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- r.server.ServeKeyspace(l, keyspace) }()
	r.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		r.server.Stop(ctx)
		if err := <-served; err != nil {
			r.t.Errorf("ServeKeyspace: %v", err)
		}
	})
	_, port, _ := net.SplitHostPort(l.Addr().String())
	bound := &rig{t: r.t, node: r.node, server: r.server, addr: "127.0.0.1:" + port}
	bound.conn = bound.dial()
	bound.kv = pb.NewKVClient(bound.conn)
	return bound
}

// Goal: a client that knows nothing of keyspaces has a whole etcd on a bound port, apart
// from the default keyspace.
func TestBoundPortIsAnEtcd(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	c, plain := r.bind("other").client(), r.client()
	watch := c.Watch(clientv3.WithRequireLeader(ctx), "k", clientv3.WithCreatedNotify())
	if created := <-watch; created.Err() != nil || !created.Created {
		t.Fatalf("%+v", created)
	}
	lease, err := c.Grant(ctx, 60)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plain.Put(ctx, "k", "default's"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Put(ctx, "k", "other's", clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	seen := <-watch
	if len(seen.Events) != 1 || string(seen.Events[0].Kv.Value) != "other's" {
		t.Errorf("the watch saw %+v", seen)
	}
	if alive, err := c.KeepAliveOnce(ctx, lease.ID); err != nil || alive.TTL != 60 {
		t.Errorf("keep-alive: %+v, %v", alive, err)
	}
	if _, err := plain.KeepAliveOnce(ctx, lease.ID); err == nil {
		t.Error("the default keyspace knows the lease")
	}
	for want, client := range map[string]*clientv3.Client{"other's": c, "default's": plain} {
		txn, err := client.Txn(ctx).If(clientv3.Compare(clientv3.Value("k"), "=", want)).Then(clientv3.OpGet("k")).Commit()
		if err != nil || !txn.Succeeded {
			t.Errorf("%s: %+v, %v", want, txn, err)
		}
	}
}

// Goal: what else a call says of its keyspace does not count on a bound port, or is refused.
func TestBoundPortIsOfOneKeyspace(t *testing.T) {
	r, ctx := newRig(t, func(c *Config, _ *mvccOptions) { c.KeyspaceDomain = "d.example" }), testContext(t)
	bound, none := r.bind("other"), r.bind("none")
	if _, err := bound.kv.Put(ctx, &pb.PutRequest{Key: bs("a")}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		keyspace string
		code     codes.Code
		says     string
	}{
		{"other", codes.OK, ""},
		{DefaultKeyspace, codes.PermissionDenied, `this port serves keyspace "other" alone`},
		{"none", codes.PermissionDenied, "leave the metadata quorate-keyspace out"},
	} {
		ctx := metadata.AppendToOutgoingContext(ctx, KeyspaceMetadata, c.keyspace)
		_, err := bound.kv.Range(ctx, &pb.RangeRequest{Key: bs("a")})
		if status.Code(err) != c.code || !strings.Contains(status.Convert(err).Message(), c.says) {
			t.Errorf("unary, %s: %v", c.keyspace, err)
		}
		stream, err := pb.NewLeaseClient(bound.conn).LeaseKeepAlive(ctx)
		if err == nil {
			stream.CloseSend()
			if _, err = stream.Recv(); err == io.EOF {
				err = nil
			}
		}
		if status.Code(err) != c.code {
			t.Errorf("stream, %s: %v", c.keyspace, err)
		}
	}
	_, err := none.kv.Range(ctx, &pb.RangeRequest{Key: bs("a")})
	wantStatus(t, "a keyspace that is not there", err, status.Error(codes.NotFound, `quorate: keyspace "none" not found`))
	_, err = quoratev1.NewKeyspacesClient(bound.conn).List(ctx, &quoratev1.ListRequest{})
	if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "ask a client port of the node") {
		t.Errorf("management: %v", err)
	}
	if _, err = quoratev1.NewKeyspacesClient(r.conn).List(ctx, &quoratev1.ListRequest{}); err != nil {
		t.Errorf("management at an ordinary port: %v", err)
	}
	if got, err := r.kv.Range(ctx, &pb.RangeRequest{Key: bs("a")}); err != nil || got.Count != 0 {
		t.Errorf("an ordinary port: %v, %v", got, err)
	}
}

// Goal: a client that takes its endpoints from the member list stays in its keyspace.
func TestBoundPortListsItsOwn(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	bound := r.bind("other")
	r.node.members[0].KeyspaceURLs = map[string][]string{"other": {"http://c:2479"}, "third": {"http://c:2579"}}
	list, err := pb.NewClusterClient(bound.conn).MemberList(ctx, &pb.MemberListRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got := list.Members[1].ClientURLs; len(got) != 1 || got[0] != "http://c:2479" || len(list.Members[0].ClientURLs) != 0 {
		t.Errorf("%v", list.Members)
	}
	list, err = r.member.MemberList(ctx, &pb.MemberListRequest{})
	if err != nil || list.Members[1].ClientURLs[0] != "http://c:2379" {
		t.Errorf("an ordinary port: %v, %v", list, err)
	}
}

// Goal: probes of a bound port are about its keyspace; tools find there what they find
// elsewhere.
func TestBoundPortHealth(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	bound, none := r.bind("other"), r.bind("none")
	r.k.setStatus(func(s *KeyspaceStatus) { s.Leader = 0 })
	for _, c := range []struct {
		rig  *rig
		path string
		code int
		says string
	}{
		{bound, "/health", http.StatusOK, `"true"`},
		{bound, "/readyz", http.StatusOK, "ok"},
		{none, "/health", http.StatusServiceUnavailable, `RANGE ERROR:keyspace not found: \"none\"`},
		{none, "/livez", http.StatusServiceUnavailable, `keyspace not found: "none"`},
		{r, "/health", http.StatusServiceUnavailable, "RAFT NO LEADER"},
		{bound, "/version", http.StatusOK, "etcdserver"},
		{bound, "/metrics", http.StatusOK, "etcd_server_has_leader 0"},
	} {
		if code, body, _ := c.rig.get(c.path); code != c.code || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d %s", c.path, code, body)
		}
	}
	if got, err := grpc_health_v1.NewHealthClient(bound.conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil || got.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("%v, %v", got, err)
	}
	stream, err := grpc_reflection_v1.NewServerReflectionClient(bound.conn).ServerReflectionInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	stream.Send(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}})
	if list, err := stream.Recv(); err != nil || len(list.GetListServicesResponse().GetService()) == 0 {
		t.Errorf("reflection: %v, %v", list, err)
	}
	stream.CloseSend()
}
