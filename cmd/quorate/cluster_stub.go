package main

import (
	"context"
	"errors"

	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/server"
)

// Temporary: the node's own methods take its place.

// Cluster implements server.Node.
func (v clientView) Cluster() server.Cluster { return clusterStub{v} }

type clusterStub struct{ clientView }

var errStub = errors.New("managing nodes is not wired yet")

// Nodes implements server.Cluster with what the node knows of its peers.
func (v clusterStub) Nodes(ctx context.Context, linearizable bool) ([]placement.Member, error) {
	members, err := v.Members(ctx, linearizable)
	list := make([]placement.Member, len(members))
	for i, m := range members {
		list[i] = placement.Member{ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, KeyspaceURLs: m.KeyspaceURLs, Incarnation: 1, Disk: 1}
	}
	return list, err
}

func (clusterStub) Join(context.Context, placement.JoinRequest) (placement.Ticket, error) {
	return placement.Ticket{}, errStub
}
func (clusterStub) DrainNode(context.Context, uint64, bool) (placement.Member, error) {
	return placement.Member{}, errStub
}
func (clusterStub) WeighNode(context.Context, uint64, int) (placement.Member, error) {
	return placement.Member{}, errStub
}
func (clusterStub) RemoveNode(context.Context, uint64) (placement.Member, error) {
	return placement.Member{}, errStub
}
func (clusterStub) AddressNode(context.Context, uint64, []string) (placement.Member, error) {
	return placement.Member{}, errStub
}
func (clusterStub) Placement(context.Context) (placement.Overview, error) {
	return placement.Overview{}, errStub
}
func (clusterStub) Explain(context.Context, string) ([]string, error) { return nil, errStub }
func (clusterStub) PlanPlacement(context.Context, int) ([]placement.Proposal, error) {
	return nil, errStub
}
func (clusterStub) ApplyPlacement(context.Context, int) ([]placement.Proposal, error) {
	return nil, errStub
}
func (clusterStub) PausePlacement(context.Context, bool) error { return errStub }
