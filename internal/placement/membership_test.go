package placement

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// four is a cluster of four nodes that all run; the first three founded it and carry the system
// keyspace. Keyspace "one" is on node 1 alone, "three" on the first three.
func four(t testing.TB) *Catalog {
	t.Helper()
	first := []Node{{ID: 1, Incarnation: 1}, {ID: 2, Incarnation: 1}, {ID: 3, Incarnation: 1}}
	c := NewCatalog(Keyspace{
		Format: 1, Name: System, Epoch: 1, State: Active,
		Shards: []Shard{{ID: systemShard, Engine: "raft", First: first, Nodes: first, Learners: []Node{{ID: 4, Incarnation: 2}}}},
	})
	for id := range uint64(4) {
		m := testMember(id + 1)
		put(t, c, MemberKey(m.ID), m.Encode())
	}
	for i, k := range []Keyspace{{Name: "one", Replicas: 1}, {Name: "three", Replicas: 3}} {
		k.Format, k.Epoch, k.State = 1, 1, Active
		k.Shards = []Shard{{ID: uint64(FirstShard + i), Engine: "raft", First: first[:k.Replicas], Nodes: first[:k.Replicas]}}
		put(t, c, Key(k.Name), k.Encode())
	}
	return c
}

func testMember(id uint64) Member {
	return Member{ID: id, Name: fmt.Sprint("n", id), PeerURLs: []string{fmt.Sprint("http://n", id)}, Incarnation: 1, Disk: 100 + id}
}

func put(t testing.TB, c *Catalog, key string, value []byte) {
	t.Helper()
	if _, err := c.Put([]byte(key), value, 1); err != nil {
		t.Fatal(err)
	}
}

// set writes a node's record after a change of it.
func set(t testing.TB, c *Catalog, id uint64, change func(*Member)) {
	t.Helper()
	m, _ := c.Member(id)
	change(&m)
	put(t, c, MemberKey(id), m.Encode())
}

// joins is what a machine at a node's address says, with a disk.
func joins(id, disk uint64) JoinRequest {
	return JoinRequest{Name: fmt.Sprint("n", id), PeerURLs: []string{fmt.Sprint("http://n", id)}, Disk: disk}
}

func nobody(uint64) bool { return false }

