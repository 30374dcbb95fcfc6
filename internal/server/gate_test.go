package server

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/quorate/quorate/internal/router"
)

// etcdMethod is one method of etcd's API, found by reflection, so that none is missed.
type etcdMethod struct {
	protoreflect.MethodDescriptor
	full string
}

func etcdMethods(t testing.TB) (out []etcdMethod) {
	t.Helper()
	services := pb.File_rpc_proto.Services()
	for i := range services.Len() {
		methods := services.Get(i).Methods()
		for j := range methods.Len() {
			m := methods.Get(j)
			out = append(out, etcdMethod{m, "/" + string(services.Get(i).FullName()) + "/" + string(m.Name())})
		}
	}
	if len(out) < 42 {
		t.Fatalf("only %d methods", len(out))
	}
	return out
}

// call sends one message, raw or empty, and returns the first answer's error.
func (r *rig) call(ctx context.Context, m etcdMethod, payload []byte) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if m.full == pb.Watch_Watch_FullMethodName {
		timer := time.AfterFunc(50*time.Millisecond, cancel) // it may have nothing to say
		defer timer.Stop()
	}
	desc := &grpc.StreamDesc{ClientStreams: m.IsStreamingClient(), ServerStreams: m.IsStreamingServer()}
	stream, err := r.conn.NewStream(ctx, desc, m.full, grpc.ForceCodec(rawCodec{}))
	if err != nil {
		return err
	}
	if err := stream.SendMsg(&payload); err != nil && err != io.EOF {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	var reply []byte
	err = stream.RecvMsg(&reply)
	if err == nil {
		if uerr := proto.Unmarshal(reply, dynamicpb.NewMessage(m.Output())); uerr != nil {
			return uerr
		}
	}
	if err == io.EOF || ctx.Err() != nil {
		return nil
	}
	return err
}

// rawCodec sends and receives bytes as they are.
type rawCodec struct{}

func (rawCodec) Name() string                  { return "proto" }
func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (rawCodec) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = append([]byte{}, b...)
	return nil
}

