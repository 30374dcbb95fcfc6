package raft

import (
	"errors"
	"fmt"
	"testing"

	"github.com/quorate/quorate/consensus"
)

// describe prints everything that a refused message must leave alone.
func describe(m *Machine) string {
	return fmt.Sprintf("%+v\n%+v\n%+v\n%+v\n%v %v", m.Status(), m.clock, m.duty, m.peers, m.read.round, m.disk.issued)
}

// TestNewRefuses: an impossible configuration or disk names its field.
func TestNewRefuses(t *testing.T) {
	entries := func(e ...consensus.EntryInfo) func(*consensus.Config) {
		return func(c *consensus.Config) { c.Log.Entries, c.HardState.Epoch = e, 3 }
	}
	command := consensus.EntryInfo{Epoch: 2, Kind: consensus.EntryCommand}
	for name, change := range map[string]func(*consensus.Config){
		"group":              func(c *consensus.Config) { c.Group = 0 },
		"id":                 func(c *consensus.Config) { c.ID = 0 },
		"rand":               func(c *consensus.Config) { c.Rand = nil },
		"heartbeat":          func(c *consensus.Config) { c.HeartbeatTicks = 0 },
		"election":           func(c *consensus.Config) { c.ElectionTicks = c.HeartbeatTicks },
		"message bytes":      func(c *consensus.Config) { c.MessageBytes = 0 },
		"inflight messages":  func(c *consensus.Config) { c.InflightMessages = 0 },
		"inflight bytes":     func(c *consensus.Config) { c.InflightBytes = -1 },
		"uncommitted bytes":  func(c *consensus.Config) { c.UncommittedBytes = 0 },
		"read rounds":        func(c *consensus.Config) { c.ReadRounds = 0 },
		"vote without epoch": func(c *consensus.Config) { c.HardState.Vote = 1 },
		"applied too low":    func(c *consensus.Config) { c.Log.Released, c.Log.ReleasedEpoch, c.HardState.Epoch = 5, 1, 1 },
		"applied too high":   func(c *consensus.Config) { c.Applied = 1 },
		"released, no epoch": func(c *consensus.Config) { c.Log.Released, c.Applied = 5, 5 },
		"voters unsorted":    func(c *consensus.Config) { c.Log.Configuration.Voters = []consensus.ReplicaID{2, 1} },
		"learner and voter":  func(c *consensus.Config) { c.Log.Configuration.Learners = []consensus.ReplicaID{1} },
		"learners only": func(c *consensus.Config) {
			c.Log.Configuration = consensus.Configuration{Outgoing: []consensus.ReplicaID{1}}
		},
		"write quorum":        func(c *consensus.Config) { c.Log.Configuration.WriteQuorum = 2 },
		"epochs fall":         entries(command, consensus.EntryInfo{Epoch: 1, Kind: consensus.EntryCommand}),
		"epoch zero":          entries(consensus.EntryInfo{Kind: consensus.EntryCommand}),
		"epoch of the future": entries(consensus.EntryInfo{Epoch: 4, Kind: consensus.EntryCommand}),
		"kind":                entries(consensus.EntryInfo{Epoch: 2}),
		"membership":          entries(consensus.EntryInfo{Epoch: 2, Kind: consensus.EntryMembership}),
	} {
		w := newWorld(1)
		c := w.defaults(1)
		c.Log.Configuration = voters(1, 2, 3)
		if _, err := New(c); err != nil {
			t.Fatal(err)
		}
		change(&c)
		if m, err := New(c); !errors.Is(err, consensus.ErrInvalid) || m != nil {
			t.Errorf("%s: error %v", name, err)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
}

// TestRestartAheadOfTheLog: a state that is ahead of its log starts like a snapshot,
// in the epoch of its last entry, in which nothing was ever said (C3).
func TestRestartAheadOfTheLog(t *testing.T) {
	w := newWorld(1)
	c := w.defaults(1)
	c.HardState = consensus.HardState{Epoch: 3, Vote: 2}
	c.Log = consensus.LogState{Released: 10, ReleasedEpoch: 5, Configuration: voters(1, 2, 3)}
	c.Applied = 10
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	rd, ok := m.Ready()
	want := consensus.HardState{Epoch: 5}
	if !ok || rd.Append.HardState == nil || *rd.Append.HardState != want {
		t.Errorf("first append %+v, want hard state %v", rd, want)
	}
	if s := m.Status(); s.LastIndex != 10 || s.LastEpoch != 5 || s.Commit != 10 {
		t.Errorf("status %+v", s)
	}
}

// TestProposeRefuses: each reason has its error, and nothing is taken.
func TestProposeRefuses(t *testing.T) {
	w := group(3, 1)
	h := w.elect(1)
	if err := w.host(2).propose(1, "x"); !errors.Is(err, consensus.ErrNotLeader) {
		t.Errorf("at a follower: %v", err)
	}
	for name, p := range map[string]consensus.Proposal{
		"kind zero":          {},
		"kind above all":     {Kind: 9},
		"no commands":        {Kind: consensus.ProposeCommands},
		"no voters":          {Kind: consensus.ProposeMembership},
		"write quorum":       {Kind: consensus.ProposeMembership, Target: consensus.Membership{Voters: []consensus.ReplicaID{1, 2, 3}, WriteQuorum: 2}},
		"transfer to self":   {Kind: consensus.ProposeTransfer, Transferee: 1},
		"transfer to nobody": {Kind: consensus.ProposeTransfer, Transferee: 9},
	} {
		before := describe(h.m)
		if err := h.m.Propose(p); !errors.Is(err, consensus.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if describe(h.m) != before {
			t.Errorf("%s changed something", name)
		}
	}
}

// TestWindows: proposals, appends under way and read barriers are bounded, and a
// single large command always fits when nothing else is in the way.
func TestWindows(t *testing.T) {
	w := group(3, 1) // 4096 undecided, 1024 and 4 messages under way, 256 a message, 16 reads
	h := w.elect(1)
	w.stabilize()
	big := string(make([]byte, 10000))
	if err := h.propose(1, big); err != nil {
		t.Errorf("large command alone: %v", err)
	}
	if err := h.propose(2, "x"); !errors.Is(err, consensus.ErrBusy) {
		t.Errorf("behind a large command: %v", err)
	}
	w.stabilize()
	n := 0
	for ; h.propose(3, string(make([]byte, 84))) == nil; n++ {
	}
	if n != 4096/100 {
		t.Errorf("%d commands of 100 in a window of 4096", n)
	}
	w.pump(h)
	sent := map[consensus.ReplicaID]int{}
	for _, msg := range w.net {
		sent[msg.To]++
	}
	if sent[2] != 4 || sent[3] != 4 {
		t.Errorf("appends under way %v, want 4 each", sent)
	}
	w.stabilize()
	for n = 0; h.read(4) == nil; n++ {
	}
	if n != 16 {
		t.Errorf("%d read barriers in flight, want 16", n)
	}
	w.stabilize()
	if len(h.reads) != 16 || h.learned != consensus.Index(3+4096/100-1) {
		t.Errorf("%d reads, learned %d", len(h.reads), h.learned)
	}
}

// TestStalledDiskBoundsProposals: followers decide without the leader's disk, but
// the leader does not take more than it can write (see checkDisk for what follows).
func TestStalledDiskBoundsProposals(t *testing.T) {
	w := group(3, 1)
	h := w.elect(1)
	w.stabilize()
	for n := 0; ; n++ {
		if err := h.propose(1, string(make([]byte, 84))); err != nil {
			if n < 40 || !errors.Is(err, consensus.ErrBusy) {
				t.Errorf("after %d: %v", n, err)
			}
			return
		}
		for range 4 {
			for _, o := range w.hosts {
				w.pump(o)
				if o != h {
					w.sync(o, len(o.writes))
				}
			}
			for range len(w.net) {
				_ = w.deliver(0)
			}
		}
		if h.m.commit != h.m.log.last || n > 100 {
			t.Fatalf("commit %d of %d", h.m.commit, h.m.log.last)
		}
	}
}

// TestReleaseBoundsMemory: what is released is forgotten, however long a machine runs.
func TestReleaseBoundsMemory(t *testing.T) {
	w := group(1, 1)
	h := w.host(1)
	w.stabilize()
	for i := range 20000 {
		if err := h.propose(1, "x"); err != nil {
			t.Fatal(err)
		}
		w.stabilize()
		if i%100 == 0 {
			w.release(h, h.state.Index)
		}
	}
	if n := h.m.log.totals.Cap(); n > 2048 {
		t.Errorf("%d totals kept for a log of %d", n, h.m.log.last-h.m.log.released)
	}
	if n := h.m.lead.ids.Cap() + h.m.disk.flights.Cap(); n > 64 {
		t.Errorf("%d places for proposals and appends in flight", n)
	}
}

// TestDriverBugsPanic: what a driver may never report stops the program with both
// values.
func TestDriverBugsPanic(t *testing.T) {
	for name, d := range map[string]consensus.Done{
		"durable before written":  {Durable: 99},
		"applied before learned":  {Applied: 99},
		"released before applied": {Released: 99},
	} {
		func() {
			defer func() {
				if r := recover(); r == nil {
					t.Errorf("%s went through", name)
				} else {
					t.Log(r)
				}
			}()
			w := group(1, 1)
			w.stabilize()
			w.host(1).m.Done(d)
		}()
	}
}
