package paxos

import (
	"fmt"
	"slices"
	"testing"

	"github.com/quorate/quorate/consensus"
)

// replacement is a world in which 1 leads 1, 2, 3 and the change to 4, 5, 6 is decided; the
// old voters still govern the slots up to the returned one, which are proposed and decided
// nowhere.
func replacement() (w *world, l *host, upTo consensus.Index) {
	w = group(3, 1)
	for id := consensus.ReplicaID(4); id <= 6; id++ {
		w.add(id, consensus.Configuration{})
	}
	l = w.elect(1)
	w.settle(2)
	if err := l.change(1, consensus.Membership{Voters: []consensus.ReplicaID{4, 5, 6}}); err != nil {
		w.fault("%v", err)
	}
	for range 100 {
		if l.m.latest().Joint() {
			break
		}
		w.pump(l)
		w.sync(l, len(l.writes))
		w.pump(l)
		for range len(w.net) {
			msg := w.net[0]
			if err := w.deliver(0); err != nil && !isNotMember(err) {
				w.fault("refused: %v", err)
			}
			if o := w.host(msg.To); o != l {
				w.pump(o)
				w.sync(o, len(o.writes))
			}
		}
	}
	upTo = l.m.latest().index + consensus.Index(w.window) - 1
	w.pump(l)
	if !l.m.latest().Joint() || l.m.lead.last != upTo || l.m.commit >= upTo {
		w.fault("the change is at %d, proposed is up to %d and decided up to %d", l.m.latest().index, l.m.lead.last, l.m.commit)
	}
	return w, l, upTo
}

// only delivers, in a loop, what keep chooses; everything else stays under way.
func (w *world) only(keep func(consensus.Message) bool) {
	for range 1000 {
		for _, h := range w.hosts {
			w.pump(h)
			w.sync(h, len(h.writes))
			w.apply(h, 1<<30)
			w.pump(h)
		}
		k := slices.IndexFunc(w.net, keep)
		if k < 0 {
			return
		}
		if err := w.deliver(k); err != nil && !isNotMember(err) {
			w.fault("refused: %v", err)
		}
	}
	w.fault("no end")
}

// Goal: a read barrier that only the new voters confirm is answered behind all that the old
// ones may have decided (P10). Method: the old voters' acknowledgements arrive late, after the
// new voters have confirmed the round; another leader may have had them, too, and decided.
func TestReadDuringHandover(t *testing.T) {
	if err := course(readDuringHandover); err != nil {
		t.Error(err)
	}
}

func readDuringHandover() error {
	w, l, upTo := replacement()
	among := func(msg consensus.Message) bool { return msg.To >= 4 || msg.From >= 4 }
	w.only(among)
	if err := l.read(7); err != nil {
		return err
	}
	w.only(among)
	if len(l.reads) > 0 {
		return fmt.Errorf("answered without the old voters: %v", l.reads)
	}
	w.only(func(msg consensus.Message) bool {
		return msg.To == 2 && msg.Kind == KindAccept || msg.From == 2 && msg.Kind == KindAccepted || msg.From == 1 && msg.To == 1
	})
	for range 20 {
		w.only(func(consensus.Message) bool { return true })
		l.m.Tick()
	}
	if len(l.reads) != 1 || l.reads[0].Index < upTo {
		return fmt.Errorf("answered %v, the old voters governed up to %d", l.reads, upTo)
	}
	return nil
}

// Goal: a promise never reports an outdated value (P2). Method: in one turn a follower
// accepts a new value for a slot in which its log has an old one, learns that it is decided,
// promises, and gets a state: the new value will not be written any more.
func TestReportOvertakenByState(t *testing.T) {
	if err := course(reportOvertakenByState); err != nil {
		t.Error(err)
	}
}

func reportOvertakenByState() error {
	w := group(3, 1)
	h := w.host(3)
	step := func(msg consensus.Message) {
		msg.Group, msg.To = 1, 3
		if err := h.m.Step(msg); err != nil {
			w.fault("refused: %v", err)
		}
	}
	step(consensus.Message{Kind: KindAccept, From: 1, Epoch: 1, Index: 0, Entries: []consensus.Entry{value(1, 1, 1, "old")}})
	w.pump(h)
	w.sync(h, len(h.writes))
	w.net = nil
	step(consensus.Message{Kind: KindAccept, From: 2, Epoch: 2, Index: 0, Commit: 1, Entries: []consensus.Entry{value(1, 2, 2, "new")}})
	step(consensus.Message{Kind: KindPrepare, From: 1, Epoch: 3, Force: true})
	step(consensus.Message{Kind: KindSnapshot, From: 2, Epoch: 2, Snapshot: &consensus.Snapshot{Index: 4, Epoch: 2, Configuration: voters(1, 2, 3)}})
	for rd, ok := h.m.Ready(); ok; rd, ok = h.m.Ready() {
		written := slices.ContainsFunc(rd.Append.Entries, func(e consensus.Entry) bool { return e.Index == 1 })
		for _, msg := range slices.Concat(rd.Send, rd.AfterSync) {
			if !msg.Fill.Empty() && msg.Fill.Lo == 1 && !written {
				return fmt.Errorf("%s is filled from slot 1, which the log has of ballot 1: %+v", KindName(msg.Kind), msg)
			}
		}
	}
	return nil
}

