package store

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"

	"pgregory.net/rapid"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

// samples has a command of every kind with every field set.
func samples() []body {
	r := &RangeRequest{
		Key: []byte("k"), RangeEnd: []byte("z"), Limit: 10, Revision: 300, SortOrder: SortDescend, SortTarget: SortByMod,
		Serializable: true, KeysOnly: true, CountOnly: true,
		MinModRevision: 1, MaxModRevision: 2, MinCreateRevision: 3, MaxCreateRevision: 4,
	}
	p := &PutRequest{Key: []byte("key"), Value: []byte("value"), Lease: -7, PrevKV: true}
	d := &DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte{0}, PrevKV: true}
	inner := &TxnRequest{Success: []RequestOp{{Range: &RangeRequest{Key: []byte("k")}}}}
	return []body{
		p, &PutRequest{Key: []byte("key"), IgnoreValue: true, IgnoreLease: true}, d,
		&TxnRequest{
			Compare: []Compare{
				{Result: CompareGreater, Target: CompareMod, Key: []byte("k"), Number: 300},
				{Result: CompareNotEqual, Target: CompareValue, Key: []byte("k"), RangeEnd: []byte("l"), Value: []byte("v")},
			},
			Success: []RequestOp{{Range: r}, {Put: p}, {DeleteRange: d}},
			Failure: []RequestOp{{Txn: inner}},
		},
		&CompactRequest{Revision: 300, Physical: true},
		&LeaseGrantRequest{ID: -7, TTLSeconds: 60, TTLMinSeconds: 2},
		&LeaseRevokeRequest{ID: 7},
		&LeaseExpireRequest{ID: 7, Epoch: 9},
		&LeaseCheckpointRequest{ID: 7, RemainingSeconds: 30},
		&SetQuotaRequest{Bytes: -1}, &SetQuotaRequest{Bytes: 300, Keys: 1000, Leases: 7},
	}
}

