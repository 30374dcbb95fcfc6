package placement

import (
	"fmt"
	"slices"
	"strings"

	"github.com/quorate/quorate/ring"
)

// Cluster is what a new keyspace is placed on.
type Cluster struct {
	Nodes       []ring.Node // all that may carry replicas
	Engines     []string    // that all nodes have; the first is the default
	KeyspaceMax int         // how many keyspaces there may be
	Seed        uint64      // of the ring; the same for as long as the cluster lives
	Now         int64       // seconds since 1970
}

// Create makes the record of a new keyspace with one shard, and says where it goes. Of the
// nodes those are taken that the ring proposes for it, given what they carry.
func (c *Catalog) Create(spec Spec, cluster Cluster) (Keyspace, error) {
	k, err := c.check(spec, &cluster)
	if err != nil {
		return Keyspace{}, err
	}
	nodes, err := c.place(k.Replicas, &cluster)
	if err != nil {
		return Keyspace{}, err
	}
	k.Shards = []Shard{{ID: c.NextShard, Engine: spec.engine(&cluster), First: nodes, Nodes: nodes}}
	return k, nil
}

func (s *Spec) engine(cluster *Cluster) string {
	if s.Engine == "" {
		return cluster.Engines[0]
	}
	return s.Engine
}

// check completes a specification, or says what is wrong with it.
func (c *Catalog) check(spec Spec, cluster *Cluster) (Keyspace, error) {
	k := Keyspace{
		Format: recordFormat, Name: spec.Name, Epoch: 1, State: Active,
		Replicas: spec.Replicas, QuotaBytes: spec.QuotaBytes, Created: cluster.Now,
	}
	if k.QuotaBytes == 0 {
		k.QuotaBytes = QuotaBytesDefault
	}
	nodes := cluster.carriers()
	if k.Replicas == 0 {
		k.Replicas = defaultReplicas(nodes)
	}
	if err := CheckName(spec.Name); err != nil {
		return k, err
	}
	if err := checkQuota(k.QuotaBytes); err != nil {
		return k, err
	}
	var err error
	if k.Limits, err = k.Limits.with(&spec.Limits); err != nil {
		return k, err
	}
	old, exists := c.keyspaces[spec.Name]
	switch {
	case own(spec.Name):
		return k, fmt.Errorf("%w: every cluster has %q: choose another name", ErrExists, spec.Name)
	case exists && old.State == Deleted:
		return k, fmt.Errorf("%w: %q was deleted and can still be brought back: undelete it, or choose another name", ErrExists, spec.Name)
	case exists:
		return k, fmt.Errorf("%w: %q: choose another name", ErrExists, spec.Name)
	case !slices.Contains(replicas, k.Replicas):
		return k, fmt.Errorf("%w: %d replicas: use 1, 3, 5 or 7", ErrInvalid, k.Replicas)
	case k.Replicas > nodes || nodes == 0:
		return k, fmt.Errorf("%w: %d replicas are asked for and the cluster has %d nodes that may carry one: ask for fewer, or add nodes", ErrNoRoom, k.Replicas, nodes)
	case !slices.Contains(cluster.Engines, spec.engine(cluster)):
		return k, fmt.Errorf("%w: engine %q: use %s", ErrInvalid, shorten(spec.Engine), strings.Join(cluster.Engines, ", "))
	case c.Len() >= cluster.KeyspaceMax:
		return k, fmt.Errorf("%w: the cluster has %d keyspaces, which is its limit: delete some", ErrNoRoom, c.Len())
	}
	return k, nil
}

// carriers is how many nodes may carry replicas: those with weight 0 are to be emptied.
func (c *Cluster) carriers() (n int) {
	for i := range c.Nodes {
		if c.Nodes[i].Weight > 0 {
			n++
		}
	}
	return n
}

// defaultReplicas is three, or the most that there may be on fewer nodes.
func defaultReplicas(nodes int) int {
	if nodes >= ReplicasDefault {
		return ReplicasDefault
	}
	return 1
}

