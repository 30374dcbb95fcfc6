package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"google.golang.org/grpc/codes"
	rpcstatus "google.golang.org/grpc/status"

	"github.com/quorate/quorate/api/quorate/v1"
)

// fakeNodes is the same cluster as a fakeKeyspaces, whose lock and failures it shares.
type fakeNodes struct {
	quoratev1.UnimplementedNodesServer
	cluster *fakeKeyspaces
	list    []*quoratev1.Node
	join    func(*quoratev1.JoinNodeRequest) (*quoratev1.JoinNodeResponse, error)
}

func newFakeNodes(f *fakeKeyspaces) *fakeNodes {
	n := &fakeNodes{cluster: f, list: []*quoratev1.Node{
		{Id: 2, Name: "n2", PeerUrls: []string{"http://b:2380"}, ClientUrls: []string{"http://b:2379"}, Zone: "z2", Weight: 1, State: quoratev1.Node_ACTIVE, Started: true,
			Incarnation: 1, Replicas: 12, Cap: 15, Leaders: 4, LeadersCap: 5, Share: 12},
		{Id: 0xab, PeerUrls: []string{"http://c:2380"}, Weight: 1, State: quoratev1.Node_ACTIVE, Incarnation: 1},
		{Id: 0x8e9e05c52164, Name: "n1", PeerUrls: []string{"http://a:2380"}, ClientUrls: []string{"http://a:2379"}, Weight: 2, State: quoratev1.Node_ACTIVE, Started: true,
			Incarnation: 2, Silent: true, Dead: true, Replicas: 1, Cap: 30, Leaders: 1, LeadersCap: 10, Share: 24},
		{Id: 5, Name: "twin", State: quoratev1.Node_REMOVING, Weight: 1, Started: true, Silent: true},
		{Id: 6, Name: "twin", State: quoratev1.Node_DRAINING, Weight: 1, Started: true},
	}}
	return n
}

func (f *fakeNodes) Join(_ context.Context, r *quoratev1.JoinNodeRequest) (*quoratev1.JoinNodeResponse, error) {
	return f.join(r)
}

func (f *fakeNodes) List(ctx context.Context, r *quoratev1.ListNodesRequest) (*quoratev1.ListNodesResponse, error) {
	f.cluster.mu.Lock()
	defer f.cluster.mu.Unlock()
	if err := f.cluster.disturbed(ctx); err != nil && !r.Serializable {
		return nil, err
	}
	return &quoratev1.ListNodesResponse{Nodes: f.list}, nil
}

// change does something to the node of an id.
func (f *fakeNodes) change(id uint64, do func(*quoratev1.Node)) (*quoratev1.Node, error) {
	f.cluster.mu.Lock()
	defer f.cluster.mu.Unlock()
	for _, n := range f.list {
		if n.Id == id {
			do(n)
			return n, nil
		}
	}
	return nil, rpcstatus.Errorf(codes.NotFound, "node not found: %x", id)
}

func (f *fakeNodes) Drain(_ context.Context, r *quoratev1.DrainNodeRequest) (*quoratev1.DrainNodeResponse, error) {
	n, err := f.change(r.Node, func(n *quoratev1.Node) {
		if n.State = quoratev1.Node_ACTIVE; r.Drain {
			n.State = quoratev1.Node_DRAINING
		}
	})
	return &quoratev1.DrainNodeResponse{Node: n}, err
}

func (f *fakeNodes) Weigh(_ context.Context, r *quoratev1.WeighNodeRequest) (*quoratev1.WeighNodeResponse, error) {
	n, err := f.change(r.Node, func(n *quoratev1.Node) { n.Weight = r.Weight })
	return &quoratev1.WeighNodeResponse{Node: n}, err
}

func (f *fakeNodes) Remove(_ context.Context, r *quoratev1.RemoveNodeRequest) (*quoratev1.RemoveNodeResponse, error) {
	if r.Node == 2 {
		return nil, rpcstatus.Error(codes.FailedPrecondition, "a quorum would be lost: start the others again, or add nodes, first")
	}
	n, err := f.change(r.Node, func(n *quoratev1.Node) { n.State = quoratev1.Node_REMOVING })
	return &quoratev1.RemoveNodeResponse{Node: n}, err
}

// fakePlacement is where the replicas of a fakeKeyspaces are. A plan moves the first keyspace.
type fakePlacement struct {
	quoratev1.UnimplementedPlacementServer
	nodes   *fakeNodes
	paused  bool
	applied bool
}

