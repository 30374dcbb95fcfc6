package paxos

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/consensus"
)

// The tests of this file follow the papers that doc.go names, section by section.

// value is an entry of a slot as an acceptor reports it.
func value(i consensus.Index, epoch, orig consensus.Epoch, data string) consensus.Entry {
	return consensus.Entry{Index: i, Epoch: epoch, Orig: orig, Kind: consensus.EntryCommand, Data: []byte(data)}
}

// candidate makes host 1 of three run for an epoch above the given one, with its promise
// durable and nothing delivered.
func candidate(t *testing.T, above consensus.Epoch) (*world, *host) {
	t.Helper()
	w := group(3, 1)
	h := w.host(1)
	w.crash(h, 0, 0)
	h.durable.hard.Epoch = above
	w.start(h)
	h.m.becomeCandidate(true)
	w.pump(h)
	w.sync(h, len(h.writes))
	w.net = nil
	return w, h
}

// promises hands a part of a report to a candidate.
func promises(t *testing.T, h *host, from consensus.ReplicaID, lo, hi, last consensus.Index, commit consensus.Index, entries ...consensus.Entry) {
	t.Helper()
	if err := h.m.Step(consensus.Message{
		Kind: KindPromise, Group: 1, From: from, To: h.id, Epoch: h.m.hard.Epoch,
		Index: lo, Hint: hi, Round: uint64(last), Commit: commit, Entries: entries,
	}); err != nil {
		t.Fatal(err)
	}
}

// proposed lists what a machine's next append accepts: slot, epoch of first proposal, value.
func proposed(h *host) string {
	rd, ok := h.m.Ready()
	if !ok {
		return ""
	}
	var out []string
	for _, e := range rd.Append.Entries {
		out = append(out, fmt.Sprintf("%d/%d %v%s", e.Index, e.Orig, e.Kind, e.Data))
	}
	return strings.Join(out, ", ")
}

// Paxos Made Simple §2.2, phase 2a: the value is that "of the highest-numbered proposal among
// the responses". §3: slots without one get a no-op. Goal: P3. Method: two reports that differ
// in slot 1 and have a hole in slot 2.
func TestHighestBallotAndHoles(t *testing.T) {
	_, h := candidate(t, 9)
	promises(t, h, 2, 0, 2, 3, 0, value(1, 3, 3, "a"))
	promises(t, h, 2, 2, 3, 3, 0, value(3, 3, 2, "c"))
	if h.m.role != consensus.Candidate {
		t.Fatal("one promise of three is enough")
	}
	promises(t, h, 3, 0, 1, 1, 0, value(1, 5, 4, "b"))
	const want = "1/4 commandb, 2/10 barrier, 3/2 commandc, 4/10 barrier"
	if got := proposed(h); got != want {
		t.Errorf("proposes %q, want %q", got, want)
	}
}

// The same. Goal: a report in parts counts when it is whole, and what it says is decided is
// taken over at once.
func TestReportInParts(t *testing.T) {
	_, h := candidate(t, 9)
	promises(t, h, 3, 0, 0, 0, 0)
	promises(t, h, 2, 0, 1, 2, 1, value(1, 3, 3, "decided"))
	if h.m.role != consensus.Candidate || h.m.commit != 1 {
		t.Fatalf("%v, decided up to %d, in the middle of a report", h.m.role, h.m.commit)
	}
	promises(t, h, 2, 1, 2, 2, 1, value(2, 3, 3, "open"))
	if h.m.role != consensus.Leader {
		t.Fatalf("%v with two whole reports of three", h.m.role)
	}
	const want = "1/3 commanddecided, 2/3 commandopen, 3/10 barrier"
	if got := proposed(h); got != want {
		t.Errorf("accepts %q, want %q", got, want)
	}
}