// Goal: what cannot be is refused with a sentence that says what to do, and of the right kind.
func TestMembershipRefuses(t *testing.T) {
	state := func(id uint64, s MemberState) func(*Catalog) {
		return func(c *Catalog) { set(t, c, id, func(m *Member) { m.State = s }) }
	}
	join := func(r JoinRequest) func(*Catalog) error {
		return func(c *Catalog) error {
			_, err := c.Join(r, func(n uint64) uint64 { return 50 + n }, func(id uint64) bool { return id == 1 })
			return err
		}
	}
	remove := func(id uint64, silent ...uint64) func(*Catalog) error {
		return func(c *Catalog) error {
			_, err := c.RemoveNode(id, ids(silent...))
			return err
		}
	}
	drain := func(id uint64) func(*Catalog) error {
		return func(c *Catalog) error { _, err := c.Drain(id, true); return err }
	}
	weigh := func(id uint64, w int) func(*Catalog) error {
		return func(c *Catalog) error { _, err := c.Weigh(id, w); return err }
	}
	address := func(id uint64, urls ...string) func(*Catalog) error {
		return func(c *Catalog) error { _, err := c.Address(id, urls); return err }
	}
	gone := func(c *Catalog) {
		c.Delete([]byte(MemberKey(4)))
		put(t, c, RemovedKey(4), []byte(`{"id":4,"name":"n4"}`))
	}
	five := joins(5, 105)
	with := func(change func(*JoinRequest)) JoinRequest { r := five; change(&r); return r }
	for _, x := range []struct {
		what   string
		before func(*Catalog)
		do     func(*Catalog) error
		want   error
		says   string
	}{
		{"join without an address", nil, join(JoinRequest{Name: "x"}), ErrMember, "peer URL"},
		{"join with a weight", nil, join(with(func(r *JoinRequest) { r.Weight = 1025 })), ErrMember, "1 to 1024"},
		{"join with a negative weight", nil, join(with(func(r *JoinRequest) { r.Weight = -1 })), ErrMember, "1 to 1024"},
		{"join with a long name", nil, join(with(func(r *JoinRequest) { r.Name = strings.Repeat("x", 257) })), ErrMember, "up to 256"},
		{"join with a bad zone", nil, join(with(func(r *JoinRequest) { r.Zone = "a b" })), ErrMember, "without spaces"},
		{"join with an empty domain", nil, join(with(func(r *JoinRequest) { r.Zone = "a//b" })), ErrMember, "as in eu-1"},
		{"join with a deep zone", nil, join(with(func(r *JoinRequest) { r.Zone = "a/b/c/d/e/f/g/h" })), ErrMember, "printable"},
		{"add a node that is there", nil, join(joins(2, 0)), ErrMemberExists, "give each node its own"},
		{"join with one address of two", nil, join(with(func(r *JoinRequest) { r.PeerURLs = []string{"http://n5", "http://n2"} })), ErrMemberExists, "give each node its own"},
		{"join with a running node's address", nil, join(joins(1, 7)), ErrMemberExists, "stop it"},
		{"join in place of one that is removed", state(2, Removing), join(joins(2, 7)), ErrMemberExists, "wait until it is gone"},
		{"join with a name that is there", nil, join(with(func(r *JoinRequest) { r.Name = "n2" })), ErrMemberExists, "--name"},
		{"join with the disk of another address", nil, join(with(func(r *JoinRequest) { r.Disk = 102 })), ErrMemberExists, "--data-dir"},
		{"join with too many disks", func(c *Catalog) { set(t, c, 2, func(m *Member) { m.Incarnation = IncarnationMax }) }, join(joins(2, 7)), ErrNoRoom, "join anew"},
		{"join a full cluster", func(c *Catalog) {
			for id := range uint64(MembersMax) {
				m := testMember(1000 + id)
				put(t, c, MemberKey(m.ID), m.Encode())
			}
		}, join(five), ErrNoRoom, "its limit"},
		{"join under an id that is there", func(c *Catalog) { c.NextMember = ^uint64(48) }, join(five), ErrConflict, "try again"},
		{"join under an id that was there", func(c *Catalog) { gone(c); c.NextMember = ^uint64(45) }, join(five), ErrConflict, "try again"},
		{"join a system keyspace that had too many", func(c *Catalog) {
			k := c.keyspaces[System]
			s := k.Shards[0].clone()
			s.Last = IncarnationMax
			k = k.with(s)
			put(t, c, Key(System), k.Encode())
		}, join(five), ErrNoRoom, "can have no other"},

		{"drain whom nobody knows", nil, drain(9), ErrMemberNotFound, "quorate node list"},
		{"drain who was removed", gone, drain(4), ErrMemberNotFound, "was removed"},
		{"drain who is being removed", state(2, Removing), drain(2), ErrMember, "is being removed"},
		{"drain one of three carriers", state(4, Draining), drain(3), ErrNoRoom, `"three" wants 3 replicas and 2`},
		{"drain the only carrier", func(c *Catalog) { state(1, Draining)(c); state(2, Draining)(c); state(4, Draining)(c) }, drain(3), ErrNoRoom, "only one that may carry"},
		{"drain to a node that never came", func(c *Catalog) { set(t, c, 4, func(m *Member) { m.Disk = 0 }) }, drain(3), ErrNoRoom, `"three"`},

		{"weigh nothing", nil, weigh(1, 0), ErrMember, "drain the node"},
		{"weigh too much", nil, weigh(1, 1025), ErrMember, "1 to 1024"},
		{"weigh whom nobody knows", nil, weigh(9, 1), ErrMemberNotFound, "9"},

		{"address of another one", nil, address(1, "http://n2"), ErrMemberExists, "give each node its own"},
		{"no address", nil, address(1), ErrMember, "peer URL"},
		{"address of whom nobody knows", nil, address(9, "http://x"), ErrMemberNotFound, "9"},

		{"remove whom nobody knows", nil, remove(9), ErrMemberNotFound, "9"},
		{"remove twice", state(4, Removing), remove(4), ErrMember, "is being removed"},
		{"remove who was removed", gone, remove(4), ErrMemberNotFound, "was removed"},
		{"remove one of three", gone, remove(3), ErrNoRoom, "lower its replicas"},
		{"remove with a lost quorum", nil, remove(4-1, 1, 2), ErrUnsafe, "start the others again"},
		{"remove without a spare one that answers", nil, remove(1, 2, 4), ErrUnsafe, "start the others again"},
		{"remove the last", func(c *Catalog) {
			for id := uint64(2); id <= 4; id++ {
				c.Delete([]byte(MemberKey(id)))
			}
		}, remove(1), ErrUnsafe, "the only one"},
	} {
		c := four(t)
		if x.before != nil {
			x.before(c)
		}
		if err := x.do(c); !errors.Is(err, x.want) || !strings.Contains(err.Error(), x.says) || len(err.Error()) > 600 {
			t.Errorf("%s: %v; want %v that says %q", x.what, err, x.want, x.says)
		}
	}
}

