package raft

import (
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