// Every method passes the gate: without a leader, asked to require one, none answers.
func TestGateRequiresLeader(t *testing.T) {
	r, ctx := newRig(t, func(c *Config, _ *mvccOptions) { c.ElectionTimeout = 20 * time.Millisecond }), testContext(t)
	r.k.setStatus(func(s *KeyspaceStatus) { s.Leader = 0 })
	asking := metadata.AppendToOutgoingContext(ctx, rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
	open, err := r.lease.LeaseKeepAlive(asking) // streams have patience, once
	if err == nil {
		_, err = open.Recv()
	}
	wantStatus(t, "the first stream", err, rpctypes.ErrGRPCNoLeader)
	for _, m := range etcdMethods(t) {
		wantStatus(t, m.full, r.call(asking, m, nil), rpctypes.ErrGRPCNoLeader)
		other := metadata.AppendToOutgoingContext(ctx, rpctypes.MetadataRequireLeaderKey, "false")
		if err := r.call(other, m, nil); status.Convert(err).Message() == "etcdserver: no leader" {
			t.Errorf("%s asks for a leader on its own: %v", m.full, err)
		}
	}
}

// A learner serves its status and local reads; nothing else.
func TestGateOnLearner(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	r.k.setStatus(func(s *KeyspaceStatus) { s.IsLearner = true })
	for _, m := range etcdMethods(t) {
		err := r.call(ctx, m, nil)
		switch m.full {
		case pb.Maintenance_Status_FullMethodName:
			if err != nil {
				t.Errorf("%s: %v", m.full, err)
			}
		case pb.Maintenance_Snapshot_FullMethodName:
			if status.Code(err) != codes.Unimplemented {
				t.Errorf("%s: %v", m.full, err)
			}
		default:
			wantStatus(t, m.full, err, rpctypes.ErrGRPCNotSupportedForLearner)
		}
	}
	if _, err := r.kv.Range(ctx, &pb.RangeRequest{Key: bs("a"), Serializable: true}); err != nil {
		t.Errorf("local read: %v", err)
	}
}

// A client version that is no text is refused, and what clients claim is counted, with
// a bound on how many versions there are.
func TestGateClientVersion(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	for i := range 100 {
		v := strings.Repeat("x", i+1)
		if _, err := r.kv.Range(metadata.AppendToOutgoingContext(ctx, rpctypes.MetadataClientAPIVersionKey, v), &pb.RangeRequest{Key: bs("a")}); err != nil {
			t.Fatal(err)
		}
	}
	versions, others := 0, uint64(0)
	r.server.metrics.unaryVersions.each(func(v string, n uint64) {
		versions++
		if v == otherValue {
			others = n
		}
	})
	if versions != clientVersionsMax+1 || others != 100-clientVersionsMax {
		t.Errorf("%d versions, %d others", versions, others)
	}
}

// With a domain, a call without metadata goes to the keyspace that its authority names, be
// it unary or a stream.
func TestKeyspaceByAuthority(t *testing.T) {
	const domain = "etcd.example.com"
	r, ctx := newRig(t, func(c *Config, _ *mvccOptions) { c.KeyspaceDomain = domain }), testContext(t)
	other := pb.NewKVClient(r.dial(grpc.WithAuthority("other." + domain + ":2379")))
	if _, err := other.Put(ctx, &pb.PutRequest{Key: bs("a")}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		authority, metadata string
		want                int64 // keys seen
	}{
		{"other." + domain, "", 1},
		{"OTHER.Etcd.Example.COM.:1", "", 1},
		{domain, "", 0},
		{"other.example.com", "", 0},
		{"x.other." + domain, "", 0},
		{"other." + domain, DefaultKeyspace, 0},
		{"none." + domain, "other", 1},
	} {
		callCtx := ctx
		if c.metadata != "" {
			callCtx = metadata.AppendToOutgoingContext(ctx, KeyspaceMetadata, c.metadata)
		}
		got, err := pb.NewKVClient(r.dial(grpc.WithAuthority(c.authority))).Range(callCtx, &pb.RangeRequest{Key: bs("a")})
		if err != nil || got.Count != c.want {
			t.Errorf("%+v: %v, %v", c, got, err)
		}
	}
	none := r.dial(grpc.WithAuthority("none." + domain))
	want := status.Error(codes.NotFound, `quorate: keyspace "none" not found`)
	_, err := pb.NewKVClient(none).Range(ctx, &pb.RangeRequest{Key: bs("a")})
	wantStatus(t, "unary", err, want)
	stream, err := pb.NewWatchClient(none).Watch(ctx)
	if err == nil {
		_, err = stream.Recv()
	}
	wantStatus(t, "stream", err, want)
}

// Without a domain an authority says nothing.
func TestAuthorityWithoutDomain(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	for _, authority := range []string{"other.etcd.example.com", "other.", "none"} {
		if _, err := pb.NewKVClient(r.dial(grpc.WithAuthority(authority))).Range(ctx, &pb.RangeRequest{Key: bs("a")}); err != nil {
			t.Errorf("%s: %v", authority, err)
		}
	}
}

func TestLabelUnder(t *testing.T) {
	for _, c := range []struct {
		authority, want string
		ok              bool
	}{
		{"team-a.d.example:2379", "team-a", true},
		{"team-a.d.example", "team-a", true},
		{"team-a.d.example.", "team-a", true},
		{"Team-A.D.example.:1", "team-a", true},
		{"d.example", "", false},
		{".d.example", "", false},
		{"xd.example", "", false},
		{"a.b.d.example", "", false},
		{"a..d.example", "", false},
		{"a.d.example.org", "", false},
		{"a.e.example", "", false},
		{"", "", false},
		{":", "", false},
		{"127.0.0.1:2379", "", false},
		{"[::1]:2379", "", false},
		{"[::1]", "", false},
	} {
		if got, ok := labelUnder(c.authority, "d.example"); ok != c.ok || ok && got != c.want {
			t.Errorf("%q: %q, %v", c.authority, got, ok)
		}
	}
}

// Methods that later work brings say what is missing; all others answer. The list is
// complete: a method of etcd's API is in exactly one of the two.
func TestUnimplementedMethods(t *testing.T) {
	missing := map[string]string{
		"Maintenance/Defragment": "defragmentation",
		"Maintenance/Snapshot":   "snapshot", "Maintenance/Downgrade": "downgrading",
		"Auth/AuthEnable": "authentication", "Auth/AuthDisable": "authentication", "Auth/UserAdd": "authentication",
		"Auth/UserGet": "authentication", "Auth/UserList": "authentication", "Auth/UserDelete": "authentication",
		"Auth/UserChangePassword": "authentication", "Auth/UserGrantRole": "authentication",
		"Auth/UserRevokeRole": "authentication", "Auth/RoleAdd": "authentication", "Auth/RoleGet": "authentication",
		"Auth/RoleList": "authentication", "Auth/RoleDelete": "authentication",
		"Auth/RoleGrantPermission": "authentication", "Auth/RoleRevokePermission": "authentication",
	}
	r, ctx := newRig(t), testContext(t)
	for _, m := range etcdMethods(t) {
		name := strings.TrimPrefix(m.full, "/etcdserverpb.")
		word, want := missing[name]
		err := r.call(ctx, m, nil)
		if got := status.Code(err) == codes.Unimplemented; got != want {
			t.Errorf("%s: %v", name, err)
		}
		if want && (!strings.Contains(err.Error(), word) || !strings.Contains(err.Error(), " is not implemented yet")) {
			t.Errorf("%s says %q, which does not name %s", name, err, word)
		}
		delete(missing, name)
	}
	if len(missing) != 0 {
		t.Errorf("no such methods: %v", missing)
	}
	_, err := pb.NewAuthClient(r.conn).Authenticate(ctx, &pb.AuthenticateRequest{Name: "root", Password: "x"})
	wantStatus(t, "Authenticate", err, rpctypes.ErrGRPCAuthNotEnabled)
	auth, err := pb.NewAuthClient(r.conn).AuthStatus(ctx, &pb.AuthStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	same(t, auth, &pb.AuthStatusResponse{Header: topHeader(1), AuthRevision: 1})
}

// Bytes that are no message are an error of the call, from every method, and every
// method survives every short message.
func TestMalformedRequests(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	payloads := [][]byte{
		{0xff}, {0x0a, 0x05, 'x'}, {0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
		{0x00}, {0x07}, {0x0c}, {0x08}, {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01},
	}
	for _, m := range etcdMethods(t) {
		for _, p := range payloads {
			err := r.call(ctx, m, p)
			wantErr := proto.Unmarshal(p, dynamicpb.NewMessage(m.Input())) != nil
			if wantErr && status.Code(err) != codes.Internal {
				t.Errorf("%s with % x: %v", m.full, p, err)
			}
		}
	}
	if _, err := r.kv.Put(ctx, &pb.PutRequest{Key: bs("still here")}); err != nil {
		t.Fatal(err)
	}
}

// grpc.health.v1 knows the server as a whole and each service, until it drains.
func TestHealthService(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	client := grpc_health_v1.NewHealthClient(r.conn)
	names := []string{"", "etcdserverpb.KV", "etcdserverpb.Watch", "etcdserverpb.Lease", "etcdserverpb.Cluster",
		"etcdserverpb.Maintenance", "etcdserverpb.Auth", "quorate.v1.Keyspaces", "quorate.v1.Nodes", "quorate.v1.Placement"}
	for _, want := range []grpc_health_v1.HealthCheckResponse_ServingStatus{
		grpc_health_v1.HealthCheckResponse_SERVING, grpc_health_v1.HealthCheckResponse_NOT_SERVING,
	} {
		for _, name := range names {
			got, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: name})
			if err != nil || got.Status != want {
				t.Errorf("%q: %v, %v; want %v", name, got, err, want)
			}
		}
		r.server.Drain()
	}
	if _, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "none"}); status.Code(err) != codes.NotFound {
		t.Errorf("unknown service: %v", err)
	}
	if _, err := r.kv.Put(ctx, &pb.PutRequest{Key: bs("a")}); err != nil {
		t.Errorf("put while draining: %v", err)
	}
}

