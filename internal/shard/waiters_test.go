package shard

import (
	"errors"
	"slices"
	"testing"

	"github.com/quorate/quorate/internal/store"
)

var errTest = errors.New("test")

// H7: a request that was handed in for an earlier epoch is taken back when a later
// epoch's entry is applied, and one of the same or a later epoch is not.
func TestWaitersOvertaken(t *testing.T) {
	w := NewWaiters(func(int) {})
	for seq, epoch := range map[uint64]int{1: 3, 2: 4, 3: 5, 4: 0} {
		w.Add(seq, store.KindPut, nil, func(*store.Result, error) {})
		if epoch > 0 {
			w.Hand(seq, epochOf(epoch))
		}
	}
	if got := w.Overtaken(5); !slices.Equal(got, []uint64{1, 2}) {
		t.Errorf("overtaken by 5: %v", got)
	}
	if got := w.Overtaken(5); len(got) != 0 {
		t.Errorf("taken back twice: %v", got)
	}
	if got := w.Handed(epochOf(100)); !slices.Equal(got, []uint64{3}) {
		t.Errorf("still handed in: %v", got)
	}
}

// A refusal that arrives late must not take back a newer attempt: the command
// would enter the log twice.
func TestWaitersTakeBackIsForOneEpoch(t *testing.T) {
	w := NewWaiters(func(int) {})
	w.Add(1, store.KindPut, nil, func(*store.Result, error) {})
	w.Hand(1, 3)
	w.Hand(1, 4)
	if w.TakeBack(1, 3) {
		t.Error("took back the attempt of epoch 4 for a refusal of epoch 3")
	}
	if !w.TakeBack(1, 4) || w.TakeBack(1, 4) {
		t.Error("the attempt of epoch 4 is taken back once")
	}
}

// A request is answered once.
func TestWaitersEndOnce(t *testing.T) {
	w := NewWaiters(func(int) {})
	answers := 0
	w.Add(1, store.KindPut, nil, func(_ *store.Result, err error) {
		answers++
		if !errors.Is(err, errTest) {
			t.Errorf("answer %v", err)
		}
	})
	if !w.End(1, nil, errTest) || w.End(1, nil, errTest) || answers != 1 {
		t.Errorf("%d answers", answers)
	}
	if _, _, ok := w.Hand(1, 2); ok || w.Waiting(1) || w.Len() != 0 {
		t.Error("an ended request still waits")
	}
}
