package raft

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/quorate/quorate/consensus"
)

// Each test here quotes the rule it proves. § is the extended Raft paper, "thesis §"
// Ongaro's dissertation. Hosts 1, 2, 3 … are real machines; where a test speaks for
// a replica itself, it steps messages by hand.

// withLog adds a host whose disk has entries of these epochs and a hard state.
func (w *world) withLog(id consensus.ReplicaID, c consensus.Configuration, hard consensus.HardState, epochs ...consensus.Epoch) *host {
	h := &host{id: id}
	h.durable.hard = hard
	h.durable.released.Configuration = c
	h.state.Configuration, h.flushed.Configuration = c, c
	for i, e := range epochs {
		h.durable.entries = append(h.durable.entries, consensus.Entry{
			Index: consensus.Index(i + 1), Epoch: e, Orig: e, Kind: consensus.EntryBarrier,
		})
	}
	w.hosts = append(w.hosts, h)
	slices.SortFunc(w.hosts, func(a, b *host) int { return int(a.id) - int(b.id) })
	w.start(h)
	return h
}

// says steps a message to a host and returns the replies that leave when all is durable.
func (w *world) says(t *testing.T, h *host, msg consensus.Message) []consensus.Message {
	t.Helper()
	msg.Group, msg.To = 1, h.id
	if err := h.m.Step(msg); err != nil {
		t.Fatalf("%s: %v", formatMessage(&msg), err)
	}
	w.net = nil
	w.pump(h)
	w.sync(h, len(h.writes))
	w.pump(h)
	return w.net
}

func one(t *testing.T, msgs []consensus.Message, kind consensus.MessageKind) consensus.Message {
	t.Helper()
	if len(msgs) != 1 || msgs[0].Kind != kind {
		t.Fatalf("messages %v, want one %s", formatAll(msgs), KindName(kind))
	}
	return msgs[0]
}

func formatAll(msgs []consensus.Message) (all []string) {
	for i := range msgs {
		all = append(all, formatMessage(&msgs[i]))
	}
	return all
}

func epochs(d *disk) (all []consensus.Epoch) {
	for _, e := range d.entries {
		all = append(all, e.Epoch)
	}
	return all
}

// §5.1: "If a server receives a request with a stale term number, it rejects the
// request", and the reply carries its own.
func TestStaleEpochIsRefused(t *testing.T) {
	for _, kind := range []consensus.MessageKind{KindPreVote, KindVote, KindAppend, KindHeartbeat, KindCommit} {
		w := newWorld(1)
		h := w.withLog(1, voters(1, 2, 3), consensus.HardState{Epoch: 5}, 1)
		replies := w.says(t, h, consensus.Message{Kind: kind, From: 2, Epoch: 4, Index: 1, IndexEpoch: 1})
		if len(replies) != 1 || replies[0].Epoch != 5 {
			t.Errorf("%s: replies %v, want one of epoch 5", KindName(kind), formatAll(replies))
		}
		if s := h.m.Status(); s.Leader != 0 || s.HardState.Epoch != 5 || s.LastIndex != 1 {
			t.Errorf("%s: status %+v", KindName(kind), s)
		}
	}
}

// §5.1: "If a candidate or leader discovers that its term is out of date, it
// immediately reverts to follower state."
func TestNewerEpochEndsLeadership(t *testing.T) {
	for _, kind := range []consensus.MessageKind{KindAppendReply, KindHeartbeatReply, KindVoteReply, KindAppend, KindHeartbeat} {
		w := group(3, 1)
		h := w.elect(1)
		w.says(t, h, consensus.Message{Kind: kind, From: 2, Epoch: 9})
		if s := h.m.Status(); s.Role != consensus.Follower || s.HardState.Epoch != 9 {
			t.Errorf("%s: %v in epoch %d", KindName(kind), s.Role, s.HardState.Epoch)
		}
	}
}

