package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/quorate/quorate/api/quorate/v1"
	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/router"
)

func joinRequest() *quoratev1.JoinNodeRequest {
	return &quoratev1.JoinNodeRequest{Name: "three", PeerUrls: []string{"http://H:2380"}, Zone: "eu/rack-1", Weight: 2, ClusterToken: fakeToken, Disk: 7}
}

// Goal: a node's life, each answer field by field.
func TestNodesLife(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	client := quoratev1.NewNodesClient(r.conn)
	joined, err := client.Join(ctx, joinRequest())
	if err != nil {
		t.Fatal(err)
	}
	var ticket placement.Ticket
	if err := json.Unmarshal(joined.Ticket, &ticket); err != nil || ticket.Node != joined.Node || ticket.Token != fakeToken {
		t.Errorf("ticket %s: %v", joined.Ticket, err)
	}
	if again, err := client.Join(ctx, joinRequest()); err != nil || again.Node != joined.Node {
		t.Errorf("again: %v, %v", again, err)
	}
	r.node.cluster.silent = map[uint64]bool{2: true}
	list, err := client.List(ctx, &quoratev1.ListNodesRequest{})
	if err != nil || len(list.Nodes) != 3 || !r.node.cluster.linearizable {
		t.Fatalf("%v, %v", list, err)
	}
	two, three := list.Nodes[0], list.Nodes[1]
	same(t, two, &quoratev1.Node{Id: 2, Name: "two", PeerUrls: []string{"http://q:2380"}, Weight: 1, State: quoratev1.Node_ACTIVE, Incarnation: 1, Silent: true,
		Replicas: 2, Cap: two.Cap, LeadersCap: two.LeadersCap, Leaders: two.Leaders, Share: two.Share})
	want := &quoratev1.Node{Id: joined.Node, Name: "three", PeerUrls: []string{"http://h:2380"}, Zone: "eu/rack-1", Weight: 2, State: quoratev1.Node_ACTIVE,
		Started: true, Incarnation: 1, Cap: three.Cap, LeadersCap: three.LeadersCap, Share: three.Share}
	same(t, three, want)
	if three.Cap == 0 || three.Share <= two.Share {
		t.Errorf("%v carries more than %v", two, three)
	}
	if _, err := client.List(ctx, &quoratev1.ListNodesRequest{Serializable: true}); err != nil || r.node.cluster.linearizable {
		t.Errorf("serializable: %v", err)
	}
	weighed, err := client.Weigh(ctx, &quoratev1.WeighNodeRequest{Node: joined.Node, Weight: 4})
	if err != nil || weighed.Node.Weight != 4 || weighed.Node.Cap == 0 {
		t.Errorf("%v, %v", weighed, err)
	}
	drained, err := client.Drain(ctx, &quoratev1.DrainNodeRequest{Node: joined.Node, Drain: true})
	if err != nil || drained.Node.State != quoratev1.Node_DRAINING {
		t.Errorf("%v, %v", drained, err)
	}
	undrained, err := client.Drain(ctx, &quoratev1.DrainNodeRequest{Node: joined.Node})
	if err != nil || undrained.Node.State != quoratev1.Node_ACTIVE || undrained.Node.Weight != 4 {
		t.Errorf("%v, %v", undrained, err)
	}
	removed, err := client.Remove(ctx, &quoratev1.RemoveNodeRequest{Node: joined.Node})
	if err != nil || removed.Node.State != quoratev1.Node_REMOVING {
		t.Errorf("%v, %v", removed, err)
	}
}

