package consensustest

import (
	"fmt"
	"strings"

	"github.com/quorate/quorate/consensus"
)

var replication = []scenario{
	{"batches", batches},
	{"pipelining", pipelining},
	{"a follower that was away", laggingFollower},
	{"a group of one", soleReplica},
	{"messages are bounded", boundedMessages},
	{"an entry above the limit", largeEntry},
	{"messages under way are bounded", boundedInflight},
	{"undecided bytes are bounded", boundedUndecided},
	{"only a leader takes proposals", onlyLeaders},
	{"a command without an id", withoutID},
}

// text makes n different strings of a size.
func text(prefix string, n, size int) []string {
	all := make([]string, n)
	for k := range all {
		all[k] = fmt.Sprintf("%s%d", prefix, k)
		all[k] += strings.Repeat(".", max(0, size-len(all[k])))
	}
	return all
}

// commands are the decided commands that have an effect, in order.
func (w *World) commands() []string {
	var all []string
	for k := range w.decided {
		if d := &w.decided[k]; d.Kind == consensus.EntryCommand && !d.Skipped {
			all = append(all, string(d.Data))
		}
	}
	return all
}

// mustDecide asks for exactly these commands in this order.
func (w *World) mustDecide(want []string) {
	got := w.commands()
	w.must(strings.Join(got, " ") == strings.Join(want, " "), "decided %v, want %v", got, want)
}

// Goal: a batch is decided in its order, on all replicas.
func batches(s *suite) {
	w := s.group(3)
	l := w.AwaitLeader()
	var want []string
	for k := range 10 {
		batch := text(fmt.Sprintf("%d-", k), k+1, 8)
		ps, err := w.Propose(l, batch...)
		w.must(err == nil, "batch of %d: %v", len(batch), err)
		w.Stabilize()
		for _, p := range ps {
			w.must(p.Outcome == Decided, "%v", p)
		}
		want = append(want, batch...)
	}
	w.mustDecide(want)
	w.awaitCaughtUp()
	w.finish()
}

// Goal: proposals need not wait for each other. Many that are handed in at once are
// decided in their order, without the clock moving.
func pipelining(s *suite) {
	w := s.group(5)
	l := w.AwaitLeader()
	want := text("p", 60, 20)
	for k, data := range want {
		w.put(l, data)
		if k%7 == 0 {
			w.pump(l)
		}
	}
	w.Stabilize()
	w.mustDecide(want)
	w.finish()
}

// Goal: a follower that missed a lot gets all of it, in order, while others go on.
func laggingFollower(s *suite) {
	w := s.group(3)
	w.Elect(1)
	w.Isolate(3)
	want := text("a", 50, 30)
	for _, data := range want {
		w.write(data)
	}
	w.Heal()
	for _, data := range text("b", 10, 30) {
		want = append(want, data)
		w.write(data)
	}
	w.awaitCaughtUp()
	w.mustDecide(want)
	w.finish()
}

// Goal: a group of one decides what its own disk holds, and nothing before.
func soleReplica(s *suite) {
	w := s.group(1)
	l := w.AwaitLeader()
	l.Stuck = true
	p := w.put(l, "a")
	w.Settle(20)
	w.must(p.times == 0, "decided before it was durable: %v", p)
	l.Stuck = false
	w.write("b")
	w.Crash(l, 0, -1)
	w.Start(l)
	w.write("c")
	w.finish()
}

// bytesIn is the payload of a message.
func bytesIn(msg *consensus.Message) (n int) {
	for k := range msg.Entries {
		n += len(msg.Entries[k].Data)
	}
	return n
}

// Goal: no message carries more than MessageBytes, however much there is to send, and
// yet everything arrives.
// Method: a follower comes back to a long log. Each message is checked as it leaves;
// here it is checked that several entries do share one.
func boundedMessages(s *suite) {
	w := s.world()
	w.Configure = func(c *consensus.Config) { c.MessageBytes = 100 }
	w.populate(3)
	w.Elect(1)
	w.Isolate(3)
	for _, data := range text("a", 40, 15) {
		w.write(data)
	}
	largest, most := 0, 0
	w.sent = func(msg consensus.Message) {
		largest, most = max(largest, bytesIn(&msg)), max(most, len(msg.Entries))
	}
	w.Heal()
	w.awaitCaughtUp()
	w.must(largest <= 100, "a message carries %d bytes", largest)
	w.must(most > 1, "every entry travels alone")
	w.finish()
}