// §5.2: "If a follower receives no communication over a period of time called the
// election timeout, then it assumes there is no viable leader", and the timeout is
// "chosen randomly from a fixed interval".
func TestElectionTimeoutIsRandom(t *testing.T) {
	seen := map[int]bool{}
	for seed := range uint64(200) {
		w := group(3, seed)
		m, n := w.host(1).m, 0
		for m.role == consensus.Follower {
			m.Tick()
			n++
		}
		if n < 10 || n >= 20 {
			t.Fatalf("seed %d: campaign after %d ticks", seed, n)
		}
		seen[n] = true
	}
	if len(seen) < 9 {
		t.Errorf("timeouts %v of 10 possible", seen)
	}
}

// §5.2: leaders send periodic heartbeats "to all followers in order to maintain
// their authority", and followers stay followers as long as they receive them.
func TestHeartbeatsMaintainAuthority(t *testing.T) {
	w := group(3, 1)
	w.elect(1)
	w.settle(200)
	if l := w.leader(); l.id != 1 || l.m.hard.Epoch != 1 {
		t.Errorf("leader %v in epoch %d after quiet time", l.id, l.m.hard.Epoch)
	}
}

// §5.2: "It then votes for itself and issues RequestVote RPCs in parallel to each of
// the other servers", here after a trial round and once that is durable (R2).
func TestCandidateVotesForItself(t *testing.T) {
	w := newWorld(1)
	h := w.withLog(1, voters(1, 2, 3), consensus.HardState{Epoch: 2}, 1, 2)
	h.m.campaign()
	w.pump(h)
	w.net = nil
	if err := h.m.Step(consensus.Message{Kind: KindPreVoteReply, Group: 1, From: 2, To: 1, Epoch: 3}); err != nil {
		t.Fatal(err)
	}
	w.pump(h)
	if len(w.net) != 0 {
		t.Fatalf("%v left before epoch 3 was durable", formatAll(w.net))
	}
	w.sync(h, 1)
	want := consensus.HardState{Epoch: 3, Vote: 1}
	if h.durable.hard != want || len(w.net) != 2 {
		t.Fatalf("durable %v, messages %v", h.durable.hard, formatAll(w.net))
	}
	for _, msg := range w.net {
		if msg.Kind != KindVote || msg.Epoch != 3 || msg.Index != 2 || msg.IndexEpoch != 2 {
			t.Errorf("sent %s", formatMessage(&msg))
		}
	}
}

// §5.2: "A candidate wins an election if it receives votes from a majority of the
// servers in the full cluster for the same term", its own included, and not before
// its own is durable.
func TestMajorityWins(t *testing.T) {
	for _, c := range []struct {
		size, grants, refusals int
		want                   consensus.Role
	}{
		{1, 0, 0, consensus.Leader},
		{2, 0, 0, consensus.Candidate},
		{2, 1, 0, consensus.Leader},
		{2, 0, 1, consensus.Follower},
		{3, 1, 0, consensus.Leader},
		{3, 0, 1, consensus.Candidate},
		{3, 0, 2, consensus.Follower},
		{5, 1, 2, consensus.Candidate},
		{5, 2, 2, consensus.Leader},
		{5, 1, 3, consensus.Follower},
	} {
		w := newWorld(1)
		var ids []consensus.ReplicaID
		for i := range c.size {
			ids = append(ids, consensus.ReplicaID(i+1))
		}
		h := w.withLog(1, voters(ids...), consensus.HardState{})
		if c.size > 1 {
			h.m.becomeCandidate(false)
		}
		w.pump(h)
		w.sync(h, 1)
		for i := range c.grants + c.refusals {
			reply := consensus.Message{Kind: KindVoteReply, From: consensus.ReplicaID(i + 2), Epoch: 1, Reject: i >= c.grants}
			w.says(t, h, reply)
		}
		if h.m.role != c.want {
			t.Errorf("%d of %d grant, %d refuse: %v, want %v", c.grants, c.size, c.refusals, h.m.role, c.want)
		}
	}
}

