package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/store"
)

// catchUp calls done when the catalog has everything that was acknowledged before the call.
func (p *placedNode) catchUp(done func(error)) {
	n := p.n
	facts := n.s.check.shard(systemShard)
	acked := facts.acked
	n.router.Barrier(systemShard, func(err error) {
		if err != nil {
			n.later(0, func() { done(err) })
			return
		}
		at := consensus.Index(n.stores[systemShard].Applied().Index)
		if uint64(at) < acked {
			n.s.violate("stale-read", "%s has read the catalog at %d, %d had been acknowledged before", n.name(), at, acked)
		}
		if at <= p.at {
			n.later(0, func() { done(nil) })
			return
		}
		p.waiting = append(p.waiting, catalogWaiter{at, func() { done(nil) }})
		p.followLater()
	})
}

var errConflict = errors.New("the catalog has changed")

// transact runs a transaction in the system keyspace; done gets whether it succeeded.
func (p *placedNode) transact(kind string, txn *store.TxnRequest, done func(ok bool, err error)) {
	n := p.n
	facts := n.s.check.shard(systemShard)
	op := &operation{client: n.s.moves.writer, shard: systemShard, kind: kind, node: n, after: facts.acked}
	op.request = n.submit(systemShard, store.KindTxn, txn.AppendTo(nil), func(r *store.Result, err error) {
		n.later(0, func() {
			ok := false
			switch {
			case r != nil:
				facts.acknowledge(n.s, op, r)
				if err = r.Err; err == nil {
					ok = r.Response.(*store.TxnResponse).Succeeded
				}
			case refuses(err):
				n.s.check.refused = append(n.s.check.refused, refusal{systemShard, op.request, err})
			}
			if !ok && err == nil {
				err = errConflict
			}
			n.s.report.count("catalog " + kind + ": " + errorText(err))
			done(ok, err)
			n.process()
		})
	})
}

// memberTxn writes a change of the nodes.
func (p *placedNode) memberTxn(m *placement.MemberChange) *store.TxnRequest {
	key := placement.MemberKey(m.Member.ID)
	txn := &store.TxnRequest{Compare: []store.Compare{unchanged(key, m.Member.Revision)}}
	if m.Gone {
		value, err := json.Marshal(placement.Removed{ID: m.Member.ID, Name: m.Member.Name})
		if err != nil {
			p.n.s.violate("record", "%v", err)
		}
		txn.Success = append(txn.Success, remove(key), put(placement.RemovedKey(m.Member.ID), value))
	} else {
		txn.Success = append(txn.Success, put(key, m.Member.Encode()))
	}
	if m.Joins {
		count(txn, placement.NextMemberKey, p.catalog.NextMember, p.catalog.NextMemberRevision)
	}
	if m.Empties {
		count(txn, placement.RoomKey, p.catalog.Room, p.catalog.RoomRevision)
	}
	if m.System != nil {
		system := placement.Key(placement.System)
		txn.Compare = append(txn.Compare, unchanged(system, m.System.Revision))
		txn.Success = append(txn.Success, put(system, m.System.Encode()))
	}
	return txn
}

// count counts one more, if nobody has meanwhile.
func count(txn *store.TxnRequest, key string, value uint64, revision int64) {
	txn.Compare = append(txn.Compare, unchanged(key, revision))
	txn.Success = append(txn.Success, put(key, strconv.AppendUint(nil, value+1, 10)))
}

// conflictsMax is how often a change is made anew that another one came before.
const conflictsMax = 8

// change makes a change of the nodes, as of a catalog that is not behind.
func (p *placedNode) change(what string, next func(*placement.Catalog) (placement.MemberChange, error), done func(*placement.MemberChange, error)) {
	tries := 0
	var try func()
	try = func() {
		p.catchUp(func(err error) {
			if err != nil {
				done(nil, err)
				return
			}
			m, err := next(p.catalog)
			if err != nil {
				p.n.s.report.count("refused " + what + ": " + rootText(err))
				p.n.s.trace.line(p.n.s.now, p.n.name(), "refuse", "%s: %v", what, err)
				done(nil, err)
				return
			}
			p.transact(what, p.memberTxn(&m), func(ok bool, err error) {
				if tries++; !ok && errors.Is(err, errConflict) && tries < conflictsMax {
					try()
					return
				}
				done(&m, err)
			})
		})
		p.n.process()
	}
	try()
}

