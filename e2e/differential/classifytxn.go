package differential

import (
	"bytes"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

func (m *mix) txn(before *model, q *pb.TxnRequest, a answer) {
	r, _ := a.resp.(*pb.TxnResponse)
	ops := slices.Concat(q.Success, q.Failure)
	reads, serializable := true, true
	for _, op := range ops {
		read := op.GetRequestRange()
		reads = reads && read != nil
		serializable = serializable && read != nil && read.Serializable
	}
	m.markIf(map[string]bool{
		"txn/succeeded":                     r.GetSucceeded(),
		"txn/failed":                        r != nil && !r.Succeeded,
		"txn/read only":                     reads && len(ops) > 0,
		"txn/serializable":                  serializable && len(ops) > 0,
		"txn/no operation":                  len(ops) == 0,
		"txn/no compare":                    len(q.Compare) == 0,
		"txn/too many compares":             len(q.Compare) > maxTxnOps,
		"txn/too many successes":            len(q.Success) > maxTxnOps,
		"txn/too many failures":             len(q.Failure) > maxTxnOps,
		"txn/too many nested":               tooManyNested(q, maxTxnOps) && max(len(q.Compare), len(q.Success), len(q.Failure)) <= maxTxnOps,
		"txn/too large":                     proto.Size(q) > maxRequestBytes,
		"txn/put in both branches":          putInBothBranches(q),
		"txn/nested delete then nested put": nestedOverlap(q.Success, true),
		"txn/nested put then nested delete": nestedOverlap(q.Success, false),
	})
	m.branches(before, q, 0)
}

// branches marks compares and operations of a transaction and, deeper, of
// those nested in it.
func (m *mix) branches(before *model, q *pb.TxnRequest, depth int) {
	for _, c := range q.Compare {
		m.compare(before, c)
	}
	for _, ops := range [][]*pb.RequestOp{q.Success, q.Failure} {
		m.branch(before, ops, depth)
	}
}

func (m *mix) branch(before *model, ops []*pb.RequestOp, depth int) {
	wrote := false
	puts := make(map[string]bool)
	for _, op := range ops {
		switch o := op.Request.(type) {
		case *pb.RequestOp_RequestRange:
			m.txnRange(before, o.RequestRange, depth)
			m.markIf(map[string]bool{"txn/read after own write": wrote})
		case *pb.RequestOp_RequestPut:
			m.txnPut(before, o.RequestPut)
			m.markIf(map[string]bool{"txn/put twice": puts[string(o.RequestPut.Key)]})
			puts[string(o.RequestPut.Key)] = true
			wrote = true
		case *pb.RequestOp_RequestDeleteRange:
			m.mark("txn/delete")
			m.markIf(map[string]bool{"txn/delete prev_kv": o.RequestDeleteRange.PrevKv})
			m.deleteOverlap(o.RequestDeleteRange, ops)
			wrote = true
		case *pb.RequestOp_RequestTxn:
			m.mark("txn/nested")
			m.markIf(map[string]bool{"txn/nested twice": depth > 0})
			m.branches(before, o.RequestTxn, depth+1)
		default:
			m.mark("txn/empty operation")
		}
	}
}

func (m *mix) txnRange(before *model, q *pb.RangeRequest, depth int) {
	m.mark("txn/range")
	age := before.age(q.Revision)
	m.markIf(map[string]bool{
		"txn/range old":              age == "old",
		"txn/range compacted":        age == "compacted",
		"txn/range future":           age == "future",
		"txn/range negative":         age == "negative",
		"txn/nested range old":       age == "old" && depth > 0,
		"txn/nested range compacted": age == "compacted" && depth > 0,
	})
}

func (m *mix) txnPut(before *model, q *pb.PutRequest) {
	m.mark("txn/put")
	m.markIf(map[string]bool{
		"txn/put with lease":         q.Lease != 0 && before.hasLease(q.Lease),
		"txn/put with unknown lease": q.Lease != 0 && !before.hasLease(q.Lease),
		"txn/put prev_kv":            q.PrevKv,
		"txn/put ignore_value":       q.IgnoreValue,
	})
}

func (m *mix) deleteOverlap(d *pb.DeleteRangeRequest, ops []*pb.RequestOp) {
	for _, op := range ops {
		p := op.GetRequestPut()
		if p == nil || !inRange(p.Key, d.Key, d.RangeEnd) {
			continue
		}
		if bytes.Equal(d.RangeEnd, []byte{0}) {
			m.mark("txn/delete from key with put")
		} else {
			m.mark("txn/put and delete overlap")
		}
	}
}

func (m *mix) compare(before *model, c *pb.Compare) {
	m.mark("txn/" + compareMark(c.Target, c.Result))
	other := false
	switch c.TargetUnion.(type) {
	case *pb.Compare_Version:
		other = c.Target != pb.Compare_VERSION
	case *pb.Compare_Value:
		other = c.Target != pb.Compare_VALUE
	}
	m.markIf(map[string]bool{
		"txn/compare range":       len(c.RangeEnd) > 0,
		"txn/compare missing key": len(c.RangeEnd) == 0 && before.keys[string(c.Key)] == nil,
		"txn/compare other union": other,
	})
}

// tooManyNested reproduces etcd's budget: a nested transaction has what its
// parent's longest list leaves.
func tooManyNested(q *pb.TxnRequest, budget int) bool {
	longest := max(len(q.Compare), len(q.Success), len(q.Failure))
	if longest > budget {
		return true
	}
	for _, op := range slices.Concat(q.Success, q.Failure) {
		if t := op.GetRequestTxn(); t != nil && tooManyNested(t, budget-longest) {
			return true
		}
	}
	return false
}

func putInBothBranches(q *pb.TxnRequest) bool {
	for _, op := range slices.Concat(q.Success, q.Failure) {
		t := op.GetRequestTxn()
		for _, a := range t.GetSuccess() {
			for _, b := range t.GetFailure() {
				if p := a.GetRequestPut(); p != nil && b.GetRequestPut() != nil && bytes.Equal(p.Key, b.GetRequestPut().Key) {
					return true
				}
			}
		}
	}
	return false
}

// nestedOverlap finds a put and a delete of one key in two neighbouring
// nested transactions, in the given order. etcd refuses one order only.
func nestedOverlap(ops []*pb.RequestOp, deleteFirst bool) bool {
	for i := 0; i+1 < len(ops); i++ {
		first, second := ops[i].GetRequestTxn(), ops[i+1].GetRequestTxn()
		if deleteFirst {
			first, second = second, first // the one with the put comes first in this name
		}
		for _, p := range first.GetSuccess() {
			for _, d := range second.GetSuccess() {
				put, del := p.GetRequestPut(), d.GetRequestDeleteRange()
				if put != nil && del != nil && inRange(put.Key, del.Key, del.RangeEnd) {
					return true
				}
			}
		}
	}
	return false
}

func (m *mix) watchCreate(before *model, q *pb.WatchCreateRequest, s *streamInfo, resp *pb.WatchResponse) {
	put, del := slices.Contains(q.Filters, pb.WatchCreateRequest_NOPUT), slices.Contains(q.Filters, pb.WatchCreateRequest_NODELETE)
	_, duplicate := s.watches[q.WatchId]
	switch form := shape(q.Key, q.RangeEnd); form {
	case "reversed":
		m.mark("watch/empty range")
	case "everything":
		m.mark("watch/from key")
	default:
		m.mark("watch/" + form)
	}
	start := before.age(q.StartRevision)
	m.markIf(map[string]bool{
		"watch/automatic id":    q.WatchId == 0,
		"watch/chosen id":       q.WatchId != 0 && !resp.Canceled,
		"watch/duplicate id":    duplicate && q.WatchId != 0,
		"watch/filter put":      put && !del,
		"watch/filter delete":   del && !put,
		"watch/filter both":     put && del,
		"watch/prev_kv":         q.PrevKv,
		"watch/fragment":        q.Fragment,
		"watch/progress_notify": q.ProgressNotify,
		"watch/start now":       start == "",
		"watch/start old":       start == "old" || start == "at compacted",
		"watch/start current":   start == "current",
		"watch/start future":    start == "future",
		"watch/far future":      q.StartRevision > before.rev+futureFillMax,
		"watch/start compacted": start == "compacted",
		"watch/start negative":  start == "negative",
	})
}
