package store

import (
	"bytes"

	"github.com/quorate/quorate/consensus/mutant"
	"github.com/quorate/quorate/internal/mvcc"
)

// A transaction runs in three passes, as in etcd: every comparison, nested ones
// included, looks at the state before the transaction and fixes the path; then
// everything on the path that could be rejected is checked; then it runs and
// cannot be rejected any more.

// txnPath holds the outcomes of the comparisons in the order in which the
// transactions are met.
type txnPath struct {
	outcomes []bool
	next     int
}

// branch returns the operations that run, and the outcome.
func (p *txnPath) branch(r *TxnRequest) ([]RequestOp, bool) {
	ok := p.outcomes[p.next]
	p.next++
	if ok {
		return r.Success, true
	}
	return r.Failure, false
}

// compareAll decides r and the transactions on its path.
func (p *txnPath) compareAll(src source, r *TxnRequest) error {
	ok, err := holdAll(src, r.Compare)
	if err != nil {
		return err
	}
	p.outcomes = append(p.outcomes, ok)
	ops := r.Failure
	if ok {
		ops = r.Success
	}
	for i := range ops {
		if ops[i].Txn == nil {
			continue
		}
		if err := p.compareAll(src, ops[i].Txn); err != nil {
			return err
		}
	}
	return nil
}