// create makes a keyspace, unless something comes between.
func (p *placedNode) create(spec placement.Spec) {
	n := p.n
	n.later(0, func() {
		p.catchUp(func(err error) {
			if err != nil {
				return
			}
			c := p.catalog
			silent, _ := p.unheard() // a shard whose founders never come is none
			k, err := c.Create(spec, placement.Cluster{
				Nodes: c.Ring(silent), Engines: []string{n.s.engineOf(shard.ID(c.NextShard)).Name},
				KeyspaceMax: 1000, Seed: n.s.opts.Seed,
			})
			if err != nil {
				n.s.report.count("refused create: " + rootText(err))
				return
			}
			key := placement.Key(k.Name)
			txn := &store.TxnRequest{
				Compare: []store.Compare{unchanged(key, k.Revision)},
				Success: []store.RequestOp{put(key, k.Encode())},
			}
			count(txn, placement.NextShardKey, c.NextShard, c.CounterRevision)
			count(txn, placement.RoomKey, c.Room, c.RoomRevision)
			p.transact("create", txn, func(bool, error) {})
		})
		n.process()
	})
}

// announceLater says of the node what its record does not.
func (p *placedNode) announceLater() {
	n := p.n
	n.later(n.s.between(0, 300*time.Millisecond), func() {
		p.catchUp(func(err error) {
			if err != nil {
				p.announceLater()
				return
			}
			p.confirmed = true
			p.carry()
			if _, gone := p.catalog.Removed(uint64(n.id)); gone {
				return
			}
			m, news := p.catalog.Announce(p.member())
			if !news {
				return
			}
			p.transact("announce", p.memberTxn(&m), func(ok bool, _ error) {
				if !ok {
					p.announceLater()
				}
			})
		})
		n.process()
	})
}

// joinRetry is how long a machine waits for an answer that wants to be a node.
const joinRetry = 800 * time.Millisecond

// join asks some node to let the machine in, until one does.
func (p *placedNode) join() {
	n := p.n
	if p.tries++; p.joined || p.gone || n.up {
		return
	}
	try := p.tries
	n.s.after(joinRetry, func() {
		if p.tries == try {
			p.join()
		}
	})
	m := n.s.moves.anyNode()
	if m == nil || m == n {
		return
	}
	n.s.trace.line(n.s.now, n.name(), "join", "at %s, disk %x", m.name(), p.disk)
	disk := p.disk
	m.later(n.s.between(0, 10*time.Millisecond), func() {
		m.placed.admit(n, func(life, system uint16) {
			n.s.after(n.s.between(0, 10*time.Millisecond), func() {
				if !p.joined && !p.gone && p.disk == disk {
					p.admitted(life, system)
				}
			})
		})
	})
}

// admit lets a machine in, as a new node or in the place of one.
func (p *placedNode) admit(who *simNode, answer func(life, system uint16)) {
	request := placement.JoinRequest{
		Name: who.name(), PeerURLs: []string{who.placed.url()}, Zone: who.placed.zone, Weight: who.placed.weight, Disk: who.placed.disk,
	}
	var at placement.Node
	p.change("join", func(c *placement.Catalog) (placement.MemberChange, error) {
		silent, _ := p.unheard()
		m, err := c.Join(request, func(uint64) uint64 { return uint64(who.id) }, func(id uint64) bool { return !silent[id] })
		if err != nil {
			return m, err
		}
		k, _ := c.Keyspace(placement.System)
		if m.System != nil {
			k = *m.System
		}
		at, _, _ = k.Shards[0].On(m.Member.ID, m.Member.Incarnation)
		return m, nil
	}, func(m *placement.MemberChange, err error) {
		if err == nil {
			answer(m.Member.Incarnation, at.Incarnation)
		}
	})
}

// admitted starts the machine as a node.
func (p *placedNode) admitted(life, system uint16) {
	n := p.n
	n.s.report.count("node joined")
	n.s.trace.line(n.s.now, n.name(), "joined", "life %d, system replica %d", life, system)
	p.joined, p.system, n.incarnation = true, system, life
	n.start()
}

func describeMembership(m consensus.Membership) string {
	return fmt.Sprintf("voters %v learners %v", m.Voters, m.Learners)
}
