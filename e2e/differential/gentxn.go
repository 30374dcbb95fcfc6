package differential

import (
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func opRange(q *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: q}}
}

func opPut(q *pb.PutRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: q}}
}

func opDelete(q *pb.DeleteRangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: q}}
}

func opTxn(q *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: q}}
}

func opsPut(n int) []*pb.RequestOp {
	ops := make([]*pb.RequestOp, n)
	for i := range ops {
		ops[i] = opPut(&pb.PutRequest{Key: fmt.Appendf(nil, "many/%03d", i)})
	}
	return ops
}

func put(key, value string) *pb.RequestOp {
	return opPut(&pb.PutRequest{Key: []byte(key), Value: []byte(value)})
}

func del(key, end string) *pb.RequestOp {
	return opDelete(&pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end), PrevKv: true})
}

func (g *generator) txnTurn() []step {
	q := g.txn(0, g.chance(25))
	if deletesFromKey(q) {
		clearIgnores(q)
	}
	return []step{unary(methodTxn, q)}
}

// deletesFromKey says whether a delete that ends in "\0" is anywhere in q.
// Together with an ignore_value or ignore_lease put it can crash etcd, see
// notCompared.
func deletesFromKey(q *pb.TxnRequest) bool {
	return slices.ContainsFunc(slices.Concat(q.Success, q.Failure), func(op *pb.RequestOp) bool {
		if t := op.GetRequestTxn(); t != nil {
			return deletesFromKey(t)
		}
		return len(op.GetRequestDeleteRange().GetRangeEnd()) == 1
	})
}

func clearIgnores(q *pb.TxnRequest) {
	for _, op := range slices.Concat(q.Success, q.Failure) {
		if p := op.GetRequestPut(); p != nil {
			p.IgnoreValue, p.IgnoreLease = false, false
		}
		if t := op.GetRequestTxn(); t != nil {
			clearIgnores(t)
		}
	}
}

// txn makes a transaction. Most write each key once; the rest find out what
// the server refuses.
func (g *generator) txn(depth int, readOnly bool) *pb.TxnRequest {
	q := &pb.TxnRequest{}
	for range g.rng.IntN(3) {
		q.Compare = append(q.Compare, g.compare())
	}
	written := make(map[string]bool)
	for range g.rng.IntN(4) {
		q.Success = append(q.Success, g.op(depth, readOnly, written))
	}
	clear(written)
	for range g.rng.IntN(3) {
		q.Failure = append(q.Failure, g.op(depth, readOnly, written))
	}
	return q
}

func (g *generator) op(depth int, readOnly bool, written map[string]bool) *pb.RequestOp {
	choice := g.rng.IntN(12)
	if readOnly {
		choice = 0
	}
	switch {
	case choice < 4:
		q := g.rangeRequest()
		if g.chance(75) { // a bad revision fails the whole transaction
			q.Revision = []int64{0, g.revision("old"), g.revision("current")}[g.rng.IntN(3)]
		}
		return opRange(q)
	case choice < 8:
		q := g.putRequest()
		for written[string(q.Key)] && !g.chance(3) {
			q.Key = g.key()
		}
		if g.chance(90) && g.model.keys[string(q.Key)] == nil {
			q.IgnoreValue, q.IgnoreLease = false, false
		}
		written[string(q.Key)] = true
		return opPut(q)
	case choice < 10:
		q := g.deleteRequest()
		if g.chance(70) {
			q.RangeEnd = nil
		}
		for len(q.RangeEnd) == 0 && written[string(q.Key)] && !g.chance(3) {
			q.Key = g.key()
		}
		written[string(q.Key)] = true
		return opDelete(q)
	case depth < 3:
		return opTxn(g.txn(depth+1, g.chance(20)))
	}
	return opRange(&pb.RangeRequest{Key: g.key(), Serializable: true})
}

