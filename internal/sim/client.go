package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/quorate/quorate/internal/router"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/store"
)

// Deadlines of requests: the node's own, and how long a client waits for a node
// that says nothing at all.
const (
	requestTimeout = 1500 * time.Millisecond
	clientTimeout  = 2500 * time.Millisecond
)

var (
	errNoConnection = errors.New("connection refused")
	errConnection   = errors.New("connection lost")
	errNoAnswer     = errors.New("no answer")
)

// client does one thing after the other, at one node as long as that answers.
type client struct {
	s       *Sim
	name    string
	number  int
	rng     *rand.Rand
	node    *simNode
	op      *operation // under way; nil: thinking
	counter int
	stopped bool
	next    func()               // what to do after an operation and a pause
	pause   func() time.Duration // that pause; nil: the run's think time
}

// operation is one request of a client.
type operation struct {
	client       *client
	shard        shard.ID
	kind         string
	node         *simNode
	sent         time.Duration
	after        uint64 // highest index acknowledged when it began
	linearizable bool
	request      store.RequestID    // of a command
	ranged       store.RangeRequest // of a read
	blind        *blindOp           // nil: not a matter of one key
	key          string
	done         func(*operation, *answer)
}

// answer ends an operation.
type answer struct {
	result  *store.Result        // of a command
	ranged  *store.RangeResponse // of a read
	applied uint64               // index that a read was answered at
	ttl     int64                // of a lease call
	err     error
}

func (s *Sim) newClient(name string, number int) *client {
	c := &client{s: s, name: name, number: number}
	c.rng = rand.New(rand.NewPCG(s.opts.Seed, uint64(1<<20+len(s.clients))))
	c.node = s.endpoint(c.rng)
	s.clients = append(s.clients, c)
	return c
}

// endpoint draws a node for a client; nobody goes on asking machines that never come back.
func (s *Sim) endpoint(rng *rand.Rand) *simNode {
	nodes := s.nodes
	if s.moves != nil {
		nodes = s.living()
	}
	return nodes[rng.IntN(len(nodes))]
}

// think goes on after a pause.
func (c *client) think(d time.Duration) {
	c.s.after(d, func() {
		if !c.stopped && c.op == nil {
			c.next()
		}
	})
}

func (c *client) begin(id shard.ID, kind string) *operation {
	op := &operation{
		client: c, shard: id, kind: kind, node: c.at(id), sent: c.s.now, after: c.s.check.shard(id).acked,
	}
	c.op = op
	c.s.after(clientTimeout, func() { c.end(op, &answer{err: errNoAnswer}) })
	return op
}

// command sends a command.
func (c *client) command(op *operation, kind store.Kind, body []byte) {
	c.s.trace.client(c.s.now, c.name, op.shard, "call", "%s at %s", op.kind, op.node.name())
	c.send(op, func(n *simNode) {
		op.request = n.submit(op.shard, kind, body, func(r *store.Result, err error) {
			c.end(op, &answer{result: r, err: err})
		})
	})
}

// send hands a request to the node's process, or fails if there is none.
func (c *client) send(op *operation, do func(*simNode)) {
	n := op.node
	if !n.up {
		c.s.after(time.Millisecond, func() { c.end(op, &answer{err: errNoConnection}) })
		return
	}
	n.later(c.s.between(0, time.Millisecond), func() {
		if !n.serves(op.shard) {
			c.end(op, &answer{err: router.ErrUnknownKeyspace})
			return
		}
		do(n)
		n.process()
	})
}

// read asks for a barrier unless the read is serializable, and then reads at the node.
func (c *client) read(op *operation) {
	c.s.trace.client(c.s.now, c.name, op.shard, "call", "%s at %s", op.kind, op.node.name())
	c.send(op, func(n *simNode) {
		if !op.linearizable {
			c.readNow(op, n)
			return
		}
		n.router.Barrier(op.shard, func(err error) {
			if err != nil {
				c.end(op, &answer{err: err})
				return
			}
			c.readNow(op, n)
		})
	})
}

func (c *client) readNow(op *operation, n *simNode) {
	s, ok := n.stores[op.shard]
	if !ok {
		c.end(op, &answer{err: shard.ErrUnknownShard})
		return
	}
	view, err := s.View()
	if err != nil {
		c.end(op, &answer{err: err})
		return
	}
	defer view.Close()
	applied, err := view.Applied()
	if err != nil {
		c.s.violate("read", "%s shard %d: %v", n.name(), op.shard, err)
	}
	resp, err := view.Range(&op.ranged)
	c.end(op, &answer{ranged: resp, applied: applied.Index, err: err})
}

// end takes the first answer to an operation; others come too late.
func (c *client) end(op *operation, a *answer) {
	if c.op != op {
		return
	}
	c.op = nil
	s, facts := c.s, c.s.check.shard(op.shard)
	err := a.err
	switch {
	case a.result != nil:
		facts.acknowledge(s, op, a.result)
		err = a.result.Err
	case a.ranged != nil || a.applied != 0:
		facts.read(s, op, a.applied, a.ranged, a.err)
	case refuses(a.err) && op.request.Seq != 0:
		s.check.refused = append(s.check.refused, refusal{op.shard, op.request, a.err})
	}
	s.report.Operations++
	s.report.count("op " + op.kind)
	if err != nil {
		s.report.Failed++
		s.report.count("error op: " + rootText(err))
	}
	s.trace.client(s.now, c.name, op.shard, "return", "%s: %s", op.kind, errorText(err))
	if op.blind != nil {
		op.blind.finish(op, a, facts)
	}
	op.done(op, a)
	if a.err != nil && a.result == nil && a.applied == 0 && c.rng.IntN(3) > 0 {
		c.node = s.endpoint(c.rng)
	}
	if c.pause != nil {
		c.think(c.pause())
		return
	}
	c.think(s.between(0, 2*s.opts.swarm.think))
}

// refuses reports whether an error promises that the command will never be done.
func refuses(err error) bool {
	return errors.Is(err, router.ErrTooManyRequests) || errors.Is(err, router.ErrNoSpace) ||
		errors.Is(err, router.ErrRequestTooLarge) || errors.Is(err, router.ErrUnknownKeyspace)
}

// lost ends what clients had under way at a node whose process ended.
func (s *Sim) lost(n *simNode) {
	for _, c := range s.clients {
		if c.op != nil && c.op.node == n {
			op := c.op
			s.after(s.between(0, 2*time.Millisecond), func() { c.end(op, &answer{err: errConnection}) })
		}
	}
}

// startClients lets workers, lease holders and watchers begin.
func (s *Sim) startClients() {
	for i := range s.opts.Clients {
		w := &worker{client: s.newClient(fmt.Sprintf("c%d", i), i)}
		w.next = w.act
		w.think(s.between(0, s.opts.swarm.think))
	}
	for i := range leaseHolders {
		h := &holder{client: s.newClient(fmt.Sprintf("l%d", i), i)}
		h.next, h.pause = h.act, h.rest
		h.think(s.between(0, time.Second))
	}
	for _, id := range s.shardIDs() {
		s.watch(id)
	}
}

func (s *Sim) watch(id shard.ID) { s.watches = append(s.watches, s.newWatch(id)) }

func (s *Sim) stopClients() {
	for _, c := range s.clients {
		c.stopped = true
	}
}
