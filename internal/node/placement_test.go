package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/quorate/quorate/consensus/etcdraft"
	"github.com/quorate/quorate/consensus/paxos"
	"github.com/quorate/quorate/consensus/raft"
	"github.com/quorate/quorate/internal/env"
	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/store"
)

// settleTime bounds how long a placement may take to be as it should, on a busy machine.
const settleTime = 60 * time.Second

// create makes keyspaces through a node, and writes its name into each.
func (c *cluster) createMany(i, count int, spec placement.Spec) (names []string) {
	c.t.Helper()
	for k := range count {
		spec.Name = fmt.Sprintf("team-%d", k)
		if _, err := c.nodes[i].CreateKeyspace(c.t.Context(), spec); err != nil {
			c.t.Fatal(err)
		}
		names = append(names, spec.Name)
		c.write(spec.Name, "name", spec.Name)
	}
	return names
}

// any does something with a keyspace at a node that serves it, and again elsewhere until it
// works: nodes come and go meanwhile.
func (c *cluster) any(name string, do func(context.Context, *Keyspace) error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), settleTime)
	defer cancel()
	for {
		for _, n := range c.nodes {
			if n == nil {
				continue
			}
			k, ok := n.Keyspace(name)
			if !ok {
				continue
			}
			try, stop := context.WithTimeout(ctx, 5*time.Second)
			err := do(try, k)
			stop()
			if err == nil {
				return
			}
		}
		if ctx.Err() != nil {
			c.t.Fatalf("nobody serves keyspace %s", name)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (c *cluster) write(name, key, value string) {
	c.t.Helper()
	put := store.PutRequest{Key: []byte(key), Value: []byte(value)}
	c.any(name, func(ctx context.Context, k *Keyspace) error {
		_, err := k.Propose(ctx, store.KindPut, put.AppendTo(nil))
		return err
	})
}

func (c *cluster) read(name, key string) (value string) {
	c.t.Helper()
	c.any(name, func(ctx context.Context, k *Keyspace) error {
		if err := k.Barrier(ctx); err != nil {
			return err
		}
		view, err := k.View()
		if err != nil {
			return err
		}
		defer view.Close()
		res, err := view.Range(&store.RangeRequest{Key: []byte(key)})
		if err == nil && len(res.KVs) == 1 {
			value = string(res.KVs[0].Value)
		}
		return err
	})
	return value
}

// joining makes the configuration of a machine that is to join through node i.
func (c *cluster) joining(i int, name string) int {
	c.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	l.Close() // the node opens the port again
	cfg := c.cfgs[0]
	cfg.Name, cfg.DataDir = name, c.t.TempDir()
	cfg.InitialCluster = []Member{{Name: name, PeerURLs: []string{"http://" + l.Addr().String()}}}
	cfg.ListenPeer = []string{l.Addr().String()}
	c.cfgs, c.nodes = append(c.cfgs, cfg), append(c.nodes, nil)
	c.ticket(len(c.cfgs)-1, i)
	return len(c.cfgs) - 1
}

// ticket asks node i for machine at's place.
func (c *cluster) ticket(at, i int) {
	c.t.Helper()
	cfg := &c.cfgs[at]
	seed := env.Seed()
	t, err := c.nodes[i].Join(c.t.Context(), placement.JoinRequest{
		Name: cfg.Name, PeerURLs: cfg.InitialCluster[0].PeerURLs, ClusterToken: cfg.Token, Disk: seed, Zone: cfg.Zone, Weight: cfg.Weight,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	cfg.Ticket, cfg.Seed = &t, seed
}

// startJoined starts a machine that has a ticket, with the disk that it has told of.
func (c *cluster) startJoined(i int) *Node {
	c.t.Helper()
	n, err := Start(c.t.Context(), c.cfgs[i])
	if err != nil {
		c.t.Fatal(err)
	}
	c.nodes[i] = n
	select {
	case <-n.Ready():
	case err := <-n.Failed():
		c.t.Fatalf("node %d failed: %v", i, err)
	case <-time.After(settleTime):
		c.t.Fatalf("node %d is not ready", i)
	}
	return n
}

// settled waits until nothing moves, every keyspace has its replicas on nodes that run, and the
// placement says so to itself.
func (c *cluster) settled(i int, also func(o *placement.Overview, records []placement.Keyspace) error) {
	c.t.Helper()
	deadline := time.Now().Add(settleTime)
	for {
		why := c.unsettled(i, also)
		if why == nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("placement does not settle: %v", why)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (c *cluster) unsettled(i int, also func(o *placement.Overview, records []placement.Keyspace) error) error {
	n := c.nodes[i]
	o, err := n.Placement(c.t.Context())
	if err != nil {
		return err
	}
	if len(o.Moving) > 0 {
		return fmt.Errorf("%d keyspaces move: %+v", len(o.Moving), o.Moving[0].Shards[0])
	}
	plan, err := n.PlanPlacement(c.t.Context(), 0)
	if err != nil || len(plan) > 0 {
		return fmt.Errorf("a plan: %+v, %v", plan, err)
	}
	records := n.copyCatalog().All()
	for _, k := range records {
		s := &k.Shards[0]
		want := k.Replicas
		if want == 0 {
			want = placement.OwnReplicas(len(o.Nodes))
		}
		if len(s.Nodes) != want {
			return fmt.Errorf("keyspace %s has %d replicas, wants %d: %+v", k.Name, len(s.Nodes), want, s)
		}
		for _, place := range s.Nodes {
			at := slices.IndexFunc(c.nodes, func(n *Node) bool { return n != nil && uint64(n.identity.Node) == place.ID })
			if at < 0 {
				return fmt.Errorf("keyspace %s has a replica on node %x, which is gone", k.Name, place.ID)
			}
			if err := c.votes(c.nodes[at], s, place); err != nil {
				return fmt.Errorf("keyspace %s at %s: %w", k.Name, c.cfgs[at].Name, err)
			}
		}
	}
	if also != nil {
		return also(&o, records)
	}
	return nil
}

// votes reports why a replica is not yet what its record says.
func (c *cluster) votes(n *Node, s *placement.Shard, place placement.Node) error {
	return n.onLoop(func() error {
		r, ok := n.host.Replica(shard.ID(s.ID))
		if !ok {
			return errors.New("not open")
		}
		var voters []placement.Node
		for _, id := range r.Status().Configuration.Voters {
			voters = append(voters, placeOf(id))
		}
		for _, want := range s.Nodes {
			if !slices.ContainsFunc(voters, want.Same) || len(voters) != len(s.Nodes) {
				return fmt.Errorf("voters %v, want %v", voters, s.Nodes)
			}
		}
		if r.Status().ID != replicaOf(place) {
			return fmt.Errorf("replica %v, want %+v", r.Status().ID, place)
		}
		return nil
	})
}

// Goal: a machine that joins gets its share of replicas and votes for them, and then all that a
// node has may go: drained it is empty, removed it is gone and says so. Method: three real nodes
// with keyspaces on each engine, a fourth with the weight of two.
func TestNodeJoinsDrainsAndGoes(t *testing.T) {
	c := newCluster(t, 3)
	for i := range c.cfgs {
		c.cfgs[i].ReplaceAfter = time.Hour
	}
	c.startAll()
	var names []string
	for i, e := range testEngines {
		for k := range 4 {
			name := fmt.Sprintf("%s-%d", e.Name, k)
			if _, err := c.nodes[i].CreateKeyspace(t.Context(), placement.Spec{Name: name, Engine: e.Name}); err != nil {
				t.Fatal(err)
			}
			c.write(name, "name", name)
			names = append(names, name)
		}
	}
	c.cfgs[0].Weight = 2
	at := c.joining(1, "late")
	n := c.startJoined(at)
	load := func(o *placement.Overview, id shard.NodeID) placement.NodeLoad {
		return o.Nodes[slices.IndexFunc(o.Nodes, func(l placement.NodeLoad) bool { return l.ID == uint64(id) })]
	}
	c.settled(0, func(o *placement.Overview, _ []placement.Keyspace) error {
		if l := load(o, n.identity.Node); l.Replicas < 3 {
			return fmt.Errorf("the new node has %d replicas, its share is %v", l.Replicas, l.Share)
		}
		return nil
	})
	for _, name := range names {
		if got := c.read(name, "name"); got != name {
			t.Errorf("keyspace %s: name is %q after the move", name, got)
		}
		c.write(name, "again", name)
	}
	first := c.nodes[0].identity.Node
	if _, err := c.nodes[1].DrainNode(t.Context(), uint64(first), true); err != nil {
		t.Fatal(err)
	}
	c.settled(1, func(o *placement.Overview, _ []placement.Keyspace) error {
		if l := load(o, first); l.Replicas > 0 {
			return fmt.Errorf("the drained node has %d replicas", l.Replicas)
		}
		return nil
	})
	if _, err := c.nodes[1].DrainNode(t.Context(), uint64(c.nodes[2].identity.Node), true); !errors.Is(err, placement.ErrNoRoom) {
		t.Errorf("a drain with nowhere to go: %v", err)
	}
	if _, err := c.nodes[1].RemoveNode(t.Context(), uint64(first)); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-c.nodes[0].Failed():
		if !errors.Is(err, ErrRemoved) {
			t.Errorf("the removed node ends with %v", err)
		}
	case <-time.After(settleTime):
		t.Error("the removed node goes on")
	}
	if err := c.nodes[0].Close(); err != nil {
		t.Error(err)
	}
	c.nodes[0] = nil
	c.settled(1, nil)
	for _, name := range names {
		if got := c.read(name, "again"); got != name {
			t.Errorf("keyspace %s: again is %q at the end", name, got)
		}
	}
}

// healed waits until every keyspace but the cluster's own has its replicas on nodes that run.
func (c *cluster) healed(i int) {
	c.t.Helper()
	deadline := time.Now().Add(settleTime)
	for {
		var why error
		for _, k := range c.nodes[i].copyCatalog().Keyspaces() {
			for _, place := range k.Shards[0].Replicas() {
				if !slices.ContainsFunc(c.nodes, func(n *Node) bool { return n != nil && uint64(n.identity.Node) == place.ID }) {
					why = fmt.Errorf("keyspace %s: %+v", k.Name, k.Shards[0])
				}
			}
		}
		if why == nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("placement does not heal: %v", why)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Goal: the replicas of a node that dies are placed anew, on each engine. Method: five real nodes,
// one of which is ended.
func TestDeadNodeIsReplaced(t *testing.T) {
	for _, engine := range []string{raft.Engine.Name, paxos.Engine.Name, etcdraft.Engine.Name} {
		t.Run(engine, func(t *testing.T) {
			c := newCluster(t, 5)
			for i := range c.cfgs {
				c.cfgs[i].Engine = engine
			}
			c.startAll()
			names := c.createMany(0, 8, placement.Spec{})
			if err := c.nodes[4].Close(); err != nil {
				t.Fatal(err)
			}
			c.nodes[4] = nil
			c.healed(0)
			for _, name := range names {
				if got := c.read(name, "name"); got != name {
					t.Errorf("keyspace %s: name is %q", name, got)
				}
			}
		})
	}
}

// Goal: a node with an empty disk comes back under the next incarnation. Method: as it says.
func TestWipedNodeRejoins(t *testing.T) {
	c := newCluster(t, 4)
	for i := range c.cfgs {
		c.cfgs[i].ReplaceAfter = time.Hour
	}
	c.startAll()
	names := c.createMany(0, 8, placement.Spec{})
	lost := c.nodes[3].identity.Node
	if err := c.nodes[3].Close(); err != nil {
		t.Fatal(err)
	}
	c.nodes[3] = nil
	if err := os.RemoveAll(c.cfgs[3].DataDir); err != nil {
		t.Fatal(err)
	}
	c.cfgs[3].InitialCluster = c.cfgs[3].InitialCluster[3:]
	c.ticket(3, 0)
	if got := c.cfgs[3].Ticket; got.Node != uint64(lost) || got.Incarnation != 2 {
		t.Fatalf("ticket %+v", got)
	}
	c.startJoined(3)
	c.settled(0, nil)
	for _, name := range names {
		if got := c.read(name, "name"); got != name {
			t.Errorf("keyspace %s: name is %q", name, got)
		}
	}
}

// Goal: without a quorum of the system keyspace nothing is placed, and everything else serves, also
// after a restart. Method: seven real nodes, five of which vote there; three of these are ended.
func TestServingOutlivesTheSystemKeyspace(t *testing.T) {
	c := newCluster(t, 7)
	for i := range c.cfgs {
		c.cfgs[i].ReplaceAfter = time.Hour
	}
	c.startAll()
	c.createMany(0, 24, placement.Spec{})
	system, _ := c.nodes[0].copyCatalog().Keyspace(SystemKeyspace)
	dead := 0
	for i, n := range c.nodes {
		id := uint64(n.identity.Node)
		votes := slices.ContainsFunc(system.Shards[0].Nodes, func(p placement.Node) bool { return p.ID == id })
		if votes && dead < 3 {
			dead++
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
			c.nodes[i] = nil
		}
	}
	at := slices.IndexFunc(c.nodes, func(n *Node) bool { return n != nil })
	serves := func() (served []string) {
		for _, k := range c.nodes[at].copyCatalog().Keyspaces() {
			alive := 0
			for _, p := range k.Shards[0].Nodes {
				if slices.ContainsFunc(c.nodes, func(n *Node) bool { return n != nil && uint64(n.identity.Node) == p.ID }) {
					alive++
				}
			}
			if alive >= 2 {
				c.write(k.Name, "after", k.Name)
				served = append(served, k.Name)
			}
		}
		return served
	}
	served := serves()
	if len(served) == 0 {
		t.Fatal("no keyspace has two replicas on the nodes that are left: the test proves nothing")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := c.nodes[at].CreateKeyspace(ctx, placement.Spec{Name: "late"}); err == nil {
		t.Error("a keyspace was created without a quorum of the system keyspace")
	}
	for i, n := range c.nodes {
		if n != nil {
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
			c.start(i)
		}
	}
	for _, name := range serves() {
		if got := c.read(name, "name"); got != name {
			t.Errorf("keyspace %s: name is %q after a restart", name, got)
		}
	}
}

// Goal: who is told to lead a keyspace does, and is recorded. Method: move the leader around.
func TestLeaderStaysWhereItWasMoved(t *testing.T) {
	c := newCluster(t, 3)
	c.startAll()
	c.createMany(0, 1, placement.Spec{})
	for range 2 {
		for _, to := range c.nodes {
			id := uint64(to.identity.Node)
			eventually(t, "the leader moves", func() bool {
				for _, n := range c.nodes {
					k, _ := n.Keyspace("team-0")
					if s := k.Status(); s.Leads && s.Leader == id {
						return true
					} else if s.Leads {
						_ = n.TransferLeadership(t.Context(), "team-0", id)
					}
				}
				return false
			})
			if k, _ := c.nodes[0].copyCatalog().Keyspace("team-0"); k.Shards[0].Nodes[0].ID != id {
				eventually(t, "it is recorded", func() bool {
					k, _ := c.nodes[0].copyCatalog().Keyspace("team-0")
					return k.Shards[0].Nodes[0].ID == id
				})
			}
		}
	}
}

// Goal: steps that wait do not keep the cluster from planning. Every tick they asked for a barrier, and a
// barrier put the next plan off. Method: an arrival on a node that is away for a while, of a
// keyspace whose leader leads the system keyspace, too; then a node is drained.
func TestWaitingStepsDoNotPutPlansOff(t *testing.T) {
	c := newCluster(t, 4)
	for i := range c.cfgs {
		c.cfgs[i].ReplaceAfter = time.Hour
	}
	c.startAll()
	c.createMany(0, 12, placement.Spec{})
	c.settled(0, nil)
	planner := slices.IndexFunc(c.nodes, func(n *Node) bool { return n.keyspaces.own(SystemKeyspace).Status().Leads })
	n := c.nodes[planner]
	on := func(k *placement.Keyspace, i int) bool {
		return slices.ContainsFunc(k.Shards[0].Nodes, func(p placement.Node) bool { return p.ID == c.nodes[i].MemberID() })
	}
	records := n.copyCatalog().Keyspaces()
	at := slices.IndexFunc(records, func(k placement.Keyspace) bool { return on(&k, planner) })
	if at < 0 {
		t.Fatal("who plans carries nothing")
	}
	next := records[at] // of four nodes one has no replica of it, and is to be away
	away, drained := 0, 0
	for on(&next, away) {
		away++
	}
	for drained == planner || drained == away {
		drained++
	}
	gone, leaving := c.nodes[away].MemberID(), c.nodes[drained].MemberID()
	c.stop(away)
	eventually(t, "who plans leads it", func() bool {
		for _, o := range c.nodes {
			if o == nil {
				continue
			}
			if k, ok := o.Keyspace(next.Name); ok && k.Status().Leads {
				return o == n || o.TransferLeadership(t.Context(), next.Name, n.MemberID()) != nil && false
			}
		}
		return false
	})
	next, _ = n.copyCatalog().Keyspace(next.Name)
	s := next.Shards[0]
	s.Joining = []placement.Arrival{{Node: placement.Node{ID: gone, Incarnation: 99}}}
	next.Shards, next.Epoch = []placement.Shard{s}, next.Epoch+1
	if done, err := n.writeRecord(&next); !done {
		t.Fatal(err)
	}
	if _, err := n.DrainNode(t.Context(), leaving, true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a plan empties the drained node", func() bool {
		return slices.ContainsFunc(n.copyCatalog().Keyspaces(), func(k placement.Keyspace) bool {
			return slices.ContainsFunc(k.Shards[0].Joining, func(a placement.Arrival) bool { return a.For.ID == leaving })
		})
	})
}