// compare makes one condition; pairs of target and result come in rotation.
// Half of the conditions are built from what the model knows and so hold.
func (g *generator) compare() *pb.Compare {
	i := g.turn("compare", 20)
	c := &pb.Compare{Target: pb.Compare_CompareTarget(i / 4), Result: pb.Compare_CompareResult(i % 4), Key: g.existing()}
	if g.chance(15) {
		c.Key = g.missing()
	}
	if g.chance(20) {
		c.Key, c.RangeEnd = g.span()
	}
	kv := g.model.keys[string(c.Key)]
	off := int64(g.rng.IntN(3) - 1)
	switch c.Target {
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: kv.GetVersion() + off}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: kv.GetCreateRevision() + off}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: kv.GetModRevision() + off}
	case pb.Compare_VALUE:
		c.TargetUnion = &pb.Compare_Value{Value: g.value()}
		if g.chance(50) {
			c.TargetUnion = &pb.Compare_Value{Value: kv.GetValue()}
		}
	case pb.Compare_LEASE:
		c.TargetUnion = &pb.Compare_Lease{Lease: g.compareLease(c, kv.GetLease())}
	}
	return c
}

// compareLease picks an operand for a lease compare. Generated ids differ
// between the servers, so with an order only 0 is comparable: generated ids
// are positive everywhere.
func (g *generator) compareLease(c *pb.Compare, of int64) int64 {
	if c.Result == pb.Compare_GREATER || c.Result == pb.Compare_LESS {
		return 0
	}
	return []int64{0, of, g.lease()}[g.rng.IntN(3)]
}

// compareTurn is a transaction about compares: unknown enum values, an
// operand of another kind, ranges, missing keys.
func (g *generator) compareTurn() []step {
	c := g.compare()
	switch g.turn("odd compare", 6) {
	case 0:
		c.Target = pb.Compare_CompareTarget(5 + g.rng.IntN(3))
	case 1:
		c.Result = pb.Compare_CompareResult(4 + g.rng.IntN(3))
	case 2:
		c.Target, c.TargetUnion = pb.Compare_MOD, &pb.Compare_Version{Version: 1}
	case 3:
		c.Target, c.TargetUnion = pb.Compare_VERSION, &pb.Compare_Value{Value: []byte("v1")}
	case 4:
		c.Target, c.TargetUnion = pb.Compare_CREATE, nil
	case 5:
		c.Key = nil
	}
	return []step{unary(methodTxn, &pb.TxnRequest{
		Compare: []*pb.Compare{c},
		Success: []*pb.RequestOp{opRange(&pb.RangeRequest{Key: g.key()})},
		Failure: []*pb.RequestOp{put(string(g.existing()), "else")},
	})}
}

// txnSpecial walks through the corners of transactions, one per call.
func (g *generator) txnSpecial() []step {
	q := txnCorners[g.turn("txn", len(txnCorners))](g)
	return []step{unary(methodTxn, q)}
}