// §5.2: "Each server will vote for at most one candidate in a given term, on a
// first-come-first-served basis", and does not forget it in a crash.
func TestOneVotePerEpoch(t *testing.T) {
	w := newWorld(1)
	h := w.withLog(3, voters(1, 2, 3), consensus.HardState{Epoch: 1})
	ask := func(from consensus.ReplicaID) bool {
		return !one(t, w.says(t, h, consensus.Message{Kind: KindVote, From: from, Epoch: 2}), KindVoteReply).Reject
	}
	if !ask(1) || ask(2) || !ask(1) {
		t.Error("first come, first served, and the same answer to the same question")
	}
	w.crash(h, 0, 0)
	w.start(h)
	if ask(2) || !ask(1) {
		t.Error("the vote did not survive the restart")
	}
}

// §5.2: if the leader's term "is at least as large as the candidate's current term,
// then the candidate recognizes the leader as legitimate and returns to follower
// state."
func TestCandidateRecognizesLeader(t *testing.T) {
	for _, kind := range []consensus.MessageKind{KindAppend, KindHeartbeat, KindCommit} {
		w := newWorld(1)
		h := w.withLog(1, voters(1, 2, 3), consensus.HardState{})
		h.m.becomeCandidate(false)
		w.says(t, h, consensus.Message{Kind: kind, From: 2, Epoch: 1})
		if h.m.role != consensus.Follower || h.m.leader != 2 {
			t.Errorf("%s: %v of %v", KindName(kind), h.m.role, h.m.leader)
		}
	}
}

// §5.3: "The leader appends the command to its log as a new entry, then issues
// AppendEntries RPCs in parallel to each of the other servers", and decides "once
// the leader that created the entry has replicated it on a majority of the servers".
func TestReplicationAndCommit(t *testing.T) {
	w := group(5, 1)
	h := w.elect(1)
	w.stabilize()
	if err := h.propose(1, "x"); err != nil {
		t.Fatal(err)
	}
	w.pump(h)
	if len(w.net) != 4 {
		t.Fatalf("sent %v", formatAll(w.net))
	}
	w.net = nil
	w.sync(h, len(h.writes))
	ack := func(from consensus.ReplicaID) {
		w.says(t, h, consensus.Message{Kind: KindAppendReply, From: from, Epoch: 1, Index: 2})
	}
	if ack(4); h.m.commit != 1 {
		t.Errorf("commit %d with two of five", h.m.commit)
	}
	if ack(5); h.m.commit != 2 {
		t.Errorf("commit %d with three of five", h.m.commit)
	}
}

// thesis §10.2.1: the leader writes to its disk in parallel with the replication, and
// an entry may be decided before the leader's own disk has it.
func TestLeaderDiskIsOneOfMany(t *testing.T) {
	w := group(3, 1)
	h := w.elect(1)
	w.stabilize()
	_ = h.propose(1, "x")
	w.pump(h)
	ack := func(from consensus.ReplicaID) {
		if err := h.m.Step(consensus.Message{Kind: KindAppendReply, Group: 1, From: from, To: 1, Epoch: 1, Index: 2}); err != nil {
			t.Fatal(err)
		}
	}
	if ack(2); h.m.commit != 1 {
		t.Error("decided with one disk of three")
	}
	if ack(3); h.m.commit != 2 {
		t.Error("not decided with two disks of three")
	}
}

// §5.3: "If the follower does not find an entry in its log with the same index and
// term, then it refuses the new entries." The reply says where to look (R3).
func TestAppendNeedsMatchingEntry(t *testing.T) {
	for _, c := range []struct {
		index     consensus.Index
		epoch     consensus.Epoch
		reject    bool
		hint      consensus.Index
		hintEpoch consensus.Epoch
	}{
		{0, 0, false, 0, 0},
		{1, 1, false, 0, 0},
		{3, 2, false, 0, 0},
		{3, 4, true, 3, 2}, // another epoch, so perhaps everything of epoch 2 is fine
		{3, 1, true, 1, 1}, // nothing of epoch 2 can be
		{4, 2, true, 3, 2}, // the log is too short
		{9, 5, true, 3, 2},
	} {
		w := newWorld(1)
		h := w.withLog(1, voters(1, 2, 3), consensus.HardState{Epoch: 5}, 1, 2, 2)
		r := one(t, w.says(t, h, consensus.Message{Kind: KindAppend, From: 2, Epoch: 5, Index: c.index, IndexEpoch: c.epoch}), KindAppendReply)
		if r.Reject != c.reject || r.Index != c.index || r.Hint != c.hint || r.HintEpoch != c.hintEpoch {
			t.Errorf("behind %d/%d: %s", c.index, c.epoch, formatMessage(&r))
		}
	}
}