// Goal: what a caller gets wrong is answered with a code and a sentence of what to do.
func TestNodesRefusals(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	client := quoratev1.NewNodesClient(r.conn)
	join := func(change func(*quoratev1.JoinNodeRequest)) error {
		request := joinRequest()
		change(request)
		_, err := client.Join(ctx, request)
		return err
	}
	weigh := func(id uint64, weight uint32) error {
		_, err := client.Weigh(ctx, &quoratev1.WeighNodeRequest{Node: id, Weight: weight})
		return err
	}
	drain := func(id uint64) error {
		_, err := client.Drain(ctx, &quoratev1.DrainNodeRequest{Node: id, Drain: true})
		return err
	}
	remove := func(id uint64) error {
		_, err := client.Remove(ctx, &quoratev1.RemoveNodeRequest{Node: id})
		return err
	}
	r.node.cluster.start(t, 2)
	r.node.cluster.silent = map[uint64]bool{2: true}
	for _, c := range []misuse{
		{"join without name", join(func(r *quoratev1.JoinNodeRequest) { r.Name = "" }), codes.InvalidArgument, "give each node its own"},
		{"join with a long name", join(func(r *quoratev1.JoinNodeRequest) { r.Name = strings.Repeat("x", 257) }), codes.InvalidArgument, "use up to 256"},
		{"join without disk", join(func(r *quoratev1.JoinNodeRequest) { r.Disk = 0 }), codes.InvalidArgument, "send a random one"},
		{"join without address", join(func(r *quoratev1.JoinNodeRequest) { r.PeerUrls = nil }), codes.InvalidArgument, "write http://HOST:PORT"},
		{"join with a bad address", join(func(r *quoratev1.JoinNodeRequest) { r.PeerUrls = []string{strings.Repeat("x", 9999)} }), codes.InvalidArgument, "write http://HOST:PORT"},
		{"join with a bad zone", join(func(r *quoratev1.JoinNodeRequest) { r.Zone = "a b" }), codes.InvalidArgument, "as in eu-1"},
		{"join with a huge weight", join(func(r *quoratev1.JoinNodeRequest) { r.Weight = 1<<32 - 1 }), codes.InvalidArgument, "use 1 to 1024"},
		{"join another cluster", join(func(r *quoratev1.JoinNodeRequest) { r.ClusterToken = "other" }), codes.FailedPrecondition, "--initial-cluster-token"},
		{"join with an address in use", join(func(r *quoratev1.JoinNodeRequest) { r.PeerUrls = []string{"http://p:2380"} }), codes.AlreadyExists, "stop it, or choose another address"},
		{"join with a name in use", join(func(r *quoratev1.JoinNodeRequest) { r.Name = "one" }), codes.AlreadyExists, "give each node its own --name"},
		{"weigh nobody", weigh(99, 1), codes.NotFound, "quorate node list"},
		{"weigh 0", weigh(2, 0), codes.InvalidArgument, "use 1 to 1024"},
		{"drain nobody", drain(99), codes.NotFound, "quorate node list"},
		{"remove nobody", remove(99), codes.NotFound, "quorate node list"},
		{"remove who decides alone", remove(fakeMember), codes.FailedPrecondition, "start the others again"},
		{"drain one of two", drain(2), codes.OK, ""},
		{"drain the other", drain(fakeMember), codes.ResourceExhausted, "add others"},
	} {
		c.check(t)
	}
}

// misuse is a call's error, and what it should be.
type misuse struct {
	what string
	err  error
	code codes.Code
	text string
}

func (c *misuse) check(t *testing.T) {
	t.Helper()
	if s := status.Convert(c.err); s.Code() != c.code || !strings.Contains(s.Message(), c.text) {
		t.Errorf("%s: %v, want %v: ...%s...", c.what, c.err, c.code, c.text)
	}
}

