package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/quorate/quorate/internal/engine"
	"github.com/quorate/quorate/internal/mvcc"
)

// Each test here is a bug that etcd had, by its issue number, and shows that this
// store does not have it.

// etcd #13766, #13922, #13937: the applied index was saved without the entry's
// effect, or not at all for entries that change nothing. Method: apply one entry of
// each kind and verdict, crash to every state that the engine may go back to, and
// compare what the state holds with the index it claims.
func TestIssue13766AppliedIndexTravelsWithEveryEntry(t *testing.T) {
	steps := []struct {
		name string
		kind EntryKind
		b    body
		err  error
	}{
		{"put", EntryCommand, put("a", "1"), nil},
		{"barrier", EntryBarrier, nil, nil},
		{"membership", EntryMembership, nil, nil},
		{"rejected put", EntryCommand, &PutRequest{Key: []byte("a"), Lease: 99}, ErrLeaseNotFound},
		{"grant", EntryCommand, &LeaseGrantRequest{ID: 1, TTLSeconds: 9}, nil},
		{"rejected grant", EntryCommand, &LeaseGrantRequest{ID: 1, TTLSeconds: 9}, ErrLeaseExists},
		{"empty txn", EntryCommand, &TxnRequest{}, nil},
		{"delete of nothing", EntryCommand, &DeleteRangeRequest{Key: []byte("x")}, nil},
		{"rejected compaction", EntryCommand, &CompactRequest{Revision: 100}, ErrFutureRevision},
		{"void expiry", EntryCommand, &LeaseExpireRequest{ID: 1, Epoch: 99}, ErrLeaseExpireVoid},
		{"quota", EntryCommand, &SetQuotaRequest{Bytes: -1}, nil},
		{"put", EntryCommand, put("a", "2"), nil},
	}
	for last := range steps {
		for pick := range last + 2 {
			e := engine.NewMemory()
			r := newRig(t, e)
			for i, st := range steps[:last+1] {
				entry := Entry{Epoch: uint64(i) + 1, Kind: st.kind, Data: []byte(st.name)}
				if st.b != nil {
					entry = r.entry(st.b)
					entry.Epoch = uint64(i) + 1
				}
				if res := r.apply(entry)[0]; !errors.Is(res.Err, st.err) {
					t.Fatalf("%s: %v, want %v", st.name, res.Err, st.err)
				}
			}
			want := r.s.Applied()
			s, err := Open(e.Crash(func(n int) int { return min(pick, n-1) }), 7, Options{})
			if err != nil {
				t.Fatal(err)
			}
			a := s.Applied()
			if a.Index != uint64(pick) || a.Epoch != uint64(pick) || (a.Index == want.Index && a.Chain != want.Chain) {
				t.Fatalf("behind commit %d of %d: applied %+v", pick, last+1, a)
			}
			if conf := string(a.Configuration); (conf == "membership") != (pick >= 3) {
				t.Fatalf("behind commit %d the configuration is %q", pick, conf)
			}
			if rev := s.DB().Head().Revision; rev != 1+int64(map[bool]int{true: 1}[pick >= 1])+int64(map[bool]int{true: 1}[pick >= 12]) {
				t.Fatalf("behind commit %d the revision is %d", pick, rev)
			}
		}
	}
}