// Reflection lists the services in both versions of its protocol, with their methods.
func TestReflection(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	stream, err := grpc_reflection_v1.NewServerReflectionClient(r.conn).ServerReflectionInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	stream.Send(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}})
	list, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, s := range list.GetListServicesResponse().GetService() {
		names[s.Name] = true
	}
	for _, want := range []string{"etcdserverpb.KV", "etcdserverpb.Watch", "etcdserverpb.Lease", "grpc.health.v1.Health", "quorate.v1.Keyspaces",
		"quorate.v1.Nodes", "quorate.v1.Placement"} {
		if !names[want] {
			t.Errorf("%s is not listed", want)
		}
	}
	for _, symbol := range []string{"etcdserverpb.KV", "quorate.v1.Keyspaces"} {
		stream.Send(&grpc_reflection_v1.ServerReflectionRequest{
			MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: symbol}})
		if file, err := stream.Recv(); err != nil || len(file.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
			t.Errorf("no descriptor of %s: %v, %v", symbol, file, err)
		}
	}
	// The old version has another name and the same messages; tools in use speak it.
	alpha, err := r.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true},
		"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
	if err != nil {
		t.Fatal(err)
	}
	alpha.SendMsg(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}})
	list = new(grpc_reflection_v1.ServerReflectionResponse)
	if err := alpha.RecvMsg(list); err != nil || len(list.GetListServicesResponse().GetService()) == 0 {
		t.Errorf("v1alpha: %v, %v", list, err)
	}
	stream.CloseSend()
	alpha.CloseSend()
	if _, err := protoregistry.GlobalFiles.FindDescriptorByName("etcdserverpb.KV"); err != nil {
		t.Error(err)
	}
}

