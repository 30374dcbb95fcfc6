package raft

import (
	"slices"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/internal/ring"
	"github.com/quorate/quorate/consensus/quorum"
)

// flow is how a leader sends entries to one replica.
type flow uint8

const (
	// probe: the replica's log is not known; one append is under way at a time,
	// until a reply tells where to continue.
	probe flow = iota
	// replicate: the replica follows; appends are sent ahead of their replies as
	// far as the window allows.
	replicate
	// snapshot: the replica's next entry is released here; nothing is sent until
	// the driver reports the end of the stream.
	snapshot
)

func (f flow) String() string { return [...]string{"probe", "replicate", "snapshot"}[f] }

// shipment is one append message under way.
type shipment struct {
	last consensus.Index // its last entry
	cost uint64          // of its entries
}

// peer is a replica of the configuration as this replica sees it. The machine
// itself is in the list as well, for its vote; the fields below vote are a
// leader's and mean nothing for itself.
type peer struct {
	id      consensus.ReplicaID
	learner bool        // neither in Voters nor in Outgoing
	vote    quorum.Vote // in this replica's own trial or election

	flow flow
	// match is the last index known durable there. Invariant: match < next.
	match consensus.Index
	// next is the next index to send; in probe, of the append that is under way.
	next consensus.Index
	// waiting: in probe, an append is under way.
	waiting bool
	// active: something came from the replica since the last check of the quorum.
	active bool
	// gapAt is where the last heartbeat reply complained of a gap, plus one; a
	// second complaint of the same gap is a loss and not a reordering.
	gapAt consensus.Index
	// round is the latest read round that the replica confirmed.
	round uint64
	// told is the highest commit index sent.
	told consensus.Index
	// beat: a heartbeat is to be sent.
	beat bool
	// doubt names the doubt that the replica says it is in; witness is the entry that
	// ends it (doubt.go). Invariant: match is not counted while doubt is not zero.
	doubt   uint64
	witness consensus.Index

	// shipments are the appends under way in replicate, shipped their cost.
	shipments ring.Ring[shipment]
	shipped   uint64
}

// lead prepares the view of a new leader whose log ends before next (Raft §5.3).
func (p *peer) lead(next consensus.Index) {
	*p = peer{id: p.id, learner: p.learner, next: next, shipments: p.shipments}
	p.shipments.Clear()
}

// toProbe goes back to one append at a time, from next on.
func (p *peer) toProbe(next consensus.Index) {
	p.flow, p.waiting, p.gapAt = probe, false, 0
	p.next = max(next, p.match+1)
	p.shipments.Clear()
	p.shipped = 0
}

// toReplicate sends ahead of replies from now on.
func (p *peer) toReplicate() {
	p.flow, p.waiting, p.gapAt = replicate, false, 0
	p.next = p.match + 1
}

// toSnapshot waits for the driver to stream the state.
func (p *peer) toSnapshot() {
	p.flow, p.waiting = snapshot, false
	p.shipments.Clear()
	p.shipped = 0
}

// ship records that an append up to last is under way.
func (p *peer) ship(last consensus.Index, cost uint64) {
	if p.flow == probe {
		p.waiting = true // next stays: the reply says whether the entry before it is there
		return
	}
	p.next = last + 1
	p.shipments.Push(shipment{last, cost})
	p.shipped += cost
}

// acknowledged takes note that everything up to match is durable at the replica,
// and reports whether that is news. Replies may come in any order.
func (p *peer) acknowledged(match consensus.Index) bool {
	for p.shipments.Len() > 0 && p.shipments.At(0).last <= match {
		p.shipped -= p.shipments.At(0).cost
		p.shipments.PopFront(1)
	}
	if match <= p.match {
		return false
	}
	p.match = match
	p.next = max(p.next, match+1)
	return true
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

// setPeers makes peers match the configuration in force, ordered by id, and keeps
// what is known of those that stay.
func (m *Machine) setPeers(c *consensus.Configuration) {
	ids := slices.Concat(c.Voters, c.Outgoing, c.Learners)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	peers := make([]peer, len(ids))
	for i, id := range ids {
		if old := m.find(id); old != nil {
			peers[i] = *old
		} else {
			// Active: a newcomer gets a whole period to answer before it counts
			// against the leader.
			peers[i] = peer{id: id, next: m.log.last + 1, active: true}
		}
		peers[i].learner = !slices.Contains(c.Voters, id) && !slices.Contains(c.Outgoing, id)
	}
	m.peers = peers
}
