package placement

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/e2e/cluster"
)

// carries reports, as settled wants it, a node that has not got its share, or one that should have
// nothing and has.
func carries(name string, least, most int) func([]node, []keyspace) error {
	return func(nodes []node, _ []keyspace) error {
		at := slices.IndexFunc(nodes, func(n node) bool { return n.Name == name })
		switch {
		case at < 0 && least == 0:
			return nil
		case at < 0:
			return fmt.Errorf("there is no node %s: %+v", name, nodes)
		case nodes[at].Replicas < least || nodes[at].Replicas > most:
			return fmt.Errorf("node %s has %d replicas, wanted %d to %d", name, nodes[at].Replicas, least, most)
		}
		return nil
	}
}

func (f *fleet) start(m *cluster.Member) {
	f.t.Helper()
	if err := m.Start(); err != nil {
		f.t.Fatal(err)
	}
	if err := m.WaitReady(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
}

// etcdctl runs etcd's own client.
func (f *fleet) etcdctl(args ...string) string {
	f.t.Helper()
	cmd := exec.CommandContext(f.t.Context(), cluster.Etcdctl(f.t), append(args, "--endpoints="+f.Members[0].ClientAddr)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		f.t.Fatalf("etcdctl %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Goal: one command adds a machine, and its share arrives; drained it is empty, and with an empty
// disk it comes back as itself in its next life. Removed it is gone for good, and says so. Method:
// three real nodes with writers in every keyspace, and a fourth that lives all this.
func TestNodeComesAndGoes(t *testing.T) {
	f := newFleet(t, 3, 0, "--replace-after=1h")
	names := []string{"default"}
	for i := range 12 {
		names = append(names, fmt.Sprintf("team-%d", i))
		f.must("keyspace", "create", names[i+1])
	}
	writers, stop := f.writers(names)
	late := f.add("late", "--join="+f.Members[1].ClientURL(), "--weight=2", "--engine="+cluster.Engine())
	f.start(late)
	f.settled(carries("late", 6, 14))
	f.must("node", "drain", "late")
	f.settled(carries("late", 0, 0))
	f.must("node", "undrain", "late")
	f.must("node", "weight", "late", "3")

	late.Kill()
	if err := os.RemoveAll(late.DataDir); err != nil {
		t.Fatal(err)
	}
	f.start(late)
	nodes, err := f.nodes()
	if err != nil || len(nodes) != 4 {
		t.Fatalf("nodes after a lost disk: %+v, %v", nodes, err)
	}
	f.settled(nil)
	f.must("node", "remove", "late", "--yes")
	code, err := late.WaitExit(t.Context())
	if err != nil || code != 1 || !strings.Contains(late.Log(), "permanently removed") {
		t.Errorf("the removed node ends with %d, %v", code, err)
	}
	f.settled(func(nodes []node, _ []keyspace) error {
		if len(nodes) != 3 {
			return fmt.Errorf("nodes %+v", nodes)
		}
		return nil
	})
	if err := late.Start(); err != nil {
		t.Fatal(err)
	}
	if code, err := late.WaitExit(t.Context()); err != nil || code != 1 {
		t.Errorf("the removed node, started again, ends with %d, %v", code, err)
	}
	f.eachWrote(writers, time.Now())
	stop()
}

// Goal: etcd's way to add members works: member add, then a start with the state existing, also as
// a learner, which votes by itself; then member remove. Method: etcdctl and real nodes.
func TestEtcdctlAddsAndRemovesMembers(t *testing.T) {
	f := newFleet(t, 1, 0)
	f.etcdctl("put", "greeting", "hello")
	for i, learner := range []bool{false, true} {
		name := fmt.Sprintf("late%d", i)
		m := f.add(name, "--engine="+cluster.Engine())
		args := []string{"member", "add", name, "--peer-urls=" + m.PeerURL()}
		if learner {
			args = append(args, "--learner")
		}
		added := f.etcdctl(args...)
		if !strings.Contains(added, `ETCD_INITIAL_CLUSTER_STATE="existing"`) {
			t.Errorf("member add says: %s", added)
		}
		m.Args = append(m.Args, "--initial-cluster-state=existing", "--initial-cluster="+f.InitialCluster())
		f.start(m)
	}
	f.settled(func(nodes []node, _ []keyspace) error {
		for _, n := range nodes {
			if n.Replicas < 2 { // of system and default
				return fmt.Errorf("node %s has %d replicas", n.Name, n.Replicas)
			}
		}
		return nil
	})
	if list := f.etcdctl("member", "list"); strings.Count(list, ", started, ") != 3 || strings.Contains(list, "true") {
		t.Errorf("member list says: %s", list)
	}
	f.Members[2].Kill() // two of three are a majority
	f.etcdctl("put", "greeting", "hello again")
	f.start(f.Members[2])
	id, _, _ := strings.Cut(lineWith(f.etcdctl("member", "list"), "late1"), ",")
	if removed := f.etcdctl("member", "remove", id); !strings.Contains(removed, "removed from cluster") {
		t.Errorf("member remove says: %s", removed)
	}
	if list := f.etcdctl("member", "list"); strings.Contains(list, "late1") {
		t.Errorf("member list says after a removal: %s", list)
	}
	if _, err := f.Members[2].WaitExit(t.Context()); err != nil {
		t.Error(err)
	}
	if got := f.etcdctl("get", "greeting", "--print-value-only"); got != "hello again\n" {
		t.Errorf("greeting is %q", got)
	}
}

func lineWith(text, word string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			return line
		}
	}
	return ""
}

// Goal: what cannot be done is refused with one sentence that says what to do. Method: two real
// nodes, and a machine that joins wrongly.
func TestNodesRefused(t *testing.T) {
	f := newFleet(t, 2, 0)
	f.must("keyspace", "create", "one", "--replicas=1")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"node", "drain", "nobody"}, "no node"},
		{[]string{"node", "weight", "n1", "0"}, "weight"},
		{[]string{"node", "weight", "n1", "100000"}, "1 to 1024"},
		{[]string{"node", "remove", "n1"}, "--yes"},
		{[]string{"keyspace", "update", "one", "--replicas=3"}, "add nodes"},
		{[]string{"keyspace", "update", "one", "--replicas=2"}, "1, 3, 5 or 7"},
		{[]string{"placement", "explain", "nothing"}, "nothing"},
	} {
		out, err := f.run(c.args...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %s, %v; want %q", c.args, out, err, c.want)
		}
	}
	f.must("node", "drain", "n1")
	if _, err := f.run("node", "drain", "n2"); err == nil || !strings.Contains(err.Error(), "only one that may carry replicas") {
		t.Errorf("a drain with nowhere to go: %v", err)
	}
	f.must("node", "undrain", "n1")
	for what, c := range map[string]struct {
		args []string
		want string
	}{
		"the wrong token":      {[]string{"--join=" + f.Members[0].ClientURL(), "--initial-cluster-token=other"}, "--initial-cluster-token"},
		"somebody's address":   {[]string{"--join=" + f.Members[0].ClientURL(), "--initial-advertise-peer-urls=" + f.Members[1].PeerURL()}, f.Members[1].PeerURL()},
		"nobody there":         {[]string{"--initial-cluster-state=existing", "--initial-cluster=n1=" + f.Members[0].PeerURL() + ",stranger=%s"}, "member add"},
		"join and found":       {[]string{"--join=" + f.Members[0].ClientURL(), "--initial-cluster=stranger=%s"}, "--initial-cluster"},
		"no zone with a space": {[]string{"--join=" + f.Members[0].ClientURL(), "--zone=a b"}, "zone"},
	} {
		m := f.add("stranger")
		f.Members = f.Members[:2]
		for _, a := range c.args {
			if strings.Contains(a, "%s") {
				a = fmt.Sprintf(a, m.PeerURL())
			}
			m.Args = append(m.Args, a)
		}
		if err := m.Start(); err != nil {
			t.Fatal(err)
		}
		code, err := m.WaitExit(t.Context())
		if err != nil || code == 0 || !strings.Contains(m.Log(), c.want) {
			t.Errorf("%s: ends with %d, %v, and says: %s", what, code, err, m.Log())
		}
		m.Kill()
	}
}