// Goal: what is on the move is shown with what each replica does, and plans as the ring has them.
func TestPlacement(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	r.node.cluster.start(t, 2)
	client := quoratev1.NewPlacementClient(r.conn)
	shown, err := client.Show(ctx, &quoratev1.ShowPlacementRequest{})
	if err != nil || shown.Paused || len(shown.Nodes) != 2 || len(shown.Moving) != 0 || len(shown.Lost) != 0 || shown.Keyspaces != 2 {
		t.Fatalf("%v, %v", shown, err)
	}
	explained, err := client.Explain(ctx, &quoratev1.ExplainPlacementRequest{Keyspace: "default"})
	if err != nil || len(explained.Replicas) != 2 {
		t.Errorf("%v, %v", explained, err)
	}
	if _, err := quoratev1.NewNodesClient(r.conn).Join(ctx, joinRequest()); err != nil {
		t.Fatal(err)
	}
	plan, err := client.Plan(ctx, &quoratev1.PlanPlacementRequest{})
	if err != nil || len(plan.Proposals) != 2 || plan.Proposals[1].Keyspace != "default" || len(plan.Proposals[1].Moves) == 0 {
		t.Fatalf("%v, %v", plan, err)
	}
	if move := plan.Proposals[1].Moves[0]; !strings.HasPrefix(move, "shard 2: add 64: ") {
		t.Errorf("%q", move)
	}
	applied, err := client.Apply(ctx, &quoratev1.ApplyPlacementRequest{LoadPercent: 125})
	if err != nil {
		t.Fatal(err)
	}
	same(t, applied, &quoratev1.ApplyPlacementResponse{Proposals: plan.Proposals})
	r.node.cluster.silent = map[uint64]bool{2: true}
	if shown, err = client.Show(ctx, &quoratev1.ShowPlacementRequest{}); err != nil || len(shown.Moving) != 2 || len(shown.Lost) != 2 {
		t.Fatalf("%v, %v", shown, err)
	}
	var roles []string
	for _, replica := range shown.Moving[0].Shards[0].Replicas {
		roles = append(roles, replica.NodeName+" "+replica.Role.String())
	}
	if got := strings.Join(roles, ", "); got != "one VOTER, two VOTER, three JOINING" {
		t.Errorf("replicas of %s: %s", shown.Moving[0].Name, got)
	}
	for _, paused := range []bool{true, false} {
		answer, err := client.Pause(ctx, &quoratev1.PausePlacementRequest{Paused: paused})
		if err != nil || answer.Paused != paused {
			t.Errorf("%v, %v", answer, err)
		}
		if shown, err = client.Show(ctx, &quoratev1.ShowPlacementRequest{}); err != nil || shown.Paused != paused {
			t.Errorf("%v, %v", shown, err)
		}
	}
}

// Goal: every replica of a shard is listed with its role; who leaves may lead.
func TestReplicaRoles(t *testing.T) {
	at := func(id uint64) placement.Node { return placement.Node{ID: id, Incarnation: 1} }
	got := replicaMessages(&placement.Shard{
		Nodes: []placement.Node{at(1), at(2)}, Joining: []placement.Arrival{{Node: at(3), For: at(2)}},
		Leaving: []placement.Node{at(4)}, Learners: []placement.Node{at(5)},
	}, 4, map[uint64]string{1: "one"})
	want := []*quoratev1.Replica{
		{Node: 1, NodeName: "one", Role: quoratev1.Replica_VOTER}, {Node: 2, Role: quoratev1.Replica_VOTER},
		{Node: 3, Role: quoratev1.Replica_JOINING}, {Node: 4, Role: quoratev1.Replica_LEAVING, Leads: true}, {Node: 5, Role: quoratev1.Replica_LEARNER},
	}
	same(t, &quoratev1.Shard{Replicas: got}, &quoratev1.Shard{Replicas: want})
}

func TestPlacementRefusals(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	client := quoratev1.NewPlacementClient(r.conn)
	explain := func(name string) error {
		_, err := client.Explain(ctx, &quoratev1.ExplainPlacementRequest{Keyspace: name})
		return err
	}
	_, plan := client.Plan(ctx, &quoratev1.PlanPlacementRequest{LoadPercent: 99})
	_, apply := client.Apply(ctx, &quoratev1.ApplyPlacementRequest{LoadPercent: 1<<32 - 1})
	for _, c := range []misuse{
		{"explain no name", explain(""), codes.InvalidArgument, "use 1 to 63"},
		{"explain none", explain("none"), codes.NotFound, "quorate keyspace list"},
		{"plan below the share", plan, codes.InvalidArgument, "use 100 or more"},
		{"apply without end", apply, codes.InvalidArgument, "up to 1000000"},
	} {
		c.check(t)
	}
}