// Figure 7 and §5.3: "The leader handles inconsistencies by forcing the followers'
// logs to duplicate its own." All six followers of the figure converge.
func TestFigure7(t *testing.T) {
	leader := []consensus.Epoch{1, 1, 1, 4, 4, 5, 5, 6, 6, 6}
	for name, follower := range map[string][]consensus.Epoch{
		"a": {1, 1, 1, 4, 4, 5, 5, 6, 6},
		"b": {1, 1, 1, 4},
		"c": {1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6},
		"d": {1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7},
		"e": {1, 1, 1, 4, 4, 4, 4},
		"f": {1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(1)
			c := voters(1, 2, 3)
			w.withLog(1, c, consensus.HardState{Epoch: 7}, leader...)
			w.withLog(2, c, consensus.HardState{Epoch: 7}, leader...)
			w.withLog(3, c, consensus.HardState{Epoch: 7}, follower...)
			refusals := 0
			w.onReady = func(h *host, rd *consensus.Ready) {
				for _, msg := range slices.Concat(rd.Send, rd.AfterSync) {
					if msg.Kind == KindAppendReply && msg.Reject {
						refusals++
					}
				}
			}
			w.elect(1)
			w.settle(2)
			want := append(slices.Clone(leader), 8)
			for _, h := range w.hosts {
				if got := epochs(&h.durable); !slices.Equal(got, want) {
					t.Errorf("host %v has %v, want %v", h.id, got, want)
				}
			}
			if refusals > 2 {
				t.Errorf("%d refusals: back off by epochs, not by entries", refusals)
			}
		})
	}
}

// §5.3, Log Matching: "If two entries in different logs have the same index and
// term, then the logs are identical in all preceding entries." So an append that
// brings nothing new must not shorten the log, however late it comes (§5.5: "Raft
// RPCs are idempotent").
func TestLateAppendKeepsWhatFollows(t *testing.T) {
	w := newWorld(1)
	h := w.withLog(1, voters(1, 2, 3), consensus.HardState{Epoch: 2}, 1, 2, 2, 2)
	first := consensus.Message{Kind: KindAppend, From: 2, Epoch: 2, Index: 1, IndexEpoch: 1, Entries: []consensus.Entry{
		{Index: 2, Epoch: 2, Orig: 2, Kind: consensus.EntryBarrier},
	}}
	for range 2 {
		r := one(t, w.says(t, h, first), KindAppendReply)
		if h.m.log.last != 4 || r.Index != 2 {
			t.Errorf("last %d, reply %s: want 4, and only what is verified", h.m.log.last, formatMessage(&r))
		}
	}
}

// §5.3: "a leader never overwrites or deletes entries in its log". Nobody can make it.
func TestLeaderAppendOnly(t *testing.T) {
	w := group(3, 1)
	h := w.elect(1)
	err := h.m.Step(consensus.Message{Kind: KindAppend, Group: 1, From: 2, To: 1, Epoch: 1, Entries: []consensus.Entry{
		{Index: 1, Epoch: 1, Orig: 1, Kind: consensus.EntryCommand, Data: []byte("forged")},
	}})
	if !errors.Is(err, consensus.ErrMalformed) || h.m.role != consensus.Leader || h.m.log.last != 1 {
		t.Errorf("error %v, %v with last %d", err, h.m.role, h.m.log.last)
	}
}

