package etcdraft

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	etcd "go.etcd.io/raft/v3"

	"github.com/quorate/quorate/consensus"
)

// Goal: a run is a function of its seed (E5), though raft draws numbers of its own.
func TestRunsRepeat(t *testing.T) {
	trace := func() uint64 {
		c := newChaos(5)
		for range 4000 {
			c.act()
			for _, h := range c.hosts {
				c.pump(h)
				c.answers(h)
			}
		}
		return c.trace
	}
	if a, b := trace(), trace(); a != b || a == 0 {
		t.Errorf("one seed, two traces: %x, %x", a, b)
	}
}

// Goal: what raft works with after a transition is the configuration of the entry.
// Method: lead raft through random configurations, neighbours in a log or not, and
// compare what it has with the contract's words.
func TestTransitions(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for range 300 {
		w := newWorld(1)
		m := w.add(1, consensus.Configuration{}).m
		for range 10 {
			next := randomConfiguration(rng, &m.active)
			before := m.active.Clone()
			m.activate(&next)
			raft := m.node.Status().Config
			got := consensus.Configuration{Membership: consensus.Membership{
				Voters: ids(raft.Voters[0]), Learners: append(ids(raft.Learners), ids(raft.LearnersNext)...),
			}, Outgoing: ids(raft.Voters[1])}
			slices.Sort(got.Learners)
			if !got.Equal(&next.Membership) || !slices.Equal(got.Outgoing, next.Outgoing) {
				t.Fatalf("from %v to %v: raft has %v", before, next, raft)
			}
			if back := fromConfState(confState(&next)); !back.Equal(&next.Membership) || !slices.Equal(back.Outgoing, next.Outgoing) {
				t.Fatalf("%v comes back as %v", next, back)
			}
		}
	}
}

func ids(set map[uint64]struct{}) []consensus.ReplicaID {
	var list []consensus.ReplicaID
	for id := range set {
		list = append(list, consensus.ReplicaID(id))
	}
	slices.Sort(list)
	return list
}

// randomConfiguration is mostly what may follow now, sometimes anything.
func randomConfiguration(rng *rand.Rand, now *consensus.Configuration) consensus.Configuration {
	if now.Joint() && rng.IntN(4) > 0 {
		return consensus.Configuration{Membership: now.Membership}
	}
	var c consensus.Configuration
	for id := consensus.ReplicaID(1); id <= 6; id++ {
		switch rng.IntN(4) {
		case 0, 1:
			c.Voters = append(c.Voters, id)
		case 2:
			c.Learners = append(c.Learners, id)
		}
	}
	if len(c.Voters) == 0 {
		c.Voters = []consensus.ReplicaID{7}
	}
	if rng.IntN(4) > 0 {
		c.Outgoing = slices.Clone(now.Voters)
	}
	return c
}

// Goal: every change is one joint entry and one that leaves it, also one that changes
// nothing, and the entries carry configurations.
func TestMembershipEntries(t *testing.T) {
	for _, target := range []consensus.Membership{
		{Voters: []consensus.ReplicaID{1, 2, 3}},
		{Voters: []consensus.ReplicaID{1, 2, 4}, Learners: []consensus.ReplicaID{3}},
	} {
		w := group(3, 1)
		w.add(4, consensus.Configuration{})
		l := w.elect()
		if err := l.change(9, target); err != nil {
			t.Fatal(err)
		}
		if err := l.change(10, target); !errors.Is(err, consensus.ErrMembershipPending) {
			t.Errorf("a second change: %v", err)
		}
		w.settle(5)
		var got []string
		for _, e := range w.decided {
			if e.Kind == consensus.EntryMembership {
				c, err := consensus.DecodeConfiguration(e.Data)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, fmt.Sprint(c))
			}
		}
		joint := consensus.Configuration{Membership: target, Outgoing: []consensus.ReplicaID{1, 2, 3}}
		final := consensus.Configuration{Membership: target}
		if want := []string{fmt.Sprint(joint), fmt.Sprint(final)}; !slices.Equal(got, want) {
			t.Errorf("target %v: entries %v, want %v", target, got, want)
		}
		if s := l.m.Status(); s.Configuration.Joint() || !s.Configuration.Equal(&target) {
			t.Errorf("target %v: status %v", target, s.Configuration)
		}
	}
}

