package store

import (
	"slices"
	"strings"
)

// Validate checks what etcd checks before it proposes, in etcd's order. It is a
// pure function of the request.
func (r *RangeRequest) Validate() error {
	switch {
	case len(r.Key) == 0:
		return ErrEmptyKey
	case r.SortOrder < SortNone || r.SortOrder > SortDescend:
		return ErrInvalidSortOption
	case r.SortTarget < SortByKey || r.SortTarget > SortByValue:
		return ErrInvalidSortOption
	}
	return nil
}

// Validate checks the request before it is proposed.
func (r *PutRequest) Validate() error {
	switch {
	case len(r.Key) == 0:
		return ErrEmptyKey
	case r.IgnoreValue && len(r.Value) != 0:
		return ErrValueProvided
	case r.IgnoreLease && r.Lease != 0:
		return ErrLeaseProvided
	}
	return nil
}

// Validate checks the request before it is proposed.
func (r *DeleteRangeRequest) Validate() error {
	if len(r.Key) == 0 {
		return ErrEmptyKey
	}
	return nil
}

// Validate checks the request before it is proposed. opsMax bounds the comparisons
// and the operations of each branch; nested transactions share what is left of it.
func (r *TxnRequest) Validate(opsMax int) error {
	if err := r.validateOps(opsMax, 0); err != nil {
		return err
	}
	// Overlaps come last: looking for them is only affordable once the number of
	// operations is known to be bounded.
	for _, ops := range [][]RequestOp{r.Success, r.Failure} {
		if _, err := touched(ops); err != nil {
			return err
		}
	}
	return nil
}

func (r *TxnRequest) validateOps(opsMax, depth int) error {
	n := max(len(r.Compare), len(r.Success), len(r.Failure))
	if n > opsMax || depth > txnDepthMax {
		return ErrTooManyOps
	}
	for i := range r.Compare {
		if len(r.Compare[i].Key) == 0 {
			return ErrEmptyKey
		}
	}
	for _, ops := range [][]RequestOp{r.Success, r.Failure} {
		for i := range ops {
			if err := ops[i].validate(opsMax-n, depth); err != nil {
				return err
			}
		}
	}
	return nil
}

func (op *RequestOp) validate(opsMax, depth int) error {
	switch {
	case op.Range != nil:
		return op.Range.Validate()
	case op.Put != nil:
		return op.Put.Validate()
	case op.DeleteRange != nil:
		return op.DeleteRange.Validate()
	case op.Txn != nil:
		return op.Txn.validateOps(opsMax, depth+1)
	}
	return ErrKeyNotFound
}

// touchSet is what the operations of one branch may put and delete.
type touchSet struct {
	puts map[string]struct{}
	dels spans
}

// touched collects the puts and deletes of a list of operations, nested ones
// included, and returns ErrDuplicateKey when a key may be put twice, or put and
// deleted. The two branches of a nested transaction exclude each other, so they may
// put the same key.
//
// As in etcd a deletion up to "\x00", which means from a key on, is taken for an
// empty range here, so that it collides with nothing.
func touched(ops []RequestOp) (touchSet, error) {
	set := touchSet{puts: map[string]struct{}{}}
	for i := range ops {
		if d := ops[i].DeleteRange; d != nil {
			set.dels.add(deleteSpan(d))
		}
	}
	for i := range ops {
		if ops[i].Txn == nil {
			continue
		}
		if err := set.addTxn(ops[i].Txn); err != nil {
			return set, err
		}
	}
	for i := range ops {
		if p := ops[i].Put; p != nil {
			if _, ok := set.puts[string(p.Key)]; ok || set.dels.contain(string(p.Key)) {
				return set, ErrDuplicateKey
			}
			set.puts[string(p.Key)] = struct{}{}
		}
	}
	return set, nil
}

// addTxn adds what a nested transaction touches.
func (set *touchSet) addTxn(r *TxnRequest) error {
	success, err := touched(r.Success)
	if err != nil {
		return err
	}
	failure, err := touched(r.Failure)
	if err != nil {
		return err
	}
	// Map order does not show: whichever key collides, the answer is the same.
	for key := range success.puts {
		if _, ok := set.puts[key]; ok || set.dels.contain(key) {
			return ErrDuplicateKey
		}
	}
	for key := range failure.puts {
		if _, ok := set.puts[key]; ok || set.dels.contain(key) {
			return ErrDuplicateKey
		}
	}
	for _, puts := range []map[string]struct{}{success.puts, failure.puts} {
		for key := range puts {
			set.puts[key] = struct{}{}
		}
	}
	for _, dels := range []spans{success.dels, failure.dels} {
		for _, s := range dels {
			set.dels.add(s)
		}
	}
	return nil
}

// span is the range [lo, hi) of keys.
type span struct{ lo, hi string }

func deleteSpan(d *DeleteRangeRequest) span {
	if len(d.RangeEnd) == 0 {
		return span{string(d.Key), string(d.Key) + "\x00"}
	}
	return span{string(d.Key), string(d.RangeEnd)}
}

// spans is a union of ranges: ordered, without overlap, none empty.
type spans []span

func (ss *spans) add(s span) {
	if s.lo >= s.hi {
		return
	}
	i, _ := slices.BinarySearchFunc(*ss, s.lo, func(e span, lo string) int { return strings.Compare(e.hi, lo) })
	j := i
	for j < len(*ss) && (*ss)[j].lo <= s.hi {
		s.lo, s.hi = min(s.lo, (*ss)[j].lo), max(s.hi, (*ss)[j].hi)
		j++
	}
	*ss = slices.Replace(*ss, i, j, s)
}

func (ss spans) contain(key string) bool {
	i, found := slices.BinarySearchFunc(ss, key, func(e span, key string) int { return strings.Compare(e.hi, key) })
	if found {
		i++ // that span ends just before key
	}
	return i < len(ss) && ss[i].lo <= key
}

// ReadOnly reports whether the transaction reads only, so that it needs no
// proposal. As in etcd a nested one counts as a write.
func (r *TxnRequest) ReadOnly() bool {
	return allOps(r, func(op *RequestOp) bool { return op.Range != nil })
}

// Serializable reports whether a local read answers the transaction.
func (r *TxnRequest) Serializable() bool {
	return allOps(r, func(op *RequestOp) bool { return op.Range != nil && op.Range.Serializable })
}

func allOps(r *TxnRequest, ok func(op *RequestOp) bool) bool {
	for _, ops := range [][]RequestOp{r.Success, r.Failure} {
		for i := range ops {
			if !ok(&ops[i]) {
				return false
			}
		}
	}
	return true
}