// etcd #17780, #6633: the revision went back in a restart when every key near it had
// been deleted and compacted away, since it was derived from the keys.
func TestIssue17780RevisionNeverDecreases(t *testing.T) {
	for crash := range 40 {
		e := engine.NewMemory()
		r := newRig(t, e)
		for i := range 5 {
			r.do(put(fmt.Sprint(i), "v"))
		}
		r.do(&DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
		head := r.s.DB().Head().Revision
		if err := e.Flush(); err != nil {
			t.Fatal(err)
		}
		if res := r.do(&CompactRequest{Revision: head}); res.Err != nil {
			t.Fatal(res.Err)
		}
		for more, err := true, error(nil); more; {
			if more, err = r.s.DB().Prune(1); err != nil {
				t.Fatal(err)
			}
		}
		s, err := Open(e.Crash(func(n int) int { return crash % n }), 7, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if rev := s.DB().Head().Revision; rev != head {
			t.Fatalf("crash point %d: revision %d, was %d", crash, rev, head)
		}
	}
}

// etcd #6558: revoking a lease deleted its keys in the order of a map, so events and
// revisions differed between members.
func TestIssue6558RevokeDeletesInKeyOrder(t *testing.T) {
	r := newRig(t, engine.NewMemory())
	r.do(&LeaseGrantRequest{ID: 5, TTLSeconds: 10})
	var keys []string
	for i := range 50 {
		k := fmt.Sprintf("%02d", (i*37)%50)
		keys = append(keys, k)
		r.do(&PutRequest{Key: []byte(k), Lease: 5})
	}
	w, err := r.s.DB().Watch(mvcc.WatchRequest{Key: []byte{0}, End: []byte{0}}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	before := r.s.DB().Head().Revision
	if res := r.do(&LeaseRevokeRequest{ID: 5}); res.Revision != before+1 {
		t.Fatalf("revoke made revision %d behind %d", res.Revision, before)
	}
	batch, err := w.Next(1000)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	for i, e := range batch.Events {
		if !e.Delete || string(e.KV.Key) != keys[i] {
			t.Fatalf("event %d deletes %q, want %q", i, e.KV.Key, keys[i])
		}
	}
	if len(batch.Events) != len(keys) {
		t.Fatalf("%d events", len(batch.Events))
	}
}

// etcd #18667: a transaction with a read at a compacted revision failed on the member
// that answered the client and was applied by the others, which skip the reads.
func TestIssue18667RejectionDoesNotDependOnWhoServes(t *testing.T) {
	txn := &TxnRequest{Success: []RequestOp{
		{Put: put("b", "x")},
		{Range: &RangeRequest{Key: []byte("a"), Revision: 2}},
	}}
	future := &TxnRequest{Success: []RequestOp{
		{Put: put("b", "x")},
		{Range: &RangeRequest{Key: []byte("a"), Revision: 4}},
	}}
	var revisions []int64
	for _, want := range []bool{true, false} {
		r := newRig(t, engine.NewMemory())
		r.do(put("a", "1"))
		r.do(put("a", "2"))
		r.do(&CompactRequest{Revision: 3})
		for b, wantErr := range map[body]error{txn: ErrCompacted, future: ErrFutureRevision} {
			entry := r.entry(b)
			entry.Index = r.s.Applied().Index + 1
			err := r.s.Apply([]Entry{entry}, func(RequestID) bool { return want }, func(res *Result) {
				if !errors.Is(res.Err, wantErr) || res.Revision != 3 {
					t.Fatalf("wanted %v: %v at revision %d", want, res.Err, res.Revision)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		revisions = append(revisions, r.s.DB().Head().Revision)
	}
	if revisions[0] != revisions[1] {
		t.Fatalf("revisions %v", revisions)
	}
}

// etcd #12528, #15247: a leader that was stuck and deposed revoked leases which had
// been renewed at its successor.
func TestIssue12528ExpiryOfDeposedLeaderIsVoid(t *testing.T) {
	r := newRig(t, engine.NewMemory())
	r.do(&LeaseGrantRequest{ID: 5, TTLSeconds: 10})
	r.do(&PutRequest{Key: []byte("k"), Lease: 5})
	r.epoch = 2
	before := r.s.DB().Head().Revision
	if res := r.do(&LeaseExpireRequest{ID: 5, Epoch: 1}); !errors.Is(res.Err, ErrLeaseExpireVoid) || res.Revision != before {
		t.Fatalf("expiry measured in epoch 1, decided in epoch 2: %+v", res)
	}
	if resp, _ := r.get(RangeRequest{Key: []byte("k")}); len(resp.KVs) != 1 {
		t.Fatal("the key is gone")
	}
	if res := r.do(&LeaseExpireRequest{ID: 5, Epoch: 2}); res.Err != nil || res.Revision != before+1 {
		t.Fatalf("expiry by the leader of the epoch: %+v", res)
	}
}

// etcd #18089, #19179: after a compaction at the revision of a deletion, a watch from
// that revision missed the deletion.
func TestIssue18089WatchFromCompactedDeletion(t *testing.T) {
	for prunes := range 6 {
		r := newRig(t, engine.NewMemory())
		r.do(put("a", "1"))
		r.do(&DeleteRangeRequest{Key: []byte("a")}) // revision 3
		r.do(&CompactRequest{Revision: 3})
		for range prunes {
			if _, err := r.s.DB().Prune(1); err != nil {
				t.Fatal(err)
			}
		}
		s, err := Open(r.s.engine, 7, Options{}) // a restart: nothing is in memory
		if err != nil {
			t.Fatal(err)
		}
		w, err := s.DB().Watch(mvcc.WatchRequest{Key: []byte("a"), Start: 3}, func() {})
		if err != nil {
			t.Fatal(err)
		}
		batch, err := w.Next(10)
		if err != nil || len(batch.Events) != 1 || !batch.Events[0].Delete || batch.Revision != 3 {
			t.Fatalf("%d steps of compaction: %+v %v", prunes, batch, err)
		}
		early, err := s.DB().Watch(mvcc.WatchRequest{Key: []byte("a"), Start: 2}, func() {})
		if err != nil {
			t.Fatal(err)
		}
		if b, err := early.Next(10); !errors.Is(err, ErrCompacted) || b.CompactRevision != 3 {
			t.Fatalf("a watch from below: %+v %v", b, err)
		}
	}
}

// etcd #20221: a watch from a future revision was given older events.
func TestIssue20221FutureWatch(t *testing.T) {
	r := newRig(t, engine.NewMemory())
	w, err := r.s.DB().Watch(mvcc.WatchRequest{Key: []byte("a"), Start: 4}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		if _, ok := r.s.DB().Progress(w); ok != (r.s.DB().Head().Revision >= 4) {
			t.Fatalf("progress at revision %d: %v", r.s.DB().Head().Revision, ok)
		}
		r.do(put("a", fmt.Sprint(i)))
		batch, err := w.Next(10)
		if err != nil {
			t.Fatal(err)
		}
		if rev := int64(i) + 2; len(batch.Events) != map[bool]int{true: 1}[rev >= 4] {
			t.Fatalf("revision %d: %d events", rev, len(batch.Events))
		}
	}
}

// etcd #15919, #14325: the hash of a history differed between members because one
// had not finished a compaction.
func TestIssue15919HashDoesNotDependOnCompactionProgress(t *testing.T) {
	r := newRig(t, engine.NewMemory())
	for i := range 30 {
		r.do(put(fmt.Sprint(i%7), fmt.Sprint(i)))
		if i%5 == 0 {
			r.do(&DeleteRangeRequest{Key: fmt.Append(nil, i%7)})
		}
	}
	r.do(&CompactRequest{Revision: 20})
	hashes := map[int64]uint32{}
	for more, err := true, error(nil); more; {
		v, verr := r.s.View()
		if verr != nil {
			t.Fatal(verr)
		}
		for rev := int64(20); rev <= v.Revision(); rev++ {
			h, err := v.HashKV(rev)
			if old, ok := hashes[rev]; err != nil || ok && old != h {
				t.Fatalf("hash at %d was %x, is %x %v", rev, old, h, err)
			}
			hashes[rev] = h
		}
		_ = v.Close()
		if more, err = r.s.DB().Prune(3); err != nil {
			t.Fatal(err)
		}
	}
}

// Found beside etcd 3.7.3: a transaction that deletes "from a key on" and then puts
// such a key with ignore_value crashes every member, again at each restart. Here it
// is rejected, and nothing of it happens.
func TestTxnThatKeepsWhatItDeleted(t *testing.T) {
	r := newRig(t, engine.NewMemory())
	r.do(put("b", "1"))
	for _, p := range []*PutRequest{{Key: []byte("b"), IgnoreValue: true}, {Key: []byte("b"), Value: []byte("x"), IgnoreLease: true}} {
		txn := &TxnRequest{Success: []RequestOp{
			{Put: put("c", "2")}, {DeleteRange: &DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte{0}}}, {Put: p},
		}}
		if err := txn.Validate(128); err != nil {
			t.Fatal(err)
		}
		if res := r.do(txn); !errors.Is(res.Err, ErrKeyNotFound) || res.Revision != 2 {
			t.Fatalf("%+v", res)
		}
	}
	resp, err := r.get(RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	if err != nil || resp.Count != 1 || !bytes.Equal(resp.KVs[0].Value, []byte("1")) {
		t.Fatalf("%+v %v", resp, err)
	}
}
