package server

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/api/quorate/v1"
	"github.com/quorate/quorate/internal/placement"
)

// keyspacesServer is our own Keyspaces service: it translates between the API's messages and
// the catalog's records.
type keyspacesServer struct {
	node Node
	quoratev1.UnsafeKeyspacesServer
}

// Create implements quoratev1.KeyspacesServer.
func (s *keyspacesServer) Create(ctx context.Context, r *quoratev1.CreateRequest) (*quoratev1.CreateResponse, error) {
	if err := checkName(r.Name); err != nil {
		return nil, err
	}
	k, err := s.node.Catalog().CreateKeyspace(ctx, placement.Spec{
		Name: r.Name, Engine: r.Engine, Replicas: int(r.Replicas), QuotaBytes: r.QuotaBytes, Limits: limitsOf(r.Limits),
	})
	if err != nil {
		return nil, catalogStatus(err)
	}
	return &quoratev1.CreateResponse{Keyspace: s.described(ctx, &k)}, nil
}

// List implements quoratev1.KeyspacesServer.
func (s *keyspacesServer) List(ctx context.Context, r *quoratev1.ListRequest) (*quoratev1.ListResponse, error) {
	records, err := s.node.Catalog().Keyspaces(ctx, !r.Serializable)
	if err != nil {
		return nil, catalogStatus(err)
	}
	resp := &quoratev1.ListResponse{Keyspaces: make([]*quoratev1.Keyspace, 0, len(records))}
	names := s.nodeNames(ctx)
	for i := range records {
		if records[i].State != placement.Deleted || r.IncludeDeleted {
			resp.Keyspaces = append(resp.Keyspaces, s.message(&records[i], names))
		}
	}
	return resp, nil
}

// Describe implements quoratev1.KeyspacesServer.
func (s *keyspacesServer) Describe(ctx context.Context, r *quoratev1.DescribeRequest) (*quoratev1.DescribeResponse, error) {
	if err := checkName(r.Name); err != nil {
		return nil, err
	}
	records, err := s.node.Catalog().Keyspaces(ctx, !r.Serializable)
	if err != nil {
		return nil, catalogStatus(err)
	}
	i := slices.IndexFunc(records, func(k placement.Keyspace) bool { return k.Name == r.Name })
	switch {
	case i >= 0:
		return &quoratev1.DescribeResponse{Keyspace: s.described(ctx, &records[i])}, nil
	case r.Name == placement.System || r.Name == placement.Default:
		err = fmt.Errorf("%w: %q is the cluster's own, and in no catalog: ask for another", placement.ErrNotFound, r.Name)
	default:
		err = fmt.Errorf("%w: %q: 'quorate keyspace list' names those that there are", placement.ErrNotFound, r.Name)
	}
	return nil, catalogStatus(err)
}

// errNothingToUpdate answers an UpdateRequest without a change: it would cost an epoch.
var errNothingToUpdate = status.Error(codes.InvalidArgument, "the request changes nothing: set quota_bytes, replicas or one of limits")

// Update implements quoratev1.KeyspacesServer.
func (s *keyspacesServer) Update(ctx context.Context, r *quoratev1.UpdateRequest) (*quoratev1.UpdateResponse, error) {
	if err := checkName(r.Name); err != nil {
		return nil, err
	}
	change := placement.Change{QuotaBytes: r.QuotaBytes, Limits: limitsOf(r.Limits)}
	if r.Replicas != nil {
		replicas := int(*r.Replicas)
		change.Replicas = &replicas
	}
	if change == (placement.Change{}) {
		return nil, errNothingToUpdate
	}
	k, err := s.node.Catalog().UpdateKeyspace(ctx, r.Name, change)
	if err != nil {
		return nil, catalogStatus(err)
	}
	return &quoratev1.UpdateResponse{Keyspace: s.described(ctx, &k)}, nil
}

// Delete implements quoratev1.KeyspacesServer.
func (s *keyspacesServer) Delete(ctx context.Context, r *quoratev1.DeleteRequest) (*quoratev1.DeleteResponse, error) {
	if err := checkName(r.Name); err != nil {
		return nil, err
	}
	k, err := s.node.Catalog().DeleteKeyspace(ctx, r.Name)
	if err != nil {
		return nil, catalogStatus(err)
	}
	return &quoratev1.DeleteResponse{Keyspace: s.described(ctx, &k)}, nil
}

// Undelete implements quoratev1.KeyspacesServer.
func (s *keyspacesServer) Undelete(ctx context.Context, r *quoratev1.UndeleteRequest) (*quoratev1.UndeleteResponse, error) {
	if err := checkName(r.Name); err != nil {
		return nil, err
	}
	k, err := s.node.Catalog().UndeleteKeyspace(ctx, r.Name)
	if err != nil {
		return nil, catalogStatus(err)
	}
	return &quoratev1.UndeleteResponse{Keyspace: s.described(ctx, &k)}, nil
}

