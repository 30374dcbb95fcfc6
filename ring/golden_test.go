package ring

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew: only for a change that all nodes of a cluster make at once")

// story is a cluster's life as text: what of it is fixed for ever (R2).
func story(t *testing.T, o Options) string {
	var s strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&s, format+"\n", args...) }
	var nodes []Node
	for id := NodeID(1); id <= 9; id++ {
		n := Node{ID: id << (4 * (id % 5)), Weight: 1 + int(id)%3}
		if id > 1 {
			n.Domains = []string{fmt.Sprint("z", id%4), fmt.Sprint("r", id%2)}[:1+id%2]
		}
		nodes = append(nodes, n)
	}
	r := mustNew(t, nodes, o)
	for _, n := range nodes {
		say("node %v: weight %d, domains %v, tokens %016x %016x %016x", n.ID, n.Weight, n.Domains,
			uint64(r.hash.Token(o.Seed, n.ID, 0)), uint64(r.hash.Token(o.Seed, n.ID, 1)), uint64(r.hash.Token(o.Seed, n.ID, 100)))
	}
	for _, key := range []string{"", "a", "/registry/pods/default/a-pod"} {
		at := r.Key([]byte(key))
		say("key %q: %016x, owner %v, candidates %v", key, uint64(at), r.Owner(at), r.Candidates(at, 9, nil))
	}
	p := &Placement{}
	for id := range 30 {
		s := Shard{ID: ShardID(1 << id), Want: []int{3, 1, 5, 3, 7}[id%5]}
		at := r.Number(uint64(s.ID))
		say("shard %v: %016x, owner %v, candidates %v", s.ID, uint64(at), r.Owner(at), r.Candidates(at, 5, nil))
		p.Shards = append(p.Shards, s)
	}
	turn := func(what string, policy Policy) {
		say("\n%s", what)
		r := mustNew(t, nodes, o)
		for _, m := range carryOut(t, r, p, policy) {
			say("%v", m)
		}
		loads, err := r.Loads(p, policy)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range loads {
			say("  %v: %d of %d replicas, leads %d of %d", l.Node, l.Replicas, l.Cap, l.Leaders, l.LeadersCap)
		}
		for _, s := range p.Shards {
			say("  %v on %v", s.ID, s.Replicas)
		}
	}
	turn("all is new", Policy{})
	nodes = append(nodes[:2], nodes[3:]...)
	turn("the third node is gone, three copies at a time", Policy{Copies: 3})
	turn("and three more", Policy{Copies: 3})
	nodes = append(nodes, Node{ID: 0xfff, Weight: 6, Domains: []string{"z1"}})
	turn("a heavy node joins", Policy{ReplicaLoad: 105})
	nodes[0].Weight = 0
	turn("the first node is to be emptied", Policy{ReplicaLoad: 110, LeaderLoad: 130})
	return s.String()
}

// Goal: tokens, owners, candidates and plans are the same in every version (R2): nodes of
// a cluster that is being upgraded must agree, and so must those who computed a ring
// themselves. Method: golden files.
func TestGolden(t *testing.T) {
	for name, o := range map[string]Options{
		"xx":   {Seed: 42},
		"sha1": {Hash: SHA1{}, TokensPerUnit: 101},
	} {
		file, made := "testdata/"+name+".txt", story(t, o)
		if *rewrite {
			if err := os.WriteFile(file, []byte(made), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		kept, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		was, is := strings.Split(string(kept), "\n"), strings.Split(made, "\n")
		for k := range max(len(was), len(is)) {
			if k >= len(was) || k >= len(is) || was[k] != is[k] {
				t.Errorf("%s differs from line %d on: nodes of this version would not agree with those of earlier ones", file, k+1)
				break
			}
		}
	}
}