// §5.4.1: "the voter denies its vote if its own log is more up-to-date than that of
// the candidate": later last epoch first, then length. Trials ask the same.
func TestVoterComparesLogs(t *testing.T) {
	for _, c := range []struct {
		index consensus.Index
		epoch consensus.Epoch
		grant bool
	}{
		{3, 2, true}, {4, 2, true}, {2, 2, false}, {1, 3, true}, {9, 1, false}, {0, 0, false},
	} {
		for _, kind := range []consensus.MessageKind{KindPreVote, KindVote} {
			w := newWorld(1)
			h := w.withLog(1, voters(1, 2, 3), consensus.HardState{Epoch: 3}, 1, 2, 2)
			r := one(t, w.says(t, h, consensus.Message{Kind: kind, From: 2, Epoch: 4, Index: c.index, IndexEpoch: c.epoch}), kind+1)
			if r.Reject == c.grant {
				t.Errorf("%s with %d/%d: %s", KindName(kind), c.index, c.epoch, formatMessage(&r))
			}
		}
	}
}

// §5.4.2: "Raft never commits log entries from previous terms by counting replicas.
// Only log entries from the leader's current term are committed by counting
// replicas." The transcripts figure8 and figure8e play the figure itself.
func TestOnlyOwnEpochIsCounted(t *testing.T) {
	w := newWorld(1)
	h := w.withLog(1, voters(1, 2, 3), consensus.HardState{Epoch: 2}, 1, 2)
	w.withLog(2, voters(1, 2, 3), consensus.HardState{Epoch: 2}, 1)
	w.withLog(3, voters(1, 2, 3), consensus.HardState{Epoch: 2}, 1)
	h.m.becomeCandidate(false)
	w.pump(h)
	w.sync(h, 1)
	w.says(t, h, consensus.Message{Kind: KindVoteReply, From: 2, Epoch: 3})
	for index, want := range []consensus.Index{1: 0, 2: 0, 3: 3} {
		if index == 0 {
			continue
		}
		w.says(t, h, consensus.Message{Kind: KindAppendReply, From: 2, Epoch: 3, Index: consensus.Index(index)})
		if h.m.commit != want {
			t.Errorf("commit %d when a majority has %d, want %d", h.m.commit, index, want)
		}
	}
}

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
		t.Fatalf("configuration %s at append", formatConfiguration(&c))
	}
	w.pump(h)
	if err := w.deliver(slices.IndexFunc(w.net, func(m consensus.Message) bool { return m.To == 3 })); err != nil {
		t.Fatal(err)
	}
	if c := w.host(3).m.Status().Configuration; !c.Joint() {
		t.Errorf("follower's configuration %s at append", formatConfiguration(&c))
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
		t.Fatalf("configuration %s", formatConfiguration(&got))
	}
	w.says(t, h, consensus.Message{Kind: KindAppend, From: 2, Epoch: 2, Index: 1, IndexEpoch: 1, Entries: []consensus.Entry{
		{Index: 2, Epoch: 2, Orig: 2, Kind: consensus.EntryBarrier},
	}})
	if got := h.m.Status().Configuration; got.Joint() || !slices.Equal(got.Voters, []consensus.ReplicaID{1, 2, 3}) {
		t.Errorf("configuration %s after the truncation", formatConfiguration(&got))
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
		t.Fatalf("last %d, configuration %s", h.m.log.last, formatConfiguration(&h.m.inForce().Configuration))
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
		t.Errorf("configuration %s", formatConfiguration(&c))
	}
}

