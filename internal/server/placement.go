package server

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/api/quorate/v1"
	"github.com/quorate/quorate/internal/placement"
)

// placementServer is our own Placement service.
type placementServer struct {
	node      Node
	keyspaces *keyspacesServer // knows how a keyspace is described
	quoratev1.UnsafePlacementServer
}

// Limits of load_percent, beside 0: below a fair share not everything has a place.
const (
	loadPercentMin = 100
	loadPercentMax = 1_000_000
)

// Show implements quoratev1.PlacementServer.
func (s *placementServer) Show(ctx context.Context, _ *quoratev1.ShowPlacementRequest) (*quoratev1.ShowPlacementResponse, error) {
	o, err := s.node.Cluster().Placement(ctx)
	if err != nil {
		return nil, catalogStatus(err)
	}
	resp := &quoratev1.ShowPlacementResponse{Paused: o.Paused, Keyspaces: uint32(o.Keyspaces), Nodes: make([]*quoratev1.Node, len(o.Nodes))}
	names := make(map[uint64]string, len(o.Nodes))
	for i := range o.Nodes {
		resp.Nodes[i] = nodeMessage(&o.Nodes[i])
		names[o.Nodes[i].ID] = o.Nodes[i].Name
	}
	describe := func(records []placement.Keyspace) []*quoratev1.Keyspace {
		list := make([]*quoratev1.Keyspace, len(records))
		for i := range records {
			list[i] = s.keyspaces.message(&records[i], names)
		}
		return list
	}
	resp.Moving, resp.Lost = describe(o.Moving), describe(o.Lost)
	return resp, nil
}

// Explain implements quoratev1.PlacementServer.
func (s *placementServer) Explain(ctx context.Context, r *quoratev1.ExplainPlacementRequest) (*quoratev1.ExplainPlacementResponse, error) {
	if err := checkName(r.Keyspace); err != nil {
		return nil, err
	}
	texts, err := s.node.Cluster().Explain(ctx, r.Keyspace)
	if err != nil {
		return nil, catalogStatus(err)
	}
	return &quoratev1.ExplainPlacementResponse{Replicas: texts}, nil
}

// Plan implements quoratev1.PlacementServer.
func (s *placementServer) Plan(ctx context.Context, r *quoratev1.PlanPlacementRequest) (*quoratev1.PlanPlacementResponse, error) {
	list, err := proposals(ctx, r.LoadPercent, s.node.Cluster().PlanPlacement)
	return &quoratev1.PlanPlacementResponse{Proposals: list}, err
}

// Apply implements quoratev1.PlacementServer.
func (s *placementServer) Apply(ctx context.Context, r *quoratev1.ApplyPlacementRequest) (*quoratev1.ApplyPlacementResponse, error) {
	list, err := proposals(ctx, r.LoadPercent, s.node.Cluster().ApplyPlacement)
	return &quoratev1.ApplyPlacementResponse{Proposals: list}, err
}

// Pause implements quoratev1.PlacementServer.
func (s *placementServer) Pause(ctx context.Context, r *quoratev1.PausePlacementRequest) (*quoratev1.PausePlacementResponse, error) {
	if err := s.node.Cluster().PausePlacement(ctx, r.Paused); err != nil {
		return nil, catalogStatus(err)
	}
	return &quoratev1.PausePlacementResponse{Paused: r.Paused}, nil
}

// proposals makes or applies a plan, and describes it.
func proposals(ctx context.Context, loadPercent uint32, plan func(context.Context, int) ([]placement.Proposal, error)) ([]*quoratev1.Proposal, error) {
	if loadPercent != 0 && (loadPercent < loadPercentMin || loadPercent > loadPercentMax) {
		return nil, status.Errorf(codes.InvalidArgument, "a load of %d %%: use %d or more, up to %d, or 0 for what the cluster uses by itself",
			loadPercent, loadPercentMin, loadPercentMax)
	}
	made, err := plan(ctx, int(loadPercent))
	if err != nil {
		return nil, catalogStatus(err)
	}
	list := make([]*quoratev1.Proposal, len(made))
	for i := range made {
		p := &made[i]
		list[i] = &quoratev1.Proposal{Keyspace: p.Keyspace, Note: p.Note, Moves: make([]string, len(p.Moves))}
		for j, m := range p.Moves {
			list[i].Moves[j] = m.String()
		}
	}
	return list, nil
}