// Goal: who knows a change from a state alone knows who governs, and does not ask voters who
// have gone (P7). Method: a log that begins inside a change, behind the slots of the old
// voters.
func TestChangeKnownFromState(t *testing.T) {
	w := newWorld(1)
	w.first = voters(4, 5, 6)
	joint := consensus.Configuration{
		Membership: consensus.Membership{Voters: []consensus.ReplicaID{4, 5, 6}}, Outgoing: []consensus.ReplicaID{1, 2, 3}, Begun: 5,
	}
	c := w.defaults(4)
	c.HardState, c.Applied = consensus.HardState{Epoch: 2}, 20
	c.Log = consensus.LogState{Released: 20, ReleasedEpoch: 2, Configuration: joint, Decided: 20}
	m, err := New(c, w.window)
	if err != nil {
		t.Fatal(err)
	}
	if es := m.electorates(); len(es) != 1 || !slices.Equal(es[0].quorum.Voters, []consensus.ReplicaID{4, 5, 6}) {
		t.Errorf("slots from 21 on are governed by %v, the change was at 5 and the window is %d", es, w.window)
	}
	c.Log.Released, c.Applied, c.Log.Decided = 8, 8, 8
	if m, err = New(c, w.window); err != nil {
		t.Fatal(err)
	}
	es := m.electorates()
	if len(es) != 2 || es[0].from != 9 || es[1].from != 13 || !slices.Equal(es[0].quorum.Voters, joint.Outgoing) {
		t.Errorf("slots from 9 on are governed by %v, the change was at 5 and the window is %d", es, w.window)
	}
	// The same, from a log that begins before the change, with a state that is behind it.
	c.Log.Configured, c.Applied = 8, 8
	c.Log.Released, c.Log.ReleasedEpoch = 4, 1
	for i := consensus.Index(5); i <= 8; i++ {
		e := consensus.EntryInfo{Epoch: 2, Orig: 2, Kind: consensus.EntryBarrier}
		if i == joint.Begun {
			e.Kind, e.Data = consensus.EntryMembership, consensus.AppendConfiguration(nil, &joint)
		}
		c.Log.Entries = append(c.Log.Entries, e)
	}
	if m, err = New(c, w.window); err != nil {
		t.Fatal(err)
	}
	es = m.electorates()
	if len(es) != 2 || es[0].from != 9 || es[1].from != 13 || !slices.Equal(es[0].quorum.Voters, joint.Outgoing) {
		t.Errorf("slots from 9 on are governed by %v, the change was at 5 and the window is %d", es, w.window)
	}
	for _, begun := range []consensus.Index{0, 9} {
		c.Log.Configuration.Begun = begun
		if _, err := New(c, w.window); err == nil {
			t.Errorf("a change at %d is under way at 8", begun)
		}
	}
}

// Goal: a change goes on when the promise that it waits for comes after everything else
// (P7). Method: promises of the new voters are held back until all is quiet.
func TestLatePromiseEndsChange(t *testing.T) {
	w, l, _ := replacement()
	held := func(msg consensus.Message) bool { return msg.Kind == KindPromise && msg.From >= 4 }
	for range 5 {
		w.only(func(msg consensus.Message) bool { return !held(msg) })
		w.tick()
	}
	w.only(func(msg consensus.Message) bool { return !held(msg) })
	if !l.m.latest().Joint() || l.m.role != consensus.Leader {
		t.Fatalf("%v, the change is %v", l.m.role, l.m.latest())
	}
	w.only(func(consensus.Message) bool { return true })
	if l.m.latest().Joint() {
		t.Error("the change is not over, although nothing is missing")
	}
}