// Paxos Made Simple §2.2, P1a: an acceptor accepts unless it has answered a higher prepare.
// Goal: a promise leaves when it is durable, and lower ballots are refused from then on (P2).
func TestPromise(t *testing.T) {
	w := group(3, 1)
	h := w.host(1)
	if err := h.m.Step(consensus.Message{Kind: KindPrepare, Group: 1, From: 2, To: 1, Epoch: 5}); err != nil {
		t.Fatal(err)
	}
	w.pump(h)
	if len(w.net) != 0 {
		t.Fatalf("%+v leaves before the promise is durable", w.net)
	}
	w.sync(h, 1)
	if len(w.net) != 1 || w.net[0].Kind != KindPromise || w.net[0].Reject || h.durable.hard != (consensus.HardState{Epoch: 5, Vote: 2}) {
		t.Fatalf("%+v with %v on disk", w.net, h.durable.hard)
	}
	w.net = nil
	for _, msg := range []consensus.Message{
		{Kind: KindPrepare, From: 3, Epoch: 4},
		{Kind: KindPrepare, From: 3, Epoch: 5}, // a number is promised once (P1)
		{Kind: KindAccept, From: 3, Epoch: 4, Entries: []consensus.Entry{value(1, 4, 4, "x")}},
	} {
		msg.Group, msg.To = 1, 1
		if err := h.m.Step(msg); err != nil {
			t.Fatal(err)
		}
		w.pump(h)
		if n := len(w.net); n != 1 || w.net[0].Kind == KindPromise && !w.net[0].Reject || h.m.log.last() != 0 {
			t.Errorf("%s of epoch %d from 3: answers %+v", KindName(msg.Kind), msg.Epoch, w.net)
		}
		w.net = nil
	}
}

// Paxos Made Simple §2.3 has learners hear of each acceptance; ours follow a watermark (P5).
// Goal: what was accepted at an earlier ballot is not learned by the watermark of a later one.
func TestWatermarkOfAnotherBallot(t *testing.T) {
	w := group(3, 1)
	h := w.host(3)
	say := func(msg consensus.Message) {
		msg.Group, msg.To = 1, 3
		if err := h.m.Step(msg); err != nil {
			t.Fatal(err)
		}
	}
	say(consensus.Message{Kind: KindAccept, From: 1, Epoch: 1, Entries: []consensus.Entry{value(1, 1, 1, "old")}})
	say(consensus.Message{Kind: KindHeartbeat, From: 2, Epoch: 2, Index: 1, Commit: 1})
	if h.m.commit != 0 {
		t.Fatal("learned what was accepted at another ballot")
	}
	say(consensus.Message{Kind: KindAccept, From: 2, Epoch: 2, Commit: 1, Entries: []consensus.Entry{value(1, 2, 2, "new")}})
	if h.m.commit != 1 || h.m.log.at(1).orig != 2 {
		t.Errorf("decided up to %d, slot 1 is of %d", h.m.commit, h.m.log.at(1).orig)
	}
}

// "The Part-Time Parliament" §3.1 orders decrees by number, not by who passed them first (P6).
// Goal: a value that an old leader left behind is decided behind its successor's, and counts
// for nothing. Method: 1 has two values of its own that nobody else saw; 2 decides one slot;
// 1 leads again.
func TestPrimaryOrder(t *testing.T) {
	w := group(3, 1)
	l := w.elect(1)
	w.settle(2)
	w.cutOff(1)
	for k, data := range []string{"lost", "resurrected"} {
		if err := l.propose(consensus.ProposalID(k+1), data); err != nil {
			t.Fatal(err)
		}
	}
	w.stabilize()
	w.elect(2)
	w.settle(2)
	behind := len(w.decided)
	clear(w.cut)
	w.cutOff(2)
	w.settle(3) // 1 hears that it leads no more
	w.elect(1)
	w.settle(5)
	e := w.decided[behind]
	if string(e.Data) != "resurrected" || e.Orig >= w.fences[behind] {
		t.Fatalf("%v is decided in slot %d behind the fence %d", e, e.Index, w.fences[behind])
	}
	if s := w.host(3).state; s.Index <= e.Index || s.Epoch <= e.Orig {
		t.Errorf("the state is %+v", s)
	}
}