// place asks the ring for the nodes of one new shard.
func (c *Catalog) place(want int, cluster *Cluster) ([]Node, error) {
	r, err := ring.New(cluster.Nodes, ring.Options{Seed: cluster.Seed})
	if err != nil {
		return nil, err
	}
	p := c.placement()
	id := ring.ShardID(c.NextShard)
	p.Shards = append(p.Shards, ring.Shard{ID: id, Want: want}) // the highest id
	moves, err := r.Plan(p, ring.Policy{})
	if err != nil {
		return nil, err
	}
	shard := &p.Shards[len(p.Shards)-1]
	for _, m := range moves {
		if m.Shard == id {
			if err := p.Apply(m); err != nil {
				return nil, err
			}
		}
	}
	if len(shard.Replicas) != want {
		panic(fmt.Sprintf("placement: the ring gives %d of %d replicas a place", len(shard.Replicas), want))
	}
	nodes := make([]Node, len(shard.Replicas))
	for i, n := range shard.Replicas {
		nodes[i] = nodeAt(n, 1)
	}
	return nodes, nil
}

// Update is a keyspace's next record after a change.
func (c *Catalog) Update(name string, change Change) (Keyspace, error) {
	k, err := c.active(name)
	if err != nil {
		return k, err
	}
	if change.QuotaBytes != nil {
		if err := checkQuota(*change.QuotaBytes); err != nil {
			return k, err
		}
		k.QuotaBytes = *change.QuotaBytes
	}
	if k.Limits, err = k.Limits.with(&change.Limits); err != nil {
		return k, err
	}
	if change.Replicas != nil {
		want, carriers := *change.Replicas, c.carriers()
		switch {
		case !slices.Contains(replicas, want):
			return k, fmt.Errorf("%w: %d replicas: use 1, 3, 5 or 7", ErrInvalid, want)
		case want > carriers:
			return k, fmt.Errorf("%w: %d replicas are asked for and the cluster has %d nodes that may carry one: ask for fewer, or add nodes", ErrNoRoom, want, carriers)
		}
		k.Replicas = want
	}
	k.Epoch++
	return k, nil
}

// Remove is a keyspace's next record when it is deleted (L4).
func (c *Catalog) Remove(name string, now int64) (Keyspace, error) {
	k, err := c.active(name)
	k.State, k.DeletedAt = Deleted, now
	k.Epoch++
	return k, err
}

// Restore is a deleted keyspace's next record when it is brought back.
func (c *Catalog) Restore(name string) (Keyspace, error) {
	k, ok := c.keyspaces[name]
	switch {
	case !ok:
		return k, fmt.Errorf("%w: %q", ErrNotFound, shorten(name))
	case k.State != Deleted:
		return k, fmt.Errorf("%w: %q was not deleted", ErrInvalid, name)
	}
	k.State, k.DeletedAt = Active, 0
	k.Epoch++
	return k, nil
}

// Prefer is a keyspace's next record when another of its nodes should lead.
func (c *Catalog) Prefer(name string, node uint64) (Keyspace, error) {
	k, ok := c.keyspaces[name]
	if !ok {
		return k, fmt.Errorf("%w: %q", ErrNotFound, shorten(name))
	}
	next := k.Shards[0].clone()
	at := slices.IndexFunc(next.Nodes, func(n Node) bool { return n.ID == node })
	if at < 0 {
		return k, fmt.Errorf("%w: node %x has no replica of keyspace %q that votes: choose one that has", ErrMemberNotFound, node, name)
	}
	next.lead(at)
	return k.with(next), nil
}

// active is a keyspace that serves.
func (c *Catalog) active(name string) (Keyspace, error) {
	if own(name) {
		return Keyspace{}, fmt.Errorf("%w: %q is the cluster's own, and stays as it is", ErrInvalid, name)
	}
	k, ok := c.keyspaces[name]
	switch {
	case !ok:
		return k, fmt.Errorf("%w: %q: 'quorate keyspace list' names those that there are", ErrNotFound, shorten(name))
	case k.State == Deleted:
		return k, fmt.Errorf("%w: %q: undelete it first", ErrDeleted, name)
	}
	return k, nil
}
