package router

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/mutant"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/store"
)

// Proposal ids tell the router what a machine speaks of:
//
//	8 bits: whose request it is, as an index into nodes (0: this node)
//	1 bit:  a read round of this node, else a request
//	55 bits: the round's or request's number at that node
const (
	nodeShift = 56
	readBit   = 1 << 55
	numberMax = readBit - 1
	// maxNodes bounds the nodes whose commands one router serves in its life. A cluster has fewer; after
	// so many have come and gone, new ones are refused here until this node starts again.
	maxNodes = 1 << (64 - nodeShift)
)

func proposal(node int, number uint64) consensus.ProposalID {
	return consensus.ProposalID(uint64(node)<<nodeShift | number&numberMax)
}

func readProposal(number uint64) consensus.ProposalID { return proposal(0, number) | readBit }

// indexOf numbers the nodes that this router serves. There is none for one too many.
func (r *Router) indexOf(node shard.NodeID) (i int, ok bool) {
	if i, ok = r.nodeIndex[node]; ok {
		return i, true
	}
	if i = len(r.nodes); i == maxNodes {
		return 0, false
	}
	r.nodes = append(r.nodes, node)
	r.nodeIndex[node] = i
	return i, true
}

// ReadReady implements shard.Outcome.
func (r *Router) ReadReady(id shard.ID, read consensus.ProposalID, index consensus.Index) {
	x, ok := r.routes[id]
	if !ok {
		return
	}
	if y := x.reads.answered(uint64(read)&numberMax, index, x.applied); y != nil {
		for _, f := range y.foreign {
			r.forward(f.from, &packet{Kind: packetReadReply, Shard: id, ID: f.id, Index: index})
		}
	}
}

// Dropped implements shard.Outcome.
func (r *Router) Dropped(id shard.ID, proposals []consensus.ProposalID) {
	x, ok := r.routes[id]
	if !ok {
		return
	}
	for _, p := range proposals {
		node, number := int(uint64(p)>>nodeShift), uint64(p)&numberMax
		switch read := p&readBit != 0; {
		case number == 0: // the node's own, such as a lease's expiry
		case node != 0:
			r.forward(r.nodes[node], &packet{Kind: packetRefused, Shard: id, ID: number, Epoch: x.state.Epoch, Code: codeNotLeader})
		case read:
			if i := x.reads.find(number); i >= 0 {
				x.reads.giveUp(i)
			}
		default:
			if x.waiters.TakeBack(number, x.state.Epoch) {
				r.park(x, number)
			}
		}
	}
}

// RoleChanged implements shard.Outcome.
func (r *Router) RoleChanged(id shard.ID, s shard.LeaderState) {
	x, ok := r.routes[id]
	if !ok {
		return
	}
	x.state, x.changed, x.retry = s, r.now, true
	r.list(x)
	if mutant.On(mutant.RouterRetryUnknown) {
		r.park(x, x.waiters.Overtaken(s.Epoch)...)
	}
	for i := len(x.reads.rounds) - 1; i >= 0; i-- {
		if x.reads.rounds[i].forwarded {
			x.reads.giveUp(i)
		}
	}
	r.calls.repeat(id)
}

// Advanced implements shard.Outcome.
func (r *Router) Advanced(id shard.ID, index consensus.Index, epoch consensus.Epoch) {
	x, ok := r.routes[id]
	if !ok {
		return
	}
	x.applied = index
	if epoch > x.overtakenBy {
		x.overtakenBy = epoch
		r.park(x, x.waiters.Overtaken(epoch)...)
		x.retry = true
	}
	x.reads.advance(index)
}

// Installed implements shard.Outcome: keeps P2.
func (r *Router) Installed(id shard.ID, index consensus.Index) {
	x, ok := r.routes[id]
	if !ok {
		return
	}
	x.applied = index
	if mutant.On(mutant.RouterRetryAfterSnapshot) {
		r.park(x, x.waiters.Overtaken(^consensus.Epoch(0))...)
	}
	for _, seq := range x.waiters.Handed(^consensus.Epoch(0)) {
		x.waiters.End(seq, nil, ErrUnknownOutcome)
	}
	x.reads.advance(index)
}

// Receive takes a packet from another node's router. It returns ErrMalformed for
// one that cannot be decoded; the command in it shares memory with body.
func (r *Router) Receive(from shard.NodeID, body []byte) error {
	p, err := decodePacket(body)
	if err != nil {
		return fmt.Errorf("from node %v: %w", from, err)
	}
	x, ok := r.routes[p.Shard]
	if !ok {
		return fmt.Errorf("from node %v: %w: shard %d", from, ErrUnknownKeyspace, p.Shard)
	}
	switch p.Kind {
	case packetPropose:
		r.servePropose(from, &p)
	case packetRefused:
		r.refused(x, &p)
	case packetRead:
		r.serveRead(from, x, &p)
	case packetReadReply:
		r.readReply(x, &p)
	case packetLease:
		r.serveLease(from, &p)
	case packetLeaseDone:
		r.leaseDone(&p)
	}
	return nil
}

// readReply ends a forwarded round. A refused one is asked again, but not at once:
// its leader does not know itself as one, and that takes a message to change.
func (r *Router) readReply(x *route, p *packet) {
	if p.Code == codeOK {
		x.reads.answered(p.ID, p.Index, x.applied)
		return
	}
	if i := x.reads.find(p.ID); i >= 0 {
		x.reads.giveUp(i)
		x.reads.pause = true
	}
}

func (r *Router) servePropose(from shard.NodeID, p *packet) {
	index, room := r.indexOf(from)
	err := ErrTooManyRequests
	if room {
		store.StampEnvelope(p.Data, r.wall)
		err = r.host.Propose(p.Shard, p.Epoch, consensus.Command{ID: proposal(index, p.ID), Data: p.Data})
	}
	if err == nil {
		return
	}
	reply := packet{Kind: packetRefused, Shard: p.Shard, ID: p.ID, Epoch: p.Epoch, Code: codeTooMany}
	if err == consensus.ErrNotLeader {
		reply.Code = codeNotLeader
	}
	r.forward(from, &reply)
}

// refused takes back a request that the leader did not want (P1).
func (r *Router) refused(x *route, p *packet) {
	if !x.waiters.TakeBack(p.ID, p.Epoch) {
		return
	}
	if p.Code == codeTooMany {
		x.waiters.End(p.ID, nil, ErrTooManyRequests)
		return
	}
	r.park(x, p.ID)
}
