package sim

import (
	"fmt"

	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/store"
)

// multiKeys is the number of keys that transactions of a shard share.
const multiKeys = 5

func (w *worker) multiKey() []byte { return fmt.Appendf(nil, "m%d", w.rng.IntN(multiKeys)) }

// putMany writes two keys at once, and reads a third.
func (w *worker) putMany(id shard.ID) {
	op := w.begin(id, "txn put")
	op.done = ignore
	first := w.rng.IntN(multiKeys)
	second := (first + 1 + w.rng.IntN(multiKeys-1)) % multiKeys
	r := store.TxnRequest{Success: []store.RequestOp{
		{Put: &store.PutRequest{Key: fmt.Appendf(nil, "m%d", first), Value: []byte(w.value())}},
		{Range: &store.RangeRequest{Key: w.multiKey()}},
		{Put: &store.PutRequest{Key: fmt.Appendf(nil, "m%d", second), Value: []byte(w.value()), PrevKV: true}},
	}}
	w.command(op, store.KindTxn, r.AppendTo(nil))
}

func (w *worker) removeRange(id shard.ID) {
	op := w.begin(id, "delete range")
	op.done = ignore
	r := store.DeleteRangeRequest{Key: w.multiKey(), RangeEnd: []byte("n"), PrevKV: true}
	w.command(op, store.KindDeleteRange, r.AppendTo(nil))
}

// txn compares and does one of two lists, one of them with a transaction inside.
func (w *worker) txn(id shard.ID) {
	op := w.begin(id, "txn")
	op.done = ignore
	r := store.TxnRequest{
		Compare: []store.Compare{w.compare(id), w.compare(id)},
		Success: []store.RequestOp{
			{Put: &store.PutRequest{Key: []byte("m0"), Value: []byte(w.value())}},
			{Txn: &store.TxnRequest{
				Compare: []store.Compare{w.compare(id)},
				Success: []store.RequestOp{{Put: &store.PutRequest{Key: []byte("m1"), Value: []byte(w.value())}}},
				Failure: []store.RequestOp{{DeleteRange: &store.DeleteRangeRequest{Key: []byte("m2"), PrevKV: true}}},
			}},
			{Range: &store.RangeRequest{Key: []byte("m"), RangeEnd: []byte("n"), Limit: w.rng.Int64N(4)}},
		},
		Failure: []store.RequestOp{
			{Range: &store.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, CountOnly: true}},
			{Put: &store.PutRequest{Key: w.multiKey(), Value: []byte(w.value()), PrevKV: true}},
		},
	}
	if w.rng.IntN(4) == 0 {
		facts := w.s.check.shard(id)
		r.Failure[0].Range.Revision = max(1, facts.oracle.revisionAt(facts.acked)-w.rng.Int64N(30))
	}
	if err := r.Validate(128); err != nil {
		w.s.violate("client", "generated an invalid transaction: %v", err)
	}
	w.command(op, store.KindTxn, r.AppendTo(nil))
}

// compare draws a condition that has a fair chance to hold.
func (w *worker) compare(id shard.ID) store.Compare {
	facts := w.s.check.shard(id)
	c := store.Compare{
		Result: store.CompareResult(w.rng.IntN(4)), Target: store.CompareTarget(w.rng.IntN(5)), Key: w.multiKey(),
	}
	switch c.Target {
	case store.CompareValue:
		c.Value = []byte(fmt.Sprintf("c%d", w.rng.IntN(w.s.opts.Clients)))
	case store.CompareVersion:
		c.Number = w.rng.Int64N(4)
	case store.CompareCreate, store.CompareMod:
		c.Number = facts.oracle.revisionAt(facts.acked) - w.rng.Int64N(20)
	}
	if w.rng.IntN(4) == 0 {
		c.RangeEnd = []byte("n")
	}
	return c
}
