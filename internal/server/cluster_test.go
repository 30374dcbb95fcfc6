package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/router"
)

// fakeCluster is a real catalog whose changes are done at once, founded by a node's members.
type fakeCluster struct {
	founders *[]Member

	mu           sync.Mutex
	catalog      *placement.Catalog
	silent       map[uint64]bool
	fail         error // of every call, if set
	failReads    error // of every linearizable list
	linearizable bool  // of the last list
	revision     int64
}

const fakeToken = "token"

// records is the catalog, founded at the first call. Learners among the founders have never
// started.
func (c *fakeCluster) records() (*placement.Catalog, error) {
	if c.fail != nil || c.catalog != nil {
		return c.catalog, c.fail
	}
	var members []placement.Member
	var nodes []placement.Node
	for _, m := range *c.founders {
		member := placement.Member{ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, KeyspaceURLs: m.KeyspaceURLs,
			Incarnation: 1, Disk: m.ID, Learner: m.IsLearner}
		if m.IsLearner {
			member.Disk = 0
		}
		members = append(members, member)
		nodes = append(nodes, placement.Node{ID: m.ID, Incarnation: 1})
	}
	own := func(name string, shard uint64) placement.Keyspace {
		return placement.Keyspace{Format: 1, Name: name, Epoch: 1, State: placement.Active,
			Shards: []placement.Shard{{ID: shard, Engine: "raft", First: nodes, Nodes: nodes}}}
	}
	c.catalog = placement.NewCatalog(own(placement.System, 1), own(placement.Default, 2))
	for _, m := range members {
		if err := c.put(placement.MemberKey(m.ID), m.Encode()); err != nil {
			return nil, err
		}
	}
	return c.catalog, nil
}

// start makes a founder one that has started.
func (c *fakeCluster) start(t *testing.T, id uint64) {
	t.Helper()
	records, err := c.records()
	if err != nil {
		t.Fatal(err)
	}
	m, _ := records.Member(id)
	m.Disk = id
	if err := c.put(placement.MemberKey(id), m.Encode()); err != nil {
		t.Fatal(err)
	}
}

func (c *fakeCluster) put(key string, value []byte) error {
	c.revision++
	_, err := c.catalog.Put([]byte(key), value, c.revision)
	return err
}

func (c *fakeCluster) change(make func(*placement.Catalog) (placement.MemberChange, error)) (placement.Member, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.records()
	if err != nil {
		return placement.Member{}, err
	}
	change, err := make(r)
	if err != nil {
		return change.Member, err
	}
	err = c.put(placement.MemberKey(change.Member.ID), change.Member.Encode())
	if change.System != nil {
		err = errors.Join(err, c.put(placement.Key(placement.System), change.System.Encode()))
	}
	if change.Joins {
		err = errors.Join(err, c.put(placement.NextMemberKey, fmt.Append(nil, r.NextMember+1)))
	}
	return change.Member, err
}

func (c *fakeCluster) Join(_ context.Context, request placement.JoinRequest) (placement.Ticket, error) {
	if request.Disk != 0 && request.ClusterToken != fakeToken {
		return placement.Ticket{}, fmt.Errorf("%w: correct --initial-cluster-token", placement.ErrForeignCluster)
	}
	m, err := c.change(func(r *placement.Catalog) (placement.MemberChange, error) {
		return r.Join(request, func(count uint64) uint64 { return 100 + count }, func(id uint64) bool { return !c.silent[id] })
	})
	return placement.Ticket{Cluster: fakeClusterID, Token: fakeToken, Node: m.ID, Incarnation: m.Incarnation}, err
}

func (c *fakeCluster) Nodes(_ context.Context, linearizable bool) ([]placement.Member, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.linearizable = linearizable
	if linearizable && c.failReads != nil {
		return nil, c.failReads
	}
	r, err := c.records()
	if err != nil {
		return nil, err
	}
	return r.Members(), nil
}