// thesis §4.2.3: "if a server receives a RequestVote request within the minimum
// election timeout of hearing from a current leader, it does not update its term or
// grant its vote." A trial gets a refusal, and a transfer overrides (thesis §3.10).
func TestStickiness(t *testing.T) {
	for _, c := range []struct {
		name  string
		msg   consensus.Message
		quiet int // ticks since the leader was heard
		grant bool
	}{
		{"vote", consensus.Message{Kind: KindVote}, 0, false},
		{"vote at the last moment", consensus.Message{Kind: KindVote}, 9, false},
		{"vote later", consensus.Message{Kind: KindVote}, 10, true},
		{"forced vote", consensus.Message{Kind: KindVote, Force: true}, 0, true},
		{"trial", consensus.Message{Kind: KindPreVote}, 9, false},
		{"trial later", consensus.Message{Kind: KindPreVote}, 10, true},
		{"forced trial", consensus.Message{Kind: KindPreVote, Force: true}, 0, false},
	} {
		w := newWorld(1)
		h := w.withLog(1, voters(1, 2, 3), consensus.HardState{Epoch: 1}, 1)
		w.says(t, h, consensus.Message{Kind: KindHeartbeat, From: 3, Epoch: 1})
		for range c.quiet {
			h.m.clock.silent++
		}
		c.msg.From, c.msg.Epoch, c.msg.Index, c.msg.IndexEpoch = 2, 2, 1, 1
		replies := w.says(t, h, c.msg)
		granted := len(replies) == 1 && !replies[0].Reject
		if granted != c.grant {
			t.Errorf("%s: replies %v", c.name, formatAll(replies))
		}
		if !c.grant && h.m.hard.Epoch != 1 {
			t.Errorf("%s: epoch %d", c.name, h.m.hard.Epoch)
		}
	}
}

// thesis §9.6: "a candidate only increments its term if it first learns from a
// majority of the cluster that they would be willing to grant the candidate their
// votes."
func TestTrialDoesNotRaiseTheEpoch(t *testing.T) {
	w := group(3, 1)
	w.elect(1)
	w.stabilize()
	for _, o := range []consensus.ReplicaID{1, 2} {
		w.cut[[2]consensus.ReplicaID{3, o}], w.cut[[2]consensus.ReplicaID{o, 3}] = true, true
	}
	w.settle(500)
	if h := w.host(3); h.m.hard.Epoch != 1 || h.m.role != consensus.Trial {
		t.Errorf("cut off: %v in epoch %d", h.m.role, h.m.hard.Epoch)
	}
	clear(w.cut)
	w.settle(50)
	if l := w.leader(); l.id != 1 || l.m.hard.Epoch != 1 {
		t.Errorf("leader %v in epoch %d after the return", l.id, l.m.hard.Epoch)
	}
}

// thesis §4.2.3 and §9.6 together: a follower that its leader cannot reach, but that
// reaches everybody, opens no epoch and disturbs nobody, neither while that lasts nor
// when it is over (R4).
func TestHalfPartitionDisturbsNobody(t *testing.T) {
	if err := halfPartition(); err != nil {
		t.Error(err)
	}
}

func halfPartition() error {
	w := group(3, 1)
	w.elect(1)
	w.stabilize()
	w.cut[[2]consensus.ReplicaID{1, 3}] = true
	w.settle(200)
	if e := w.host(3).m.hard.Epoch; e != 1 {
		return fmt.Errorf("replica 3 is in epoch %d", e)
	}
	clear(w.cut)
	w.settle(50)
	if l := w.leader(); l.id != 1 || l.m.hard.Epoch != 1 {
		return fmt.Errorf("replica %v leads epoch %d", l.id, l.m.hard.Epoch)
	}
	return nil
}

// thesis §6.2: "a leader steps down if an election timeout elapses without a
// successful round of heartbeats to a majority of its cluster".
func TestLeaderWithoutQuorumStepsDown(t *testing.T) {
	w := group(3, 1)
	h := w.elect(1)
	w.stabilize()
	w.crash(w.host(2), 9, 9)
	w.settle(40)
	if h.m.role != consensus.Leader {
		t.Error("a majority is enough")
	}
	w.crash(w.host(3), 9, 9)
	for range 20 {
		h.m.Tick()
	}
	if h.m.role == consensus.Leader {
		t.Error("leads alone after two election timeouts")
	}
}

