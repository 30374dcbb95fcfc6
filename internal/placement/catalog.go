package placement

import (
	"cmp"
	"encoding/json"
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
	OwnPrefix       = "own/"
	MembersPrefix   = "members/"
	RemovedPrefix   = "removed/"
	NextShardKey    = "shards/next"
	NextMemberKey   = "members-next"
	RoomKey         = "members-room"
	PausedKey       = "placement/paused"
)

// FirstShard is the first id that a catalog gives; those below are the cluster's own.
const FirstShard = 16

// Key is where a keyspace's record is.
func Key(name string) string {
	if own(name) {
		return OwnPrefix + name
	}
	return KeyspacesPrefix + name
}

// own reports whether a keyspace is one that every cluster has.
func own(name string) bool { return name == System || name == Default }

// Catalog is the system keyspace's records as one node knows them. It is not safe for
// concurrent use.
type Catalog struct {
	keyspaces map[string]Keyspace // the cluster's own among them
	shards    map[uint64]string   // → keyspace
	deleted   map[string]bool     // those of the keyspaces that may be brought back
	placed    []ring.Shard        // where all shards are to be, as the ring wants to see it
	founding  map[string]Keyspace // the cluster's own as they were founded
	members   map[uint64]Member
	removed   map[uint64]Removed
	loads     loads
	// NextShard is the id that the next shard gets.
	NextShard uint64
	// CounterRevision is the revision at which that was written; zero: never.
	CounterRevision int64
	// NextMember counts the nodes that have joined, and NextMemberRevision is when that was
	// written.
	NextMember         uint64
	NextMemberRevision int64
	// Room counts the changes that need room for replicas elsewhere, and
	// RoomRevision is when that was written. Each replaces it: two that are made at once would
	// both find room, where there is enough for one.
	Room         uint64
	RoomRevision int64
	// Paused: nothing moves unless somebody says so. PausedRevision is when that was written.
	Paused         bool
	PausedRevision int64
	// moves is the number of shards with replicas on the move, and stirred counts the changes
	// after which a plan may find something to do.
	moves   int
	stirred uint64
}

// NewCatalog is that of a cluster in which nobody has created anything: the cluster's own
// keyspaces are where they were founded.
func NewCatalog(founding ...Keyspace) *Catalog {
	c := &Catalog{
		keyspaces: make(map[string]Keyspace), shards: make(map[uint64]string), deleted: make(map[string]bool), founding: make(map[string]Keyspace),
		members: make(map[uint64]Member), removed: make(map[uint64]Removed), loads: make(loads), NextShard: FirstShard,
	}
	for _, k := range founding {
		c.founding[k.Name] = k
		c.add(k)
	}
	return c
}

// Found says who founded the cluster: who has not said anything of itself yet is a node all the
// same.
func (c *Catalog) Found(members ...Member) {
	for _, m := range members {
		if _, gone := c.removed[m.ID]; gone {
			continue
		}
		m.Disk = cmp.Or(m.Disk, diskUnknown)
		c.members[m.ID] = m
	}
}

// Clone is a catalog of its own. Records' slices are shared: nobody writes them.
func (c *Catalog) Clone() *Catalog {
	d := *c
	d.keyspaces, d.shards, d.members, d.removed = maps.Clone(c.keyspaces), maps.Clone(c.shards), maps.Clone(c.members), maps.Clone(c.removed)
	d.deleted = maps.Clone(c.deleted)
	d.placed, d.loads = slices.Clone(c.placed), maps.Clone(c.loads)
	return &d
}

// Stirred counts the changes after which a plan may find something to do.
func (c *Catalog) Stirred() uint64 { return c.stirred }

// Follow makes this catalog one that has been read anew, in the place of another: it has stirred.
func (c *Catalog) Follow(old *Catalog) { c.stirred += old.stirred + 1 }

// Moves is the number of shards with replicas on the move.
func (c *Catalog) Moves() int { return c.moves }

// Put takes a key and its value over from the system keyspace, as they were written at a
// revision. It returns the keyspace whose record it is, empty for what is none.
func (c *Catalog) Put(key, value []byte, revision int64) (keyspace string, err error) {
	prefix, name := split(string(key))
	switch {
	case prefix == KeyspacesPrefix || prefix == OwnPrefix:
		var k Keyspace
		if k, err = DecodeKeyspace(value); err == nil && (k.Name != name || own(name) != (prefix == OwnPrefix)) {
			err = fmt.Errorf("%w: it names %q", ErrInvalid, shorten(k.Name))
		}
		if err == nil {
			err = c.checkShards(&k)
		}
		if err == nil {
			k.Revision, keyspace = revision, name
			c.balanced(name, &k)
			c.drop(name)
			c.add(k)
			if k.Epoch > 1 {
				c.stirred++
			}
		}
	case prefix == MembersPrefix:
		var m Member
		if m, err = DecodeMember(value); err == nil && MemberKey(m.ID) != string(key) {
			err = fmt.Errorf("%w: it is of node %x", ErrMember, m.ID)
		}
		if err == nil {
			m.Revision = revision
			c.members[m.ID] = m
			c.stirred++
		}
	case prefix == RemovedPrefix:
		var r Removed
		if err = json.Unmarshal(value, &r); err == nil && RemovedKey(r.ID) != string(key) {
			err = fmt.Errorf("%w: it is of node %x", ErrMember, r.ID)
		}
		if err == nil {
			c.removed[r.ID] = r
			delete(c.members, r.ID)
			delete(c.loads, r.ID)
			c.stirred++
		}
	case prefix == LoadsPrefix:
		c.putLoad(name, value)
	case string(key) == NextShardKey:
		if c.NextShard, err = strconv.ParseUint(string(value), 10, 64); err == nil {
			c.CounterRevision = revision
		}
	case string(key) == NextMemberKey:
		if c.NextMember, err = strconv.ParseUint(string(value), 10, 64); err == nil {
			c.NextMemberRevision = revision
		}
	case string(key) == RoomKey:
		if c.Room, err = strconv.ParseUint(string(value), 10, 64); err == nil {
			c.RoomRevision = revision
		}
	case string(key) == PausedKey:
		c.Paused, c.PausedRevision = string(value) == "true", revision
		c.stirred++
	}
	if err != nil {
		return "", fmt.Errorf("system keyspace, key %q: %w", key, err)
	}
	return keyspace, nil
}

