package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/quorate/quorate/api/quorate/v1"
	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/router"
	"github.com/quorate/quorate/ring"
)

// fakeCatalog is a real catalog of two nodes whose changes are done at once.
type fakeCatalog struct {
	mu           sync.Mutex
	records      *placement.Catalog
	fail         error // of every call, if set
	linearizable bool  // of the last list
}

// fakeNow is when everything in a fakeCatalog happens, in seconds since 1970.
const fakeNow = 1_000_000

func (c *fakeCatalog) change(make func(*placement.Catalog) (placement.Keyspace, error)) (placement.Keyspace, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		return placement.Keyspace{}, c.fail
	}
	if c.records == nil {
		c.records = placement.NewCatalog()
		c.records.Found(placement.Member{ID: fakeMember}, placement.Member{ID: 2})
	}
	k, err := make(c.records)
	if err != nil {
		return k, err
	}
	if _, err := c.records.Put([]byte(placement.Key(k.Name)), k.Encode(), 1); err != nil {
		return k, err
	}
	c.records.NextShard = max(c.records.NextShard, k.Shards[0].ID+1)
	return k, nil
}

func (c *fakeCatalog) CreateKeyspace(_ context.Context, spec placement.Spec) (placement.Keyspace, error) {
	return c.change(func(r *placement.Catalog) (placement.Keyspace, error) {
		return r.Create(spec, placement.Cluster{
			Nodes:   []ring.Node{{ID: ring.NodeID(fakeMember), Weight: 1}, {ID: 2, Weight: 1}},
			Engines: []string{"raft", "paxos"}, KeyspaceMax: 3, Now: fakeNow,
		})
	})
}

func (c *fakeCatalog) UpdateKeyspace(_ context.Context, name string, change placement.Change) (placement.Keyspace, error) {
	return c.change(func(r *placement.Catalog) (placement.Keyspace, error) { return r.Update(name, change) })
}

func (c *fakeCatalog) DeleteKeyspace(_ context.Context, name string) (placement.Keyspace, error) {
	return c.change(func(r *placement.Catalog) (placement.Keyspace, error) { return r.Remove(name, fakeNow+1) })
}

func (c *fakeCatalog) UndeleteKeyspace(_ context.Context, name string) (placement.Keyspace, error) {
	return c.change(func(r *placement.Catalog) (placement.Keyspace, error) { return r.Restore(name) })
}

func (c *fakeCatalog) Keyspaces(_ context.Context, linearizable bool) ([]placement.Keyspace, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.linearizable = linearizable
	if c.fail != nil || c.records == nil {
		return nil, c.fail
	}
	return c.records.Keyspaces(), nil
}

