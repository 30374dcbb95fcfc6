package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/etcdraft"
	"github.com/quorate/quorate/consensus/paxos"
	"github.com/quorate/quorate/consensus/raft"
	"github.com/quorate/quorate/internal/env"
	"github.com/quorate/quorate/internal/shard"
)

var testEngines = []consensus.Engine{raft.Engine, paxos.Engine, etcdraft.Engine}

// Goal: a cluster serves on each engine, and a restart takes the recorded one. Method: found
// it by name, write, start all nodes again without a name, read and write.
func TestEachEngineServes(t *testing.T) {
	for _, e := range testEngines {
		t.Run(e.Name, func(t *testing.T) {
			c := newCluster(t, 3)
			for i := range c.cfgs {
				c.cfgs[i].Engine = e.Name
			}
			c.startAll()
			c.put(0, "a", "1")
			for i := range c.cfgs {
				c.stop(i)
				c.cfgs[i].Engine = ""
			}
			c.startAll()
			if got := c.get(1, "a"); got != "1" {
				t.Errorf("a is %q", got)
			}
			c.put(2, "b", "2")
			k, _ := c.nodes[0].Keyspace(DefaultKeyspace)
			if s := k.Status(); s.Engine != e.Name || s.Decides != 2 || s.Elects != 2 {
				t.Errorf("status %+v", s)
			}
		})
	}
}

// Goal: with a write quorum of two of five a write needs one other disk. Method: real nodes;
// all but the leader and one more are stopped, which a majority would not survive.
func TestWriteQuorumDecides(t *testing.T) {
	c := newCluster(t, 5)
	for i := range c.cfgs {
		c.cfgs[i].Engine, c.cfgs[i].WriteQuorum = paxos.Engine.Name, 2
	}
	c.startAll()
	c.put(0, "a", "1")
	leads := func(i int) bool {
		k, _ := c.nodes[i].Keyspace(DefaultKeyspace)
		s := k.Status()
		if s.Decides != 2 || s.Elects != 4 || s.Warning != QuorumWarning(2, 5) {
			t.Errorf("node %d: %+v", i, s)
		}
		return s.Leads
	}
	leader := slices.IndexFunc([]int{0, 1, 2, 3, 4}, leads)
	if leader < 0 {
		t.Fatal("nobody leads")
	}
	for i, stopped := 0, 0; stopped < 3; i++ {
		if i != leader {
			c.stop(i)
			stopped++
		}
	}
	c.put(leader, "b", "2")
	if got := c.get(leader, "b"); got != "2" {
		t.Errorf("b is %q", got)
	}
}

// Goal: a node that founds shards records for each what it runs on; the write quorum is the
// default keyspace's alone, and in its first configuration.
func TestFoundingIsRecordedPerShard(t *testing.T) {
	for _, c := range []struct {
		engine string
		write  int
		want   map[shard.ID]shardRecord
	}{
		{"", 0, map[shard.ID]shardRecord{1: {Engine: "raft"}, 2: {Engine: "raft"}}},
		{"etcdraft", 0, map[shard.ID]shardRecord{1: {Engine: "etcdraft"}, 2: {Engine: "etcdraft"}}},
		{"paxos", 0, map[shard.ID]shardRecord{1: {Engine: "paxos"}, 2: {Engine: "paxos"}}},
		{"paxos", 2, map[shard.ID]shardRecord{1: {Engine: "paxos"}, 2: {Engine: "paxos", WriteQuorum: 2}}},
		{"paxos", 3, map[shard.ID]shardRecord{1: {Engine: "paxos"}, 2: {Engine: "paxos"}}}, // a majority in other words
	} {
		n := &Node{cfg: newCluster(t, 5).cfgs[0]}
		n.cfg.Engine, n.cfg.WriteQuorum = c.engine, c.write
		var err error
		if n.identity, err = n.newIdentity(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, n.identity.Shards); diff != "" {
			t.Errorf("%s, write quorum %d:\n%s", c.engine, c.write, diff)
		}
		for i, record := range n.foundingRecords() {
			id := foundedShards[i].id
			r, first := c.want[id], specOf(&record, record.Shards[0].Nodes[0]).first
			if err := first.Validate(); err != nil || first.WriteQuorum != r.WriteQuorum || len(first.Voters) != 5 {
				t.Errorf("first configuration of shard %d: %+v, %v", id, first, err)
			}
			machine := consensus.Config{
				Group: shard.Group(id), ID: first.Voters[0], Rand: noChance{}, ElectionTicks: 10, HeartbeatTicks: 1,
				MessageBytes: 1 << 20, InflightMessages: 8, InflightBytes: 1 << 20, UncommittedBytes: 1 << 20, ReadRounds: 8,
			}
			machine.Log.Configuration = first
			if _, err := n.cfg.engine(n.identity.Shards[id].Engine).New(machine); err != nil {
				t.Errorf("engine %s refuses what was recorded for shard %d: %v", r.Engine, id, err)
			}
		}
	}
}