// split tells a key's prefix from the rest, for the prefixes that the catalog knows.
func split(key string) (prefix, rest string) {
	for _, p := range []string{KeyspacesPrefix, OwnPrefix, MembersPrefix, RemovedPrefix, LoadsPrefix} {
		if rest, ok := strings.CutPrefix(key, p); ok {
			return p, rest
		}
	}
	return "", key
}

// Delete takes over that a key is gone.
func (c *Catalog) Delete(key []byte) (keyspace string) {
	prefix, name := split(string(key))
	switch prefix {
	case KeyspacesPrefix, OwnPrefix:
		c.drop(name)
		if k, ok := c.founding[name]; ok {
			c.add(k)
		}
		c.stirred++
		return name
	case MembersPrefix:
		if id, err := strconv.ParseUint(name, 16, 64); err == nil {
			delete(c.members, id)
			c.stirred++
		}
	case LoadsPrefix:
		c.dropLoad(name)
	}
	return ""
}

// add takes a record in.
func (c *Catalog) add(k Keyspace) {
	c.keyspaces[k.Name] = k
	if k.State == Deleted {
		c.deleted[k.Name] = true
	}
	for i := range k.Shards {
		s := &k.Shards[i]
		c.shards[s.ID] = k.Name
		c.placed1(s, k.Replicas)
		if s.moving() {
			c.moves++
		}
	}
}

// drop forgets a record.
func (c *Catalog) drop(name string) {
	k := c.keyspaces[name]
	for i := range k.Shards {
		delete(c.shards, k.Shards[i].ID)
		if at, ok := c.search(k.Shards[i].ID); ok {
			c.placed = slices.Delete(c.placed, at, at+1)
		}
		if k.Shards[i].moving() {
			c.moves--
		}
	}
	delete(c.keyspaces, name)
	delete(c.deleted, name)
}

// Keyspace returns a keyspace's record. Its slices are the catalog's.
func (c *Catalog) Keyspace(name string) (Keyspace, bool) {
	k, ok := c.keyspaces[name]
	return k, ok
}

// Keyspaces returns all records by name, without the cluster's own. Their slices are the
// catalog's.
func (c *Catalog) Keyspaces() []Keyspace {
	return slices.DeleteFunc(c.All(), func(k Keyspace) bool { return own(k.Name) })
}

// All returns the records of all keyspaces by name, the cluster's own among them.
func (c *Catalog) All() []Keyspace {
	list := make([]Keyspace, 0, len(c.keyspaces))
	for _, name := range slices.Sorted(maps.Keys(c.keyspaces)) {
		list = append(list, c.keyspaces[name])
	}
	return list
}

// Expired returns the records of deleted keyspaces whose grace is over at a time, by name.
func (c *Catalog) Expired(now int64) (list []Keyspace) {
	for _, name := range slices.Sorted(maps.Keys(c.deleted)) {
		if k := c.keyspaces[name]; k.Expires() <= now {
			list = append(list, k)
		}
	}
	return list
}

// Members returns the nodes' records by id.
func (c *Catalog) Members() []Member {
	list := make([]Member, 0, len(c.members))
	for _, id := range slices.Sorted(maps.Keys(c.members)) {
		list = append(list, c.members[id])
	}
	return list
}

// Member returns a node's record.
func (c *Catalog) Member(id uint64) (Member, bool) {
	m, ok := c.members[id]
	return m, ok
}

// Removed returns what is left of a node that is gone for good.
func (c *Catalog) Removed(id uint64) (Removed, bool) {
	r, ok := c.removed[id]
	return r, ok
}

// Has reports whether a shard is some keyspace's.
func (c *Catalog) Has(shard uint64) bool {
	_, ok := c.shards[shard]
	return ok
}

// Len is how many keyspaces there are, deleted ones included and the cluster's own not.
func (c *Catalog) Len() int { return len(c.keyspaces) - len(c.founding) }

// placement is where all shards are, to make plans with.
func (c *Catalog) placement() *ring.Placement {
	return &ring.Placement{Shards: slices.Clone(c.placed)}
}

// placed1 notes where a shard is to be.
func (c *Catalog) placed1(s *Shard, want int) {
	shard := ring.Shard{ID: ring.ShardID(s.ID), Want: want, Replicas: s.goal()}
	if want == 0 {
		shard.Want = max(1, len(shard.Replicas))
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
