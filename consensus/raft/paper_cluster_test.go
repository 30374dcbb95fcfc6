package raft

import (
	"errors"
	"slices"
	"testing"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/consensustest"
)

// The rules around a leadership: membership, reads, transfer (§6, thesis §3.10, §4, §6.4).

// §6: "Once a given server adds the new configuration entry to its log, it uses that
// configuration for all future decisions (a server always uses the latest
// configuration in its log, regardless of whether the entry is committed)."
func TestConfigurationInForceAtAppend(t *testing.T) {
	w := group(3, 1)
	h := w.elect(1)
	w.stabilize()
	if err := h.change(1, voters(1, 2).Membership); err != nil {
		t.Fatal(err)
	}
	if c := h.m.Status().Configuration; !c.Joint() || !slices.Equal(c.Voters, []consensus.ReplicaID{1, 2}) {
		t.Fatalf("configuration %s at append", consensustest.ShowConfiguration(&c))
	}
	w.pump(h)
	if err := w.deliver(slices.IndexFunc(w.net, func(m consensus.Message) bool { return m.To == 3 })); err != nil {
		t.Fatal(err)
	}
	if c := w.host(3).m.Status().Configuration; !c.Joint() {
		t.Errorf("follower's configuration %s at append", consensustest.ShowConfiguration(&c))
	}
}

// §6: "Agreement (for elections and entry commitment) requires separate majorities
// from both the old and new configurations."
func TestJointNeedsBothMajorities(t *testing.T) {
	w := group(3, 1)
	h := w.elect(1)
	w.stabilize()
	_ = h.change(1, voters(3, 4, 5).Membership)
	w.pump(h)
	w.sync(h, 1)
	ack := func(from consensus.ReplicaID) consensus.Index {
		w.says(t, h, consensus.Message{Kind: KindAppendReply, From: from, Epoch: 1, Index: 2})
		return h.m.commit
	}
	if c := ack(2); c != 1 {
		t.Errorf("commit %d with the old majority only", c)
	}
	if c := ack(4); c != 1 {
		t.Errorf("commit %d with one of the new", c)
	}
	if c := ack(5); c != 2 {
		t.Errorf("commit %d with both majorities", c)
	}
}

// §6: the log may be truncated under a configuration; the one before is back then.
func TestTruncatedConfigurationFallsBack(t *testing.T) {
	w := newWorld(1)
	h := w.withLog(3, voters(1, 2, 3), consensus.HardState{Epoch: 1}, 1)
	c := consensus.Configuration{Membership: voters(3, 4).Membership, Outgoing: []consensus.ReplicaID{1, 2, 3}}
	w.says(t, h, consensus.Message{Kind: KindAppend, From: 1, Epoch: 1, Index: 1, IndexEpoch: 1, Entries: []consensus.Entry{
		{Index: 2, Epoch: 1, Orig: 1, Kind: consensus.EntryMembership, Data: consensus.AppendConfiguration(nil, &c)},
	}})
	if got := h.m.Status().Configuration; !got.Joint() {
		t.Fatalf("configuration %s", consensustest.ShowConfiguration(&got))
	}
	w.says(t, h, consensus.Message{Kind: KindAppend, From: 2, Epoch: 2, Index: 1, IndexEpoch: 1, Entries: []consensus.Entry{
		{Index: 2, Epoch: 2, Orig: 2, Kind: consensus.EntryBarrier},
	}})
	if got := h.m.Status().Configuration; got.Joint() || !slices.Equal(got.Voters, []consensus.ReplicaID{1, 2, 3}) {
		t.Errorf("configuration %s after the truncation", consensustest.ShowConfiguration(&got))
	}
}

