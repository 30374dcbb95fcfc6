package shard

import (
	"cmp"
	"slices"

	"github.com/quorate/quorate/consensus"
)

// Most groups of a node have nothing to do most of the time. A group at rest costs nothing: none
// of its replicas is ticked, and its leader sends no heartbeats. Instead nodes that have
// groups at rest in common tell each other that they live, one message for all of them.
//
// A leader that has been idle for restAfter election timeouts, and whose followers have
// everything, says so to them and rests; a follower that is as far and follows that leader rests,
// too (H11). What makes a machine say something wakes its replica; a late answer to a heartbeat
// does not. If they do not agree, the one that is awake soon asks for an election. Who refuses it
// wakes; but an engine may ignore it as long as it is bound to its leader, which at rest is for ever.

// A replica that does not vote never asks for an election. If it is opened when its group rests
// already, it asks those nodes for its leader that say that they live: one that has groups
// at rest in common with it, as it believes, may be the one. So does one that votes and has known no leader
// for so long that any election would be over.

// KindRest is a message from host to host; no machine sees it. With a Group its leader says
// that it rests: Index is the log's end; in no epoch it is a replica that looks for its leader.
// Without a Group the node only says that it lives.
const KindRest consensus.MessageKind = 255

// restAfter is how long nothing must have happened before a group rests, in election
// timeouts.
const restAfter = 2

// pair is what a host knows of another node with which it has groups at rest in common, or which
// believes that it has.
type pair struct {
	node    NodeID
	resting int  // groups
	silent  int  // ticks since it was heard
	gone    bool // it has been silent for an election timeout, and the groups know; until it is heard
}

// pairs are ascending by node; there are as many as nodes in the cluster at most.
type pairs []pair

func (p *pairs) of(node NodeID) *pair {
	at, ok := p.search(node)
	if !ok {
		*p = slices.Insert(*p, at, pair{node: node})
	}
	return &(*p)[at]
}

// after is the next node, round and round, that was heard in the last ticks, among some.
func (p *pairs) after(node NodeID, ticks int, among func(NodeID) bool) (next NodeID, ok bool) {
	at, found := p.search(node)
	if found {
		at++
	}
	for i := range *p {
		if x := &(*p)[(at+i)%len(*p)]; x.silent < ticks && among(x.node) {
			return x.node, true
		}
	}
	return 0, false
}

func (p *pairs) search(node NodeID) (at int, ok bool) {
	return slices.BinarySearchFunc(*p, node, func(x pair, node NodeID) int { return cmp.Compare(x.node, node) })
}

// active notes that something happened, and wakes the replica.
func (r *Replica) active() {
	r.idle = 0
	r.wake()
}

// wake lets time pass for the replica again.
func (r *Replica) wake() {
	if !r.resting {
		return
	}
	r.resting, r.idle, r.heard = false, 0, r.host.ticks
	if r.cold {
		r.cold = false
		r.host.cold--
	}
	for _, node := range r.with {
		r.host.pairs.of(node).resting--
	}
	r.with = nil
	r.host.resting--
	r.host.list(r)
}

// list sees to it that a replica is ticked.
func (h *Host) list(r *Replica) {
	if !r.listed {
		r.listed, h.unsorted = true, true
		h.awake = append(h.awake, r)
	}
}

// rest stops the replica's time. others are the group's nodes.
func (r *Replica) rest(others []NodeID) {
	r.resting, r.with = true, others
	if m, ok := r.machine.(consensus.Shrinker); ok {
		m.Shrink()
	}
	r.held, r.unsynced, r.queue, r.own = nil, nil, proposalQueue{}, nil
	r.host.resting++
	r.host.rested(r)
	for _, node := range others {
		p := r.host.pairs.of(node)
		if p.resting++; p.resting == 1 && !p.gone {
			p.silent = 0
		}
	}
}

// quiet reports whether nothing of this replica is under way, here or at its machine.
func (r *Replica) quiet(s *consensus.Status) bool {
	return len(r.queue.commands) == 0 && len(r.held) == 0 && len(r.unsynced) == 0 && !r.applying && r.install == nil && !r.doubt &&
		len(r.holders) == 0 && r.reads == 0 && len(r.own) == 0 && len(r.lessor.leases) == 0 &&
		s.Transferee == 0 && !s.Configuration.Joint() &&
		s.Commit == s.LastIndex && s.Durable == s.LastIndex && s.Applied == s.LastIndex
}

// unlisted takes a replica that rests, or may, off the list of those that are ticked.
func (r *Replica) unlisted() bool {
	r.listed = !r.resting && !r.restIfIdle()
	return !r.listed
}

// restIfIdle puts a led group to rest when it may, and reports whether it did.
func (r *Replica) restIfIdle() bool {
	if r.idle++; !r.state.Leads || r.idle < restAfter*r.host.cfg.Timing.ElectionTicks {
		return false
	}
	s := r.machine.Status()
	if s.Role != consensus.Leader || !r.quiet(&s) {
		return false
	}
	for i := range s.Peers {
		// A replica whose node is dead hears of what it misses when it comes back.
		if p := &s.Peers[i]; p.Match != s.LastIndex && p.Active {
			return false
		}
	}
	var others []NodeID
	for i := range s.Peers {
		p := &s.Peers[i]
		others = append(others, NodeOf(p.ID))
		if p.Match != s.LastIndex {
			continue
		}
		r.transmit(&consensus.Message{
			Kind: KindRest, Group: Group(r.id), From: r.self, To: p.ID, Epoch: s.HardState.Epoch, Index: s.LastIndex,
		})
	}
	r.rest(others)
	return true
}

