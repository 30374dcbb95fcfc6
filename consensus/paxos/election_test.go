package paxos

import (
	"slices"
	"testing"

	"github.com/quorate/quorate/consensus"
)

// Goal: an election that takes long, because one voter has much to report, is not disturbed by
// one whose report was short. Simulator seed 670: that one heard nothing more, lost patience
// and campaigned, for ever and ever. Method: 2 has reported all; 3 goes on part by part.
func TestLongReportKeepsTheOthersPatient(t *testing.T) {
	w, h := candidate(t, 9)
	promises(t, h, 2, 0, 0, 0, 0)
	w.pump(h)
	w.net = nil
	for range h.m.limit.heartbeatTicks {
		h.m.Tick()
	}
	w.pump(h)
	asked := func(msg consensus.Message) bool { return msg.Kind == KindPrepare && msg.To == 2 }
	if n := len(slices.DeleteFunc(slices.Clone(w.net), func(msg consensus.Message) bool { return !asked(msg) })); n != 1 {
		t.Errorf("asks 2 on %d times in a heartbeat, want once", n)
	}
}

// Goal: an answer that is no news neither prolongs an election nor asks for more: else a
// candidate that misses one voter would wait for ever, and doubled messages would breed.
func TestOldAnswersDoNotProlongAnElection(t *testing.T) {
	w, h := candidate(t, 9)
	promises(t, h, 2, 0, 0, 0, 9) // a part; there are 9 slots
	h.m.Tick()
	w.pump(h)
	w.net = nil
	elapsed := h.m.clock.elapsed
	again := consensus.Message{Kind: KindPromise, Group: 1, From: 2, To: 1, Epoch: h.m.hard.Epoch, Round: 9}
	if err := h.m.Step(again); err != nil {
		t.Fatal(err)
	}
	w.pump(h)
	if h.m.clock.elapsed != elapsed || elapsed == 0 {
		t.Errorf("elapsed is %d after an old answer, was %d", h.m.clock.elapsed, elapsed)
	}
	if slices.ContainsFunc(w.net, func(msg consensus.Message) bool { return msg.Kind == KindPrepare && msg.To == 2 }) {
		t.Errorf("asks for more: %+v", w.net)
	}
}
