package differential

import (
	"bytes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func (g *generator) rangeRequest() *pb.RangeRequest {
	q := &pb.RangeRequest{Serializable: g.chance(50)}
	if g.chance(30) {
		q.Key = g.key()
	} else {
		q.Key, q.RangeEnd = g.span()
	}
	q.Revision = g.anyRevision()
	if g.chance(40) {
		q.Limit = []int64{1, 2, 5, 10, 1000, -3}[g.rng.IntN(6)]
	}
	if g.chance(50) {
		i := g.turn("sort", 15)
		q.SortOrder, q.SortTarget = pb.RangeRequest_SortOrder(i/5), pb.RangeRequest_SortTarget(i%5)
	}
	q.KeysOnly, q.CountOnly = g.chance(15), g.chance(10)
	if g.chance(25) {
		g.filters(q)
	}
	return q
}

func (g *generator) filters(q *pb.RangeRequest) {
	around := func() int64 {
		if kv := g.model.keys[string(g.existing())]; kv != nil && g.chance(70) {
			return []int64{kv.ModRevision, kv.CreateRevision}[g.rng.IntN(2)]
		}
		return g.revision([]string{"old", "current", "future", "negative", "compacted"}[g.rng.IntN(5)])
	}
	for _, field := range []*int64{&q.MinModRevision, &q.MaxModRevision, &q.MinCreateRevision, &q.MaxCreateRevision} {
		if g.chance(35) {
			*field = around()
		}
	}
}

func (g *generator) rangeTurn() []step { return []step{unary(methodRange, g.rangeRequest())} }

func (g *generator) streamTurn() []step {
	q := g.rangeRequest()
	if q.SortOrder == pb.RangeRequest_NONE {
		q.SortTarget = pb.RangeRequest_KEY // see notCompared
	}
	if g.chance(70) {
		q.SortOrder, q.SortTarget = pb.RangeRequest_NONE, pb.RangeRequest_KEY
		q.MinModRevision, q.MaxModRevision, q.MinCreateRevision, q.MaxCreateRevision = 0, 0, 0, 0
	}
	return []step{{kind: kindRangeStream, req: q}}
}

func (g *generator) putRequest() *pb.PutRequest {
	q := &pb.PutRequest{Key: g.key(), Value: g.value(), PrevKv: g.chance(30)}
	if g.chance(15) {
		q.Lease = g.lease()
	}
	if g.chance(12) {
		q.IgnoreValue, q.Value = true, nil
	}
	if g.chance(8) {
		q.IgnoreLease, q.Lease = true, 0
	}
	return q
}

func (g *generator) putTurn() []step { return []step{unary(methodPut, g.putRequest())} }

func (g *generator) deleteRequest() *pb.DeleteRangeRequest {
	q := &pb.DeleteRangeRequest{Key: g.key(), PrevKv: g.chance(40)}
	if g.chance(45) {
		q.Key, q.RangeEnd = g.span()
		if len(q.RangeEnd) == 1 && !g.chance(30) { // seldom empty the store
			q.Key = []byte("k/3")
		}
	}
	return q
}

func (g *generator) deleteTurn() []step { return []step{unary(methodDelete, g.deleteRequest())} }