var txnCorners = []func(*generator) *pb.TxnRequest{
	func(g *generator) *pb.TxnRequest { return &pb.TxnRequest{} },
	func(g *generator) *pb.TxnRequest { return &pb.TxnRequest{Success: []*pb.RequestOp{{}}} },
	func(g *generator) *pb.TxnRequest { return &pb.TxnRequest{Failure: []*pb.RequestOp{put("a", ""), {}}} },
	func(g *generator) *pb.TxnRequest {
		c := make([]*pb.Compare, maxTxnOps+1) // also without keys: the number is checked first
		for i := range c {
			c[i] = &pb.Compare{}
		}
		return &pb.TxnRequest{Compare: c}
	},
	func(g *generator) *pb.TxnRequest {
		return &pb.TxnRequest{Success: opsPut(maxTxnOps + g.turn("operations", 2)*9)}
	},
	func(g *generator) *pb.TxnRequest { return &pb.TxnRequest{Success: opsPut(maxTxnOps + 1)} },
	func(g *generator) *pb.TxnRequest { return &pb.TxnRequest{Failure: opsPut(maxTxnOps + 1)} },
	func(g *generator) *pb.TxnRequest { // the nested one has what the outer one leaves
		outer := opsPut(63)
		return &pb.TxnRequest{Success: append(outer, opTxn(&pb.TxnRequest{Failure: opsPut(64 + g.turn("inner operations", 2))}))}
	},
	func(g *generator) *pb.TxnRequest {
		inner := &pb.TxnRequest{Success: opsPut(126)}
		return &pb.TxnRequest{Success: []*pb.RequestOp{opTxn(&pb.TxnRequest{Success: []*pb.RequestOp{opTxn(inner)}, Compare: trueCompares(1 + g.turn("inner compares", 2))})}}
	},
	func(g *generator) *pb.TxnRequest {
		return &pb.TxnRequest{Success: []*pb.RequestOp{put("a", "1"), put("a", "2")}}
	},
	func(g *generator) *pb.TxnRequest {
		return &pb.TxnRequest{Failure: []*pb.RequestOp{del("a", "c"), put("b", "1")}}
	},
	func(g *generator) *pb.TxnRequest { // put before delete makes no difference
		return &pb.TxnRequest{Success: []*pb.RequestOp{put("b", "1"), del("b", "")}}
	},
	func(g *generator) *pb.TxnRequest { // two deletes do not conflict
		return &pb.TxnRequest{Success: []*pb.RequestOp{del("k/1", "k/2"), del("k/10", ""), del("k/", "k/2")}}
	},
	func(g *generator) *pb.TxnRequest { // "\0" as the end of a delete conflicts with nothing
		return &pb.TxnRequest{Success: []*pb.RequestOp{del("zz", "\x00"), put("zz/1", "1"), opRange(readEverything)}}
	},
	func(g *generator) *pb.TxnRequest {
		return &pb.TxnRequest{Success: []*pb.RequestOp{put("zz/2", "1"), del("zz", "\x00"), opRange(readEverything), put("zz", "2")}}
	},
	func(g *generator) *pb.TxnRequest { return nested(put("b", "1"), del("a", "c")) },
	func(g *generator) *pb.TxnRequest { return nested(del("a", "c"), put("b", "1")) },
	func(g *generator) *pb.TxnRequest { return nested(put("b", "1"), put("b", "2")) },
	func(g *generator) *pb.TxnRequest {
		t := opTxn(&pb.TxnRequest{Compare: []*pb.Compare{g.compare()}, Success: []*pb.RequestOp{put("b", "then")}, Failure: []*pb.RequestOp{put("b", "else")}})
		return &pb.TxnRequest{Success: []*pb.RequestOp{t, opRange(&pb.RangeRequest{Key: []byte("b")})}}
	},
	func(g *generator) *pb.TxnRequest { // delete in then, put in else of one nested transaction
		t := opTxn(&pb.TxnRequest{Compare: []*pb.Compare{g.compare()}, Success: []*pb.RequestOp{del("b", "")}, Failure: []*pb.RequestOp{put("b", "else")}})
		return &pb.TxnRequest{Success: []*pb.RequestOp{t}}
	},
	func(g *generator) *pb.TxnRequest { // compares see the state before the transaction
		key := []byte("cas")
		exists := &pb.Compare{Target: pb.Compare_VERSION, Result: pb.Compare_GREATER, Key: key}
		t := opTxn(&pb.TxnRequest{Compare: []*pb.Compare{exists}, Success: []*pb.RequestOp{del("cas", "")}, Failure: []*pb.RequestOp{put("new", "")}})
		return &pb.TxnRequest{Success: []*pb.RequestOp{t, opRange(&pb.RangeRequest{Key: key}), put("cas2", "x"), opTxn(&pb.TxnRequest{Compare: []*pb.Compare{exists}, Failure: []*pb.RequestOp{put("cas", "1")}})}}
	},
	func(g *generator) *pb.TxnRequest { return g.readTxn("compacted", 0) },
	func(g *generator) *pb.TxnRequest { return g.readTxn("compacted", 1) },
	func(g *generator) *pb.TxnRequest { return g.readTxn("compacted", 2) },
	func(g *generator) *pb.TxnRequest { return g.readTxn("at compacted", g.rng.IntN(3)) },
	func(g *generator) *pb.TxnRequest { return g.readTxn("old", 1) },
	func(g *generator) *pb.TxnRequest { return g.readTxn("old", 2) },
	func(g *generator) *pb.TxnRequest { return g.readTxn("future", g.rng.IntN(3)) },
	func(g *generator) *pb.TxnRequest { return g.readTxn("negative", g.rng.IntN(3)) },
	func(g *generator) *pb.TxnRequest { // the revision this very transaction will have is still the future
		return &pb.TxnRequest{Success: []*pb.RequestOp{put("b", "1"), opRange(&pb.RangeRequest{Key: []byte("b"), Revision: g.model.rev + 1})}}
	},
	func(g *generator) *pb.TxnRequest {
		return &pb.TxnRequest{Success: []*pb.RequestOp{opPut(&pb.PutRequest{Key: g.key(), Lease: g.unknownLease()})}}
	},
	func(g *generator) *pb.TxnRequest { // checks of the branch not taken do not matter
		bad := opPut(&pb.PutRequest{Key: g.missing(), IgnoreValue: true})
		return &pb.TxnRequest{Compare: []*pb.Compare{g.compare()}, Success: []*pb.RequestOp{bad}, Failure: []*pb.RequestOp{opRange(&pb.RangeRequest{Key: []byte("a"), Revision: g.revision("future")})}}
	},
	func(g *generator) *pb.TxnRequest {
		return &pb.TxnRequest{Success: []*pb.RequestOp{opPut(&pb.PutRequest{Key: g.existing(), IgnoreValue: true, PrevKv: true, Lease: g.lease()}), del("missing", "")}}
	},
	func(g *generator) *pb.TxnRequest { // invalid in the branch that is not taken: refused all the same
		return &pb.TxnRequest{Success: []*pb.RequestOp{opRange(&pb.RangeRequest{Key: []byte("a"), SortOrder: 7})}, Failure: []*pb.RequestOp{opPut(&pb.PutRequest{})}}
	},
	func(g *generator) *pb.TxnRequest {
		big := make([]byte, maxRequestBytes/2+100)
		return &pb.TxnRequest{Success: []*pb.RequestOp{opPut(&pb.PutRequest{Key: []byte("x"), Value: big}), opPut(&pb.PutRequest{Key: []byte("y"), Value: big})}}
	},
}

