package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate/internal/env"
	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/store"
)

// work has clients put into keyspaces at the nodes that lead them until stop is called. Clients
// wait between two puts: the machine has other things to do.
func (c *cluster) work(names []string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	put := store.PutRequest{Key: []byte("k"), Value: make([]byte, 100)}
	body := put.AppendTo(nil)
	for _, name := range names {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for ctx.Err() == nil {
				for _, n := range c.nodes {
					if k, ok := n.Keyspace(name); ok && k.Status().Leads {
						_, _ = k.Propose(ctx, store.KindPut, body)
					}
				}
				time.Sleep(2 * time.Millisecond)
			}
		}()
	}
	return func() { cancel(); wait.Wait() }
}

// leaders counts the keyspaces that each node leads.
func (c *cluster) leaders(names []string) (count []int) {
	for _, n := range c.nodes {
		leads := 0
		for _, name := range names {
			if k, ok := n.Keyspace(name); ok && k.Status().Leads {
				leads++
			}
		}
		count = append(count, leads)
	}
	return count
}

// pretended is what a node would take of the processors if a command took a millisecond where it comes
// in, and a tenth of that where it is applied. In one process no real account tells nodes apart, and
// how much they get to do depends on what else the machine does.
type pretended struct{ n atomic.Pointer[Node] }

// Used implements env.CPU.
func (p *pretended) Used() (used time.Duration) {
	n := p.n.Load()
	if n == nil {
		return 0
	}
	for _, k := range n.keyspaces.all() {
		used += time.Duration(k.traffic.commands.Load())*time.Millisecond + time.Duration(k.status.Load().AppliedIndex)*time.Millisecond/10
	}
	return used
}

// Goal: hot keyspaces that one node leads are spread over all, by leads alone and in time, and who
// has ceased to work says so. Method: three real nodes that report every half second, clients that put
// where the leader is.
func TestHotKeyspacesAreSpread(t *testing.T) {
	c := newCluster(t, 3)
	var cpus [3]pretended
	for i := range c.cfgs {
		c.cfgs[i].loadPeriod, c.cfgs[i].preferAfter, c.cfgs[i].CPU = housekeepingPeriod, 100*time.Millisecond, &cpus[i]
	}
	c.startAll()
	for i, n := range c.nodes {
		cpus[i].n.Store(n)
	}
	c.createMany(0, 18, placement.Spec{})
	c.settled(0, nil)
	var hot []string // those of the node that should lead the most: six at least
	for _, n := range c.nodes {
		var led []string
		for _, k := range c.nodes[0].copyCatalog().Keyspaces() {
			if k.Shards[0].Nodes[0].ID == n.MemberID() {
				led = append(led, k.Name)
			}
		}
		if len(led) > len(hot) {
			hot = led
		}
	}
	eventually(t, "one node leads them", func() bool { return slices.Max(c.leaders(hot)) == len(hot) })
	start := time.Now()
	stop := c.work(hot)
	defer stop()
	eventually(t, "they are spread", func() bool {
		count := c.leaders(hot)
		return slices.Max(count) <= (len(hot)+1)/2 && slices.Min(count) > 0
	})
	t.Logf("%d hot keyspaces led by %v after %v", len(hot), c.leaders(hot), time.Since(start))
	o, err := c.nodes[1].Placement(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range o.Nodes {
		t.Logf("%s: %d requests, %d bytes, %d thousandths of a core", l.Name, l.Requests, l.Bytes, l.CPU)
	}
	stop()
	eventually(t, "all say that they rest", func() bool {
		catalog := c.nodes[2].copyCatalog()
		for _, n := range c.nodes {
			if l, _ := catalog.Load(n.MemberID()); l.CPU > 0 {
				return false
			}
		}
		return true
	})
	eventually(t, "an idle cluster writes nothing", func() bool { // the last move may still be being recorded
		system := c.nodes[0].keyspaces.own(SystemKeyspace)
		before, err := system.revision()
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * housekeepingPeriod)
		after, err := system.revision()
		return err == nil && after == before
	})
}

// Goal: the system keyspace's history does not grow for ever. Method: many small changes.
func TestSystemHistoryIsBounded(t *testing.T) {
	c := newCluster(t, 1)
	c.cfgs[0].loadPeriod = housekeepingPeriod
	c.startAll()
	n := c.nodes[0]
	<-n.Ready()
	for i := range 2*systemHistory + 10 {
		if err := n.systemPut(t.Context(), "loads/0", fmt.Append(nil, i)); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	eventually(t, "it is compacted", func() bool {
		head := n.keyspaces.own(SystemKeyspace).DB().Head()
		return head.Compacted > 0 && head.Revision-head.Compacted <= 2*systemHistory
	})
	c.createMany(0, 1, placement.Spec{})
}

// BenchmarkMeasure is what 10,000 idle keyspaces cost every ten seconds.
func BenchmarkMeasure(b *testing.B) {
	m := &meter{n: &Node{cfg: Config{Clock: env.SystemClock()}}}
	m.n.keyspaces.byName, m.n.keyspaces.byShard = make(map[string]*Keyspace), make(map[shard.ID]*Keyspace)
	for i := range 10000 {
		k := &Keyspace{n: m.n, shard: shard.ID(placement.FirstShard + i)}
		k.status.Store(&KeyspaceStatus{})
		m.n.keyspaces.list = append(m.n.keyspaces.list, k)
	}
	for b.Loop() {
		if _, noticed := m.measure(10); noticed {
			b.Fatal("idle keyspaces have a load")
		}
	}
}
