package router

import (
	"time"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
	"github.com/quorate/quorate/internal/shard"
)

// barriers are one shard's linearizable read points in the making. All that
// arrive while the allowed rounds are under way share the next one (P3): the
// busier the node, the more reads per round.
type barriers struct {
	waiting []reader
	foreign []foreignRound // other nodes' rounds that this leader is asked for
	rounds  []*round       // asked, by ascending id
	ready   []*round       // answered, waiting for the apply, by ascending index
	pause   bool           // the leader refused a round: ask again after the next tick
}

type reader struct {
	deadline time.Duration
	done     func(error)
}

// foreignRound is a round of another node's router.
type foreignRound struct {
	from shard.NodeID
	id   uint64
}

type round struct {
	id        uint64
	forwarded bool // asked of another node
	asked     time.Duration
	index     consensus.Index
	readers   []reader
	foreign   []foreignRound
}

// Barrier calls done when this node has applied everything that was acknowledged
// before the call, or with an error of this package.
func (r *Router) Barrier(id shard.ID, done func(error)) {
	x, ok := r.routes[id]
	switch {
	case !ok:
		done(ErrUnknownKeyspace)
	case len(x.reads.waiting) >= r.cfg.Limits.Waiting:
		r.counters.Refused++
		done(ErrTooManyRequests)
	case mutant.On(mutant.RouterReadUnconfirmed) && !x.state.Leads:
		done(nil)
	case mutant.On(mutant.RouterReadJoinRound) && len(x.reads.rounds) > 0:
		y := x.reads.rounds[len(x.reads.rounds)-1]
		y.readers = append(y.readers, reader{deadline: r.now + r.cfg.Limits.Timeout, done: done})
	default:
		r.list(x)
		x.reads.waiting = append(x.reads.waiting, reader{deadline: r.now + r.cfg.Limits.Timeout, done: done})
	}
}

// askRounds asks the leader for a round for all that wait, here and at other nodes.
func (r *Router) askRounds(x *route) bool {
	b := &x.reads
	if !x.state.Leads {
		r.refuseForeign(x)
	}
	if len(b.waiting)+len(b.foreign) == 0 || x.state.Leader == 0 || len(b.rounds) >= r.cfg.Limits.Rounds || b.pause {
		return false
	}
	r.nextRead++
	y := &round{id: r.nextRead, forwarded: !x.state.Leads, asked: r.now}
	if y.forwarded {
		if !r.forward(shard.NodeOf(x.state.Leader), &packet{Kind: packetRead, Shard: x.id, ID: y.id}) {
			return false
		}
	} else if r.host.ReadBarrier(x.id, readProposal(y.id)) != nil {
		return false // busy or deposed: the next turn or tick asks again
	}
	y.readers, b.waiting = b.waiting, nil
	y.foreign, b.foreign = b.foreign, nil
	b.rounds = append(b.rounds, y)
	return true
}

// refuseForeign tells other nodes that their rounds are asked of the wrong one.
func (r *Router) refuseForeign(x *route) {
	for _, f := range x.reads.foreign {
		r.forward(f.from, &packet{Kind: packetReadReply, Shard: x.id, ID: f.id, Code: codeNotLeader})
	}
	x.reads.foreign = nil
}

// repeatRounds gives up rounds that were forwarded and not answered in time.
func (r *Router) repeatRounds(x *route) {
	for len(x.reads.rounds) > 0 {
		y := x.reads.rounds[0]
		if !y.forwarded || y.asked+r.cfg.Limits.RoundTimeout > r.now {
			return
		}
		x.reads.giveUp(0)
	}
}

// giveUp puts a round's readers, here and elsewhere, back in front of those that wait.
func (b *barriers) giveUp(i int) {
	y := b.rounds[i]
	b.rounds = append(b.rounds[:i], b.rounds[i+1:]...)
	b.waiting = append(y.readers, b.waiting...)
	b.foreign = append(y.foreign, b.foreign...)
}

// empty reports whether nobody waits.
func (b *barriers) empty() bool {
	return len(b.waiting)+len(b.foreign)+len(b.rounds)+len(b.ready) == 0
}

// find returns the position of a round that is under way, or -1.
func (b *barriers) find(id uint64) int {
	for i, y := range b.rounds {
		if y.id == id {
			return i
		}
	}
	return -1
}

// answered notes a round's index; its readers go on once that is applied here. It
// returns the round, or nil for one that is not under way any more.
func (b *barriers) answered(id uint64, index, applied consensus.Index) *round {
	i := b.find(id)
	if i < 0 {
		return nil
	}
	y := b.rounds[i]
	b.rounds = append(b.rounds[:i], b.rounds[i+1:]...)
	y.index = index
	at := len(b.ready)
	for at > 0 && b.ready[at-1].index > index {
		at--
	}
	b.ready = append(b.ready, nil)
	copy(b.ready[at+1:], b.ready[at:])
	b.ready[at] = y
	b.advance(applied)
	return y
}

// advance lets the readers go whose index is applied.
func (b *barriers) advance(applied consensus.Index) {
	n := 0
	for n < len(b.ready) && b.ready[n].index <= applied {
		for _, reader := range b.ready[n].readers {
			reader.done(nil)
		}
		n++
	}
	b.ready = append(b.ready[:0], b.ready[n:]...)
}

// expire ends readers whose deadline has come and returns how many.
func (b *barriers) expire(now time.Duration, err error) int {
	n := 0
	keep := func(readers []reader) []reader {
		kept := readers[:0]
		for _, x := range readers {
			if x.deadline > now {
				kept = append(kept, x)
				continue
			}
			x.done(err)
			n++
		}
		return kept
	}
	if len(b.waiting) > 0 && b.waiting[0].deadline <= now {
		b.waiting = keep(b.waiting)
	}
	for _, rounds := range [][]*round{b.rounds, b.ready} {
		for _, y := range rounds {
			if len(y.readers) > 0 && y.readers[0].deadline <= now {
				y.readers = keep(y.readers)
			}
		}
	}
	return n
}

// fail ends every reader.
func (b *barriers) fail(err error) {
	for _, y := range append(b.rounds, b.ready...) {
		b.waiting = append(b.waiting, y.readers...)
	}
	for _, x := range b.waiting {
		x.done(err)
	}
	*b = barriers{}
}

// serveRead takes another node's round, to be asked for with our own.
func (r *Router) serveRead(from shard.NodeID, x *route, p *packet) {
	if len(x.reads.foreign) >= r.cfg.Limits.Waiting {
		r.counters.Refused++
		return // asked again at RoundTimeout
	}
	r.list(x)
	x.reads.foreign = append(x.reads.foreign, foreignRound{from: from, id: p.ID})
}
