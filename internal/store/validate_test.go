package store

import (
	"errors"
	"testing"

	"pgregory.net/rapid"
)

// Goal: etcd's checks before a proposal, in etcd's order. Method: by example.
func TestValidate(t *testing.T) {
	key := []byte("k")
	rangeOp := RequestOp{Range: &RangeRequest{Key: key}}
	deep := func(n int) *TxnRequest {
		r := &TxnRequest{Success: []RequestOp{rangeOp}}
		for range n {
			r = &TxnRequest{Success: []RequestOp{{Txn: r}}}
		}
		return r
	}
	many := func(n int) []RequestOp { return make([]RequestOp, n) }
	for i, c := range []struct {
		err  error
		want error
	}{
		{(&RangeRequest{SortOrder: 9}).Validate(), ErrEmptyKey},
		{(&RangeRequest{Key: key, SortOrder: 3, SortTarget: 9}).Validate(), ErrInvalidSortOption},
		{(&RangeRequest{Key: key, SortTarget: -1}).Validate(), ErrInvalidSortOption},
		{(&RangeRequest{Key: key, SortOrder: SortDescend, SortTarget: SortByValue}).Validate(), nil},
		{(&PutRequest{Value: key, IgnoreValue: true}).Validate(), ErrEmptyKey},
		{(&PutRequest{Key: key, Value: key, IgnoreValue: true, Lease: 1, IgnoreLease: true}).Validate(), ErrValueProvided},
		{(&PutRequest{Key: key, IgnoreValue: true, Lease: 1, IgnoreLease: true}).Validate(), ErrLeaseProvided},
		{(&PutRequest{Key: key, IgnoreValue: true, IgnoreLease: true}).Validate(), nil},
		{(&DeleteRangeRequest{RangeEnd: key}).Validate(), ErrEmptyKey},
		{(&TxnRequest{}).Validate(1), nil},
		// Too many comes before an empty key, an empty key before an empty operation.
		{(&TxnRequest{Compare: make([]Compare, 3)}).Validate(2), ErrTooManyOps},
		{(&TxnRequest{Compare: make([]Compare, 1), Success: many(1)}).Validate(2), ErrEmptyKey},
		{(&TxnRequest{Success: many(2)}).Validate(2), ErrKeyNotFound},
		{(&TxnRequest{Failure: []RequestOp{{Put: &PutRequest{}}}}).Validate(2), ErrEmptyKey},
		// What the outer one uses is gone for the inner one.
		{deep(3).Validate(4), nil},
		{deep(4).Validate(4), ErrTooManyOps},
		{deep(txnDepthMax + 1).Validate(1 << 30), ErrTooManyOps},
		// Static checks look at both branches.
		{(&TxnRequest{Failure: []RequestOp{{Put: put("a", "")}, {Put: put("a", "")}}}).Validate(9), ErrDuplicateKey},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("case %d: %v, want %v", i, c.err, c.want)
		}
	}
}

// naive is the duplicate check in etcd's words: lists and pairs, no spans.
type naive struct {
	puts map[string]bool
	dels []DeleteRangeRequest
}

func (n *naive) deleted(key string) bool {
	for _, d := range n.dels {
		switch {
		case len(d.RangeEnd) == 0 && string(d.Key) == key:
			return true
		case len(d.RangeEnd) != 0 && string(d.Key) <= key && key < string(d.RangeEnd):
			return true // "\x00" as an end is below every key: it matches nothing
		}
	}
	return false
}

func naiveTouched(ops []RequestOp) (*naive, bool) {
	n := &naive{puts: map[string]bool{}}
	for _, op := range ops {
		if op.DeleteRange != nil {
			n.dels = append(n.dels, *op.DeleteRange)
		}
	}
	for _, op := range ops {
		if op.Txn == nil {
			continue
		}
		then, ok1 := naiveTouched(op.Txn.Success)
		other, ok2 := naiveTouched(op.Txn.Failure)
		if !ok1 || !ok2 {
			return nil, false
		}
		for k := range then.puts {
			if n.puts[k] || n.deleted(k) {
				return nil, false
			}
			n.puts[k] = true
		}
		for k := range other.puts {
			if n.puts[k] && !then.puts[k] || n.deleted(k) {
				return nil, false
			}
			n.puts[k] = true
		}
		n.dels = append(append(n.dels, then.dels...), other.dels...)
	}
	for _, op := range ops {
		if op.Put != nil {
			if n.puts[string(op.Put.Key)] || n.deleted(string(op.Put.Key)) {
				return nil, false
			}
			n.puts[string(op.Put.Key)] = true
		}
	}
	return n, true
}

// genTouch draws transactions of few keys that put and delete a lot.
func genTouch(depth int) *rapid.Generator[*TxnRequest] {
	return rapid.Custom(func(t *rapid.T) *TxnRequest {
		key := rapid.SampledFrom([]string{"a", "a\x00", "b", "c", "d"})
		op := rapid.Custom(func(t *rapid.T) RequestOp {
			switch rapid.IntRange(0, 3+depth).Draw(t, "op") {
			case 0, 1:
				return RequestOp{Put: put(key.Draw(t, "put"), "")}
			case 2, 3:
				end := rapid.SampledFrom([]string{"", "", "\x00", "a\x00", "b", "c", "e"}).Draw(t, "end")
				return RequestOp{DeleteRange: &DeleteRangeRequest{Key: []byte(key.Draw(t, "delete")), RangeEnd: []byte(end)}}
			}
			return RequestOp{Txn: genTouch(depth-1).Draw(t, "txn")}
		})
		return &TxnRequest{Success: rapid.SliceOfN(op, 0, 3).Draw(t, "success"), Failure: rapid.SliceOfN(op, 0, 2).Draw(t, "failure")}
	})
}

// Goal: the duplicate check is etcd's, quirks included. Method: compare with a naive
// one on random transactions.
func TestDuplicateKeysAgreeWithNaive(t *testing.T) {
	found := map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		r := genTouch(2).Draw(t, "txn")
		_, ok := naiveTouched(r.Success)
		if ok {
			_, ok = naiveTouched(r.Failure)
		}
		if err := r.Validate(1000); errors.Is(err, ErrDuplicateKey) == ok || (err == nil) != ok {
			t.Fatalf("%v, naive says fine: %v", err, ok)
		}
		found[ok]++
	})
	if found[true] == 0 || found[false] == 0 {
		t.Fatalf("drew %v", found)
	}
}