// Goal: a change goes on when the leader's own disk was what it waited for (P7). Method: of
// three new voters one is away and one the leader, whose disk is slow.
func TestOwnDiskEndsChange(t *testing.T) {
	w := group(3, 1)
	w.add(4, consensus.Configuration{})
	w.add(5, consensus.Configuration{})
	w.cutOff(5)
	l := w.elect(1)
	w.settle(2)
	if err := l.change(1, consensus.Membership{Voters: []consensus.ReplicaID{1, 4, 5}}); err != nil {
		t.Fatal(err)
	}
	for range 5 { // shorter than the leader's patience with its disk
		for range 50 {
			for _, h := range w.hosts {
				w.pump(h)
				if h != l || !l.m.latest().Joint() {
					w.sync(h, len(h.writes))
				}
				w.apply(h, 1<<30)
				w.pump(h)
			}
			for range len(w.net) {
				if err := w.deliver(0); err != nil && !isNotMember(err) {
					t.Fatal(err)
				}
			}
		}
		w.tick()
	}
	if !l.m.latest().Joint() || l.m.role != consensus.Leader || len(l.writes) == 0 {
		t.Fatalf("%v with %d writes, the change is %v", l.m.role, len(l.writes), l.m.latest())
	}
	w.only(func(consensus.Message) bool { return true })
	if l.m.latest().Joint() {
		t.Error("the change is not over, although nothing is missing")
	}
}

// Goal: a leader that has slept through a change and finds another one leading its number
// steps down, and does not keep the lead in vain (doc.go). Method: the voters of the next
// slots refuse it.
func TestSleeperStepsDown(t *testing.T) {
	w, l, _ := replacement()
	w.only(func(msg consensus.Message) bool { return msg.To <= 3 && msg.From <= 3 })
	for id := consensus.ReplicaID(4); id <= 5; id++ {
		if l.m.role != consensus.Leader {
			t.Fatal("steps down before a quorum refuses")
		}
		msg := consensus.Message{Kind: KindPromise, Group: 1, From: id, To: 1, Epoch: l.m.hard.Epoch, Reject: true}
		if err := l.m.Step(msg); err != nil {
			t.Fatal(err)
		}
	}
	if l.m.role != consensus.Follower {
		t.Errorf("%v, refused by a quorum of the new voters", l.m.role)
	}
}

// Goal: what is owed to one leader is not said to another of the same number.
func TestAnswersAreOfOneLeader(t *testing.T) {
	w := group(3, 1)
	h := w.host(3)
	for _, msg := range []consensus.Message{
		{Kind: KindHeartbeat, From: 1, Epoch: 1, Round: 9},
		{Kind: KindHeartbeat, From: 2, Epoch: 1, Round: 2},
	} {
		msg.Group, msg.To = 1, 3
		if err := h.m.Step(msg); err != nil {
			t.Fatal(err)
		}
	}
	w.pump(h)
	w.sync(h, len(h.writes))
	for _, msg := range w.net {
		if msg.To == 2 && msg.Round != 2 {
			t.Errorf("confirms round %d to 2, who asked in round 2", msg.Round)
		}
	}
}

// Goal: more replicas than streams are allowed all get a state in the end. Method: a leader
// with its log released and twenty learners that have nothing.
func TestMoreStatesThanStreams(t *testing.T) {
	w := group(3, 1)
	l := w.elect(1)
	w.settle(2)
	target := consensus.Membership{Voters: []consensus.ReplicaID{1, 2, 3}}
	for id := consensus.ReplicaID(4); id < 4+streamsMax+4; id++ {
		w.add(id, consensus.Configuration{})
		target.Learners = append(target.Learners, id)
	}
	for _, id := range target.Learners {
		w.cutOff(id)
	}
	if err := l.change(1, target); err != nil {
		t.Fatal(err)
	}
	w.settle(12)
	w.release(l, l.state.Index)
	clear(w.cut)
	w.settle(40)
	for _, id := range target.Learners {
		if h := w.host(id); h.learned < l.learned {
			t.Errorf("learner %v knows slots up to %d of %d", id, h.learned, l.learned)
		}
	}
}

// Goal: a leader whose promise came with a state that was lost asks for it again (P4).
func TestLostStateIsAskedForAgain(t *testing.T) {
	w, h := candidate(t, 9)
	promises(t, h, 2, 0, 0, 0, 0)
	behind := consensus.Message{
		Kind: KindPromise, Group: 1, From: 3, To: 1, Epoch: h.m.hard.Epoch, Index: 4, IndexEpoch: 2, Hint: 4, Round: 4, Commit: 4,
	}
	if err := h.m.Step(behind); err != nil {
		t.Fatal(err)
	}
	w.pump(h)
	w.net = nil
	for range 2 * h.m.limit.heartbeatTicks {
		h.m.Tick()
		w.pump(h)
	}
	asked := func(msg consensus.Message) bool { return msg.Kind == KindPrepare && msg.To == 3 && msg.Index < 4 }
	if !slices.ContainsFunc(w.net, asked) {
		t.Errorf("does not ask again: %+v", w.net)
	}
}