// Goal: a keyspace's life, each answer field by field.
func TestKeyspacesLife(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	client := quoratev1.NewKeyspacesClient(r.conn)
	created, err := client.Create(ctx, &quoratev1.CreateRequest{Name: "a", Engine: "paxos", Replicas: 1, QuotaBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	want := &quoratev1.Keyspace{
		Name: "a", State: quoratev1.Keyspace_ACTIVE, Engine: "paxos", Replicas: 1, QuotaBytes: -1, Epoch: 1,
		Shards:             []*quoratev1.Shard{{Id: placement.FirstShard, Engine: "paxos", Replicas: created.GetKeyspace().GetShards()[0].GetReplicas()}},
		CreatedUnixSeconds: fakeNow,
	}
	same(t, created.Keyspace, want)
	if replicas := created.Keyspace.Shards[0].Replicas; len(replicas) != 1 || !slices.Contains([]string{"one", "two"}, replicas[0].NodeName) {
		t.Errorf("replicas %v", replicas)
	}
	if role := created.Keyspace.Shards[0].Replicas[0].Role; role != quoratev1.Replica_VOTER {
		t.Errorf("it is a %v", role)
	}
	updated, err := client.Update(ctx, &quoratev1.UpdateRequest{Name: "a", QuotaBytes: proto.Int64(5 << 20), Replicas: proto.Uint32(1)})
	if err != nil {
		t.Fatal(err)
	}
	want.QuotaBytes, want.Epoch = 5<<20, 2
	same(t, updated.Keyspace, want)
	updated, err = client.Update(ctx, &quoratev1.UpdateRequest{Name: "a", Limits: &quoratev1.Limits{
		Keys: 1, Leases: 2, Watchers: 3, RequestsPerSecond: 4, BytesPerSecond: 1 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	want.Limits, want.Epoch = &quoratev1.Limits{Keys: 1, Leases: 2, Watchers: 3, RequestsPerSecond: 4, BytesPerSecond: 1 << 20}, 3
	same(t, updated.Keyspace, want)
	deleted, err := client.Delete(ctx, &quoratev1.DeleteRequest{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	want.State, want.Epoch = quoratev1.Keyspace_DELETED, 4
	want.DeletedUnixSeconds, want.ExpiresUnixSeconds = fakeNow+1, fakeNow+1+24*3600
	same(t, deleted.Keyspace, want)
	described, err := client.Describe(ctx, &quoratev1.DescribeRequest{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	same(t, described.Keyspace, want)
	restored, err := client.Undelete(ctx, &quoratev1.UndeleteRequest{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	want.State, want.Epoch, want.DeletedUnixSeconds, want.ExpiresUnixSeconds = quoratev1.Keyspace_ACTIVE, 5, 0, 0
	same(t, restored.Keyspace, want)
}

// Goal: a list has deleted keyspaces only if asked, and asks the leader unless told not to.
func TestKeyspacesList(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	client := quoratev1.NewKeyspacesClient(r.conn)
	for _, name := range []string{"b", "a"} {
		if _, err := client.Create(ctx, &quoratev1.CreateRequest{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.Delete(ctx, &quoratev1.DeleteRequest{Name: "b"}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		request *quoratev1.ListRequest
		want    string
	}{
		{&quoratev1.ListRequest{}, "a"},
		{&quoratev1.ListRequest{IncludeDeleted: true}, "a b"},
		{&quoratev1.ListRequest{Serializable: true}, "a"},
	} {
		list, err := client.List(ctx, c.request)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, k := range list.Keyspaces {
			names = append(names, k.Name)
		}
		if got := strings.Join(names, " "); got != c.want || r.node.catalog.linearizable == c.request.Serializable {
			t.Errorf("%v: %s, want %s; linearizable %v", c.request, got, c.want, r.node.catalog.linearizable)
		}
	}
	if _, err := client.Describe(ctx, &quoratev1.DescribeRequest{Name: "a", Serializable: true}); err != nil || r.node.catalog.linearizable {
		t.Errorf("describe: %v, linearizable %v", err, r.node.catalog.linearizable)
	}
	if r.node.linearizable.Load() {
		t.Error("names of nodes were asked of the leader")
	}
}

// Goal: a node tells the leader of the shards that it carries, and only of those.
func TestKeyspacesLeader(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	client := quoratev1.NewKeyspacesClient(r.conn)
	created, err := client.Create(ctx, &quoratev1.CreateRequest{Name: "other"})
	if err != nil {
		t.Fatal(err)
	}
	node := created.Keyspace.Shards[0].Replicas[0].Node
	other := r.node.keyspaces["other"].(*fakeKeyspace)
	for _, c := range []struct{ shard, leader, want uint64 }{
		{placement.FirstShard, node, node},
		{placement.FirstShard, 0, 0},
		{placement.FirstShard + 1, node, 0}, // the name's former shard
	} {
		other.setStatus(func(s *KeyspaceStatus) { s.Shard, s.Leader = c.shard, c.leader })
		got, err := client.Describe(ctx, &quoratev1.DescribeRequest{Name: "other"})
		if err != nil {
			t.Fatal(err)
		}
		if s := got.Keyspace.Shards[0]; s.Leader != c.want || s.Replicas[0].Leads != (c.want != 0) {
			t.Errorf("%+v: %v", c, s)
		}
	}
}

// Goal: without members' names there is an answer all the same.
func TestKeyspacesWithoutNames(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	r.node.membersFail = errors.New("not yet")
	got, err := quoratev1.NewKeyspacesClient(r.conn).Create(ctx, &quoratev1.CreateRequest{Name: "a"})
	if err != nil || got.Keyspace.Shards[0].Replicas[0].NodeName != "" {
		t.Errorf("%v, %v", got, err)
	}
}

// Goal: what a caller gets wrong is answered with a code and a sentence of what to do.
func TestKeyspacesRefusals(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	client := quoratev1.NewKeyspacesClient(r.conn)
	for _, name := range []string{"old", "a"} {
		if _, err := client.Create(ctx, &quoratev1.CreateRequest{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.Delete(ctx, &quoratev1.DeleteRequest{Name: "old"}); err != nil {
		t.Fatal(err)
	}
	create := func(c *quoratev1.CreateRequest) error { _, err := client.Create(ctx, c); return err }
	describe := func(name string) error {
		_, err := client.Describe(ctx, &quoratev1.DescribeRequest{Name: name})
		return err
	}
	update := func(u *quoratev1.UpdateRequest) error { _, err := client.Update(ctx, u); return err }
	remove := func(name string) error {
		_, err := client.Delete(ctx, &quoratev1.DeleteRequest{Name: name})
		return err
	}
	restore := func(name string) error {
		_, err := client.Undelete(ctx, &quoratev1.UndeleteRequest{Name: name})
		return err
	}
	for _, c := range []struct {
		what string
		err  error
		code codes.Code
		text string
	}{
		{"no name", create(&quoratev1.CreateRequest{}), codes.InvalidArgument, "use 1 to 63"},
		{"capitals", create(&quoratev1.CreateRequest{Name: "A"}), codes.InvalidArgument, "use 1 to 63"},
		{"a path", create(&quoratev1.CreateRequest{Name: "a/b"}), codes.InvalidArgument, "use 1 to 63"},
		{"a megabyte", describe(strings.Repeat("x", 1<<20)), codes.InvalidArgument, "is too long"},
		{"an even count", create(&quoratev1.CreateRequest{Name: "b", Replicas: 2}), codes.InvalidArgument, "use 1, 3, 5 or 7"},
		{"a huge count", create(&quoratev1.CreateRequest{Name: "b", Replicas: 1<<32 - 1}), codes.InvalidArgument, "use 1, 3, 5 or 7"},
		{"few nodes", create(&quoratev1.CreateRequest{Name: "b", Replicas: 3}), codes.ResourceExhausted, "add nodes"},
		{"an unknown engine", create(&quoratev1.CreateRequest{Name: "b", Engine: "x"}), codes.InvalidArgument, "use raft, paxos"},
		{"a tiny quota", create(&quoratev1.CreateRequest{Name: "b", QuotaBytes: 1}), codes.InvalidArgument, "use 1048576 or more"},
		{"one that is there", create(&quoratev1.CreateRequest{Name: "a"}), codes.AlreadyExists, "choose another name"},
		{"one that was deleted", create(&quoratev1.CreateRequest{Name: "old"}), codes.AlreadyExists, "undelete it"},
		{"the cluster's own", create(&quoratev1.CreateRequest{Name: "default"}), codes.AlreadyExists, "choose another name"},
		{"describe none", describe("none"), codes.NotFound, "quorate keyspace list"},
		{"describe the cluster's own", describe("system"), codes.NotFound, "the cluster's own"},
		{"update nothing", update(&quoratev1.UpdateRequest{Name: "a"}), codes.InvalidArgument, "set quota_bytes, replicas"},
		{"a tiny rate", update(&quoratev1.UpdateRequest{Name: "a", Limits: &quoratev1.Limits{BytesPerSecond: 1}}), codes.InvalidArgument, "use 65536 to"},
		{"update to 0", update(&quoratev1.UpdateRequest{Name: "a", QuotaBytes: proto.Int64(0)}), codes.InvalidArgument, "or -1"},
		{"update to 2 replicas", update(&quoratev1.UpdateRequest{Name: "a", Replicas: proto.Uint32(2)}), codes.InvalidArgument, "use 1, 3, 5 or 7"},
		{"update to more than fit", update(&quoratev1.UpdateRequest{Name: "a", Replicas: proto.Uint32(7)}), codes.ResourceExhausted, "add nodes"},
		{"update none", update(&quoratev1.UpdateRequest{Name: "none", QuotaBytes: proto.Int64(-1)}), codes.NotFound, "quorate keyspace list"},
		{"update a deleted one", update(&quoratev1.UpdateRequest{Name: "old", QuotaBytes: proto.Int64(-1)}), codes.FailedPrecondition, "undelete it first"},
		{"delete twice", remove("old"), codes.FailedPrecondition, "undelete it first"},
		{"delete the cluster's own", remove("default"), codes.InvalidArgument, "the cluster's own"},
		{"undelete one that serves", restore("a"), codes.InvalidArgument, "was not deleted"},
		{"undelete none", restore("none"), codes.NotFound, "none"},
	} {
		if s := status.Convert(c.err); s.Code() != c.code || !strings.Contains(s.Message(), c.text) {
			t.Errorf("%s: %v, want %v: ...%s...", c.what, c.err, c.code, c.text)
		}
	}
}

// Goal: whatever the catalog answers, each method passes on with the same code.
func TestKeyspacesErrors(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	for _, c := range []struct {
		err  error
		code codes.Code
	}{
		{fmt.Errorf("%w: try again", placement.ErrConflict), codes.Aborted},
		{fmt.Errorf("system keyspace: %w: start a newer version", placement.ErrFormat), codes.FailedPrecondition},
		{fmt.Errorf("system keyspace: %w", router.ErrNoLeader), codes.Unavailable},
		{router.ErrTimeout, codes.Unavailable},
		{router.ErrTooManyRequests, codes.ResourceExhausted},
		{context.DeadlineExceeded, codes.DeadlineExceeded},
		{context.Canceled, codes.Canceled},
		{status.Error(codes.Unimplemented, "not here"), codes.Unimplemented},
		{errors.New("odd"), codes.Unknown},
	} {
		r.node.catalog.mu.Lock()
		r.node.catalog.fail = c.err
		r.node.catalog.mu.Unlock()
		for name, request := range keyspacesRequests() {
			if err := r.conn.Invoke(ctx, name, request, new(quoratev1.Keyspace)); status.Code(err) != c.code {
				t.Errorf("%s when the catalog says %v: %v, want %v", name, c.err, err, c.code)
			}
		}
	}
}

// keyspacesRequests is one request of each method that reaches the catalog.
func keyspacesRequests() map[string]proto.Message {
	return map[string]proto.Message{
		quoratev1.Keyspaces_Create_FullMethodName:   &quoratev1.CreateRequest{Name: "a"},
		quoratev1.Keyspaces_List_FullMethodName:     &quoratev1.ListRequest{},
		quoratev1.Keyspaces_Describe_FullMethodName: &quoratev1.DescribeRequest{Name: "a"},
		quoratev1.Keyspaces_Update_FullMethodName:   &quoratev1.UpdateRequest{Name: "a", QuotaBytes: proto.Int64(-1)},
		quoratev1.Keyspaces_Delete_FullMethodName:   &quoratev1.DeleteRequest{Name: "a"},
		quoratev1.Keyspaces_Undelete_FullMethodName: &quoratev1.UndeleteRequest{Name: "a"},
	}
}

// Goal: bytes that are no message, and names that are no text, are an error of the call.
func TestKeyspacesMalformedRequests(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	for name := range keyspacesRequests() {
		for _, payload := range [][]byte{{0xff}, {0x0a, 0x05, 'x'}, {0x00}, {0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f}} {
			if err := r.raw(ctx, name, payload); status.Code(err) != codes.Internal {
				t.Errorf("%s with % x: %v", name, payload, err)
			}
		}
		if name != quoratev1.Keyspaces_List_FullMethodName {
			if err := r.raw(ctx, name, []byte{0x0a, 0x01, 0xff}); status.Code(err) != codes.Internal {
				t.Errorf("%s with a name that is not UTF-8: %v", name, err)
			}
		}
	}
}

// raw sends bytes as a unary call's request.
func (r *rig) raw(ctx context.Context, method string, payload []byte) error {
	stream, err := r.conn.NewStream(ctx, &grpc.StreamDesc{}, method, grpc.ForceCodec(rawCodec{}))
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
	return stream.RecvMsg(&reply)
}

// Goal: our own API answers on a node where etcd's cannot: it passes no gate.
func TestKeyspacesAreNotGated(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	delete(r.node.keyspaces, DefaultKeyspace)
	if _, err := quoratev1.NewKeyspacesClient(r.conn).List(ctx, &quoratev1.ListRequest{}); err != nil {
		t.Error(err)
	}
}
