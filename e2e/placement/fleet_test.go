package placement

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/e2e/cluster"
)

// settleTime bounds how long a placement may take to be as it should, on a busy machine.
const settleTime = 2 * time.Minute

// fleet is a cluster with the commands that people manage it with.
type fleet struct {
	t *testing.T
	*cluster.Cluster
	binary cluster.Binary
}

// newFleet starts nodes; those in zones have them in turn.
func newFleet(t *testing.T, nodes, zones int, args ...string) *fleet {
	t.Helper()
	cluster.NeedsQuorate(t)
	f := &fleet{t: t, binary: cluster.Quorate(t)}
	f.Cluster = cluster.New(t, cluster.Options{Binary: f.binary, Members: nodes, Name: "n", Args: args})
	for i, m := range f.Members {
		if zones > 0 {
			m.Args = append(m.Args, fmt.Sprintf("--zone=z%d", i%zones+1))
		}
	}
	if err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f
}

// run runs a command of quorate against the nodes that run.
func (f *fleet) run(args ...string) (string, error) {
	var endpoints []string
	for _, m := range f.Members {
		if !m.Exited() {
			endpoints = append(endpoints, m.ClientAddr)
		}
	}
	ctx, cancel := context.WithTimeout(f.t.Context(), settleTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, f.binary.Path, append(args, "--endpoints="+strings.Join(endpoints, ","))...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("quorate %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out), nil
}

func (f *fleet) must(args ...string) string {
	f.t.Helper()
	out, err := f.run(args...)
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

// node is what 'node list' says of one.
type node struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Zone     string `json:"zone"`
	State    string `json:"state"`
	Replicas int    `json:"replicas"`
	Cap      int    `json:"cap"`
	Silent   bool   `json:"silent"`
}

func (f *fleet) nodes() (list []node, err error) {
	out, err := f.run("node", "list", "-o", "json")
	if err != nil {
		return nil, err
	}
	var answer struct {
		Nodes []node `json:"nodes"`
	}
	return answer.Nodes, json.Unmarshal([]byte(out), &answer)
}

// keyspace is what 'keyspace list' says of one.
type keyspace struct {
	Name     string `json:"name"`
	Replicas int    `json:"replicas"`
	Shards   []struct {
		Replicas []replica `json:"replicas"`
	} `json:"shards"`
}

func (k *keyspace) nodes() []replica { return k.Shards[0].Replicas }

type replica struct {
	Name string `json:"node_name"`
	Role string `json:"role"`
}

func (f *fleet) keyspaces() (list []keyspace, err error) {
	out, err := f.run("keyspace", "list", "-o", "json")
	if err != nil {
		return nil, err
	}
	var answer struct {
		Keyspaces []keyspace `json:"keyspaces"`
	}
	return answer.Keyspaces, json.Unmarshal([]byte(out), &answer)
}

// settled waits until every keyspace has its replicas, all of which vote, on nodes that run, nothing moves
// or should, the cluster's own keyspaces included, and whatever else is asked for.
func (f *fleet) settled(also func([]node, []keyspace) error) {
	f.t.Helper()
	began := time.Now()
	for {
		why := f.unsettled(also)
		if why == nil {
			f.t.Logf("settled after %.1f s", time.Since(began).Seconds())
			return
		}
		if time.Since(began) > settleTime {
			shown, _ := f.run("placement", "show", "-o", "json")
			plan, _ := f.run("placement", "plan")
			f.t.Fatalf("placement does not settle: %v\n%s\nplan: %s", why, shown, plan)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (f *fleet) unsettled(also func([]node, []keyspace) error) error {
	nodes, err := f.nodes()
	if err != nil {
		return err
	}
	keyspaces, err := f.keyspaces()
	if err != nil {
		return err
	}
	for _, k := range keyspaces {
		for _, r := range k.nodes() {
			at := slices.IndexFunc(f.Members, func(m *cluster.Member) bool { return m.Name == r.Name })
			if at < 0 || f.Members[at].Exited() || r.Role != "voter" {
				return fmt.Errorf("keyspace %s: %+v", k.Name, k.nodes())
			}
		}
		if len(k.nodes()) != k.Replicas {
			return fmt.Errorf("keyspace %s: %+v, wants %d", k.Name, k.nodes(), k.Replicas)
		}
	}
	var shown struct {
		Moving []keyspace `json:"moving"`
	}
	out, err := f.run("placement", "show", "-o", "json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &shown)
	}
	if err != nil || len(shown.Moving) > 0 {
		return fmt.Errorf("%d keyspaces move, %v", len(shown.Moving), err)
	}
	if plan, err := f.run("placement", "plan"); err != nil || plan != "" {
		return fmt.Errorf("a plan: %s, %v", plan, err)
	}
	if also != nil {
		return also(nodes, keyspaces)
	}
	return nil
}

// spread reports a keyspace with two replicas in one zone.
func spread(nodes []node, keyspaces []keyspace) error {
	zone := make(map[string]string)
	for _, n := range nodes {
		zone[n.Name] = n.Zone
	}
	for _, k := range keyspaces {
		seen := make(map[string]bool)
		for _, r := range k.nodes() {
			if z := zone[r.Name]; seen[z] {
				return fmt.Errorf("keyspace %s has two replicas in zone %s: %+v", k.Name, z, k.nodes())
			} else {
				seen[z] = true
			}
		}
	}
	return nil
}

// add lays out another machine, which nobody has started yet.
func (f *fleet) add(name string, args ...string) *cluster.Member {
	f.t.Helper()
	dir := f.t.TempDir()
	m := f.Cluster.Add(f.t, f.binary, name, filepath.Join(dir, name), args...)
	return m
}