func (f *fakePlacement) Show(ctx context.Context, _ *quoratev1.ShowPlacementRequest) (*quoratev1.ShowPlacementResponse, error) {
	f.nodes.cluster.mu.Lock()
	defer f.nodes.cluster.mu.Unlock()
	if err := f.nodes.cluster.disturbed(ctx); err != nil {
		return nil, err
	}
	r := &quoratev1.ShowPlacementResponse{Paused: f.paused, Nodes: f.nodes.list[:2], Keyspaces: 3}
	if f.applied {
		r.Moving = []*quoratev1.Keyspace{{Name: "team-a", Shards: []*quoratev1.Shard{{Id: 16, Replicas: []*quoratev1.Replica{
			{Node: 2, NodeName: "n2", Role: quoratev1.Replica_VOTER}, {Node: 0xab, Role: quoratev1.Replica_JOINING},
			{Node: 7, NodeName: "n1", Role: quoratev1.Replica_LEAVING, Leads: true}, {Node: 8, NodeName: "n8", Role: quoratev1.Replica_LEARNER}}}}}}
		r.Lost = []*quoratev1.Keyspace{{Name: "b", Shards: []*quoratev1.Shard{{Id: 17, Replicas: []*quoratev1.Replica{{Node: 7, NodeName: "n1"}}}}}}
	}
	return r, nil
}

func (f *fakePlacement) Explain(_ context.Context, r *quoratev1.ExplainPlacementRequest) (*quoratev1.ExplainPlacementResponse, error) {
	if r.Keyspace != "team-a" {
		return nil, rpcstatus.Errorf(codes.NotFound, "keyspace not found: %q: 'quorate keyspace list' names those that there are", r.Keyspace)
	}
	return &quoratev1.ExplainPlacementResponse{Replicas: []string{"2 is the first candidate", "ab is the second"}}, nil
}

func (f *fakePlacement) proposals(loadPercent uint32) ([]*quoratev1.Proposal, error) {
	switch {
	case loadPercent == 1:
		return nil, rpcstatus.Error(codes.InvalidArgument, "a load of 1 %: use 100 or more")
	case f.applied:
		return nil, nil
	}
	return []*quoratev1.Proposal{
		{Keyspace: "team-a", Moves: []string{"shard 16: add ab for 7: the node is gone", "shard 16: remove 7"}},
		{Keyspace: "b", Note: "gives up on replicas whose nodes are gone"},
	}, nil
}

func (f *fakePlacement) Plan(_ context.Context, r *quoratev1.PlanPlacementRequest) (*quoratev1.PlanPlacementResponse, error) {
	f.nodes.cluster.mu.Lock()
	defer f.nodes.cluster.mu.Unlock()
	list, err := f.proposals(r.LoadPercent)
	return &quoratev1.PlanPlacementResponse{Proposals: list}, err
}

func (f *fakePlacement) Apply(_ context.Context, r *quoratev1.ApplyPlacementRequest) (*quoratev1.ApplyPlacementResponse, error) {
	f.nodes.cluster.mu.Lock()
	defer f.nodes.cluster.mu.Unlock()
	list, err := f.proposals(r.LoadPercent)
	f.applied = true
	return &quoratev1.ApplyPlacementResponse{Proposals: list}, err
}

func (f *fakePlacement) Pause(_ context.Context, r *quoratev1.PausePlacementRequest) (*quoratev1.PausePlacementResponse, error) {
	f.nodes.cluster.mu.Lock()
	defer f.nodes.cluster.mu.Unlock()
	f.paused = r.Paused
	return &quoratev1.PausePlacementResponse{Paused: r.Paused}, nil
}

// Goal: input that is not a terminal is not asked, and nothing is removed.
func TestNodeRemoveNeedsTerminal(t *testing.T) {
	f := &fakeKeyspaces{}
	p, stdout, stderr := newTestProcess("node", "remove", "ab", "--endpoints", startKeyspaces(t, f))
	p.stdin = iotest.ErrReader(errors.New("read"))
	if code := p.run(t.Context()); code != exitUsage || stdout.Len() > 0 {
		t.Errorf("exit code %d: %s", code, stdout)
	}
	checkSentence(t, "remove", strings.TrimSpace(stderr.String()), "add --yes")
}

// Goal: whoever looks a node up has changed nothing when nobody answers.
func TestNodeLookupLeavesNoDoubt(t *testing.T) {
	f := &fakeKeyspaces{hang: make(chan struct{})}
	t.Cleanup(func() { close(f.hang) })
	p, _, stderr := newTestProcess("node", "drain", "n2", "--endpoints", startKeyspaces(t, f), "--timeout", "50ms")
	if code := p.run(t.Context()); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	checkSentence(t, "drain", strings.TrimSpace(stderr.String()), "within 50ms: a longer --timeout may help")
	if strings.Contains(stderr.String(), "may have been done") {
		t.Errorf("%q: a list does nothing", stderr)
	}
}