// managementRequests is one request of each method about nodes and their placement.
func managementRequests() map[string]proto.Message {
	return map[string]proto.Message{
		quoratev1.Nodes_Join_FullMethodName:        joinRequest(),
		quoratev1.Nodes_List_FullMethodName:        &quoratev1.ListNodesRequest{},
		quoratev1.Nodes_Drain_FullMethodName:       &quoratev1.DrainNodeRequest{Node: 2},
		quoratev1.Nodes_Weigh_FullMethodName:       &quoratev1.WeighNodeRequest{Node: 2, Weight: 1},
		quoratev1.Nodes_Remove_FullMethodName:      &quoratev1.RemoveNodeRequest{Node: 2},
		quoratev1.Placement_Show_FullMethodName:    &quoratev1.ShowPlacementRequest{},
		quoratev1.Placement_Explain_FullMethodName: &quoratev1.ExplainPlacementRequest{Keyspace: "a"},
		quoratev1.Placement_Plan_FullMethodName:    &quoratev1.PlanPlacementRequest{},
		quoratev1.Placement_Apply_FullMethodName:   &quoratev1.ApplyPlacementRequest{},
		quoratev1.Placement_Pause_FullMethodName:   &quoratev1.PausePlacementRequest{},
	}
}

// Goal: whatever the cluster answers, each method passes on with the same code.
func TestManagementErrors(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	for _, c := range []struct {
		err  error
		code codes.Code
	}{
		{fmt.Errorf("%w: out of range", placement.ErrMember), codes.InvalidArgument},
		{fmt.Errorf("%w: there", placement.ErrMemberExists), codes.AlreadyExists},
		{fmt.Errorf("%w: 99", placement.ErrMemberNotFound), codes.NotFound},
		{fmt.Errorf("%w: token", placement.ErrForeignCluster), codes.FailedPrecondition},
		{fmt.Errorf("%w: start the others", placement.ErrUnsafe), codes.FailedPrecondition},
		{fmt.Errorf("%w: add nodes", placement.ErrNoRoom), codes.ResourceExhausted},
		{fmt.Errorf("%w: try again", placement.ErrConflict), codes.Aborted},
		{fmt.Errorf("system keyspace: %w", router.ErrNoLeader), codes.Unavailable},
		{context.DeadlineExceeded, codes.DeadlineExceeded},
		{errors.New("odd"), codes.Unknown},
	} {
		r.node.cluster.mu.Lock()
		r.node.cluster.fail = c.err
		r.node.cluster.mu.Unlock()
		for name, request := range managementRequests() {
			if err := r.conn.Invoke(ctx, name, request, new(quoratev1.Node)); status.Code(err) != c.code {
				t.Errorf("%s when the cluster says %v: %v, want %v", name, c.err, err, c.code)
			}
		}
	}
}

// Goal: bytes that are no message are an error of the call, and one keyspace's port is no way to
// the cluster.
func TestManagementIsGuarded(t *testing.T) {
	r, ctx := newRig(t), testContext(t)
	bound := r.bind("other")
	for name, request := range managementRequests() {
		for _, payload := range [][]byte{{0xff}, {0x00}, {0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f}} {
			if err := r.raw(ctx, name, payload); status.Code(err) != codes.Internal {
				t.Errorf("%s with % x: %v", name, payload, err)
			}
		}
		if err := bound.conn.Invoke(ctx, name, request, new(quoratev1.Node)); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s on a bound port: %v", name, err)
		}
	}
}
