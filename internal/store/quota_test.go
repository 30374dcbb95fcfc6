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
		if q, err := v.Quota(); err != nil || q != want || s.quota != want {
			t.Fatalf("quota %d %d %v, want %d", q, s.quota, err, want)
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