// checkName refuses a name that cannot be in the catalog before anything is done with it: it
// may be as long as a message.
func checkName(name string) error {
	if err := placement.CheckName(name); err != nil {
		return catalogStatus(err)
	}
	return nil
}

// described is one keyspace's message.
func (s *keyspacesServer) described(ctx context.Context, k *placement.Keyspace) *quoratev1.Keyspace {
	return s.message(k, s.nodeNames(ctx))
}

// nodeNames are the members' names as this node knows them. Names are an ornament: without
// them the answer is still one, so a change that was made is never answered by an error.
func (s *keyspacesServer) nodeNames(ctx context.Context) map[uint64]string {
	members, err := s.node.Members(ctx, false)
	if err != nil {
		return nil
	}
	names := make(map[uint64]string, len(members))
	for _, m := range members {
		names[m.ID] = m.Name
	}
	return names
}

// message translates a record, and adds what this node knows of its replicas.
func (s *keyspacesServer) message(k *placement.Keyspace, names map[uint64]string) *quoratev1.Keyspace {
	m := &quoratev1.Keyspace{
		Name: k.Name, State: stateOf(k.State), Replicas: uint32(k.Replicas), QuotaBytes: k.QuotaBytes, Epoch: k.Epoch,
		Shards:             make([]*quoratev1.Shard, len(k.Shards)),
		CreatedUnixSeconds: k.Created, DeletedUnixSeconds: k.DeletedAt, ExpiresUnixSeconds: k.Expires(),
		Limits: limitsMessage(&k.Limits),
	}
	for i := range k.Shards {
		shard := &k.Shards[i]
		if i == 0 {
			m.Engine = shard.Engine
		}
		leader := s.leader(k.Name, shard.ID)
		m.Shards[i] = &quoratev1.Shard{Id: shard.ID, Engine: shard.Engine, Leader: leader, Replicas: replicaMessages(shard, leader, names)}
	}
	return m
}

// replicaMessages lists all replicas of a shard, each with what it does. Who leaves may lead
// until another one does.
func replicaMessages(shard *placement.Shard, leader uint64, names map[uint64]string) []*quoratev1.Replica {
	var replicas []*quoratev1.Replica
	add := func(n placement.Node, role quoratev1.Replica_Role, leads bool) {
		replicas = append(replicas, &quoratev1.Replica{Node: n.ID, NodeName: names[n.ID], Leads: leads && n.ID == leader, Role: role})
	}
	for _, n := range shard.Nodes {
		add(n, quoratev1.Replica_VOTER, true)
	}
	for _, a := range shard.Joining {
		add(a.Node, quoratev1.Replica_JOINING, false)
	}
	for _, n := range shard.Leaving {
		add(n, quoratev1.Replica_LEAVING, true)
	}
	for _, n := range shard.Learners {
		add(n, quoratev1.Replica_LEARNER, false)
	}
	return replicas
}

// leader is the member that leads a shard; zero if this node carries no replica of it or
// knows none.
func (s *keyspacesServer) leader(keyspace string, shard uint64) uint64 {
	k, ok := s.node.Keyspace(keyspace)
	if !ok {
		return 0
	}
	if status := k.Status(); status.Shard == shard {
		return status.Leader
	}
	return 0
}

func stateOf(s placement.State) quoratev1.Keyspace_State {
	switch s {
	case placement.Active:
		return quoratev1.Keyspace_ACTIVE
	case placement.Deleted:
		return quoratev1.Keyspace_DELETED
	}
	return quoratev1.Keyspace_STATE_UNSPECIFIED
}

// limitsOf translates a request's limits, which may be missing.
func limitsOf(m *quoratev1.Limits) placement.Limits {
	return placement.Limits{
		Keys: m.GetKeys(), Leases: m.GetLeases(), Watchers: m.GetWatchers(),
		RequestsPerSecond: m.GetRequestsPerSecond(), BytesPerSecond: m.GetBytesPerSecond(),
	}
}

// limitsMessage translates a record's limits; nil: there are none.
func limitsMessage(l *placement.Limits) *quoratev1.Limits {
	if *l == (placement.Limits{}) {
		return nil
	}
	return &quoratev1.Limits{
		Keys: l.Keys, Leases: l.Leases, Watchers: l.Watchers,
		RequestsPerSecond: l.RequestsPerSecond, BytesPerSecond: l.BytesPerSecond,
	}
}
