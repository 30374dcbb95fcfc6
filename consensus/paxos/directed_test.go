package paxos

import (
	"fmt"
	"testing"

	"github.com/quorate/quorate/consensus"
)

// course runs a directed course of events and returns what a check found.
func course(run func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return run()
}

// Goal: an acceptor refuses values of a ballot below its promise (P2). Method: 1 leads, its
// value for a slot is under way to 3 when 2 gets 3's promise and decides another one.
func TestAcceptBelowPromise(t *testing.T) {
	if err := course(belowPromise); err != nil {
		t.Error(err)
	}
}

func belowPromise() error {
	w := group(3, 1)
	l := w.elect(1)
	w.settle(2)
	if err := l.propose(1, "late"); err != nil {
		return err
	}
	w.pump(l)
	w.sync(l, len(l.writes))
	late := w.net // accepts of epoch 1
	w.net = nil
	w.cutOff(1)
	w.elect(2)
	w.settle(2)
	clear(w.cut)
	w.net = nil
	for _, msg := range late {
		if msg.To == 3 {
			w.net = append(w.net, msg)
		}
	}
	w.stabilize()
	w.settle(20)
	for _, h := range w.hosts {
		if h.learned != consensus.Index(len(w.decided)) {
			return fmt.Errorf("host %v learned %d of %d", h.id, h.learned, len(w.decided))
		}
	}
	return nil
}

func (w *world) cutOff(id consensus.ReplicaID) {
	for _, o := range w.hosts {
		w.cut[[2]consensus.ReplicaID{id, o.id}] = true
		w.cut[[2]consensus.ReplicaID{o.id, id}] = true
	}
}
