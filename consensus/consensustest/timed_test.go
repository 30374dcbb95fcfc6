package consensustest

import (
	"fmt"
	"testing"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/raft"
)

// timedGroup is three replicas of package raft, of which 1 leads. An election timeout is
// long enough for nothing but what a test does to matter.
func timedGroup(t *testing.T, pace Pace, seed uint64) *Timed {
	t.Helper()
	w := NewTimed(raft.Engine, Options{}, pace, seed)
	w.Configure = func(c *consensus.Config) { c.ElectionTicks, c.HeartbeatTicks = 200, 20 }
	w.populate(3)
	w.Elect(1, 4000)
	w.Run(100)
	return w
}

// took is how many ticks a command needs that is handed in now.
func took(t *testing.T, w *Timed, data string) int {
	t.Helper()
	p, err := w.Propose(w.Host(1), data)
	if err != nil {
		t.Fatal(err)
	}
	begin := w.Now + 1 // the next step sees it first
	if !w.RunUntil(2000, func() bool { return p[0].Outcome != Open }) || p[0].Outcome != Decided {
		t.Fatalf("%v", p[0])
	}
	return w.Now - begin
}

// Goal: everything takes exactly its time. Method: with a hop of 3 ticks and a sync of 7 a
// decision takes a hop, a follower's sync and a hop, whatever the leader's own disk does.
func TestTimedPace(t *testing.T) {
	w := timedGroup(t, Pace{HopMin: 3, HopMax: 3, Fsync: 7}, 1)
	if got := took(t, w, "usual"); got != 13 {
		t.Errorf("decided after %d ticks, want 13", got)
	}
	w.SlowDisk(1, 70)
	if got := took(t, w, "leader slow"); got != 13 {
		t.Errorf("decided after %d ticks, want 13: two followers are enough", got)
	}
	w.Run(200)
	w.SlowDisk(2, 70)
	if got := took(t, w, "one fast"); got != 70 {
		t.Errorf("decided after %d ticks, want 70: the leader's own sync is the second", got)
	}
}

// Goal: a stuck disk answers nothing, and then goes on.
func TestTimedStuckDisk(t *testing.T) {
	w := timedGroup(t, Pace{HopMin: 1, HopMax: 1, Fsync: 5}, 1)
	w.Host(2).Stuck, w.Host(3).Stuck = true, true
	p, err := w.Propose(w.Host(1), "x")
	if err != nil {
		t.Fatal(err)
	}
	w.Run(100)
	if p[0].Outcome != Open {
		t.Errorf("%v, and only one disk works", p[0])
	}
	w.Host(3).Stuck = false
	w.Run(10)
	if p[0].Outcome != Decided {
		t.Errorf("%v, and two disks work", p[0])
	}
}

// Goal: a run is a function of its seed (T1), the share of lost messages is as asked, and a
// connection keeps the order of what is not lost.
func TestTimedNetwork(t *testing.T) {
	play := func(seed uint64) (trace string, w *Timed) {
		w = timedGroup(t, Pace{HopMin: 1, HopMax: 9, Fsync: 2, Loss: .1}, seed)
		w.Trace = func(what string) { trace += what + "\n" }
		for k := range 200 {
			took(t, w, fmt.Sprint(k))
		}
		return trace, w
	}
	a, w := play(1)
	if b, _ := play(1); a != b {
		t.Error("one seed, two runs")
	}
	if b, _ := play(2); a == b {
		t.Error("two seeds, one run")
	}
	lost, arrives := 0, 0
	w.Messages = 0
	for k := range 1000 {
		w.net = append(w.net, packet{Message: consensus.Message{From: 2, To: 3, Round: uint64(k)}})
	}
	w.dispatch()
	for _, d := range w.due[len(w.due)-1000:] {
		if d.lost {
			lost++
		}
		if d.at < arrives {
			t.Fatal("a message overtakes another one of its connection")
		}
		arrives = d.at
	}
	if lost < 70 || lost > 130 || w.Messages != 1000 {
		t.Errorf("%d of %d messages are lost, asked was for a tenth", lost, w.Messages)
	}
}
