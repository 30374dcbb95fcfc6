package shard

import (
	"maps"
	"slices"
	"sync"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/store"
)

// Answer ends a request. Exactly one of result and err is set: a result of the
// local apply (which may be a rejection), or the reason why there is none. It is
// called once, from the apply worker or the owner, and must not block.
type Answer func(result *store.Result, err error)

// Waiters are this node's requests to one shard that wait for their command to be
// applied here. It is the one object that the apply worker and the owner share,
// hence its lock; no other lock is taken while it is held.
type Waiters struct {
	count func(change int) // of those that wait, by any goroutine

	mu struct {
		sync.Mutex
		bySeq map[uint64]waiter
	}
}

type waiter struct {
	answer Answer
	kind   store.Kind
	body   []byte          // of the command, until it is answered
	epoch  consensus.Epoch // in which it may enter the log (H7); zero: not proposed
}

// NewWaiters returns an empty table. It tells count when a request begins or ends to wait:
// 1 or -1.
func NewWaiters(count func(change int)) *Waiters {
	w := &Waiters{count: count}
	w.mu.bySeq = make(map[uint64]waiter)
	return w
}

// Add registers a request of this node.
func (w *Waiters) Add(seq uint64, kind store.Kind, body []byte, answer Answer) {
	w.mu.Lock()
	w.mu.bySeq[seq] = waiter{answer: answer, kind: kind, body: body}
	w.mu.Unlock()
	w.count(1)
}

// Hand notes that the request is about to be handed to the leader of an epoch and
// returns its command; false means that it waits no more.
func (w *Waiters) Hand(seq uint64, epoch consensus.Epoch) (kind store.Kind, body []byte, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x, ok := w.mu.bySeq[seq]
	if ok {
		x.epoch = epoch
		w.mu.bySeq[seq] = x
	}
	return x.kind, x.body, ok
}

// TakeBack notes that the request did not enter the log in the epoch it was
// handed in for. It reports whether the request still waits and was last handed
// in for that epoch; else the news is old.
func (w *Waiters) TakeBack(seq uint64, epoch consensus.Epoch) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	x, ok := w.mu.bySeq[seq]
	if !ok || x.epoch != epoch {
		return false
	}
	x.epoch = 0
	w.mu.bySeq[seq] = x
	return true
}

// Waiting reports whether a request still waits.
func (w *Waiters) Waiting(seq uint64) bool {
	w.mu.Lock()
	_, ok := w.mu.bySeq[seq]
	w.mu.Unlock()
	return ok
}

// Len is the number of waiting requests.
func (w *Waiters) Len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.mu.bySeq)
}

// End removes a request and answers it, if it still waits.
func (w *Waiters) End(seq uint64, result *store.Result, err error) bool {
	w.mu.Lock()
	x, ok := w.mu.bySeq[seq]
	delete(w.mu.bySeq, seq)
	w.mu.Unlock()
	if ok {
		w.count(-1)
		x.answer(result, err)
	}
	return ok
}

// Overtaken takes back, in order, the requests that were handed in for an epoch
// before the given one: an entry of that epoch has been applied here, after all
// entries before it, so by H7 they never will be. It must not be used when
// entries were skipped by a snapshot: see Handed.
func (w *Waiters) Overtaken(by consensus.Epoch) []uint64 {
	seqs := w.Handed(by)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, seq := range seqs {
		x := w.mu.bySeq[seq]
		x.epoch = 0
		w.mu.bySeq[seq] = x
	}
	return seqs
}

// All returns, in order, all that wait.
func (w *Waiters) All() []uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.mu.bySeq))
}

// Handed returns, in order, the waiting requests that were handed in for an epoch
// before the given one.
func (w *Waiters) Handed(before consensus.Epoch) []uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var seqs []uint64
	for seq, x := range w.mu.bySeq {
		if x.epoch != 0 && x.epoch < before {
			seqs = append(seqs, seq)
		}
	}
	slices.Sort(seqs)
	return seqs
}