type noChance struct{}

func (noChance) Uint64N(uint64) uint64 { return 0 }

// Goal: what cannot be a write quorum is refused with the reason.
func TestWriteQuorumIsChecked(t *testing.T) {
	for _, c := range []struct {
		write, voters int
		engine, want  string
	}{
		{0, 5, "raft", ""},
		{0, 1, "paxos", ""},
		{2, 2, "paxos", ""},
		{2, 3, "paxos", ""},
		{2, 5, "paxos", ""},
		{3, 5, "paxos", ""},
		{1, 5, "paxos", "on one disk"},
		{4, 5, "paxos", "of 5 members 3 are a majority, and more never have to decide: use 2 or more, up to 3"},
		{2, 1, "paxos", "only one member"},
		{1, 1, "paxos", "only one member"},
		{-1, 5, "paxos", "use 2 or more"},
		{2, 5, "raft", "engine raft always decides with a majority: leave it out, or found the cluster with --engine paxos"},
		{3, 5, "etcdraft", "engine etcdraft always decides"},
	} {
		err := CheckWriteQuorum(c.write, c.voters, c.engine, testEngines)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d of %d on %s: %v, want %q", c.write, c.voters, c.engine, err, c.want)
		}
	}
}

// Goal: what a write quorum costs is said, in numbers that are true of package quorum's
// electing quorums: with w−1 nodes away both a decision and an election still have theirs.
func TestQuorumWarning(t *testing.T) {
	for _, c := range []struct {
		write, voters int
		want          string
	}{
		{0, 5, ""}, {3, 5, ""}, {2, 3, ""},
		{2, 5, "with write quorum 2 of 5 members only one lost disk or dead node is survived, for data and for elections alike: 2 must agree to decide, 4 to elect"},
		{3, 7, "with write quorum 3 of 7 members only 2 lost disks or dead nodes are survived, for data and for elections alike: 3 must agree to decide, 5 to elect"},
	} {
		if got := QuorumWarning(c.write, c.voters); got != c.want {
			t.Errorf("%d of %d: %q", c.write, c.voters, got)
		}
	}
}

// Goal: every start says what a shard runs on, and warns of a write quorum below a majority.
func TestFoundingIsLogged(t *testing.T) {
	for _, c := range []struct {
		write int
		want  string
		warns bool
	}{
		{0, "level=INFO msg=\"opened a shard\" shard=2 keyspace=default engine=paxos voters=5 write-quorum=3 election-quorum=3\n", false},
		{2, "level=INFO msg=\"opened a shard\" shard=2 keyspace=default engine=paxos voters=5 write-quorum=2 election-quorum=4\n", true},
	} {
		var log strings.Builder
		n := &Node{}
		n.cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
		configuration := consensus.Configuration{Membership: consensus.Membership{Voters: make([]consensus.ReplicaID, 5), WriteQuorum: c.write}}
		n.logOpened(&shardSpec{id: DefaultShard, keyspace: DefaultKeyspace, record: shardRecord{Engine: "paxos"}}, &configuration)
		rest, found := strings.CutPrefix(log.String(), c.want)
		warns := strings.HasPrefix(rest, "level=WARN") && strings.Contains(rest, QuorumWarning(c.write, 5))
		if !found || warns != c.warns || !c.warns && rest != "" {
			t.Errorf("write quorum %d logs\n%s", c.write, log.String())
		}
	}
}

// Goal: a directory is held against what is asked for, with a sentence, and keeps its
// content. Method: found one, start it with one wrong wish each, then without any.
func TestRecordIsHeldAgainstWishes(t *testing.T) {
	c := newCluster(t, 1)
	c.startAll()
	c.put(0, "a", "1")
	c.stop(0)
	before := filesOf(t, c.cfgs[0].DataDir)
	for _, w := range []struct {
		name string
		wish func(*Config)
		want string
	}{
		{"another engine", func(c *Config) { c.Engine = "etcdraft" },
			`its default keyspace runs on engine "raft" for as long as it lives, --engine says "etcdraft": leave --engine out`},
		{"an engine that is gone", func(c *Config) { c.Engines = []consensus.Engine{paxos.Engine, etcdraft.Engine} },
			`its system keyspace runs on engine "raft", and this program has paxos, etcdraft: start a program that has it`},
		{"a write quorum", func(c *Config) { c.WriteQuorum = 2 }, "engine raft always decides with a majority"},
	} {
		cfg := c.cfgs[0]
		w.wish(&cfg)
		n, err := Start(context.Background(), cfg)
		if err == nil {
			_ = n.Close()
		}
		if !errors.Is(err, ErrEngine) || !strings.Contains(err.Error(), w.want) {
			t.Errorf("%s: %v", w.name, err)
		}
	}
	if diff := cmp.Diff(before, filesOf(t, c.cfgs[0].DataDir)); diff != "" {
		t.Errorf("a refused start has changed the directory:\n%s", diff)
	}
	c.cfgs[0].Engine = ""
	c.start(0)
	if got := c.get(0, "a"); got != "1" {
		t.Errorf("a is %q", got)
	}
}