// §6: the leader "steps down (returns to follower state) once it has committed
// the Cnew log entry"; until then "it replicates log entries but does not count
// itself in majorities."
func TestRemovedLeaderLeavesAfterTheDecision(t *testing.T) {
	w := group(3, 1)
	h := w.elect(1)
	w.stabilize()
	_ = h.change(1, voters(2, 3).Membership)
	w.pump(h)
	w.sync(h, 1)
	ack := func(from consensus.ReplicaID, index consensus.Index) {
		w.says(t, h, consensus.Message{Kind: KindAppendReply, From: from, Epoch: 1, Index: index})
	}
	ack(2, 2)
	ack(3, 2) // the joint configuration is decided, the final one appended
	if h.m.log.last != 3 || h.m.inForce().Joint() {
		t.Fatalf("last %d, configuration %s", h.m.log.last, consensustest.ShowConfiguration(&h.m.inForce().Configuration))
	}
	ack(2, 3)
	if h.m.commit != 2 || h.m.role != consensus.Leader {
		t.Errorf("commit %d as %v: the leader counted itself", h.m.commit, h.m.role)
	}
	ack(3, 3)
	if h.m.commit != 3 || h.m.role != consensus.Follower {
		t.Errorf("commit %d as %v after the decision", h.m.commit, h.m.role)
	}
}

// §6: new servers join "as non-voting members (the leader replicates log entries to
// them, but they are not considered for majorities)", and never campaign.
func TestLearnersDoNotCount(t *testing.T) {
	w := newWorld(1)
	c := voters(1, 2)
	c.Learners = []consensus.ReplicaID{3, 4}
	for id := range consensus.ReplicaID(4) {
		w.add(id+1, c)
	}
	h := w.elect(1)
	w.stabilize()
	w.crash(w.host(2), 9, 9)
	_ = h.propose(1, "x")
	w.stabilize()
	if h.m.commit != 1 || w.host(3).m.log.last != 2 {
		t.Errorf("commit %d, the learner has %d entries", h.m.commit, w.host(3).m.log.last)
	}
	w.crash(h, 9, 9)
	for range 100 {
		w.tick()
		w.stabilize()
	}
	if l := w.leader(); l != nil {
		t.Errorf("learner %v leads", l.id)
	}
}

// One membership change at a time, R8.
func TestOneMembershipChangeAtATime(t *testing.T) {
	w := group(3, 1)
	h := w.elect(1)
	w.stabilize()
	_ = h.change(1, voters(1, 2).Membership)
	if err := h.change(2, voters(1, 3).Membership); !errors.Is(err, consensus.ErrMembershipPending) {
		t.Errorf("error %v", err)
	}
	w.stabilize()
	if err := h.change(2, voters(1).Membership); err != nil {
		t.Errorf("after the change: %v", err)
	}
	w.stabilize()
	if c := h.m.Status().Configuration; !slices.Equal(c.Voters, []consensus.ReplicaID{1}) || c.Joint() {
		t.Errorf("configuration %s", consensustest.ShowConfiguration(&c))
	}
}

// thesis §6.4, step 1: "If the leader has not yet marked an entry from its current
// term committed, it waits until it has done so." Steps 2 and 3: the commit index
// is saved, and a majority must answer a heartbeat sent after that.
func TestReadBarrier(t *testing.T) {
	w := newWorld(1)
	h := w.withLog(1, voters(1, 2, 3), consensus.HardState{Epoch: 1}, 1, 1)
	h.m.becomeCandidate(false)
	w.pump(h)
	w.sync(h, 1)
	w.says(t, h, consensus.Message{Kind: KindVoteReply, From: 2, Epoch: 2})
	if err := h.read(7); err != nil {
		t.Fatal(err)
	}
	w.says(t, h, consensus.Message{Kind: KindHeartbeatReply, From: 2, Epoch: 2})
	if h.reads != nil {
		t.Fatalf("reads %v before the barrier entry is decided", h.reads)
	}
	sent := w.says(t, h, consensus.Message{Kind: KindAppendReply, From: 2, Epoch: 2, Index: 3})
	if h.m.commit != 3 || h.reads != nil {
		t.Fatalf("commit %d, reads %v", h.m.commit, h.reads)
	}
	if !slices.ContainsFunc(sent, func(m consensus.Message) bool { return m.Kind == KindHeartbeat && m.Round == 1 }) {
		t.Fatalf("no round: %v", formatAll(sent))
	}
	w.says(t, h, consensus.Message{Kind: KindHeartbeatReply, From: 3, Epoch: 2})
	if h.reads != nil {
		t.Fatal("answered by a reply to an older heartbeat")
	}
	w.says(t, h, consensus.Message{Kind: KindHeartbeatReply, From: 3, Epoch: 2, Round: 1})
	if want := []consensus.Read{{ID: 7, Index: 3}}; !slices.Equal(h.reads, want) {
		t.Errorf("reads %v, want %v", h.reads, want)
	}
}