// Goal: an entry larger than any limit is sent all the same.
func largeEntry(s *suite) {
	w := s.world()
	w.Configure = func(c *consensus.Config) { c.MessageBytes, c.InflightBytes = 16, 64 }
	w.populate(3)
	for _, data := range text("large", 5, 300) {
		w.write(data)
	}
	w.awaitCaughtUp()
	w.finish()
}

// Goal: a follower that does not answer is not flooded.
// Method: its answers are lost, everything else arrives, and the clock stands still:
// what is sent to it then is under way as far as the leader knows.
func boundedInflight(s *suite) {
	w := s.group(3)
	l := w.Elect(1)
	w.Settle(2)
	w.CutOneWay(3, 1)
	messages, bytes := 0, 0
	w.sent = func(msg consensus.Message) {
		if msg.From == 1 && msg.To == 3 && len(msg.Entries) > 0 {
			messages, bytes = messages+1, bytes+bytesIn(&msg)
		}
	}
	for _, data := range text("a", 40, 100) {
		w.put(l, data)
		w.Stabilize()
	}
	w.must(len(w.commands()) == 40, "40 commands, decided %d", len(w.commands()))
	w.must(messages <= l.cfg.InflightMessages, "%d messages, the limit is %d", messages, l.cfg.InflightMessages)
	w.must(bytes <= l.cfg.InflightBytes+l.cfg.MessageBytes, "%d bytes, the limit is %d", bytes, l.cfg.InflightBytes)
	w.Heal()
	w.awaitCaughtUp()
	w.finish()
}

// Goal: a leader that decides nothing takes only so much, and more after progress.
// Method: hand in commands while nothing moves.
func boundedUndecided(s *suite) {
	w := s.group(3)
	l := w.AwaitLeader()
	w.Stabilize()
	taken, err := 0, error(nil)
	for _, data := range text("a", 100, 100) {
		if _, err = w.Propose(l, data); err != nil {
			break
		}
		taken += len(data)
	}
	w.mustFail(err, consensus.ErrBusy, "a full window")
	w.must(taken > 0 && taken <= l.cfg.UncommittedBytes+100, "%d bytes taken, the limit is %d", taken, l.cfg.UncommittedBytes)
	w.Stabilize()
	w.must(l.leads(), "%v no longer leads", l.ID)
	w.put(l, "afterwards")
	w.Stabilize()
	w.must(len(w.commands())*100 == taken+100, "taken %d bytes, decided %d commands", taken, len(w.commands()))
	w.finish()
}

// Goal: a replica that does not lead takes nothing, whatever it is.
func onlyLeaders(s *suite) {
	w := s.group(3)
	w.Elect(1)
	for _, h := range w.hosts[1:] {
		_, err := w.Propose(h, fmt.Sprintf("at %v", h.ID))
		w.mustFail(err, consensus.ErrNotLeader, "a command at a follower")
		_, err = w.Read(h)
		w.mustFail(err, consensus.ErrNotLeader, "a read at a follower")
		_, err = w.Change(h, consensus.Membership{Voters: []consensus.ReplicaID{1, 2}})
		w.mustFail(err, consensus.ErrNotLeader, "a change at a follower")
		w.mustFail(w.Transfer(h, 2), consensus.ErrNotLeader, "a transfer at a follower")
	}
	w.finish()
	w.mustDecide(w.commands()[len(w.commands())-1:])
}

// Goal: the end of a command with id zero is not reported, whatever it is: nobody
// waits for it.
// Method: the world faults an end of what is not open.
func withoutID(s *suite) {
	w := s.group(3)
	old := w.Elect(1)
	hand := func(data string) {
		w.client.byData[data] = &Proposal{Data: data, Host: old.ID, Epoch: old.epoch()}
		err := old.m.Propose(consensus.Proposal{
			Kind: consensus.ProposeCommands, Commands: []consensus.Command{{Data: []byte(data)}},
		})
		w.must(err == nil, "%q: %v", data, err)
	}
	hand("decided")
	w.Stabilize()
	w.mustDecide([]string{"decided"})
	w.Isolate(1)
	hand("undecided")
	w.must(old.m.Propose(consensus.Proposal{Kind: consensus.ProposeReadBarrier}) == nil, "a read without an id is refused")
	w.Settle(60)
	w.Heal()
	w.finish()
}