// specials are corners, each reached by construction.
var specials = []func(*generator) []step{
	rangeSpecial(func(g *generator, q *pb.RangeRequest) { q.Key = nil }),
	rangeSpecial(func(g *generator, q *pb.RangeRequest) { q.SortOrder = 3 + pb.RangeRequest_SortOrder(g.rng.IntN(3)) }),
	rangeSpecial(func(g *generator, q *pb.RangeRequest) {
		q.SortOrder, q.SortTarget = 0, []pb.RangeRequest_SortTarget{5, -1, 100}[g.rng.IntN(3)]
	}),
	rangeSpecial(func(g *generator, q *pb.RangeRequest) { q.Revision = g.revision("compacted") }),
	rangeSpecial(func(g *generator, q *pb.RangeRequest) { q.Revision = g.revision("at compacted") }),
	rangeSpecial(func(g *generator, q *pb.RangeRequest) { q.Revision = g.revision("negative") }),
	rangeSpecial(func(g *generator, q *pb.RangeRequest) { q.Revision, q.Limit = g.revision("old"), 3 }),
	rangeSpecial(func(g *generator, q *pb.RangeRequest) { q.Limit = -1 - g.rng.Int64N(5) }),
	rangeSpecial(func(g *generator, q *pb.RangeRequest) {
		// Sorted without an order and cut: etcd sorts only the first limit+1 keys.
		q.Key, q.RangeEnd, q.Revision, q.Limit = []byte("k/"), []byte("k0"), 0, 3
		q.SortOrder, q.SortTarget = pb.RangeRequest_NONE, pb.RangeRequest_SortTarget(1+g.rng.IntN(4))
		q.CountOnly, q.MinModRevision, q.MaxModRevision, q.MinCreateRevision, q.MaxCreateRevision = false, 0, 0, 0, 0
	}),
	rangeSpecial(func(g *generator, q *pb.RangeRequest) {
		q.Key, q.RangeEnd, q.Revision, q.Limit, q.CountOnly = []byte("k/"), []byte("k0"), 0, 1, false
		q.MinModRevision, q.MaxModRevision, q.MinCreateRevision, q.MaxCreateRevision = g.revision("at compacted"), 0, 1, 0
	}),
	(*generator).leasedKeysOnly,
	streamSpecial(func(g *generator, q *pb.RangeRequest) { q.Key = nil }),
	streamSpecial(func(g *generator, q *pb.RangeRequest) {
		q.SortOrder, q.SortTarget = pb.RangeRequest_DESCEND, pb.RangeRequest_SortTarget(g.rng.IntN(5))
	}),
	streamSpecial(func(g *generator, q *pb.RangeRequest) {
		q.SortOrder, q.SortTarget, q.MinModRevision = pb.RangeRequest_ASCEND, pb.RangeRequest_VALUE, 1
	}),
	streamSpecial(func(g *generator, q *pb.RangeRequest) { g.filters(q); q.MaxModRevision = g.model.rev }),
	streamSpecial(func(g *generator, q *pb.RangeRequest) { q.Revision = g.revision("compacted") }),
	streamSpecial(func(g *generator, q *pb.RangeRequest) { q.Revision = g.revision("future") }),
	streamSpecial(func(g *generator, q *pb.RangeRequest) { q.Revision = g.revision("old") }),
	streamSpecial(func(g *generator, q *pb.RangeRequest) {
		q.SortOrder = pb.RangeRequest_ASCEND
		q.Limit = []int64{0, 1, 10, 11, 30, -1}[g.rng.IntN(6)]
	}),
	streamSpecial(func(g *generator, q *pb.RangeRequest) { q.KeysOnly = true }),
	streamSpecial(func(g *generator, q *pb.RangeRequest) { q.CountOnly, q.Limit = true, int64(g.rng.IntN(3)) }),
	streamSpecial(func(g *generator, q *pb.RangeRequest) { q.Key, q.RangeEnd = g.missing(), nil }),
	putSpecial(func(g *generator, q *pb.PutRequest) { q.Key = nil; q.IgnoreValue = true }),
	putSpecial(func(g *generator, q *pb.PutRequest) { q.IgnoreValue, q.Value = true, []byte("v") }),
	putSpecial(func(g *generator, q *pb.PutRequest) { q.IgnoreValue, q.Value, q.Key = true, nil, g.missing() }),
	putSpecial(func(g *generator, q *pb.PutRequest) { q.IgnoreLease, q.Lease = true, g.unknownLease() }),
	putSpecial(func(g *generator, q *pb.PutRequest) { q.IgnoreLease, q.Lease, q.Key = true, 0, g.missing() }),
	putSpecial(func(g *generator, q *pb.PutRequest) { q.IgnoreLease, q.Lease, q.Key = true, 0, g.existing() }),
	putSpecial(func(g *generator, q *pb.PutRequest) { q.Lease = g.unknownLease() }),
	putSpecial(func(g *generator, q *pb.PutRequest) { q.IgnoreValue, q.Value, q.Lease = true, nil, g.unknownLease() }),
	putSpecial(func(g *generator, q *pb.PutRequest) { q.Key, q.PrevKv = g.missing(), true }),
	putSpecial(func(g *generator, q *pb.PutRequest) { q.Value = make([]byte, maxRequestBytes+1+g.rng.IntN(1000)) }),
	putSpecial(func(g *generator, q *pb.PutRequest) { q.Value = make([]byte, maxMessageBytes+100) }),
	(*generator).replaceLease,
	deleteSpecial(func(g *generator, q *pb.DeleteRangeRequest) { q.Key = nil }),
	deleteSpecial(func(g *generator, q *pb.DeleteRangeRequest) { q.Key, q.RangeEnd = []byte("l"), []byte("k") }),
	deleteSpecial(func(g *generator, q *pb.DeleteRangeRequest) { q.Key = g.missing() }),
	(*generator).deleteLeased,
	deleteSpecial(func(g *generator, q *pb.DeleteRangeRequest) {
		p := []byte{'k', '/', byte('0' + g.rng.IntN(4))}
		q.Key, q.RangeEnd = p, prefixEnd(p)
	}),
	deleteSpecial(func(g *generator, q *pb.DeleteRangeRequest) { q.Key, q.RangeEnd = []byte("k/35"), []byte{0} }),
	(*generator).txnSpecial, (*generator).txnSpecial, (*generator).txnSpecial, (*generator).txnSpecial,
	(*generator).txnSpecial, (*generator).txnSpecial, (*generator).txnSpecial, (*generator).txnSpecial,
	(*generator).compareTurn, (*generator).compareTurn,
	(*generator).compactSpecial,
	(*generator).leaseSpecial, (*generator).leaseSpecial, (*generator).leaseSpecial,
	(*generator).watchSpecial, (*generator).watchSpecial, (*generator).watchSpecial,
	(*generator).clusterTurn, (*generator).clusterTurn,
	func(g *generator) []step {
		return []step{unary(methodMemberList, &pb.MemberListRequest{Linearizable: true})}
	},
}