// nested puts two operations into two nested transactions, in this order.
func nested(first, second *pb.RequestOp) *pb.TxnRequest {
	return &pb.TxnRequest{Success: []*pb.RequestOp{
		opTxn(&pb.TxnRequest{Success: []*pb.RequestOp{first}}),
		opTxn(&pb.TxnRequest{Success: []*pb.RequestOp{second}}),
	}}
}

// readTxn reads at a revision of the given age, depth transactions deep, with
// a write beside it every second time.
func (g *generator) readTxn(age string, depth int) *pb.TxnRequest {
	key, end := g.span()
	q := &pb.TxnRequest{Success: []*pb.RequestOp{opRange(&pb.RangeRequest{Key: key, RangeEnd: end, Revision: g.revision(age)})}}
	if g.chance(50) {
		q.Success = append(q.Success, put("beside", "1"))
	}
	for range depth {
		q = &pb.TxnRequest{Success: []*pb.RequestOp{opTxn(q)}}
	}
	return q
}

func trueCompares(n int) []*pb.Compare {
	c := make([]*pb.Compare, n)
	for i := range c {
		c[i] = &pb.Compare{Key: []byte("a"), Target: pb.Compare_VERSION, Result: pb.Compare_GREATER, TargetUnion: &pb.Compare_Version{Version: -1}}
	}
	return c
}