// Goal: a recorded write quorum is held against the flag. Method: a record of 2 of 5.
func TestRecordedWriteQuorumIsHeld(t *testing.T) {
	n := &Node{cfg: newCluster(t, 5).cfgs[0]}
	known := identity{
		Voters: make([]shard.NodeID, 5),
		Shards: map[shard.ID]shardRecord{1: {Engine: "paxos"}, 2: {Engine: "paxos", WriteQuorum: 2}},
	}
	for write, want := range map[int]string{
		0: "", 2: "",
		3: "was founded with write quorum 2, --write-quorum says 3: leave it out, because to change it is a reconfiguration of the group",
		1: "on one disk",
		4: "use 2 or more, up to 3",
	} {
		n.cfg.Engine, n.cfg.WriteQuorum = "", write
		err := n.checkRecord(&known)
		if (err == nil) != (want == "") || err != nil && (!errors.Is(err, ErrEngine) || !strings.Contains(err.Error(), want)) {
			t.Errorf("--write-quorum %d: %v, want %q", write, err, want)
		}
	}
	known.Shards[2] = shardRecord{Engine: "paxos"}
	n.cfg.WriteQuorum = 3
	if err := n.checkRecord(&known); err != nil {
		t.Errorf("a majority in other words: %v", err)
	}
	n.cfg.WriteQuorum = 2
	if err := n.checkRecord(&known); err == nil || !strings.Contains(err.Error(), "founded with write quorum 3") {
		t.Errorf("less than the recorded majority: %v", err)
	}
}

// filesOf lists a directory's small files with their content; locks and the order of
// engine and log are left out.
func filesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	for _, name := range []string{"member", "peers", "starts"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		files[name] = string(text)
	}
	for _, sub := range []string{"wal", "db"} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			files[sub+"/"+e.Name()] = fmt.Sprint(info.Size(), info.ModTime())
		}
	}
	return files
}

// Goal: the member file does not change by accident, and one of format 1 is read. Method: a
// file that a build with format 1 wrote, and golden bytes of today's.
func TestMemberFileIsGolden(t *testing.T) {
	read := func(name string) (*identity, string) {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		id, err := parseIdentity(name, text)
		if err != nil {
			t.Fatal(err)
		}
		return id, string(text)
	}
	want := identity{
		Format: 1, Cluster: 10363535588492919196, Node: 164907600264857, Incarnation: 1, Disk: 12057486969573449626,
		Name: "a", Token: "etcd-cluster", Voters: []shard.NodeID{164907600264857},
		Members: []Member{{Name: "a", PeerURLs: []string{"http://127.0.0.1:11380"}}},
		Shards:  map[shard.ID]shardRecord{1: {Engine: "raft"}, 2: {Engine: "raft"}},
	}
	if got, _ := read("member_v1.txt"); !cmp.Equal(&want, got) {
		t.Errorf("format 1:\n%s", cmp.Diff(&want, got))
	}
	want.Format = 2
	want.Shards = map[shard.ID]shardRecord{1: {Engine: "paxos"}, 2: {Engine: "paxos", WriteQuorum: 2}}
	got, golden := read("member_v2.txt")
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("format 2:\n%s", diff)
	}
	dir := t.TempDir()
	d := dataDir{fs: env.OSFS(), path: dir}
	if err := d.writeIdentity(&want); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "member"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(golden, string(text)); diff != "" {
		t.Errorf("golden (-) and written (+) differ:\n%s", diff)
	}
	for _, body := range []string{`{"format":2}`, `{"format":2,"engine":"raft","shards":{"1":{"engine":"raft"}}}`, `{"format":1}`} {
		if id, err := parseIdentity("member", []byte(body+"\n"+checksum(body)+"\n")); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s is read as %+v, %v", body, id, err)
		}
	}
}