// Goal: what was written stays readable. Method: each format's bytes by example.
func TestGoldenFormats(t *testing.T) {
	var got bytes.Buffer
	line := func(name string, b []byte) { fmt.Fprintf(&got, "%-16s %s\n", name, hex.EncodeToString(b)) }
	for _, b := range samples() {
		line(kindOf(b).String(), b.AppendTo(nil))
	}
	line("envelope", AppendEnvelope(nil, &Envelope{
		Kind: KindPut, Shard: 300, Request: RequestID{7, 1 << 40}, Principal: []byte("root"),
		AuthRevision: 5, TimeNanos: 1_700_000_000_000_000_000, Body: []byte("body"),
	}))
	a := Applied{Index: 300, Epoch: 7, Chain: 0x0102030405060708, Configuration: []byte("members")}
	line("applied", appendApplied(nil, &a))
	line("lease", appendLease(nil, Lease{TTLSeconds: 60, RemainingSeconds: 30}))
	line("snapshot header", (&SnapshotHeader{Shard: 7, Applied: a}).AppendTo(nil))
	k := newKeyspace(7)
	line("quota", appendQuota(nil, &Quota{Bytes: 300}))
	line("quota", appendQuota(nil, &Quota{Bytes: -1, Keys: 1000, Leases: 7}))
	line("key applied", k.table(nil, tableApplied))
	line("key quota", k.table(nil, tableQuota))
	line("key lease", k.lease(nil, -7))
	line("key lease key", k.leaseKey(nil, 300, []byte("key")))
	const path = "testdata/formats.txt"
	if *rewrite {
		if err := os.WriteFile(path, got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got.Bytes()) {
		t.Fatalf("%s differs: a durable format changed\n%s", path, got.String())
	}
}

// decodeBody decodes a command's body into its request.
func decodeBody(kind Kind, b []byte) (body, error) {
	d := decoder{b: b}
	var out body
	switch kind {
	case KindPut:
		r := &PutRequest{}
		d.put(r)
		out = r
	case KindDeleteRange:
		r := &DeleteRangeRequest{}
		d.deleteRange(r)
		out = r
	case KindTxn:
		r := &TxnRequest{}
		d.txn(r, 0)
		out = r
	case KindCompact:
		r := &CompactRequest{}
		d.compact(r)
		out = r
	case KindLeaseGrant:
		r := &LeaseGrantRequest{}
		d.leaseGrant(r)
		out = r
	case KindLeaseRevoke:
		r := &LeaseRevokeRequest{}
		d.leaseRevoke(r)
		out = r
	case KindLeaseExpire:
		r := &LeaseExpireRequest{}
		d.leaseExpire(r)
		out = r
	case KindLeaseCheckpoint:
		r := &LeaseCheckpointRequest{}
		d.leaseCheckpoint(r)
		out = r
	default:
		r := &SetQuotaRequest{}
		d.setQuota(r)
		out = r
	}
	return out, d.end("body")
}

// Goal: encoding loses nothing. Method: decode what was encoded, for the samples and
// for random commands.
func TestCodecRoundTrip(t *testing.T) {
	check := func(t interface{ Fatalf(string, ...any) }, b body) {
		got, err := decodeBody(kindOf(b), b.AppendTo(nil))
		if d := diff(b, got); err != nil || d != "" {
			t.Fatalf("%T: %v (-encoded +decoded)\n%s", b, err, d)
		}
	}
	for _, b := range samples() {
		check(t, b)
	}
	rapid.Check(t, func(t *rapid.T) { check(t, genCommand(100, 3).Draw(t, "command")) })
}

// Goal: S6. An envelope of a newer build is told apart from a broken one.
func TestUnknownEnvelope(t *testing.T) {
	good := AppendEnvelope(nil, &Envelope{Kind: KindPut, Shard: 7})
	for i, v := range map[int]byte{0: 2, 1: byte(kindEnd)} {
		b := bytes.Clone(good)
		b[i] = v
		if _, err := DecodeEnvelope(b); !errors.Is(err, ErrUnknownKind) {
			t.Errorf("byte %d = %d: %v", i, v, err)
		}
	}
	for n := range good {
		if _, err := DecodeEnvelope(good[:n]); !errors.Is(err, ErrMalformed) {
			t.Errorf("first %d bytes: %v", n, err)
		}
	}
}

// FuzzDecodeEnvelope: no panic on any bytes, and what decodes encodes to something
// that decodes alike, without taking more memory than the input deserves.
func FuzzDecodeEnvelope(f *testing.F) {
	for _, b := range samples() {
		f.Add(AppendEnvelope(nil, &Envelope{Kind: kindOf(b), Shard: 7, Request: RequestID{1, 2}, Body: b.AppendTo(nil)}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeEnvelope(b)
		if err != nil {
			return
		}
		again, err := DecodeEnvelope(AppendEnvelope(nil, &e))
		if d := diff(e, again); err != nil || d != "" {
			t.Fatalf("%v (-first +again)\n%s", err, d)
		}
		req, err := decodeBody(e.Kind, e.Body)
		if err != nil {
			return
		}
		req2, err := decodeBody(e.Kind, req.AppendTo(nil))
		if d := diff(req, req2); err != nil || d != "" {
			t.Fatalf("%v (-first +again)\n%s", err, d)
		}
	})
}

// FuzzDecodeQuota: no panic on any bytes, and what decodes encodes to something that decodes
// alike.
func FuzzDecodeQuota(f *testing.F) {
	f.Add(appendQuota(nil, &Quota{Bytes: -1}))
	f.Add(appendQuota(nil, &Quota{Bytes: 300, Keys: 1000}))
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := decodeQuota(b)
		if err != nil {
			return
		}
		if again, err := decodeQuota(appendQuota(nil, &q)); err != nil || again != q {
			t.Fatalf("%x: %+v, again %+v %v", b, q, again, err)
		}
	})
}

// FuzzApply: whatever a decided command says, a store applies it, rejects it or stops;
// it does not panic, and two stores agree.
func FuzzApply(f *testing.F) {
	for _, b := range samples() {
		f.Add(byte(kindOf(b)), b.AppendTo(nil), b.AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, kind byte, one, two []byte) {
		var chains [2]uint64
		for i := range chains {
			s, err := Open(openEngine(t, false), 7, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for j, b := range [][]byte{one, two} {
				env := Envelope{Kind: Kind(kind), Shard: 7, Request: RequestID{1, uint64(j)}, Body: b}
				entry := Entry{Index: uint64(j) + 1, Epoch: 1, Kind: EntryCommand, Data: AppendEnvelope(nil, &env)}
				_ = s.Apply([]Entry{entry}, func(RequestID) bool { return i == 0 }, func(*Result) {})
			}
			chains[i] = s.Applied().Chain
		}
		if chains[0] != chains[1] {
			t.Fatalf("chains %x and %x", chains[0], chains[1])
		}
	})
}