// Calls above the number a connection may have open wait for their turn.
func TestConcurrentStreamsLimit(t *testing.T) {
	r, ctx := newRig(t, func(c *Config, _ *mvccOptions) { c.ConcurrentStreamsMax, c.StreamsMax = 4, 3 }), testContext(t)
	conn := r.dial()
	client := pb.NewWatchClient(conn)
	for range 3 {
		stream, err := client.Watch(ctx)
		if err != nil {
			t.Fatal(err)
		}
		stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{}}})
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: bs("a")}); err != nil {
		t.Fatal(err)
	}
	stream, err := client.Watch(ctx)
	if err == nil {
		_, err = stream.Recv()
	}
	wantStatus(t, "one stream more than the server has", err, rpctypes.ErrGRPCRequestTooManyRequests)
}

// Goal: a member that has just opened a keyspace answers nothing of it before it has caught
// up, not even what it could from its own state; then nothing waits any more.
func TestBehindCatchesUpFirst(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	r.k.setStatus(func(s *KeyspaceStatus) { s.Behind = true })
	before := r.k.barriers.Load()
	local := &pb.RangeRequest{Key: []byte("a"), Serializable: true}
	if _, err := r.kv.Range(ctx, local); err != nil || r.k.barriers.Load() == before {
		t.Errorf("answered without catching up, or not at all: %v", err)
	}
	r.k.fail(router.ErrNoLeader)
	if _, err := r.kv.Range(ctx, local); err == nil {
		t.Error("answered although it cannot catch up")
	}
	r.k.fail(nil)
	r.k.setStatus(func(s *KeyspaceStatus) { s.Behind = false })
	before = r.k.barriers.Load()
	if _, err := r.kv.Range(ctx, local); err != nil || r.k.barriers.Load() != before {
		t.Errorf("waits after it has caught up: %v", err)
	}
}