func (c *fakeCluster) DrainNode(_ context.Context, id uint64, drain bool) (placement.Member, error) {
	return c.change(func(r *placement.Catalog) (placement.MemberChange, error) { return r.Drain(id, drain) })
}

func (c *fakeCluster) WeighNode(_ context.Context, id uint64, weight int) (placement.Member, error) {
	return c.change(func(r *placement.Catalog) (placement.MemberChange, error) { return r.Weigh(id, weight) })
}

func (c *fakeCluster) RemoveNode(_ context.Context, id uint64) (placement.Member, error) {
	return c.change(func(r *placement.Catalog) (placement.MemberChange, error) { return r.RemoveNode(id, c.silent) })
}

func (c *fakeCluster) AddressNode(_ context.Context, id uint64, peerURLs []string) (placement.Member, error) {
	return c.change(func(r *placement.Catalog) (placement.MemberChange, error) { return r.Address(id, peerURLs) })
}

func (c *fakeCluster) planning(loadPercent int) placement.Planning {
	return placement.Planning{Seed: 1, Silent: c.silent, LoadPercent: loadPercent, Now: fakeNow}
}

func (c *fakeCluster) Placement(context.Context) (placement.Overview, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.records()
	if err != nil {
		return placement.Overview{}, err
	}
	return r.Overview(c.planning(0))
}

func (c *fakeCluster) Explain(_ context.Context, keyspace string) ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.records()
	if err != nil {
		return nil, err
	}
	return r.Explain(keyspace, c.planning(0))
}

func (c *fakeCluster) PlanPlacement(_ context.Context, loadPercent int) ([]placement.Proposal, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.records()
	if err != nil {
		return nil, err
	}
	return r.Plan(c.planning(loadPercent))
}

func (c *fakeCluster) ApplyPlacement(ctx context.Context, loadPercent int) ([]placement.Proposal, error) {
	list, err := c.PlanPlacement(ctx, loadPercent)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range list {
		err = errors.Join(err, c.put(placement.Key(p.Keyspace), p.Next.Encode()))
	}
	return list, err
}

func (c *fakeCluster) PausePlacement(_ context.Context, paused bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.records(); err != nil {
		return err
	}
	return c.put(placement.PausedKey, fmt.Append(nil, paused))
}

// clusterHeader is that of every answer about members.
func clusterHeader() *pb.ResponseHeader {
	return &pb.ResponseHeader{ClusterId: fakeClusterID, MemberId: fakeMember, RaftTerm: fakeTerm}
}

// Goal: a list asks the leader if it is to, and shows of a member that has never started what
// etcd shows.
func TestMemberList(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	for _, linearizable := range []bool{true, false} {
		got, err := r.member.MemberList(ctx, &pb.MemberListRequest{Linearizable: linearizable})
		if err != nil {
			t.Fatal(err)
		}
		same(t, got, &pb.MemberListResponse{Header: clusterHeader(), Members: []*pb.Member{
			{ID: 2, PeerURLs: []string{"http://q:2380"}, IsLearner: true},
			{ID: fakeMember, Name: "one", PeerURLs: []string{"http://p:2380"}, ClientURLs: []string{"http://c:2379"}},
		}})
		if r.node.cluster.linearizable != linearizable {
			t.Errorf("asked with linearizable %v", !linearizable)
		}
	}
}