// Goal: a change whose end only the removed replicas know to be decided does not leave a
// group that never elects again (overhear).
// Method: cut the leader off from the only voter of the target when that has the last
// entry, let the leader append more, learn the end and step down, and heal.
func TestRemovedLeaderKnowsMore(t *testing.T) {
	w := group(2, 1)
	h := w.add(3, consensus.Configuration{})
	l := w.elect()
	target := consensus.Membership{Voters: []consensus.ReplicaID{3}}
	if err := l.change(1, target); err != nil {
		t.Fatal(err)
	}
	for {
		for _, x := range w.hosts {
			w.pump(x)
			w.sync(x, len(x.writes))
			w.apply(x, 1<<30)
			w.pump(x)
		}
		if s := h.m.Status(); s.Configuration.Equal(&target) && !s.Configuration.Joint() {
			break
		}
		if err := w.deliver(0); err != nil {
			t.Fatal(err)
		}
	}
	w.cut[[2]consensus.ReplicaID{l.id, 3}] = true
	for k := range 3 {
		if err := l.propose(0, fmt.Sprint("more ", k)); err != nil {
			t.Fatal(err)
		}
	}
	w.stabilize()
	if s := l.m.Status(); s.Role == consensus.Leader || h.m.Status().Commit >= s.Commit || h.m.Status().LastIndex >= s.LastIndex {
		t.Fatalf("not the situation:\n%+v\n%+v", s, h.m.Status())
	}
	clear(w.cut)
	w.settle(100)
	if w.leader() != h {
		t.Fatalf("no leader:\n%+v\n%+v", l.m.Status(), h.m.Status())
	}
}