func ids(list ...uint64) map[uint64]bool {
	m := map[uint64]bool{}
	for _, id := range list {
		m[id] = true
	}
	return m
}

// Goal: a machine that joins is a new node, the one that was announced, the same as before or that
// node with another disk, and has a replica of the system keyspace in each of its lives.
func TestJoin(t *testing.T) {
	for _, x := range []struct {
		what    string
		request JoinRequest
		before  func(*Member) // of node 3
		id      uint64
		life    uint16
		system  bool // gets a replica of the system keyspace
	}{
		{"new", joins(5, 7), nil, 50, 1, true},
		{"added, not there yet", joins(5, 0), nil, 50, 1, true},
		{"retried", joins(3, 103), nil, 3, 1, false},
		{"wiped", joins(3, 7), nil, 3, 2, true},
		{"first start", joins(3, 7), func(m *Member) { m.Disk = 0 }, 3, 1, false},
		{"a founder that has said nothing", joins(3, 7), func(m *Member) { m.Disk = diskUnknown }, 3, 2, true},
		{"wiped while it is drained", joins(3, 7), func(m *Member) { m.State = Draining }, 3, 2, true},
	} {
		c := four(t)
		if x.before != nil {
			set(t, c, 3, x.before)
		}
		old, _ := c.Member(3)
		change, err := c.Join(x.request, func(n uint64) uint64 { return 50 + n }, nobody)
		if err != nil {
			t.Fatalf("%s: %v", x.what, err)
		}
		m := change.Member
		if m.ID != x.id || m.Incarnation != x.life || change.Joins != (x.id == 50) || (change.System != nil) != x.system || m.Disk != x.request.Disk {
			t.Errorf("%s: %+v", x.what, change)
		}
		if m.ID == 3 && m.State != old.State {
			t.Errorf("%s: the state is %q, it was %q", x.what, m.State, old.State)
		}
		if !x.system {
			continue
		}
		n, serves, ok := change.System.Shards[0].On(m.ID, m.Incarnation)
		if !ok || !serves || n.Incarnation != 3 || change.System.Epoch != 2 {
			t.Errorf("%s: its replica of the system keyspace is %v of %s", x.what, n, change.System.Encode())
		}
	}
}

// Goal: whoever founded the cluster and has not said anything of itself has a disk: after somebody else
// has written its record, too, another disk at its address is another life.
func TestFounderHasADisk(t *testing.T) {
	c := four(t)
	c.Delete([]byte(MemberKey(2)))
	c.Found(Member{ID: 2, Name: "n2", PeerURLs: []string{"http://n2"}, Incarnation: 1})
	change, err := c.Weigh(2, 3)
	if err != nil {
		t.Fatal(err)
	}
	put(t, c, MemberKey(2), change.Member.Encode())
	if change, err = c.Join(joins(2, 7), nil, nobody); err != nil || change.Member.Incarnation != 2 {
		t.Errorf("%+v %v", change, err)
	}
	m, _ := c.Member(2)
	m.Disk = 102
	if change, news := c.Announce(m); !news || change.Member.Disk != 102 || change.Member.Weight != 3 {
		t.Errorf("%+v", change)
	}
	put(t, c, RemovedKey(2), []byte(`{"id":2}`))
	if c.Found(m); c.members[2].ID != 0 {
		t.Error("who was removed is back as a founder")
	}
}