// Reconfiguring a State Machine §4: command i+α is chosen by the configuration that follows
// from command i. Goal: P7. Method: replace all voters; the entries of the change are at least
// α apart, and the old voters are needed up to there and no further.
func TestWindowOfAChange(t *testing.T) {
	w := group(3, 1)
	for id := consensus.ReplicaID(4); id <= 6; id++ {
		w.add(id, consensus.Configuration{})
	}
	l := w.elect(1)
	w.settle(2)
	if err := l.change(1, consensus.Membership{Voters: []consensus.ReplicaID{4, 5, 6}}); err != nil {
		t.Fatal(err)
	}
	w.settle(10)
	var at []consensus.Index
	for i, e := range w.decided {
		if e.Kind == consensus.EntryMembership && e.Orig == w.fences[i] {
			at = append(at, e.Index)
		}
	}
	if len(at) != 2 || at[1] < at[0]+consensus.Index(w.window) {
		t.Fatalf("the entries of the change are in slots %v, the window is %d", at, w.window)
	}
	for id := consensus.ReplicaID(1); id <= 3; id++ {
		w.crash(w.host(id), 1<<30, 0)
	}
	w.settle(60)
	if l = w.leader(); l == nil || l.id < 4 {
		t.Fatal("the new voters elect nobody without the old ones")
	}
	if err := l.propose(2, "new"); err != nil {
		t.Fatal(err)
	}
	w.settle(5)
	if e := w.decided[len(w.decided)-1]; string(e.Data) != "new" {
		t.Errorf("the last decided entry is %v", e)
	}
}

// Paxos Made Moderately Complex §4.2: state may replace what acceptors know of its slots.
// Goal: a snapshot leaves an acceptor what it has accepted above it, and a promise reports it
// and says what it leaves out (P2, P4).
func TestSnapshotKeepsWhatIsAbove(t *testing.T) {
	w := group(3, 1)
	h := w.host(3)
	say := func(msg consensus.Message) {
		msg.Group, msg.To = 1, 3
		if err := h.m.Step(msg); err != nil {
			t.Fatal(err)
		}
		w.pump(h)
		w.sync(h, len(h.writes))
		w.pump(h)
	}
	w.fences = slices.Repeat([]consensus.Epoch{1}, 7)
	w.decided = make([]consensus.Entry, 7)
	say(consensus.Message{Kind: KindAccept, From: 1, Epoch: 1, Index: 8, Entries: []consensus.Entry{value(9, 1, 1, "above")}})
	say(consensus.Message{Kind: KindSnapshot, From: 1, Epoch: 1, Snapshot: &consensus.Snapshot{Index: 7, Epoch: 1, Configuration: voters(1, 2, 3)}})
	w.net = nil
	say(consensus.Message{Kind: KindPrepare, From: 2, Epoch: 2, Index: 2, Force: true})
	k := slices.IndexFunc(w.net, func(msg consensus.Message) bool { return msg.Kind == KindPromise })
	if k < 0 {
		t.Fatalf("no promise: %+v", w.net)
	}
	p := w.net[k]
	if p.Reject || p.Index != 7 || p.IndexEpoch != 1 || p.Hint != 9 || len(p.Entries) != 1 || string(p.Entries[0].Data) != "above" {
		t.Errorf("promises %+v", p)
	}
}

// The same. Goal: a report does not count in slots that it leaves out because they are
// released, until they are decided here (P4).
func TestReleasedSlotsDoNotCount(t *testing.T) {
	_, h := candidate(t, 9)
	promises(t, h, 2, 0, 0, 0, 0)
	if err := h.m.Step(consensus.Message{
		Kind: KindPromise, Group: 1, From: 3, To: 1, Epoch: h.m.hard.Epoch, Index: 4, IndexEpoch: 2, Hint: 4, Round: 4, Commit: 4,
	}); err != nil {
		t.Fatal(err)
	}
	if h.m.role != consensus.Candidate {
		t.Fatalf("%v, although slots up to 4 are decided and not known here", h.m.role)
	}
	if err := h.m.Step(consensus.Message{
		Kind: KindSnapshot, Group: 1, From: 3, To: 1, Epoch: h.m.hard.Epoch, Snapshot: &consensus.Snapshot{Index: 4, Epoch: 2, Configuration: voters(1, 2, 3)},
	}); err != nil {
		t.Fatal(err)
	}
	if _, ok := h.m.Ready(); !ok || h.m.role != consensus.Candidate {
		t.Fatal("leads before the state is installed")
	}
	h.m.Done(consensus.Done{Applied: 4})
	if h.m.role != consensus.Leader {
		t.Errorf("%v with the state installed", h.m.role)
	}
}