// leaderRests takes a leader's word that its group rests. A replica that is not as far stays
// awake.
func (r *Replica) leaderRests(m *consensus.Message) {
	if r.state.Leads && m.Epoch == 0 { // who sent it looks for its leader
		r.active()
		return
	}
	if r.resting {
		return
	}
	s := r.machine.Status()
	if s.Leader != m.From || s.HardState.Epoch != m.Epoch || s.LastIndex != m.Index || !r.quiet(&s) {
		return
	}
	r.rest([]NodeID{NodeOf(m.From)})
}

// beatPairs tells the nodes with groups at rest that this one lives, and finds out which of
// them do not.
func (h *Host) beatPairs() {
	beat := h.ticks%h.cfg.Timing.HeartbeatTicks == 0
	for i := range h.pairs {
		p := &h.pairs[i]
		p.silent++
		if p.resting == 0 {
			continue
		}
		if beat {
			h.ports.Network.Send(p.node, &consensus.Message{
				Kind: KindRest, From: ReplicaOf(h.cfg.Node, h.cfg.Incarnation), To: ReplicaOf(p.node, 1),
			})
		}
		if p.silent >= h.cfg.Timing.ElectionTicks && !p.gone {
			p.gone = true
			h.wakeWith(p.node)
		}
	}
}

// seekLeader asks a node that lives whether it leads the group, if this replica votes and has known no leader for
// long, or does not vote and knows none or has heard nothing of it for long. It asks one after another: by turns one that has a replica,
// as far as it knows, and any.
func (r *Replica) seekLeader() {
	timing := &r.host.cfg.Timing
	// A replica that does not vote never gives its leader up, which may lead in a later epoch by now, and rest.
	silent := r.state.Leader == 0 || r.host.ticks-r.heard >= restAfter*timing.ElectionTicks
	if !silent || r.state.Leads || r.gone || r.host.ticks-r.sought < timing.HeartbeatTicks {
		return
	}
	r.sought = r.host.ticks
	// A shard without a quorum asks for ever: once in an election timeout.
	c := r.machine.Status().Configuration
	if long := r.state.Leader == 0 && r.idle >= restAfter*timing.ElectionTicks; !long || r.idle%timing.ElectionTicks >= timing.HeartbeatTicks {
		if slices.Contains(c.Voters, r.self) {
			return
		}
	}
	carries := func(node NodeID) bool {
		on := func(id consensus.ReplicaID) bool { return NodeOf(id) == node }
		return slices.ContainsFunc(c.Voters, on) || slices.ContainsFunc(c.Outgoing, on) || slices.ContainsFunc(c.Learners, on)
	}
	anybody := func(NodeID) bool { return true }
	last, among := &r.soughtAt[0], carries
	if r.asks++; r.asks%2 == 0 {
		last, among = &r.soughtAt[1], anybody
	}
	node, ok := r.host.pairs.after(*last, timing.ElectionTicks, among)
	if !ok {
		return
	}
	*last = node
	r.host.ports.Network.Send(node, &consensus.Message{Kind: KindRest, Group: Group(r.id), From: r.self, To: ReplicaOf(node, 1)})
}

// wakeWith wakes the groups that rest with a node: they may have lost their leader, or the
// leader its quorum. Who leads on without it rests again.
func (h *Host) wakeWith(node NodeID) {
	for _, r := range h.order {
		if !r.resting || !slices.Contains(r.with, node) {
			continue
		}
		r.active()
		if NodeOf(r.state.Leader) == node {
			// No heartbeat could say more: its election timeout is over.
			r.machine.Done(consensus.Done{Peer: r.state.Leader, State: consensus.PeerReset})
			h.touch(r)
		}
	}
}

// hears notes a sign of life of another node.
func (h *Host) hears(from consensus.ReplicaID) {
	at, ok := h.pairs.search(NodeOf(from))
	if !ok {
		return
	}
	p := &h.pairs[at]
	if p.silent = 0; !p.gone {
		return
	}
	p.gone = false
	for _, r := range h.order { // it may have missed something, and not know who leads
		if r.resting && r.state.Leads && slices.Contains(r.with, p.node) {
			r.active()
		}
	}
}

// Hears reports whether a peer of a leader answers. At rest nobody is asked anything, and what the
// machine has noted last is of no use: the peer answers if its node does.
func (r *Replica) Hears(peer *consensus.PeerStatus) bool {
	if !r.resting {
		return peer.Active
	}
	at, known := r.host.pairs.search(NodeOf(peer.ID))
	return known && !r.host.pairs[at].gone
}

// Rests reports whether all replicas are at rest.
func (h *Host) Rests() bool { return h.Awake() == 0 }

// Skip lets several ticks pass at once on a host whose replicas all rest. REQUIRES: Rests().
func (h *Host) Skip(ticks int) {
	for range ticks {
		h.ticks++
		h.beatPairs()
		h.cool()
	}
}

// Resting is the number of replicas at rest.
func (h *Host) Resting() int { return h.resting }