// Goal: a proposal that was not taken says why, and one that was has one end (C8).
func TestProposalEnds(t *testing.T) {
	w := group(3, 1)
	l := w.elect()
	follower := w.hosts[l.id%3]
	refused := func(what string, err, want error) {
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	refused("a follower", follower.propose(1, "x"), consensus.ErrNotLeader)
	refused("no commands", l.m.Propose(consensus.Proposal{Kind: consensus.ProposeCommands}), consensus.ErrInvalid)
	refused("no kind", l.m.Propose(consensus.Proposal{}), consensus.ErrInvalid)
	refused("no voters", l.change(1, consensus.Membership{}), consensus.ErrInvalid)
	refused("a write quorum", l.change(1, consensus.Membership{Voters: []consensus.ReplicaID{1, 2, 3}, WriteQuorum: 2}), consensus.ErrInvalid)
	refused("a reserved id", l.change(1, consensus.Membership{Voters: []consensus.ReplicaID{1, math.MaxUint64}}), consensus.ErrInvalid)
	refused("transfer to itself", l.transfer(l.id), consensus.ErrInvalid)
	refused("transfer to a stranger", l.transfer(9), consensus.ErrInvalid)

	last := l.m.Status().LastIndex
	refused("the first", l.propose(1, strings.Repeat("x", 3000)), nil)
	refused("too much data", l.propose(2, strings.Repeat("x", 3000)), consensus.ErrBusy)
	refused("a read", l.read(3), nil)
	for id := consensus.ProposalID(4); ; id++ {
		if err := l.read(id); err != nil {
			refused("too many reads", err, consensus.ErrBusy)
			break
		}
	}
	if now := l.m.Status().LastIndex; now != last+1 {
		t.Errorf("the log ends at %d, was %d", now, last)
	}
	// Nobody hears the leader any more; after an election timeout it gives up.
	for _, o := range w.hosts {
		w.cut[[2]consensus.ReplicaID{l.id, o.id}], w.cut[[2]consensus.ReplicaID{o.id, l.id}] = true, true
	}
	w.settle(30)
	if !slices.Equal(l.unknown, []consensus.ProposalID{1}) || len(l.dropped) != 16 || len(l.reads) != 0 {
		t.Errorf("unknown %v, dropped %v, reads %v", l.unknown, l.dropped, l.reads)
	}
}

// Goal: empty commands, which cost raft nothing, have a bound.
func TestEmptyCommandsAreBounded(t *testing.T) {
	w := group(3, 1)
	l := w.elect()
	n := 0
	for ; n < 1000; n++ {
		if err := l.propose(0, ""); err != nil {
			if !errors.Is(err, consensus.ErrBusy) {
				t.Fatal(err)
			}
			break
		}
	}
	if n > 4096/entryOverhead {
		t.Errorf("%d were taken", n)
	}
	w.stabilize()
	if err := l.propose(0, ""); err != nil {
		t.Error(err)
	}
}

// Goal: leadership goes where it is sent, and meanwhile nothing is proposed.
func TestTransfer(t *testing.T) {
	w := group(3, 1)
	l := w.elect()
	to := w.hosts[l.id%3]
	if err := l.propose(1, "behind"); err != nil { // so that nobody has the whole log
		t.Fatal(err)
	}
	if err := l.transfer(0); err != nil {
		t.Fatal(err)
	}
	if s := l.m.Status(); s.Transferee == 0 {
		t.Errorf("status %+v", s)
	}
	for what, err := range map[string]error{
		"command": l.propose(2, "x"), "transfer": l.transfer(to.id),
		"membership": l.change(3, consensus.Membership{Voters: []consensus.ReplicaID{1}}),
	} {
		if !errors.Is(err, consensus.ErrTransferring) {
			t.Errorf("%s: %v", what, err)
		}
	}
	first := l.m.Status().Transferee
	w.stabilize()
	if now := w.leader(); now.id != first {
		t.Errorf("leader %v, sent to %v", now.id, first)
	}
}

// Goal: a reader of a new group of one waits for what was decided before a crash (C9).
func TestReadAfterRestart(t *testing.T) {
	w := group(1, 1)
	l := w.elect()
	if err := l.propose(1, "x"); err != nil {
		t.Fatal(err)
	}
	w.stabilize()
	decided := consensus.Index(len(w.decided))
	w.crash(l, 0, 0) // the state was not flushed
	w.start(l)
	for range 100 {
		w.settle(1)
		if l.m.Status().Role == consensus.Leader {
			break
		}
	}
	if err := l.read(2); err != nil {
		t.Fatal(err)
	}
	w.stabilize()
	if len(l.reads) != 1 || l.reads[0].Index < decided {
		t.Errorf("reads %v, decided %d", l.reads, decided)
	}
}

// Goal: when the leader's process dies, its followers do not wait for the timeout.
func TestLeaderReset(t *testing.T) {
	w := group(3, 1)
	l := w.elect()
	w.settle(3)
	w.crash(l, 0, 0)
	for _, h := range w.hosts {
		if h.m != nil {
			h.m.Done(consensus.Done{Peer: l.id, State: consensus.PeerReset})
		}
	}
	w.settle(6) // the timeout is 10
	if w.leader() == nil {
		t.Error("no leader")
	}
}

// Goal: a follower that lost its connection only, calms down and times out as ever.
func TestLeaderResetInVain(t *testing.T) {
	w := group(3, 1)
	l := w.elect()
	epoch := l.m.Status().HardState.Epoch
	h := w.hosts[l.id%3]
	for range 20 {
		h.m.Done(consensus.Done{Peer: l.id, State: consensus.PeerReset})
		w.settle(5)
	}
	if now := w.leader(); now != l || now.m.Status().HardState.Epoch != epoch {
		t.Errorf("leader %v in %v, was %v in %v", now.id, now.m.Status().HardState, l.id, epoch)
	}
	if h.m.clock.timeout < h.m.clock.electionTicks {
		t.Errorf("still in haste: %+v", h.m.clock)
	}
}

// Goal: a joiner whose entries are released gets a snapshot and goes on from it.
func TestSnapshot(t *testing.T) {
	w := group(3, 1)
	l := w.elect()
	for k := range 20 {
		if err := l.propose(0, fmt.Sprint(k)); err != nil {
			t.Fatal(err)
		}
		w.stabilize()
	}
	for _, h := range w.hosts {
		w.release(h, h.state.Index)
	}
	h := w.add(4, consensus.Configuration{})
	if err := l.change(0, consensus.Membership{Voters: []consensus.ReplicaID{1, 2, 3}, Learners: []consensus.ReplicaID{4}}); err != nil {
		t.Fatal(err)
	}
	w.settle(10)
	if h.view.released.Index < 20 || h.learned != consensus.Index(len(w.decided)) {
		t.Errorf("released %d, learned %d of %d", h.view.released.Index, h.learned, len(w.decided))
	}
	w.checkAll()
}

// Goal: New refuses what it cannot restore and says which field is at fault.
func TestNewRefuses(t *testing.T) {
	good := newWorld(1).defaults(1)
	good.HardState, good.Log.Configuration = consensus.HardState{Epoch: 2}, voters(1, 2)
	good.Log.Released, good.Log.ReleasedEpoch, good.Applied = 5, 1, 5
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for field, spoil := range map[string]func(*consensus.Config){
		"Group":             func(c *consensus.Config) { c.Group = 0 },
		"ID":                func(c *consensus.Config) { c.ID = math.MaxUint64 },
		"Rand":              func(c *consensus.Config) { c.Rand = nil },
		"HeartbeatTicks":    func(c *consensus.Config) { c.HeartbeatTicks = 0 },
		"ElectionTicks":     func(c *consensus.Config) { c.ElectionTicks = 1 },
		"MessageBytes":      func(c *consensus.Config) { c.MessageBytes = 0 },
		"InflightMessages":  func(c *consensus.Config) { c.InflightMessages = 0 },
		"InflightBytes":     func(c *consensus.Config) { c.InflightBytes = 0 },
		"UncommittedBytes":  func(c *consensus.Config) { c.UncommittedBytes = 0 },
		"ReadRounds":        func(c *consensus.Config) { c.ReadRounds = 0 },
		"Applied":           func(c *consensus.Config) { c.Applied = 4 },
		"Applied 6":         func(c *consensus.Config) { c.Applied = 6 },
		"Log.ReleasedEpoch": func(c *consensus.Config) { c.Log.ReleasedEpoch = 0 },
		"HardState":         func(c *consensus.Config) { c.HardState = consensus.HardState{Vote: 1} },
		"Log.Configuration": func(c *consensus.Config) { c.Log.Configuration = voters(2, 1) },
		"remove replica 1":  func(c *consensus.Config) { c.Log.InDoubt = true },
		"Log.Entries":       func(c *consensus.Config) { c.Log.Entries = []consensus.EntryInfo{{Epoch: 3, Kind: 1}} },
		"index 6": func(c *consensus.Config) {
			c.Log.Entries = []consensus.EntryInfo{{Epoch: 2, Kind: consensus.EntryMembership}}
		},
	} {
		c := good
		spoil(&c)
		if _, err := New(c); !errors.Is(err, consensus.ErrInvalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// Goal: the sentinels of the contract for what a stranger may send.
func TestStepRefuses(t *testing.T) {
	w := group(3, 1)
	l := w.elect()
	to := w.hosts[l.id%3]
	s := to.m.Status()
	good := consensus.Message{Kind: KindHeartbeat, Group: 1, From: l.id, To: to.id, Epoch: s.HardState.Epoch}
	if err := to.m.Step(good); err != nil {
		t.Fatal(err)
	}
	third := 6 - l.id - to.id
	for what, c := range map[string]struct {
		want  error
		spoil func(*consensus.Message)
	}{
		"kind":             {consensus.ErrUnknownKind, func(m *consensus.Message) { m.Kind = kindCount }},
		"group":            {consensus.ErrWrongGroup, func(m *consensus.Message) { m.Group = 2 }},
		"address":          {consensus.ErrNotAddressed, func(m *consensus.Message) { m.To = 9 }},
		"own message":      {consensus.ErrMalformed, func(m *consensus.Message) { m.From = to.id }},
		"local thread":     {consensus.ErrMalformed, func(m *consensus.Message) { m.From = consensus.ReplicaID(etcd.LocalAppendThread) }},
		"epoch":            {consensus.ErrMalformed, func(m *consensus.Message) { m.Epoch = 0 }},
		"position":         {consensus.ErrMalformed, func(m *consensus.Message) { m.Index = math.MaxUint64 }},
		"second leader":    {consensus.ErrMalformed, func(m *consensus.Message) { m.From = third }},
		"decides too much": {consensus.ErrMalformed, func(m *consensus.Message) { m.Commit = s.LastIndex + 1 }},
		"stranger":         {consensus.ErrNotMember, func(m *consensus.Message) { m.Kind, m.From = KindHeartbeatReply, 9 }},
		"entries":          {consensus.ErrMalformed, func(m *consensus.Message) { m.Entries = make([]consensus.Entry, 1) }},
		"snapshot":         {consensus.ErrMalformed, func(m *consensus.Message) { m.Kind = KindSnapshot }},
		"misplaced barrier": {consensus.ErrMalformed, func(m *consensus.Message) {
			m.Kind, m.Index, m.IndexEpoch = KindAppend, s.LastIndex, s.LastEpoch
			m.Entries = []consensus.Entry{{Index: s.LastIndex + 1, Epoch: s.LastEpoch, Orig: s.LastEpoch, Kind: consensus.EntryBarrier}}
		}},
	} {
		msg := good
		c.spoil(&msg)
		before := describe(to.m)
		if err := to.m.Step(msg); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
		if after := describe(to.m); after != before {
			t.Errorf("%s: changed from\n%s to\n%s", what, before, after)
		}
	}
	ack := consensus.Message{Kind: KindAppendReply, Group: 1, From: to.id, To: l.id, Epoch: s.HardState.Epoch, Index: s.LastIndex + 1}
	if err := l.m.Step(ack); !errors.Is(err, consensus.ErrMalformed) {
		t.Errorf("an acknowledgement of nothing: %v", err)
	}
	beat := consensus.Message{Kind: KindHeartbeatReply, Group: 1, From: to.id, To: l.id, Epoch: s.HardState.Epoch, Round: 1}
	if err := l.m.Step(beat); !errors.Is(err, consensus.ErrMalformed) {
		t.Errorf("an answer to no read: %v", err)
	}
}