// thesis §6.4: a deposed leader must not answer, and what waits is dropped (C8).
func TestDeposedLeaderDropsReads(t *testing.T) {
	w := group(3, 1)
	h := w.elect(1)
	w.stabilize()
	_ = h.read(7)
	_ = h.propose(8, "x")
	w.says(t, h, consensus.Message{Kind: KindHeartbeat, From: 2, Epoch: 5})
	if h.reads != nil || !slices.Equal(h.dropped, []consensus.ProposalID{7}) || !slices.Equal(h.unknown, []consensus.ProposalID{8}) {
		t.Errorf("reads %v dropped %v unknown %v", h.reads, h.dropped, h.unknown)
	}
}

// thesis §3.10: the leader "stops accepting new client requests", "fully updates the
// target server's log to match its own", then "sends a TimeoutNow request". "If
// leadership transfer does not complete after about an election timeout, the prior
// leader aborts the transfer and resumes accepting client requests."
func TestLeadershipTransfer(t *testing.T) {
	w := group(3, 1)
	h := w.elect(1)
	w.stabilize()
	_ = h.propose(1, "x")
	if err := h.transfer(2); err != nil {
		t.Fatal(err)
	}
	if err := h.propose(2, "y"); !errors.Is(err, consensus.ErrTransferring) {
		t.Errorf("proposal during the transfer: %v", err)
	}
	if w.pump(h); slices.ContainsFunc(w.net, func(m consensus.Message) bool { return m.Kind == KindTimeoutNow }) {
		t.Error("timeout-now before the target is up to date")
	}
	w.stabilize()
	if l := w.leader(); l.id != 2 || len(h.unknown) != 0 {
		t.Fatalf("leader %v, unknown %v", l.id, h.unknown)
	}
	w.crash(w.host(3), 9, 9)
	l := w.leader()
	_ = l.transfer(3)
	for range 10 {
		w.tick()
		w.stabilize()
	}
	if err := l.propose(3, "z"); err != nil || l.m.role != consensus.Leader {
		t.Errorf("after the timeout: %v as %v", err, l.m.role)
	}
}

// thesis §4.2.2: "a server that is not part of its own latest configuration should
// still start new elections, as it might still be needed until the Cnew entry is
// committed". After that it never does. The transcript needed plays it out.
func TestRemovedReplicaCampaignsOnlyWhileNeeded(t *testing.T) {
	w := group(2, 1)
	h := w.elect(1)
	w.stabilize()
	_ = h.change(1, voters(2).Membership)
	w.stabilize()
	if h.m.electable() {
		t.Error("electable after the final configuration is decided")
	}
	for range 100 {
		h.m.Tick()
	}
	if h.m.role != consensus.Follower {
		t.Errorf("a removed replica is %v", h.m.role)
	}
}

// A leader whose disk does not answer hands over: the others could decide without
// it, but it soon has to refuse proposals.
func TestLeaderWithStalledDiskLeaves(t *testing.T) {
	w := group(3, 1)
	h := w.elect(1)
	w.stabilize()
	_ = h.propose(1, "x")
	for range 25 {
		w.tick()
		for _, o := range w.hosts {
			w.pump(o)
			if o != h {
				w.sync(o, len(o.writes))
				w.pump(o)
			}
		}
		for range len(w.net) {
			_ = w.deliver(0)
		}
	}
	if l := w.leader(); l == h || l == nil {
		t.Errorf("leader %v, append %d of %d durable", l.id, h.m.disk.durable, h.m.disk.issued)
	}
}
