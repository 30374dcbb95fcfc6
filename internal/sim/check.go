package sim

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/store"
)

// checkers judge the run. Those that watch machines are in check_machine.go, what
// leaves a node in check_leaving.go, what clients see in check_history.go.
type checkers struct {
	s       *Sim
	shards  map[shard.ID]*shardFacts
	leases  leaseFacts
	refused []refusal
}

// refusal is a request that was answered "certainly not done".
type refusal struct {
	shard   shard.ID
	request store.RequestID
	err     error
}

func newCheckers(s *Sim) *checkers {
	return &checkers{s: s, shards: make(map[shard.ID]*shardFacts), leases: leaseFacts{s: s, held: make(map[leaseKey]*heldLease)}}
}

// shard returns what is known of a shard.
func (c *checkers) shard(id shard.ID) *shardFacts {
	f := c.shards[id]
	if f == nil {
		f = &shardFacts{
			id: id, leaders: make(map[consensus.Epoch]leadership), entries: make(map[entryKey]entryFact),
			replicas: make(map[consensus.ReplicaID]*replicaFacts), oracle: newOracle(c.s, id),
			blind: make(map[string][]blindOp), configuration: c.s.firstConfiguration(id),
			proposed: make(map[consensus.Epoch]*proposals),
		}
		f.memberships = []consensus.Configuration{f.configuration}
		if c.s.engineOf(id).Sparse {
			f.sparse = &sparseFacts{
				window: consensus.Index(c.s.opts.swarm.window), first: f.configuration, values: make(map[entryKey]value),
				votes: make(map[entryKey][]consensus.ReplicaID),
			}
		}
		c.shards[id] = f
	}
	return f
}

// observer compares every result that a replica's store produces.
func (c *checkers) observer(n *simNode, id shard.ID) func(*store.Result) {
	o := c.shard(id).oracle
	return func(r *store.Result) { o.compare(n.name(), r) }
}

// stateChecks is how many applied batches share one comparison of whole states.
const stateChecks = 50

// applied looks at a replica's state after a batch, now and then.
func (c *checkers) applied(n *simNode, id shard.ID) {
	if c.s.chance(1.0 / stateChecks) {
		c.state(n, id)
	}
}

// state compares a replica's whole state with the history's at the same index.
func (c *checkers) state(n *simNode, id shard.ID) {
	view, err := n.stores[id].View()
	if err != nil {
		c.s.violate("state-hash", "%s shard %d: %v", n.name(), id, err)
	}
	defer view.Close()
	applied, err := view.Applied()
	if err != nil {
		c.s.violate("state-hash", "%s shard %d: %v", n.name(), id, err)
	}
	if applied.Index == 0 {
		return
	}
	hash, err := view.Hash()
	if err != nil {
		c.s.violate("state-hash", "%s shard %d: %v", n.name(), id, err)
	}
	if want := c.shard(id).oracle.stateHash(applied.Index); hash != want {
		c.s.violate("state-hash", "%s shard %d at index %d: state hash %x, the history's is %x", n.name(), id, applied.Index, hash, want)
	}
	c.s.report.count("check state hash")
}

// restarted compares what a node found on its disk.
func (c *checkers) restarted(n *simNode, id shard.ID) { c.state(n, id) }

// atEnd judges the histories once everything is at rest.
func (c *checkers) atEnd() {
	for _, n := range c.s.nodes {
		for _, id := range n.carried() {
			c.state(n, id)
		}
	}
	for _, x := range c.refused {
		if at, ok := c.shard(x.shard).oracle.requests[x.request]; ok {
			c.s.violate("refused", "shard %d request %v was refused (%v) and is decided at %d", x.shard, x.request, x.err, at)
		}
	}
	for _, id := range c.s.shardIDs() {
		c.shard(id).checkBlind(c.s)
	}
}

// converged says what is still missing until all replicas hold the whole history;
// "" when nothing is.
func (c *checkers) converged() string {
	for _, id := range c.s.shardIDs() {
		head := c.shard(id).oracle.head()
		for _, n := range c.s.nodes {
			r, ok := n.replica(id)
			if !ok {
				continue
			}
			if got := uint64(r.Applied()); got != head {
				return fmt.Sprintf("%s shard %d has applied %d of %d", n.name(), id, got, head)
			}
		}
	}
	return ""
}
