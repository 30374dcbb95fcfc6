package store

import (
	"errors"
	"fmt"
	"testing"

	"github.com/quorate/quorate/internal/engine"
)

// Goal: S8. At the quota, whatever adds is rejected and whatever frees works, until
// there is room again; the size counts what compaction has not given up.
func TestQuota(t *testing.T) {
	r := newRig(t, engine.NewMemory())
	const quota = 64 << 10
	r.do(&SetQuotaRequest{Bytes: quota})
	value := string(make([]byte, 4<<10))
	n := 0
	for ; ; n++ {
		if res := r.do(put(fmt.Sprintf("%03d", n), value)); res.Err != nil {
			if !errors.Is(res.Err, ErrNoSpace) {
				t.Fatal(res.Err)
			}
			break
		}
	}
	if n < 12 || n > 16 {
		t.Fatalf("%d values of 4 KiB fit into %d", n, quota)
	}
	rejected := []body{
		put("a", value),
		&TxnRequest{Success: []RequestOp{{Put: put("a", value)}}},
		// Not the branch that runs: as in etcd the costlier one counts.
		&TxnRequest{Failure: []RequestOp{{Txn: &TxnRequest{Success: []RequestOp{{Put: put("a", value)}}}}}},
	}
	for _, b := range rejected {
		if res := r.do(b); !errors.Is(res.Err, ErrNoSpace) {
			t.Fatalf("%T: %v", b, res.Err)
		}
	}
	for _, b := range []body{
		&TxnRequest{Success: []RequestOp{{DeleteRange: &DeleteRangeRequest{Key: []byte("000")}}}},
		&DeleteRangeRequest{Key: []byte("001"), RangeEnd: []byte("008")},
	} {
		if res := r.do(b); res.Err != nil {
			t.Fatalf("%T: %v", b, res.Err)
		}
	}
	if res := r.do(put("a", value)); !errors.Is(res.Err, ErrNoSpace) {
		t.Fatalf("deleting alone made room: %v", res.Err)
	}
	v, _ := r.s.View()
	before := v.LogicalBytes()
	_ = v.Close()
	if res := r.do(&CompactRequest{Revision: r.s.DB().Head().Revision}); res.Err != nil {
		t.Fatal(res.Err)
	}
	v, _ = r.s.View()
	freed := before - v.LogicalBytes()
	_ = v.Close()
	if freed < 8*4<<10 {
		t.Fatalf("compaction gave up %d bytes", freed)
	}
	if res := r.do(put("a", value)); res.Err != nil {
		t.Fatalf("behind the compaction: %v", res.Err)
	}
}

// Goal: leases count, and a quota below zero means none; zero is the default.
func TestQuotaSettings(t *testing.T) {
	r := newRig(t, engine.NewMemory())
	r.do(&SetQuotaRequest{Bytes: 10})
	if res := r.do(&LeaseGrantRequest{ID: 1, TTLSeconds: 5}); !errors.Is(res.Err, ErrNoSpace) {
		t.Fatal(res.Err)
	}
	for bytes, want := range map[int64]int64{-1: -1, 0: QuotaDefaultBytes} {
		r.do(&SetQuotaRequest{Bytes: bytes})
		s, err := Open(r.s.engine, 7, Options{}) // it outlives a restart
		if err != nil {
			t.Fatal(err)
		}
		v, err := s.View()
		if err != nil {
			t.Fatal(err)
		}
		if q, err := v.Quota(); err != nil || q.Bytes != want || s.quota != q {
			t.Fatalf("quota %+v %+v %v, want %d", q, s.quota, err, want)
		}
		_ = v.Close()
		if res := r.do(&LeaseGrantRequest{ID: bytes + 7, TTLSeconds: 5}); res.Err != nil {
			t.Fatal(res.Err)
		}
	}
}

