package raft

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/quorate/quorate/consensus"
)

// The rules about logs: replication, commitment, snapshots (§5.3, §5.4, §7, §8).

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

// §5.4.2: "Raft never commits log entries from previous terms by counting replicas.
// Only log entries from the leader's current term are committed by counting
// replicas." The transcripts figure8 and figure8e play the figure itself.
func TestOnlyOwnEpochIsCounted(t *testing.T) {
	if err := onlyOwnEpochIsCounted(); err != nil {
		t.Error(err)
	}
}

func onlyOwnEpochIsCounted() error {
	w := newWorld(1)
	h := w.withLog(1, voters(1, 2, 3), consensus.HardState{Epoch: 2}, 1, 2)
	w.withLog(2, voters(1, 2, 3), consensus.HardState{Epoch: 2}, 1)
	w.withLog(3, voters(1, 2, 3), consensus.HardState{Epoch: 2}, 1)
	h.m.becomeCandidate(false)
	w.pump(h)
	w.sync(h, 1)
	replies := []consensus.Message{{Kind: KindVoteReply}, {Kind: KindAppendReply, Index: 1}, {Kind: KindAppendReply, Index: 2}, {Kind: KindAppendReply, Index: 3}}
	for k, want := range []consensus.Index{0, 0, 0, 3} {
		msg := replies[k]
		msg.Group, msg.From, msg.To, msg.Epoch = 1, 2, 1, 3
		if err := h.m.Step(msg); err != nil {
			return err
		}
		w.pump(h)
		w.sync(h, len(h.writes))
		if h.m.commit != want {
			return fmt.Errorf("commit %d when a majority has %d, want %d", h.m.commit, msg.Index, want)
		}
	}
	return nil
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