// Goal: a member's life by etcd's API, each answer field by field.
func TestMemberLife(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	one := &pb.Member{ID: fakeMember, Name: "one", PeerURLs: []string{"http://p:2380"}, ClientURLs: []string{"http://c:2379"}}
	two := &pb.Member{ID: 2, PeerURLs: []string{"http://q:2380"}, IsLearner: true}
	added, err := r.member.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"http://H:1", "http://h:1", "http://h:2"}, IsLearner: true})
	if err != nil {
		t.Fatal(err)
	}
	three := &pb.Member{ID: 100, PeerURLs: []string{"http://h:1", "http://h:2"}, IsLearner: true}
	same(t, added, &pb.MemberAddResponse{Header: clusterHeader(), Member: three, Members: []*pb.Member{two, three, one}})
	updated, err := r.member.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: 100, PeerURLs: []string{"http://h:3"}})
	if err != nil {
		t.Fatal(err)
	}
	three.PeerURLs = []string{"http://h:3"}
	same(t, updated, &pb.MemberUpdateResponse{Header: clusterHeader(), Members: []*pb.Member{two, three, one}})
	_, err = r.member.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: 100})
	wantStatus(t, "promote one that has not started", err, rpctypes.ErrGRPCLearnerNotReady)
	if _, err := r.node.cluster.Join(ctx, placement.JoinRequest{Name: "three", PeerURLs: []string{"http://h:3"}, ClusterToken: fakeToken, Disk: 7}); err != nil {
		t.Fatal(err)
	}
	promoted, err := r.member.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: 100})
	if err != nil {
		t.Fatal(err)
	}
	three.Name, three.IsLearner = "three", false
	same(t, promoted, &pb.MemberPromoteResponse{Header: clusterHeader(), Members: []*pb.Member{two, three, one}})
	removed, err := r.member.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: 100})
	if err != nil {
		t.Fatal(err)
	}
	same(t, removed, &pb.MemberRemoveResponse{Header: clusterHeader(), Members: []*pb.Member{two, one}})
}

// Goal: what etcd refuses is refused with etcd's codes and texts.
func TestMemberRefusals(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	if _, err := r.node.cluster.DrainNode(ctx, 2, true); err != nil { // a keyspace on one node that may not go
		t.Fatal(err)
	}
	gone, err := r.member.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"http://gone:1"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.member.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: gone.Member.ID}); err != nil {
		t.Fatal(err)
	}
	add := func(urls ...string) error {
		_, err := r.member.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: urls})
		return err
	}
	update := func(id uint64, urls ...string) error {
		_, err := r.member.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: id, PeerURLs: urls})
		return err
	}
	remove := func(id uint64) error {
		_, err := r.member.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: id})
		return err
	}
	promote := func(id uint64) error {
		_, err := r.member.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: id})
		return err
	}
	for _, c := range []struct {
		what      string
		err, want error
	}{
		{"add without addresses", add(), rpctypes.ErrGRPCMemberBadURLs},
		{"add with no URL", add("h:1"), rpctypes.ErrGRPCMemberBadURLs},
		{"add with a path", add("http://h:1/x"), rpctypes.ErrGRPCMemberBadURLs},
		{"add without port", add("http://h"), rpctypes.ErrGRPCMemberBadURLs},
		{"add with port 0", add("http://h:0"), rpctypes.ErrGRPCMemberBadURLs},
		{"add without host", add("http://:1"), rpctypes.ErrGRPCMemberBadURLs},
		{"add with a user", add("http://u@h:1"), rpctypes.ErrGRPCMemberBadURLs},
		{"add with a good and a bad one", add("http://h:1", "ftp://h:1"), rpctypes.ErrGRPCMemberBadURLs},
		{"add with an address in use", add("http://h:1", "http://p:2380"), rpctypes.ErrGRPCPeerURLExist},
		{"add with that of one that is being removed", add("http://gone:1"), rpctypes.ErrGRPCPeerURLExist},
		{"update without addresses", update(2), rpctypes.ErrGRPCMemberBadURLs},
		{"update with a bad one", update(2, "http://"), rpctypes.ErrGRPCMemberBadURLs},
		{"update nobody", update(99, "http://h:1"), rpctypes.ErrGRPCMemberNotFound},
		{"update to an address in use", update(2, "http://p:2380"), rpctypes.ErrGRPCPeerURLExist},
		{"update one that is being removed", update(gone.Member.ID, "http://h:1"), rpctypes.ErrGRPCMemberNotFound},
		{"remove nobody", remove(99), rpctypes.ErrGRPCMemberNotFound},
		{"remove twice", remove(gone.Member.ID), rpctypes.ErrGRPCMemberNotFound},
		{"promote nobody", promote(99), rpctypes.ErrGRPCMemberNotFound},
		{"promote one that is being removed", promote(gone.Member.ID), rpctypes.ErrGRPCMemberNotFound},
		{"promote a voter", promote(fakeMember), rpctypes.ErrGRPCMemberNotLearner},
		{"promote one that has not started", promote(2), rpctypes.ErrGRPCLearnerNotReady},
	} {
		wantStatus(t, c.what, c.err, c.want)
	}
	err = remove(fakeMember)
	if s := status.Convert(err); s.Code() != codes.ResourceExhausted || !strings.Contains(s.Message(), "add others") {
		t.Errorf("remove with nowhere to go: %v", err)
	}
	if _, err := r.node.cluster.DrainNode(ctx, 2, false); err != nil {
		t.Fatal(err)
	}
	r.node.cluster.start(t, 2)
	r.node.cluster.silent = map[uint64]bool{2: true}
	wantStatus(t, "remove who decides alone", remove(fakeMember), rpctypes.ErrGRPCUnhealthy)
}