// Goal: an empty history weighs nothing, and compacting everything leaves exactly
// the live keys.
func TestLogicalBytes(t *testing.T) {
	r := newRig(t, engine.NewMemory())
	size := func() int64 {
		v, err := r.s.View()
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		return v.LogicalBytes()
	}
	if size() != 0 {
		t.Fatalf("empty store weighs %d", size())
	}
	r.do(put("key", "value"))
	one := size()
	for range 5 {
		r.do(put("key", "other"))
	}
	r.do(put("gone", "x"))
	r.do(&DeleteRangeRequest{Key: []byte("gone")})
	if size() <= 6*one {
		t.Fatalf("the history weighs %d, one version %d", size(), one)
	}
	r.do(&CompactRequest{Revision: r.s.DB().Head().Revision})
	if size() != one {
		t.Fatalf("after compaction %d, one version weighs %d", size(), one)
	}
}

// Goal: S8 for keys. At the quota no new key is made, by a put or by a transaction that makes
// one of several; keys that exist are put, and deletes make room. All of that holds after a
// restart, and for keys that an earlier build has written, which kept no tally of them.
func TestKeyQuota(t *testing.T) {
	r := newRig(t, engine.NewMemory())
	for _, key := range []string{"a", "b"} {
		r.do(put(key, "1"))
	}
	r.do(&SetQuotaRequest{Bytes: -1, Keys: 3})
	ok := func(b body) {
		t.Helper()
		if res := r.do(b); res.Err != nil {
			t.Fatalf("%T: %v", b, res.Err)
		}
	}
	full := func(b body) {
		t.Helper()
		if res := r.do(b); !errors.Is(res.Err, ErrNoSpace) {
			t.Fatalf("%T: %v", b, res.Err)
		}
	}
	both := &TxnRequest{Success: []RequestOp{{Put: put("c", "1")}, {Put: put("d", "1")}}}
	full(both)
	ok(put("c", "1"))
	restart := func(forget ...byte) {
		t.Helper()
		b := r.s.engine.NewBatch()
		for _, table := range forget {
			if err := b.Delete(r.s.keys.table(nil, table)); err != nil {
				t.Fatal(err)
			}
		}
		s, err := Open(r.s.engine, 7, Options{})
		if err := errors.Join(err, b.Commit(), b.Close()); err != nil {
			t.Fatal(err)
		}
		if len(forget) > 0 {
			s, err = Open(r.s.engine, 7, Options{})
		}
		if err != nil {
			t.Fatal(err)
		}
		r.s = s
	}
	const tallyTable = 0x05
	for _, forget := range [][]byte{nil, {tallyTable}} {
		restart(forget...)
		full(put("d", "1"))
		full(&PutRequest{Key: []byte("d"), IgnoreValue: true})
		full(&TxnRequest{Success: []RequestOp{{DeleteRange: &DeleteRangeRequest{Key: []byte("a")}}, {Put: put("d", "1")}}})
		ok(put("a", "2"))
		ok(&TxnRequest{Success: []RequestOp{{Put: put("a", "3")}, {Put: put("b", "3")}}})
		ok(&DeleteRangeRequest{Key: []byte("a")})
		ok(put("d", "1"))
		full(put("a", "1"))
		ok(&DeleteRangeRequest{Key: []byte("d")})
		ok(put("a", "1"))
	}
	ok(&SetQuotaRequest{Bytes: -1})
	ok(both)
}

// Goal: S8 for leases. At the quota none is granted; renewals are nobody's business here, and
// a revocation makes room.
func TestLeaseQuota(t *testing.T) {
	r := newRig(t, engine.NewMemory())
	r.do(&SetQuotaRequest{Bytes: -1, Leases: 2})
	for id, want := range []error{ErrLeaseNotFound, nil, nil, ErrTooManyLeases} {
		if res := r.do(&LeaseGrantRequest{ID: int64(id), TTLSeconds: 5}); res.Err != want { //nolint:errorlint // identity is the contract
			t.Fatalf("lease %d: %v, want %v", id, res.Err, want)
		}
	}
	if res := r.do(&LeaseGrantRequest{ID: 1, TTLSeconds: 5}); !errors.Is(res.Err, ErrLeaseExists) {
		t.Fatal(res.Err)
	}
	r.do(&LeaseRevokeRequest{ID: 1})
	if res := r.do(&LeaseGrantRequest{ID: 3, TTLSeconds: 5}); res.Err != nil {
		t.Fatal(res.Err)
	}
}
