package badinput

import (
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/e2e/cluster"
)

// another is an engine that the members under test do not run on.
func another() string {
	if cluster.Engine() == "etcdraft" {
		return "raft"
	}
	return "etcdraft"
}

// Goal: a directory keeps its engine, whether it is named or not. Method: start it with
// another one, which must be refused, and without one.
func TestEngineOfDirectory(t *testing.T) {
	cluster.NeedsQuorate(t)
	m := one(t)
	mustStart(t, m)
	put(t, m, "k", "v")
	mustStop(t, m)
	set(m, "--engine", another())
	refused(t, m, `engine "`+cluster.Engine()+`".*--engine says "`+another()+`": leave --engine out`)
	m.Args = slices.DeleteFunc(m.Args, func(a string) bool { return strings.HasPrefix(a, "--engine=") })
	mustStart(t, m)
	expect(t, m, "k", "v")
}

// Goal: members with different engines never form a cluster, and say why. Method: a third
// member with an empty directory meets two that run; with the right engine it joins them.
func TestEngineOfPeers(t *testing.T) {
	cluster.NeedsQuorate(t)
	c := cluster.New(t, cluster.Options{Binary: cluster.ServerUnderTest(t), Members: 3})
	for _, m := range c.Members[:2] {
		if err := m.Start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range c.Members[:2] {
		if err := m.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	put(t, c.Members[0], "k", "v")
	m := c.Members[2]
	set(m, "--engine", another())
	refused(t, m, `engine (`+cluster.Engine()+` at member .*engine `+another()+`|`+another()+` at member .*engine `+cluster.Engine()+`) at member .*correct --engine`)
	set(m, "--engine", cluster.Engine())
	mustStart(t, m)
	expect(t, m, "k", "v")
}

// Goal: what cannot be a write quorum is refused before anything is written.
func TestWriteQuorum(t *testing.T) {
	cluster.NeedsQuorate(t)
	for _, c := range []struct{ engine, quorum, want string }{
		{"raft", "2", `--write-quorum is 2, but engine raft always decides with a majority`},
		{"etcdraft", "2", `engine etcdraft always decides with a majority`},
		{"paxos", "1", `--write-quorum is 1: a decision would be on one disk`},
		{"paxos", "3", `of 3 members 2 are a majority`},
		{"paxos", "-1", `--write-quorum.*-1`},
	} {
		t.Run(c.engine+" "+c.quorum, func(t *testing.T) {
			m := cluster.New(t, cluster.Options{Binary: cluster.ServerUnderTest(t), Members: 3}).Members[0]
			set(m, "--engine", c.engine)
			set(m, "--write-quorum", c.quorum)
			refused(t, m, c.want)
		})
	}
}
