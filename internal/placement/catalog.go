package placement

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/quorate/quorate/ring"
)

// The keys of the system keyspace.
const (
	KeyspacesPrefix = "keyspaces/"
	NextShardKey    = "shards/next"
)

// FirstShard is the first id that a catalog gives; those below are the cluster's own.
const FirstShard = 16

// Key is where a keyspace's record is.
func Key(name string) string { return KeyspacesPrefix + name }

// Catalog is the system keyspace's records as one node knows them. It is not safe for
// concurrent use.
type Catalog struct {
	keyspaces map[string]Keyspace
	shards    map[uint64]string // → keyspace
	placed    []ring.Shard      // where all shards are, as the ring wants to see it
	// NextShard is the id that the next shard gets.
	NextShard uint64
	// CounterRevision is the revision at which that was written; zero: never.
	CounterRevision int64
}

// NewCatalog is that of a cluster in which nobody has created anything.
func NewCatalog() *Catalog {
	return &Catalog{keyspaces: make(map[string]Keyspace), shards: make(map[uint64]string), NextShard: FirstShard}
}

// Put takes a key and its value over from the system keyspace, as they were written at a
// revision. It returns the keyspace whose record it is, empty for what is none.
func (c *Catalog) Put(key, value []byte, revision int64) (keyspace string, err error) {
	switch name, ok := strings.CutPrefix(string(key), KeyspacesPrefix); {
	case ok:
		k, err := DecodeKeyspace(value)
		if err == nil && k.Name != name {
			err = fmt.Errorf("%w: it names %q", ErrInvalid, shorten(k.Name))
		}
		if err != nil {
			return "", fmt.Errorf("system keyspace, key %q: %w", key, err)
		}
		k.Revision = revision
		c.Delete(key)
		c.keyspaces[name] = k
		for _, s := range k.Shards {
			c.shards[s.ID] = name
			c.place1(&s, k.Replicas)
		}
		return name, nil
	case string(key) == NextShardKey:
		next, err := strconv.ParseUint(string(value), 10, 64)
		if err != nil {
			return "", fmt.Errorf("system keyspace, key %q: %w", key, err)
		}
		c.NextShard, c.CounterRevision = next, revision
	}
	return "", nil
}

// Delete takes over that a key is gone.
func (c *Catalog) Delete(key []byte) (keyspace string) {
	name, ok := strings.CutPrefix(string(key), KeyspacesPrefix)
	if !ok {
		return ""
	}
	for _, s := range c.keyspaces[name].Shards {
		delete(c.shards, s.ID)
		if at, ok := c.search(s.ID); ok {
			c.placed = slices.Delete(c.placed, at, at+1)
		}
	}
	delete(c.keyspaces, name)
	return name
}

// Keyspace returns a keyspace's record. Its slices are the catalog's.
func (c *Catalog) Keyspace(name string) (Keyspace, bool) {
	k, ok := c.keyspaces[name]
	return k, ok
}

// Keyspaces returns all records by name. Their slices are the catalog's.
func (c *Catalog) Keyspaces() []Keyspace {
	list := make([]Keyspace, 0, len(c.keyspaces))
	for _, name := range slices.Sorted(maps.Keys(c.keyspaces)) {
		list = append(list, c.keyspaces[name])
	}
	return list
}

// Has reports whether a shard is some keyspace's.
func (c *Catalog) Has(shard uint64) bool {
	_, ok := c.shards[shard]
	return ok
}

// Len is how many keyspaces there are, deleted ones included.
func (c *Catalog) Len() int { return len(c.keyspaces) }

// Cluster is what a new keyspace is placed on.
type Cluster struct {
	Nodes []ring.Node // all that may carry replicas
	// Incarnation is the life of each of their disks.
	Incarnation map[ring.NodeID]uint16
	Engines     []string // that all nodes have; the first is the default
	KeyspaceMax int      // how many keyspaces there may be
	Seed        uint64   // of the ring; the same for as long as the cluster lives
	Now         int64    // seconds since 1970
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
	old, exists := c.keyspaces[spec.Name]
	switch {
	case spec.Name == System || spec.Name == Default:
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
	case len(c.keyspaces) >= cluster.KeyspaceMax:
		return k, fmt.Errorf("%w: the cluster has %d keyspaces, which is its limit: delete some", ErrNoRoom, len(c.keyspaces))
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
		nodes[i] = Node{ID: uint64(n), Incarnation: cluster.Incarnation[n]}
	}
	return nodes, nil
}

// placement is where all shards are, to make plans with.
func (c *Catalog) placement() *ring.Placement {
	return &ring.Placement{Shards: slices.Clone(c.placed)}
}

// place1 notes where a shard is.
func (c *Catalog) place1(s *Shard, want int) {
	shard := ring.Shard{ID: ring.ShardID(s.ID), Want: want, Replicas: make([]ring.NodeID, len(s.Nodes))}
	for i, n := range s.Nodes {
		shard.Replicas[i] = ring.NodeID(n.ID)
	}
	at, ok := c.search(s.ID)
	if ok {
		c.placed[at] = shard
		return
	}
	c.placed = slices.Insert(c.placed, at, shard)
}

func (c *Catalog) search(shard uint64) (int, bool) {
	return slices.BinarySearchFunc(c.placed, ring.ShardID(shard), func(s ring.Shard, id ring.ShardID) int { return cmp.Compare(s.ID, id) })
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

// active is a keyspace that serves.
func (c *Catalog) active(name string) (Keyspace, error) {
	if name == System || name == Default {
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