// Goal: whatever the cluster answers, each method passes on: in etcd's words where etcd has some.
func TestMemberErrors(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	for _, c := range []struct{ err, want error }{
		{fmt.Errorf("%w: start the others", placement.ErrUnsafe), rpctypes.ErrGRPCUnhealthy},
		{fmt.Errorf("%w: try again", placement.ErrConflict), status.Error(codes.Aborted, "the catalog has changed: try again")},
		{fmt.Errorf("system keyspace: %w", router.ErrNoLeader), rpctypes.ErrGRPCNoLeader},
		{router.ErrTimeout, rpctypes.ErrGRPCTimeout},
	} {
		r.node.cluster.mu.Lock()
		r.node.cluster.fail = c.err
		r.node.cluster.mu.Unlock()
		for _, m := range etcdMethods(t) {
			payload := []byte(nil)
			switch m.full {
			case pb.Cluster_MemberAdd_FullMethodName:
				payload = mustMarshal(t, &pb.MemberAddRequest{PeerURLs: []string{"http://h:1"}})
			case pb.Cluster_MemberUpdate_FullMethodName:
				payload = mustMarshal(t, &pb.MemberUpdateRequest{ID: 2, PeerURLs: []string{"http://h:1"}})
			case pb.Cluster_MemberRemove_FullMethodName, pb.Cluster_MemberPromote_FullMethodName, pb.Cluster_MemberList_FullMethodName:
			default:
				continue
			}
			wantStatus(t, m.full, r.call(ctx, m, payload), c.want)
		}
	}
}

// Goal: a change that was made is not answered by an error, whatever comes of the list behind it.
func TestMemberChangeWithoutLeader(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	r.node.cluster.failReads = router.ErrNoLeader
	added, err := r.member.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"http://h:1"}})
	if err != nil || len(added.Members) != 3 {
		t.Errorf("%v, %v", added, err)
	}
}

// Goal: who was given one keyspace's port changes no members.
func TestMembersThroughBoundPort(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	bound := pb.NewClusterClient(r.bind("other").conn)
	_, add := bound.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"http://h:1"}})
	_, update := bound.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: 2, PeerURLs: []string{"http://h:1"}})
	_, remove := bound.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: 2})
	_, promote := bound.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: 2})
	for _, err := range []error{add, update, remove, promote} {
		if status.Code(err) != codes.PermissionDenied {
			t.Error(err)
		}
	}
	list, err := r.member.MemberList(ctx, &pb.MemberListRequest{})
	if err != nil || len(list.Members) != 2 || !slices.Equal(list.Members[0].PeerURLs, []string{"http://q:2380"}) {
		t.Errorf("%v, %v", list, err)
	}
}
