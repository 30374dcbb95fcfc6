package paxos

import (
	"slices"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/internal/ring"
	"github.com/quorate/quorate/consensus/quorum"
)

// flow is how a leader sends values to one replica.
type flow uint8

const (
	// probe: what the replica has is not known; a heartbeat's answer tells.
	probe flow = iota
	// replicate: values are sent ahead of their acknowledgements as far as the window
	// allows.
	replicate
	// snapshot: the replica's next slot is released here; nothing is sent until the
	// driver reports the end of the stream.
	snapshot
)

func (f flow) String() string { return [...]string{"probe", "replicate", "snapshot"}[f] }

// shipment is one accept message under way.
type shipment struct {
	last consensus.Index // its last slot
	cost uint64          // of its values
}

// promise is what an acceptor has promised to this replica's own ballot.
type promise struct {
	// given: it has promised; done: and reported all that it had accepted.
	given, done bool
	// upTo is up to where its report has come.
	upTo consensus.Index
	// floor is up to where it cannot report, because that is released there (P4).
	floor consensus.Index
	// commit is its commit index.
	commit consensus.Index
}

// peer is a replica of the configurations as this replica sees it. The machine itself is
// in the list as well, for its promise.
type peer struct {
	id      consensus.ReplicaID
	learner bool        // votes on no slot above commit
	vote    quorum.Vote // in this replica's own trial or election
	promise promise     // in the epoch of its own election

	flow flow
	// match: everything up to here is decided, or accepted in this epoch and durable
	// there. Invariant: match < next.
	match consensus.Index
	// apart are the spans above match of which the same is true, ascending, with gaps.
	apart []consensus.Span
	// next is the next slot to send.
	next consensus.Index
	// active: something came from the replica since the last check of the quorum.
	active bool
	// gapAt is where the last complaint of a gap was, plus one; a second one of the same
	// gap is a loss and not a reordering.
	gapAt consensus.Index
	// resent: a gap was sent again since the last heartbeat.
	resent bool
	// round is the latest read round that the replica confirmed.
	round uint64
	// told is the highest commit index sent; decided is up to where the replica knows
	// durably what is decided.
	told, decided consensus.Index
	// beat: a heartbeat is to be sent.
	beat bool

	// shipments are the accepts under way, shipped their cost.
	shipments ring.Ring[shipment]
	shipped   uint64
}

// lead prepares the view of a new leader that goes on at next. Who has promised has told
// where it stands.
func (p *peer) lead(next consensus.Index) {
	*p = peer{
		id: p.id, learner: p.learner, promise: p.promise, next: next,
		shipments: p.shipments, apart: p.apart[:0],
	}
	p.shipments.Clear()
	if p.promise.given {
		p.match = min(p.promise.commit, next-1)
		p.toReplicate(0)
		p.next = p.match + 1
	}
}

// toProbe asks again what the replica has.
func (p *peer) toProbe() {
	p.flow, p.gapAt, p.beat = probe, 0, true
	p.shipments.Clear()
	p.shipped = 0
}

// toReplicate sends from next on.
func (p *peer) toReplicate(next consensus.Index) {
	p.flow, p.gapAt = replicate, 0
	p.next = max(next, p.match+1)
	p.shipments.Clear()
	p.shipped = 0
}

// toSnapshot waits for the driver to stream the state.
func (p *peer) toSnapshot() {
	p.flow = snapshot
	p.shipments.Clear()
	p.shipped = 0
}

// ship records that an accept up to last is under way.
func (p *peer) ship(last consensus.Index, cost uint64) {
	p.next = last + 1
	p.shipments.Push(shipment{last, cost})
	p.shipped += cost
}

// acknowledged takes note of match, and reports whether that is news. Replies may come in
// any order.
func (p *peer) acknowledged(match consensus.Index) bool {
	for p.shipments.Len() > 0 && p.shipments.At(0).last <= match {
		p.shipped -= p.shipments.At(0).cost
		p.shipments.PopFront(1)
	}
	if match <= p.match {
		return false
	}
	p.match = match
	for len(p.apart) > 0 && p.apart[0].Lo <= p.match+1 {
		p.match = max(p.match, p.apart[0].Hi-1)
		p.apart = slices.Delete(p.apart, 0, 1)
	}
	p.next = max(p.next, p.match+1)
	return true
}

// acknowledgedApart takes note of a span above match. More spans than the bound are
// forgotten: they will be acknowledged again.
func (p *peer) acknowledgedApart(span consensus.Span) bool {
	if span.Lo <= p.match+1 {
		return p.acknowledged(span.Hi - 1)
	}
	k := 0
	for k < len(p.apart) && p.apart[k].Hi < span.Lo {
		k++
	}
	end := k
	for end < len(p.apart) && p.apart[end].Lo <= span.Hi {
		span.Lo, span.Hi = min(span.Lo, p.apart[end].Lo), max(span.Hi, p.apart[end].Hi)
		end++
	}
	if k == end && len(p.apart) >= spansMax {
		return false
	}
	p.apart = slices.Replace(p.apart, k, end, span)
	return true
}

// reaches is up to where the replica has everything from lo on, or lo-1.
func (p *peer) reaches(lo consensus.Index) consensus.Index {
	if p.match >= lo {
		return p.match
	}
	for _, s := range p.apart {
		if s.Lo <= lo && lo < s.Hi {
			return s.Hi - 1
		}
	}
	return lo - 1
}

// find returns the peer with this id, or nil.
func (m *Machine) find(id consensus.ReplicaID) *peer {
	for i := range m.peers {
		if m.peers[i].id == id {
			return &m.peers[i]
		}
	}
	return nil
}