func rangeSpecial(change func(*generator, *pb.RangeRequest)) func(*generator) []step {
	return func(g *generator) []step {
		q := g.rangeRequest()
		change(g, q)
		return []step{unary(methodRange, q)}
	}
}

func streamSpecial(change func(*generator, *pb.RangeRequest)) func(*generator) []step {
	return func(g *generator) []step {
		q := &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Serializable: g.chance(50)}
		change(g, q)
		return []step{{kind: kindRangeStream, req: q}}
	}
}

func putSpecial(change func(*generator, *pb.PutRequest)) func(*generator) []step {
	return func(g *generator) []step {
		q := &pb.PutRequest{Key: g.existing(), Value: g.value(), PrevKv: g.chance(30)}
		change(g, q)
		return []step{unary(methodPut, q)}
	}
}

func deleteSpecial(change func(*generator, *pb.DeleteRangeRequest)) func(*generator) []step {
	return func(g *generator) []step {
		q := &pb.DeleteRangeRequest{Key: g.existing(), PrevKv: g.chance(50)}
		change(g, q)
		return []step{unary(methodDelete, q)}
	}
}

// leasedKeysOnly reads a key that has a lease without its value: 3.7 answers
// such reads from its index, which does not know leases, unless it must sort
// by value.
func (g *generator) leasedKeysOnly() []step {
	steps, id := g.someLease()
	key := g.key()
	read := &pb.RangeRequest{Key: key, KeysOnly: true}
	sorted := &pb.RangeRequest{Key: key, RangeEnd: append(bytes.Clone(key), 0), KeysOnly: true, SortTarget: pb.RangeRequest_VALUE, SortOrder: pb.RangeRequest_ASCEND}
	return append(steps,
		unary(methodPut, &pb.PutRequest{Key: key, Value: g.value(), Lease: id}),
		unary(methodRange, read), unary(methodRange, sorted))
}

// replaceLease moves a key from one lease to another, or to none.
func (g *generator) replaceLease() []step {
	steps, id := g.someLease()
	key := g.existing()
	return append(steps,
		unary(methodPut, &pb.PutRequest{Key: key, Lease: id}),
		unary(methodPut, &pb.PutRequest{Key: key, Value: g.value(), Lease: []int64{0, g.lease()}[g.rng.IntN(2)], PrevKv: true}),
		unary(methodLeaseTTL, &pb.LeaseTimeToLiveRequest{ID: id, Keys: true}))
}

// deleteLeased deletes a key and looks whether its lease has let go of it.
func (g *generator) deleteLeased() []step {
	steps, id := g.someLease()
	key := g.key()
	return append(steps,
		unary(methodPut, &pb.PutRequest{Key: key, Lease: id}),
		unary(methodDelete, &pb.DeleteRangeRequest{Key: key, PrevKv: true}),
		unary(methodLeaseTTL, &pb.LeaseTimeToLiveRequest{ID: id, Keys: true}))
}

// compactSpecial asks for compactions that cannot be.
func (g *generator) compactSpecial() []step {
	if g.model.compacted < 0 {
		return g.compactTurn() // see notCompared
	}
	rev := []int64{0, -1, g.revision("future"), g.model.compacted, g.revision("compacted"), 0}[g.turn("compact", 6)]
	return []step{unary(methodCompact, &pb.CompactionRequest{Revision: rev, Physical: g.chance(50)})}
}
