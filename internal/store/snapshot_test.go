package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/quorate/quorate/internal/engine"
	"github.com/quorate/quorate/internal/mvcc"
)

// export collects a snapshot of a store in memory.
type export struct {
	header SnapshotHeader
	pairs  [][2][]byte
}

func exportOf(t testing.TB, s *Store) *export {
	t.Helper()
	v, err := s.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	x := &export{}
	if x.header, err = v.Header(s.Shard()); err != nil {
		t.Fatal(err)
	}
	err = v.Export(func(k, val []byte) error {
		x.pairs = append(x.pairs, [2][]byte{append([]byte{}, k...), append([]byte{}, val...)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func (x *export) source(yield func(key, value []byte) error) error {
	for _, p := range x.pairs {
		if err := yield(p[0], p[1]); err != nil {
			return err
		}
	}
	return nil
}

// Goal: a follower that fell behind takes up a leader's snapshot while it serves: M9,
// and its watchers miss nothing. Method: two replicas, one of which skips most
// entries; both engines.
func TestImportWhileServing(t *testing.T) {
	for _, pebble := range []bool{false, true} {
		t.Run(fmt.Sprintf("pebble=%v", pebble), func(t *testing.T) {
			leader := newRig(t, engine.NewMemory())
			e := openEngine(t, pebble)
			defer e.Close()
			follower := newRig(t, e)
			bystander, err := Open(e, 8, Options{}) // another shard of the same engine
			if err != nil {
				t.Fatal(err)
			}
			for i := range 10 {
				entry := leader.entry(put(fmt.Sprintf("k%d", i%4), fmt.Sprint(i)))
				leader.apply(entry)
				follower.apply(entry)
			}
			var got []string
			w, err := follower.s.DB().Watch(mvcc.WatchRequest{Key: []byte("k"), End: []byte("l"), PrevKV: true}, func() {})
			if err != nil {
				t.Fatal(err)
			}
			for i := range 20 {
				leader.do(put(fmt.Sprintf("k%d", i%4), fmt.Sprintf("new%d", i)))
			}
			old, err := follower.s.View()
			if err != nil {
				t.Fatal(err)
			}
			defer old.Close()
			x := exportOf(t, leader.s)
			if err := follower.s.Import(x.header, x.source); err != nil {
				t.Fatal(err)
			}
			if _, err := old.Range(&RangeRequest{Key: []byte("k0")}); !errors.Is(err, mvcc.ErrReplaced) {
				t.Fatalf("a view of the old state: %v", err)
			}
			entry := leader.entry(put("k0", "after"))
			leader.apply(entry)
			follower.apply(entry)
			if a, b := leader.s.Applied(), follower.s.Applied(); diff(a, b) != "" {
				t.Fatalf("applied %+v and %+v", a, b)
			}
			for more := true; more; {
				b, err := w.Next(7)
				if err != nil {
					t.Fatal(err)
				}
				for _, ev := range b.Events {
					got = append(got, string(ev.Prev.Value)+">"+string(ev.KV.Value))
				}
				more = b.More
			}
			if len(got) != 21 || got[0] != "8>new0" || got[20] != "new16>after" {
				t.Fatalf("%d events: %q", len(got), got)
			}
			if bystander.Applied().Index != 0 {
				t.Fatal("another shard was touched")
			}
		})
	}
}

// Goal: a snapshot that breaks off, or that is not what its header says, changes
// nothing.
func TestImportRefusesBadSnapshots(t *testing.T) {
	leader, r := newRig(t, engine.NewMemory()), newRig(t, engine.NewMemory())
	for i := range 5 {
		leader.do(put("k", fmt.Sprint(i)))
	}
	r.do(put("mine", "x"))
	good := exportOf(t, leader.s)
	broken := errors.New("stream broke off")
	other := good.header
	other.Applied.Index++
	foreign := good.header
	foreign.Shard = 9
	before := r.s.Applied()
	for name, c := range map[string]struct {
		h   SnapshotHeader
		src func(yield func(key, value []byte) error) error
	}{
		"broken":  {good.header, func(func(k, v []byte) error) error { return broken }},
		"other":   {other, good.source},
		"foreign": {foreign, good.source},
		"empty":   {good.header, func(func(k, v []byte) error) error { return nil }},
		"disorder": {good.header, func(yield func(k, v []byte) error) error {
			return errors.Join(yield([]byte{2}, nil), yield([]byte{1}, nil))
		}},
	} {
		if err := r.s.Import(c.h, c.src); err == nil {
			t.Errorf("%s: imported", name)
		}
		if d := diff(before, r.s.Applied()); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if resp, err := r.get(RangeRequest{Key: []byte("mine")}); err != nil || len(resp.KVs) != 1 {
			t.Errorf("%s: own state is gone: %v", name, err)
		}
	}
	for _, b := range [][]byte{nil, {2}, {1}, {1, 7}, {1, 7, 9}} {
		if _, err := DecodeSnapshotHeader(b); err == nil {
			t.Errorf("header % x decodes", b)
		}
	}
}

// Goal: after a loss of power the store on Pebble is at some applied index, and
// replaying the log from there ends where an undisturbed replica is. Method: cut the
// power at random moments, with a random part of unsynced data kept.
func TestStoreSurvivesPowerLoss(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	plain := newRig(t, engine.NewMemory())
	var entries []Entry
	for i := range 400 {
		e := plain.entry(put(fmt.Sprintf("k%02d", rng.IntN(40)), fmt.Sprintf("%d-%0200d", i, i)))
		plain.apply(e)
		e.Index = uint64(i) + 1
		entries = append(entries, e)
	}
	opts := engine.Options{CacheBytes: 1 << 20, MemTableBytes: 32 << 10}
	mem := vfs.NewCrashableMem()
	for cuts := 0; ; cuts++ {
		e, err := engine.OpenPebble(mem, "engine", opts)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Open(e, 7, Options{})
		if err != nil {
			t.Fatal(err)
		}
		durable := uint64(0)
		for n := rng.IntN(120); n > 0 && s.Applied().Index < uint64(len(entries)); n-- {
			from := s.Applied().Index
			to := min(from+1+uint64(rng.IntN(5)), uint64(len(entries)))
			if err := s.Apply(entries[from:to], nil, func(*Result) {}); err != nil {
				t.Fatal(err)
			}
			if n%40 == 0 {
				if err := e.Flush(); err != nil {
					t.Fatal(err)
				}
			}
			a, err := s.DurableApplied()
			if err != nil {
				t.Fatal(err)
			}
			durable = a.Index
		}
		if s.Applied().Index == uint64(len(entries)) {
			if a, b := plain.s.Applied(), s.Applied(); diff(a, b) != "" {
				t.Fatalf("applied %+v and %+v", a, b)
			}
			t.Logf("%d power cuts", cuts)
			_ = e.Close()
			return
		}
		next := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rand.New(rand.NewPCG(uint64(cuts), 9))})
		_ = e.Close()
		mem = next
		check, err := engine.OpenPebble(mem, "engine", opts)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Open(check, 7, Options{})
		if err != nil || back.Applied().Index < durable {
			t.Fatalf("back at index %d, %d was durable: %v", back.Applied().Index, durable, err)
		}
		_ = check.Close()
	}
}
