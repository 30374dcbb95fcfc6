package store

import (
	"fmt"

	"pgregory.net/rapid"
)

// Few keys that are each other's prefixes, neighbours and escapes collide often.
var (
	genKey = rapid.SampledFrom([][]byte{
		{0}, {0, 0}, {0, 1}, {0, 0xff}, []byte("a"), []byte("a\x00"), []byte("a\x00\x01"), []byte("a\x00\xff"),
		[]byte("aa"), []byte("ab"), []byte("b"), []byte("c"), {0xff}, {0xff, 0xff},
	})
	genEnd = rapid.OneOf(rapid.Just([]byte(nil)), rapid.Just([]byte{0}), genKey, genKey)
	// Leases 1 to 3 and one that is never granted.
	genLease = rapid.SampledFrom([]int64{0, 0, 0, 1, 2, -3, 99})
)

// genRevision draws a revision around the history that exists.
func genRevision(head int64) *rapid.Generator[int64] {
	return rapid.OneOf(rapid.Just[int64](0), rapid.Int64Range(-2, head+2), rapid.Int64Range(max(1, head-4), head))
}

func genRange(head int64) *rapid.Generator[*RangeRequest] {
	return rapid.Custom(func(t *rapid.T) *RangeRequest {
		r := &RangeRequest{
			Key: genKey.Draw(t, "key"), RangeEnd: genEnd.Draw(t, "end"),
			Revision: genRevision(head).Draw(t, "revision"),
			Limit:    rapid.SampledFrom([]int64{0, 0, 0, 1, 2, 5, 1 << 62, -1}).Draw(t, "limit"),
			KeysOnly: rapid.Bool().Draw(t, "keysOnly"),
		}
		switch rapid.IntRange(0, 5).Draw(t, "option") {
		case 0:
			r.CountOnly = true
		case 1, 2:
			r.SortOrder = rapid.SampledFrom([]SortOrder{SortNone, SortAscend, SortDescend}).Draw(t, "order")
			r.SortTarget = SortTarget(rapid.Int32Range(0, 4).Draw(t, "target"))
		case 3:
			bound := rapid.Int64Range(0, head+1)
			r.MinModRevision, r.MaxModRevision = bound.Draw(t, "minMod"), bound.Draw(t, "maxMod")
			r.MinCreateRevision, r.MaxCreateRevision = bound.Draw(t, "minCreate"), bound.Draw(t, "maxCreate")
		}
		return r
	})
}

var genPut = rapid.Custom(func(t *rapid.T) *PutRequest {
	r := &PutRequest{
		Key: genKey.Draw(t, "key"), Value: fmt.Appendf(nil, "v%d", rapid.IntRange(0, 99).Draw(t, "value")),
		Lease: genLease.Draw(t, "lease"), PrevKV: rapid.Bool().Draw(t, "prev"),
	}
	if rapid.IntRange(0, 4).Draw(t, "ignore") == 0 {
		r.IgnoreValue = rapid.Bool().Draw(t, "ignoreValue")
		r.IgnoreLease = rapid.Bool().Draw(t, "ignoreLease")
		if r.IgnoreValue {
			r.Value = nil
		}
		if r.IgnoreLease {
			r.Lease = 0
		}
	}
	return r
})

var genDelete = rapid.Custom(func(t *rapid.T) *DeleteRangeRequest {
	return &DeleteRangeRequest{
		Key: genKey.Draw(t, "key"), RangeEnd: genEnd.Draw(t, "end"), PrevKV: rapid.Bool().Draw(t, "prev"),
	}
})

func genCompare(head int64) *rapid.Generator[Compare] {
	return rapid.Custom(func(t *rapid.T) Compare {
		c := Compare{
			Result: CompareResult(rapid.Int32Range(0, 3).Draw(t, "result")),
			Target: CompareTarget(rapid.Int32Range(0, 4).Draw(t, "target")),
			Key:    genKey.Draw(t, "key"), RangeEnd: genEnd.Draw(t, "end"),
		}
		if c.Target == CompareValue {
			c.Value = fmt.Appendf(nil, "v%d", rapid.IntRange(0, 99).Draw(t, "value"))
		} else {
			c.Number = rapid.Int64Range(0, head).Draw(t, "number")
		}
		return c
	})
}

func genTxn(head int64, depth int) *rapid.Generator[*TxnRequest] {
	return rapid.Custom(func(t *rapid.T) *TxnRequest {
		genOp := rapid.Custom(func(t *rapid.T) (op RequestOp) {
			switch rapid.IntRange(0, 6+depth).Draw(t, "op") {
			case 0, 1:
				op.Range = genRange(head).Draw(t, "range")
			case 2:
				op.DeleteRange = genDelete.Draw(t, "delete")
			case 7, 8:
				op.Txn = genTxn(head, depth-1).Draw(t, "txn")
			default:
				op.Put = genPut.Draw(t, "put")
			}
			return op
		})
		r := &TxnRequest{
			Compare: rapid.SliceOfN(genCompare(head), 0, 2).Draw(t, "compare"),
			Success: rapid.SliceOfN(genOp, 0, 4).Draw(t, "success"),
			Failure: rapid.SliceOfN(genOp, 0, 3).Draw(t, "failure"),
		}
		return r
	}).Filter(func(r *TxnRequest) bool { return r.Validate(128) == nil })
}

// genCommand draws any command, for a store at revision head. Of quotas those of keys and
// leases, which a short history reaches.
func genCommand(head int64, epoch uint64) *rapid.Generator[body] {
	return rapid.Custom(func(t *rapid.T) body {
		id := rapid.SampledFrom([]int64{1, 2, -3, 98}).Draw(t, "lease")
		switch rapid.IntRange(0, 14).Draw(t, "command") {
		case 0, 1, 2, 3:
			return genPut.Draw(t, "put")
		case 4:
			return genDelete.Draw(t, "delete")
		case 5, 6, 7, 8:
			return genTxn(head, 2).Draw(t, "txn")
		case 9:
			return &CompactRequest{Revision: genRevision(head).Draw(t, "compact")}
		case 10, 11:
			ttl := rapid.SampledFrom([]int64{-1, 0, 5, LeaseTTLMaxSeconds, LeaseTTLMaxSeconds + 1}).Draw(t, "ttl")
			return &LeaseGrantRequest{ID: id, TTLSeconds: ttl, TTLMinSeconds: 2}
		case 12:
			return &LeaseRevokeRequest{ID: id}
		case 14:
			return &SetQuotaRequest{
				Bytes: -1, Keys: rapid.SampledFrom([]int64{0, 0, 3, 6}).Draw(t, "keys"),
				Leases: rapid.SampledFrom([]int64{0, 0, 1, 2}).Draw(t, "leases"),
			}
		}
		if rapid.Bool().Draw(t, "checkpoint") {
			return &LeaseCheckpointRequest{ID: id, RemainingSeconds: 3}
		}
		return &LeaseExpireRequest{ID: id, Epoch: epoch - uint64(rapid.IntRange(0, 1).Draw(t, "old"))}
	})
}
