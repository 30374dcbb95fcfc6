package store

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/quorate/quorate/internal/mvcc"
)

// Goal: S4 and M6 hold beside the writer, on real goroutines. Method: each
// transaction writes the same number to all keys; whatever a view, a count or a
// watcher sees must be one number. Compaction, removal and replacement of the state
// go on meanwhile.
func TestReadersBesideApply(t *testing.T) {
	for _, pebble := range []bool{false, true} {
		t.Run(fmt.Sprintf("pebble=%v", pebble), func(t *testing.T) {
			e := openEngine(t, pebble)
			defer e.Close()
			r := newRig(t, e)
			write := func(i int) {
				txn := &TxnRequest{}
				for k := range 5 {
					txn.Success = append(txn.Success, RequestOp{Put: put(fmt.Sprintf("k%d", k), fmt.Sprint(i))})
				}
				r.do(txn)
			}
			write(1) // revision 2
			done := make(chan struct{})
			var wg sync.WaitGroup
			start := func(f func() error) {
				wg.Add(1)
				go func() {
					defer wg.Done()
					for {
						if err := f(); err != nil {
							t.Error(err)
							return
						}
						select {
						case <-done:
							return
						default:
						}
					}
				}()
			}
			for range 2 {
				start(func() error { return readOnce(r.s) })
			}
			for i := range 2 {
				start(watchForever(t, r.s, i == 0))
			}
			for i := 2; i < 500; i++ {
				write(i)
				var err error
				switch i % 50 {
				case 10:
					r.do(&CompactRequest{Revision: int64(i - 5)})
				case 20, 30:
					_, err = r.s.DB().Prune(40)
				case 40:
					x := exportOf(t, r.s)
					err = r.s.Import(x.header, x.source)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			close(done)
			wg.Wait()
		})
	}
}

// readOnce opens a view and compares what its reads say.
func readOnce(s *Store) error {
	v, err := s.View()
	if errors.Is(err, mvcc.ErrReplaced) {
		return nil
	}
	if err != nil {
		return err
	}
	defer v.Close()
	for _, rev := range []int64{0, v.Revision(), max(v.CompactRevision(), v.Revision()-3, 2)} {
		resp, err := v.Range(&RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), Revision: rev})
		if errors.Is(err, mvcc.ErrReplaced) {
			return nil
		}
		if err != nil {
			return err
		}
		at := rev
		if rev == 0 {
			at = v.Revision()
		}
		for _, kv := range resp.KVs {
			if kv.ModRevision != at || string(kv.Value) != fmt.Sprint(at-1) {
				return fmt.Errorf("at %d of %d: %s = %s of revision %d", at, v.Revision(), kv.Key, kv.Value, kv.ModRevision)
			}
		}
		one, err := v.Range(&RangeRequest{Key: []byte("k3"), Revision: rev})
		if err == nil && (len(one.KVs) != 1 || one.KVs[0].ModRevision != at || len(resp.KVs) != 5) {
			return fmt.Errorf("at %d: %d keys, one of revision %+v", at, len(resp.KVs), one.KVs)
		}
	}
	return nil
}

// watchForever returns one step of a watcher that checks that revisions come whole
// and without a gap.
func watchForever(t *testing.T, s *Store, prev bool) func() error {
	w, err := s.DB().Watch(mvcc.WatchRequest{Key: []byte("k"), End: []byte("l"), Start: 2, PrevKV: prev}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	next, n := int64(2), 0
	return func() error {
		b, err := w.Next(20)
		if errors.Is(err, mvcc.ErrCompacted) {
			// It was too slow: begin again behind the compaction.
			if w, err = s.DB().Watch(mvcc.WatchRequest{Key: []byte("k"), End: []byte("l"), Start: b.CompactRevision, PrevKV: prev}, func() {}); err != nil {
				return err
			}
			next, n = b.CompactRevision, 0
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range b.Events {
			if e.KV.ModRevision != next || string(e.KV.Key) != fmt.Sprintf("k%d", n) {
				return fmt.Errorf("event %s of revision %d, want k%d of %d", e.KV.Key, e.KV.ModRevision, n, next)
			}
			if e.Prev != nil && string(e.Prev.Value) != fmt.Sprint(next-2) {
				return fmt.Errorf("previous version %s at %d", e.Prev.Value, next)
			}
			if n++; n == 5 {
				next, n = next+1, 0
			}
		}
		if rev, ok := s.DB().Progress(w); ok && rev < next-1 {
			return fmt.Errorf("progress %d behind event %d", rev, next-1)
		}
		return nil
	}
}