// §7: "If instead the follower receives a snapshot that describes a prefix of its
// log, then log entries covered by the snapshot are deleted but entries following
// the snapshot are still valid and must be retained." Covered entries stay as well
// here: the driver releases them when it likes.
func TestSnapshotOfAPrefix(t *testing.T) {
	for _, c := range []struct {
		index   consensus.Index
		epoch   consensus.Epoch
		install bool
		last    consensus.Index
	}{
		{2, 2, false, 4}, // contained
		{4, 2, false, 4},
		{3, 3, true, 3}, // another epoch there: the log is wrong from here on
		{9, 2, true, 9}, // ahead
	} {
		w := newWorld(1)
		h := w.withLog(1, voters(1, 2, 3), consensus.HardState{Epoch: 3}, 1, 2, 2, 2)
		installed := false
		w.onReady = func(_ *host, rd *consensus.Ready) { installed = installed || rd.Install != nil }
		w.decided = make([]consensus.Entry, c.index)
		w.since = make([]consensus.Epoch, c.index)
		for i := range w.decided {
			w.decided[i], _ = h.view.entry(consensus.Index(i + 1))
		}
		w.says(t, h, consensus.Message{Kind: KindSnapshot, From: 2, Epoch: 3,
			Snapshot: &consensus.Snapshot{Index: c.index, Epoch: c.epoch, Configuration: voters(1, 2, 3)}})
		if installed != c.install || h.m.log.last != c.last || h.m.commit != c.index {
			t.Errorf("state at %d/%d: installed %v, last %d, commit %d", c.index, c.epoch, installed, h.m.log.last, h.m.commit)
		}
	}
}

// §7: a follower far behind gets the state, then the entries behind it.
func TestSnapshotForALaggard(t *testing.T) {
	w := group(3, 1)
	h := w.elect(1)
	w.stabilize()
	w.crash(w.host(3), 9, 9)
	for i := range 50 {
		_ = h.propose(consensus.ProposalID(i), fmt.Sprint(i))
		w.stabilize()
	}
	w.release(h, 40)
	w.start(w.host(3))
	w.settle(5)
	if o := w.host(3); o.learned != h.learned || o.view.released.Index < 40 {
		t.Errorf("laggard learned %d of %d, its log starts behind %d", o.learned, h.learned, o.view.released.Index)
	}
}

// §8: Raft handles this "by having each leader commit a blank no-op entry into the
// log at the start of its term."
func TestLeaderStartsWithABarrier(t *testing.T) {
	w := group(3, 1)
	h := w.elect(1)
	if e, ok := h.view.entry(1); !ok || e.Kind != consensus.EntryBarrier || e.Epoch != 1 {
		t.Errorf("first entry %v", e)
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

// R2 and C3: a leader of a lost epoch must not win it again. The own vote counts
// when it is durable, also for a group of one.
func TestOwnVoteCountsWhenDurable(t *testing.T) {
	w := group(1, 1)
	h := w.host(1)
	for range 100 {
		h.m.Tick()
		w.pump(h)
	}
	if h.m.role != consensus.Candidate || h.m.hard.Epoch != 1 {
		t.Fatalf("%v in epoch %d before the disk answered", h.m.role, h.m.hard.Epoch)
	}
	w.sync(h, 1)
	if h.m.role != consensus.Leader {
		t.Errorf("%v after the disk answered", h.m.role)
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

// The epoch in a message is its sender's own only when it is durable there (C3),
// whatever the kind. This walks an election and a reign with a disk that answers
// late and looks at every message.
func TestNoEpochLeavesBeforeItIsDurable(t *testing.T) {
	for seed := range uint64(50) {
		c := newChaos(seed)
		c.onReady = func(h *host, rd *consensus.Ready) {
			for i := range rd.Send {
				msg := &rd.Send[i]
				grant := msg.Kind == KindPreVoteReply && !msg.Reject
				if msg.Kind != KindPreVote && !grant && msg.Epoch > h.durable.hard.Epoch {
					t.Fatalf("seed %d: %s with durable epoch %d", seed, formatMessage(msg), h.durable.hard.Epoch)
				}
				if msg.Kind == KindAppendReply && !msg.Reject && msg.Index > h.durable.last() {
					t.Fatalf("seed %d: %s with durable log up to %d", seed, formatMessage(msg), h.durable.last())
				}
			}
		}
		for range 2000 {
			c.act()
			for _, h := range c.hosts {
				c.pump(h)
			}
		}
	}
}
