package store

import (
	"errors"
	"testing"

	"github.com/quorate/quorate/internal/engine"
	"github.com/quorate/quorate/internal/mvcc"
)

// rig drives a store as a replica would.
type rig struct {
	t     testing.TB
	s     *Store
	epoch uint64
	seq   uint64
}

func newRig(t testing.TB, e engine.Engine) *rig {
	s, err := Open(e, 7, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t: t, s: s, epoch: 1}
}

type body interface{ AppendTo([]byte) []byte }

func kindOf(b body) Kind {
	switch b.(type) {
	case *PutRequest:
		return KindPut
	case *DeleteRangeRequest:
		return KindDeleteRange
	case *TxnRequest:
		return KindTxn
	case *CompactRequest:
		return KindCompact
	case *LeaseGrantRequest:
		return KindLeaseGrant
	case *LeaseRevokeRequest:
		return KindLeaseRevoke
	case *LeaseExpireRequest:
		return KindLeaseExpire
	case *LeaseCheckpointRequest:
		return KindLeaseCheckpoint
	case *SetQuotaRequest:
		return KindSetQuota
	}
	panic("unknown body")
}

func (r *rig) entry(b body) Entry {
	r.seq++
	env := Envelope{Kind: kindOf(b), Shard: r.s.Shard(), Request: RequestID{1, r.seq}, Body: b.AppendTo(nil)}
	return Entry{Epoch: r.epoch, Kind: EntryCommand, Data: AppendEnvelope(nil, &env)}
}

// do applies one command.
func (r *rig) do(b body) Result {
	r.t.Helper()
	return r.apply(r.entry(b))[0]
}

func (r *rig) apply(entries ...Entry) (results []Result) {
	r.t.Helper()
	for i := range entries {
		entries[i].Index = r.s.Applied().Index + 1 + uint64(i)
	}
	all := func(RequestID) bool { return true }
	if err := r.s.Apply(entries, all, func(res *Result) { results = append(results, *res) }); err != nil {
		r.t.Fatal(err)
	}
	return results
}

func (r *rig) get(req RangeRequest) (*RangeResponse, error) {
	r.t.Helper()
	v, err := r.s.View()
	if err != nil {
		r.t.Fatal(err)
	}
	defer v.Close()
	return v.Range(&req)
}

func put(key, value string) *PutRequest {
	return &PutRequest{Key: []byte(key), Value: []byte(value)}
}

// Goal: the walking skeleton. Method: a put, an overwrite, a delete, reads at each
// revision, a compaction, a lease.
func TestStoreBasics(t *testing.T) {
	r := newRig(t, engine.NewMemory())
	if res := r.do(put("a", "1")); res.Revision != 2 || res.Response.(*PutResponse).Revision != 2 {
		t.Fatalf("first put: %+v", res)
	}
	r.do(put("a", "2"))
	r.do(put("b", "x"))
	r.do(&DeleteRangeRequest{Key: []byte("a")})
	for rev, want := range map[int64]string{2: "1", 3: "2", 4: "2"} {
		resp, err := r.get(RangeRequest{Key: []byte("a"), Revision: rev})
		if err != nil || len(resp.KVs) != 1 || string(resp.KVs[0].Value) != want || resp.Revision != 5 {
			t.Fatalf("read at %d: %+v %v", rev, resp, err)
		}
	}
	resp, err := r.get(RangeRequest{Key: []byte("a"), RangeEnd: []byte{0}})
	if err != nil || resp.Count != 1 || string(resp.KVs[0].Key) != "b" {
		t.Fatalf("range: %+v %v", resp, err)
	}
	if res := r.do(&CompactRequest{Revision: 4}); res.Err != nil {
		t.Fatal(res.Err)
	}
	if _, err := r.get(RangeRequest{Key: []byte("a"), Revision: 3}); !errors.Is(err, ErrCompacted) {
		t.Fatalf("read below the compacted revision: %v", err)
	}
	r.do(&LeaseGrantRequest{ID: 9, TTLSeconds: 1, TTLMinSeconds: 2})
	p := put("leased", "v")
	p.Lease = 9
	r.do(p)
	if res := r.do(&LeaseExpireRequest{ID: 9, Epoch: 2}); !errors.Is(res.Err, ErrLeaseExpireVoid) {
		t.Fatalf("expiry of another epoch: %v", res.Err)
	}
	if res := r.do(&LeaseExpireRequest{ID: 9, Epoch: 1}); res.Err != nil || res.Revision != 7 {
		t.Fatalf("expiry: %+v", res)
	}
	if resp, _ := r.get(RangeRequest{Key: []byte("leased")}); len(resp.KVs) != 0 {
		t.Fatal("a key outlived its lease")
	}
}

// Goal: a watcher from the past and one from now see the same events.
func TestStoreWatchBasics(t *testing.T) {
	r := newRig(t, engine.NewMemory())
	r.do(put("a", "1"))
	woken := 0
	w, err := r.s.DB().Watch(mvcc.WatchRequest{Key: []byte("a"), Start: 2, PrevKV: true}, func() { woken++ })
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	drain := func() {
		for {
			b, err := w.Next(100)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range b.Events {
				s := string(e.KV.Value)
				if e.Prev != nil {
					s = string(e.Prev.Value) + ">" + s
				}
				got = append(got, s)
			}
			if !b.More {
				return
			}
		}
	}
	drain()
	r.do(put("a", "2"))
	r.do(put("b", "no"))
	r.do(&DeleteRangeRequest{Key: []byte("a")})
	drain()
	if len(got) != 3 || got[0] != "1" || got[1] != "1>2" || got[2] != "2>" || woken != 1 {
		t.Fatalf("events %q, woken %d", got, woken)
	}
}
