package node

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/transport"
)

// Goal: terms survive the way, and nothing else is taken for them.
func FuzzTerms(f *testing.F) {
	f.Add(string(appendTerms(nil, map[shard.ID]shardRecord{1: {Engine: "raft"}, 2: {Engine: "paxos", WriteQuorum: 2}})))
	f.Add("")
	f.Add("\x01\x01\x02\x04raft\x00")
	f.Fuzz(func(t *testing.T, s string) {
		shards, err := decodeTerms(s)
		if err != nil {
			return
		}
		again, err := decodeTerms(string(appendTerms(nil, shards)))
		if err != nil || !maps.Equal(shards, again) {
			t.Fatalf("%q is %v and then %v, %v", s, shards, again, err)
		}
	})
}

// Goal: members that were told different things do not found a cluster, say why, and leave
// nothing behind, whoever hears it first. Method: two real nodes that start together.
func TestFoundersMustAgree(t *testing.T) {
	c := newCluster(t, 2)
	c.cfgs[1].Engine = "etcdraft"
	errs := make(chan error, 2)
	for i := range c.cfgs {
		go func() {
			n, err := Start(context.Background(), c.cfgs[i])
			if err == nil {
				c.nodes[i] = n
			}
			errs <- err
		}()
	}
	defer c.stopAll()
	for range c.cfgs {
		err := <-errs
		if err == nil {
			t.Error("a node has founded a cluster")
			continue
		}
		checkDisagreement(t, err.Error(), "engine raft", "engine etcdraft")
		if !errors.Is(err, ErrConfig) {
			t.Errorf("%v is no %v", err, ErrConfig)
		}
	}
	for i := range c.cfgs {
		for name, text := range filesOf(t, c.cfgs[i].DataDir) {
			if text != "" {
				t.Errorf("node %d was refused and has left %s", i, name)
			}
		}
	}
}

func checkDisagreement(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range slices.Concat(want, []string{"default keyspace", `"n0"`, `"n1"`, "correct --engine"}) {
		if !strings.Contains(text, w) {
			t.Errorf("%q lacks %q", text, w)
		}
	}
}

// Goal: members that were founded apart from each other on different engines, or with
// different write quorums, exchange no message, and say why. Method: two real nodes, each of
// which founds the cluster while the other one is away; then both run.
func TestPeersMustAgree(t *testing.T) {
	c := newCluster(t, 2)
	c.cfgs[1].Engine = "etcdraft"
	for i := range c.cfgs {
		c.start(i) // nobody answers: it goes on alone
		if c.nodes[i] == nil {
			t.FailNow()
		}
		c.stop(i)
	}
	before := [][]byte{memberFile(t, c, 0), memberFile(t, c, 1)}
	c.start(0)
	c.start(1)
	defer c.stopAll()
	for i, n := range c.nodes {
		c.eventually("a refusal that names both engines", func() bool {
			p := n.transport.Stats().Peers[0]
			return p.Refused && strings.Contains(p.Problem, "engine raft at member") && strings.Contains(p.Problem, "engine etcdraft at member")
		})
		checkDisagreement(t, n.transport.Stats().Peers[0].Problem)
		if _, met := n.peers.known(c.nodes[1-i].identity.Node); met {
			t.Errorf("node %d has taken the other one into its book", i)
		}
		k, _ := n.Keyspace(DefaultKeyspace)
		if s := k.Status(); s.Leader != 0 {
			t.Errorf("node %d has a leader: %+v", i, s)
		}
	}
	for i := range c.cfgs {
		c.stop(i)
		if string(memberFile(t, c, i)) != string(before[i]) {
			t.Errorf("node %d has another identity now", i)
		}
	}
}

func memberFile(t *testing.T, c *cluster, i int) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.cfgs[i].DataDir, "member"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Goal: terms decide between members. Method: pairs of records, the empty one of a build
// without terms among them.
func TestAgree(t *testing.T) {
	two := func(engine string, write int) string {
		return string(appendTerms(nil, map[shard.ID]shardRecord{1: {Engine: engine}, 2: {Engine: engine, WriteQuorum: write}}))
	}
	for _, c := range []struct{ ours, theirs, want string }{
		{two("raft", 0), two("raft", 0), ""},
		{two("raft", 0), "", ""},
		{two("paxos", 0), "", "engine paxos at member \"ours\" and engine raft at member \"theirs\""},
		{two("raft", 0), two("paxos", 0), "engine raft at member \"ours\" and engine paxos at member \"theirs\""},
		{two("paxos", 2), two("paxos", 0), "default keyspace has engine paxos with write quorum 2 at member \"ours\" and engine paxos at member"},
		{two("raft", 0), two("ra\nft", 0), `engine "ra\nft" at member`},
		{two("raft", 0), "\x07", "version 7"},
		{two("raft", 0), "\x01\xff", "malformed"},
	} {
		shards, err := decodeTerms(c.ours)
		if err != nil {
			t.Fatal(err)
		}
		n := &Node{identity: identity{Name: "ours", Shards: shards}}
		err = n.agree(transport.Identity{Name: "theirs", Terms: c.theirs})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q and %q: %v, want %q", c.ours, c.theirs, err, c.want)
		}
	}
}
