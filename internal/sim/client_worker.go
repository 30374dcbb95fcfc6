package sim

import (
	"fmt"

	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/store"
)

// worker reads and writes. Keys k.. are touched one at a time, so that their
// histories can be judged by value alone; keys m.. also by transactions and ranges.
type worker struct {
	*client
}

func (w *worker) act() {
	id := w.s.clientShard(w.rng)
	if w.rng.Float64() < w.s.opts.swarm.readFraction {
		w.actRead(id)
		return
	}
	switch p := w.rng.IntN(100); {
	case p < 40:
		w.put(id)
	case p < 50:
		w.remove(id)
	case p < 65:
		w.swap(id)
	case p < 80:
		w.txn(id)
	case p < 88:
		w.putMany(id)
	case p < 95:
		w.removeRange(id)
	default:
		w.compact(id)
	}
}

func (w *worker) key() string { return fmt.Sprintf("k%02d", w.rng.IntN(w.s.opts.swarm.keys)) }

func (w *worker) value() string {
	w.counter++
	return fmt.Sprintf("%s.%d", w.name, w.counter)
}

func ignore(*operation, *answer) {}

// single begins an operation on one key.
func (w *worker) single(id shard.ID, kind string, b blindOp) *operation {
	op := w.begin(id, kind)
	op.key, op.done = w.key(), ignore
	b.call, b.client = w.s.now, w.number
	op.blind = &b
	return op
}

// finish completes what a register sees of an operation and files it.
func (b *blindOp) finish(op *operation, a *answer, facts *shardFacts) {
	b.ret, b.known = op.client.s.now, false
	switch {
	case a.result != nil && a.result.Err == nil:
		b.known = true
		if b.kind == blindSwap {
			t := a.result.Response.(*store.TxnResponse)
			b.swapped = t.Succeeded
			if !t.Succeeded {
				b.seen, b.seenKnown = only(t.Responses[0].Range), true
			}
		}
	case a.result != nil || refuses(a.err) || a.err == errNoConnection:
		return // not done
	case a.ranged != nil:
		b.known, b.seen = true, only(a.ranged)
	case a.applied != 0 || b.kind == blindGet:
		return // a read that failed says nothing
	}
	if !b.known {
		b.ret = never
	}
	facts.blind[op.key] = append(facts.blind[op.key], *b)
}

// only is the value of a range of one key; "" when it is missing.
func only(r *store.RangeResponse) string {
	if len(r.KVs) == 0 {
		return ""
	}
	return string(r.KVs[0].Value)
}

func (w *worker) put(id shard.ID) {
	value := w.value()
	op := w.single(id, "put", blindOp{kind: blindWrite, value: value})
	r := store.PutRequest{Key: []byte(op.key), Value: []byte(value), PrevKV: w.rng.IntN(4) == 0}
	w.command(op, store.KindPut, r.AppendTo(nil))
}

func (w *worker) remove(id shard.ID) {
	op := w.single(id, "delete", blindOp{kind: blindWrite})
	r := store.DeleteRangeRequest{Key: []byte(op.key), PrevKV: w.rng.IntN(4) == 0}
	w.command(op, store.KindDeleteRange, r.AppendTo(nil))
}

// swap replaces a value that it guesses from the history.
func (w *worker) swap(id shard.ID) {
	value := w.value()
	op := w.single(id, "swap", blindOp{kind: blindSwap, value: value})
	facts := w.s.check.shard(id)
	if ops := facts.blind[op.key]; len(ops) > 0 && w.rng.IntN(8) > 0 {
		op.blind.expect = ops[len(ops)-1-w.rng.IntN(min(3, len(ops)))].latest()
	}
	compare := store.Compare{Result: store.CompareEqual, Target: store.CompareValue, Key: []byte(op.key), Value: []byte(op.blind.expect)}
	if op.blind.expect == "" {
		compare = store.Compare{Result: store.CompareEqual, Target: store.CompareVersion, Key: []byte(op.key)}
	}
	r := store.TxnRequest{
		Compare: []store.Compare{compare},
		Success: []store.RequestOp{{Put: &store.PutRequest{Key: []byte(op.key), Value: []byte(value)}}},
		Failure: []store.RequestOp{{Range: &store.RangeRequest{Key: []byte(op.key)}}},
	}
	w.command(op, store.KindTxn, r.AppendTo(nil))
}

// latest is the value that a key probably had after an operation.
func (b *blindOp) latest() string {
	if b.kind == blindGet || b.kind == blindSwap && b.known && !b.swapped {
		return b.seen
	}
	return b.value
}

func (w *worker) compact(id shard.ID) {
	facts := w.s.check.shard(id)
	op := w.begin(id, "compact")
	op.done = ignore
	r := store.CompactRequest{Revision: facts.oracle.revisionAt(facts.acked) - w.rng.Int64N(25)}
	w.command(op, store.KindCompact, r.AppendTo(nil))
}

// actRead reads one key or a range, at the newest or an older revision.
func (w *worker) actRead(id shard.ID) {
	var op *operation
	switch p := w.rng.IntN(100); {
	case p < 50:
		op = w.single(id, "get", blindOp{kind: blindGet})
		op.linearizable = true
		op.ranged.Key = []byte(op.key)
	case p < 65:
		op = w.begin(id, "get serializable")
		op.ranged.Key = []byte(w.key())
	case p < 85:
		op = w.begin(id, "range")
		op.linearizable = true
		w.drawRange(&op.ranged)
	default:
		op = w.begin(id, "range old")
		op.linearizable = w.rng.IntN(2) == 0
		w.drawRange(&op.ranged)
		facts := w.s.check.shard(id)
		op.ranged.Revision = max(1, facts.oracle.revisionAt(facts.acked)-w.rng.Int64N(40)+2)
	}
	op.done = ignore
	w.read(op)
}

func (w *worker) drawRange(r *store.RangeRequest) {
	r.Key, r.RangeEnd = []byte{0}, []byte{0}
	if w.rng.IntN(2) == 0 {
		r.Key, r.RangeEnd = []byte("k"), []byte("n")
	}
	r.Limit = w.rng.Int64N(6)
	r.SortOrder, r.SortTarget = store.SortOrder(w.rng.IntN(3)), store.SortTarget(w.rng.IntN(5))
	r.KeysOnly, r.CountOnly = w.rng.IntN(6) == 0, w.rng.IntN(6) == 0
}