func holdAll(src source, compares []Compare) (bool, error) {
	for i := range compares {
		if ok, err := holds(src, &compares[i]); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// holds reports whether every key that c names meets it. A key that does not exist
// has zeros for everything but a value: no comparison with a value holds for it.
func holds(src source, c *Compare) (bool, error) {
	at := src.Head().Revision
	found, ok := false, true
	check := func(kv *KeyValue) (bool, error) {
		found, ok = true, c.meets(kv)
		return ok, nil
	}
	if len(c.RangeEnd) == 0 {
		kv, exists, err := src.Get(c.Key, at)
		if err != nil {
			return false, err
		}
		if exists {
			_, _ = check(&kv)
		}
	} else if err := src.Scan(mvcc.NewRange(c.Key, c.RangeEnd), at, check); err != nil {
		return false, err
	}
	if !found {
		return c.Target != CompareValue && c.meets(&KeyValue{}), nil
	}
	return ok, nil
}

func (c *Compare) meets(kv *KeyValue) bool {
	order := 0
	switch c.Target {
	case CompareVersion:
		order = compareNumbers(kv.Version, c.Number)
	case CompareCreate:
		order = compareNumbers(kv.CreateRevision, c.Number)
	case CompareMod:
		order = compareNumbers(kv.ModRevision, c.Number)
	case CompareValue:
		order = bytes.Compare(kv.Value, c.Value)
	case CompareLease:
		order = compareNumbers(kv.Lease, c.Number)
	}
	switch c.Result {
	case CompareEqual:
		return order == 0
	case CompareNotEqual:
		return order != 0
	case CompareGreater:
		return order > 0
	case CompareLess:
		return order < 0
	}
	return true
}

func compareNumbers(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// checkRange finds every reason to reject a range on the path. It is the one check
// of a replica that does not build the response, so it must not depend on that
// (etcd #18667).
func checkRange(h mvcc.Head, r *RangeRequest) error {
	switch {
	case r.Revision == 0:
		return nil
	case r.Revision > h.Revision:
		return ErrFutureRevision
	case r.Revision < h.Compacted:
		return ErrCompacted
	}
	return nil
}

func (c *command) txn(r *TxnRequest) (*TxnResponse, error) {
	if c.overQuota(txnCost(r)) {
		return nil, ErrNoSpace
	}
	var path txnPath
	if err := path.compareAll(writerSource{c.w}, r); err != nil {
		return nil, err
	}
	check := txnCheck{command: c, path: &path, tight: !c.keysFit(txnMost(r, func(*PutRequest) int64 { return 1 }))}
	if err := check.txn(r); err != nil {
		return nil, err
	}
	path.next = 0
	resp, err := c.runTxn(r, &path)
	if resp != nil {
		resp.Revision = c.w.Revision()
	}
	return resp, err
}

// txnCost is what the costlier branch puts, taken or not.
func txnCost(r *TxnRequest) int64 { return txnMost(r, putCost) }

// txnMost adds up the puts of a transaction in the branch that has more.
func txnMost(r *TxnRequest, of func(*PutRequest) int64) int64 {
	var sums [2]int64
	for i, ops := range [][]RequestOp{r.Success, r.Failure} {
		for j := range ops {
			switch {
			case ops[j].Put != nil:
				sums[i] += of(ops[j].Put)
			case ops[j].Txn != nil:
				sums[i] += txnMost(ops[j].Txn, of)
			}
		}
	}
	return max(sums[0], sums[1])
}

// txnCheck finds every reason to reject a transaction before it changes anything.
type txnCheck struct {
	*command
	path    *txnPath
	deletes []mvcc.Range // by operations that come earlier on the path
	tight   bool         // the quota of keys may not have room for all puts
	created int64        // keys by puts that come earlier on the path; if tight
}

func (c *txnCheck) txn(r *TxnRequest) error {
	ops, _ := c.path.branch(r)
	for i := range ops {
		var err error
		switch op := &ops[i]; {
		case op.Range != nil:
			if c.want || !mutant.On("store-check-when-serving") {
				err = checkRange(c.w.Head(), op.Range)
			}
		case op.Put != nil:
			err = c.put(op.Put)
		case op.DeleteRange != nil:
			c.deletes = append(c.deletes, mvcc.NewRange(op.DeleteRange.Key, op.DeleteRange.RangeEnd))
		case op.Txn != nil:
			err = c.txn(op.Txn)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// put checks a put on the path. The key that it keeps the value or lease of may be
// there now and gone when the put runs: an earlier operation can delete "from a
// key on" and pass Validate. etcd finds out in the middle of the transaction and
// crashes on every member; here it is the rejection that it would be a moment later.
func (c *txnCheck) put(r *PutRequest) error {
	if c.tight {
		if err := c.fit(r); err != nil {
			return err
		}
	}
	if err := c.checkPut(r); err != nil || !(r.IgnoreValue || r.IgnoreLease) {
		return err
	}
	for _, rg := range c.deletes {
		if rg.Contains(r.Key) {
			return ErrKeyNotFound
		}
	}
	return nil
}

// fit counts the keys that a transaction makes against the quota. What it deletes makes room
// for the next one, as with the quota of bytes.
func (c *txnCheck) fit(r *PutRequest) error {
	creates, err := c.creates(r)
	if err != nil || !creates {
		return err
	}
	if c.created++; !c.keysFit(c.created) {
		return ErrNoSpace
	}
	return nil
}

func (c *command) runTxn(r *TxnRequest, path *txnPath) (*TxnResponse, error) {
	ops, ok := path.branch(r)
	var resp *TxnResponse
	if c.want {
		resp = &TxnResponse{Succeeded: ok, Responses: make([]ResponseOp, len(ops))}
	}
	for i := range ops {
		out, err := c.runOp(&ops[i], path)
		if err != nil {
			return nil, err
		}
		if resp != nil {
			resp.Responses[i] = out
		}
	}
	return resp, nil
}

func (c *command) runOp(op *RequestOp, path *txnPath) (out ResponseOp, err error) {
	switch {
	case op.Range != nil:
		if c.want {
			out.Range, err = runRange(writerSource{c.w}, op.Range)
		}
	case op.Put != nil:
		out.Put, err = c.runPut(op.Put)
	case op.DeleteRange != nil:
		out.DeleteRange, err = c.deleteRange(op.DeleteRange)
	case op.Txn != nil:
		out.Txn, err = c.runTxn(op.Txn, path)
	}
	return out, err
}

// runReadTxn answers a transaction that only reads.
func runReadTxn(src source, r *TxnRequest) (*TxnResponse, error) {
	ok, err := holdAll(src, r.Compare)
	if err != nil {
		return nil, err
	}
	ops := r.Failure
	if ok {
		ops = r.Success
	}
	head := src.Head()
	for i := range ops {
		if err := checkRange(head, ops[i].Range); err != nil {
			return nil, err
		}
	}
	resp := &TxnResponse{Revision: head.Revision, Succeeded: ok, Responses: make([]ResponseOp, len(ops))}
	for i := range ops {
		if resp.Responses[i].Range, err = runRange(src, ops[i].Range); err != nil {
			return nil, err
		}
	}
	return resp, nil
}