// Goal: a node says what it is called and where clients find it; where it stands and what it carries
// is decided by others; nobody who was removed or replaced gets his place back.
func TestAnnounce(t *testing.T) {
	c := four(t)
	set(t, c, 2, func(m *Member) { m.Zone, m.Weight, m.State, m.PeerURLs = "z", 5, Draining, []string{"http://else"} })
	self := testMember(2)
	self.Zone, self.Weight, self.ClientURLs = "mine", 1, []string{"http://c2"}
	change, news := c.Announce(self)
	m := change.Member
	if !news || m.Zone != "z" || m.Weight != 5 || m.State != Draining || m.PeerURLs[0] != "http://else" || m.ClientURLs[0] != "http://c2" || m.Revision != 1 {
		t.Errorf("%v %+v", news, m)
	}
	put(t, c, MemberKey(2), m.Encode())
	if _, news := c.Announce(self); news {
		t.Error("the same is news again")
	}
	if _, news := c.Announce(testMember(7)); !news {
		t.Error("a founder's first word is no news")
	}
	set(t, c, 2, func(m *Member) { m.Incarnation, m.Disk = 2, 7 })
	if change, news := c.Announce(self); news {
		t.Errorf("an earlier life is back: %+v", change)
	}
	if change, news := c.Announce(func() Member { m := testMember(3); m.Disk = 7; return m }()); news {
		t.Errorf("another disk is the same life: %+v", change)
	}
	put(t, c, RemovedKey(4), []byte(`{"id":4}`))
	if change, news := c.Announce(testMember(4)); news {
		t.Errorf("who was removed is back: %+v", change)
	}
}

// Goal: what may be done is done: records say so and nothing else changes.
func TestMembershipAllows(t *testing.T) {
	c := four(t)
	if change, err := c.Drain(3, true); err != nil || change.Member.State != Draining {
		t.Error(change, err)
	}
	set(t, c, 3, func(m *Member) { m.State = Draining })
	if change, err := c.Drain(3, true); err != nil || change.Member.State != Draining {
		t.Error("again:", change, err)
	}
	if change, err := c.Drain(3, false); err != nil || change.Member.State != "" {
		t.Error(change, err)
	}
	if change, err := c.Weigh(1, WeightMax); err != nil || change.Member.Weight != WeightMax {
		t.Error(change, err)
	}
	if change, err := c.Address(1, []string{"http://n1", "http://x"}); err != nil || len(change.Member.PeerURLs) != 2 {
		t.Error(change, err)
	}
	for _, silent := range []map[uint64]bool{nil, ids(4), ids(2)} { // 4 is spare, or was
		if change, err := four(t).RemoveNode(2, silent); err != nil || change.Member.State != Removing {
			t.Error(silent, change, err)
		}
	}
	// A deleted keyspace keeps nobody.
	k, _ := c.Remove("three", 1)
	put(t, c, Key("three"), k.Encode())
	c.Delete([]byte(MemberKey(4)))
	set(t, c, 3, func(m *Member) { m.State = "" })
	if _, err := c.Drain(3, true); err != nil {
		t.Error(err)
	}
	if change, err := c.RemoveNode(3, nil); err != nil || change.Member.State != Removing {
		t.Error(change, err)
	}
}

// Goal: a node's record goes when it carries nothing, together with its copy of the system keyspace, and
// not before; a deleted keyspace that has nowhere to go does not keep it.
func TestEmptied(t *testing.T) {
	c := four(t)
	if list := c.Emptied(); len(list) > 0 {
		t.Error(list)
	}
	for id := uint64(1); id <= 4; id++ {
		set(t, c, id, func(m *Member) { m.State = Removing })
	}
	list := c.Emptied()
	if len(list) != 1 || list[0].Member.ID != 4 || !list[0].Gone || len(list[0].System.Shards[0].Learners) != 0 || list[0].System.Epoch != 2 {
		t.Fatal(list)
	}
	for id := uint64(1); id <= 2; id++ {
		set(t, c, id, func(m *Member) { m.State = "" })
	}
	system := c.keyspaces[System]
	s := system.Shards[0].clone()
	s.Nodes = s.Nodes[:2]
	system = system.with(s)
	put(t, c, Key(System), system.Encode())
	has := func() bool {
		return slices.ContainsFunc(c.Emptied(), func(m MemberChange) bool { return m.Member.ID == 3 })
	}
	if has() {
		t.Error("node 3 carries keyspace three")
	}
	k, _ := c.Remove("three", 1)
	put(t, c, Key("three"), k.Encode())
	if !has() {
		t.Error("a deleted keyspace that has nowhere to go keeps node 3")
	}
	one, _ := c.Keyspace("one")
	s = one.Shards[0].clone()
	s.Leaving = []Node{{ID: 3, Incarnation: 2}}
	one = one.with(s)
	put(t, c, Key("one"), one.Encode())
	if has() {
		t.Error("somebody may wait for the replica that leaves node 3")
	}
}
