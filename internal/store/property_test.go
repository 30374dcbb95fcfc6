package store

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/quorate/quorate/internal/engine"
)

// openEngine opens one of the two engines.
func openEngine(t interface{ Fatal(...any) }, pebble bool) engine.Engine {
	if !pebble {
		return engine.NewMemory()
	}
	e, err := engine.OpenPebble(vfs.NewMem(), "engine", engine.Options{CacheBytes: 1 << 20, MemTableBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// diff compares responses; nil and empty slices are the same on the wire.
func diff(want, got any) string { return cmp.Diff(want, got, cmpopts.EquateEmpty()) }

// Goal: the store does what etcd does, for any history. Method: the same random
// commands and reads on the store and on the model; every response is compared,
// whatever the batches, and with physical compaction at random times.
func TestStoreAgreesWithModel(t *testing.T) {
	for _, pebble := range []bool{false, true} {
		t.Run(fmt.Sprintf("pebble=%v", pebble), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) { checkAgainstModel(rt, pebble) })
		})
	}
}

func checkAgainstModel(t *rapid.T, pebble bool) {
	e := openEngine(t, pebble)
	defer e.Close()
	s, err := Open(e, 7, Options{})
	if err != nil {
		t.Fatal(err)
	}
	m, epoch, seq := newModel(), uint64(2), uint64(0)
	for range rapid.IntRange(1, 12).Draw(t, "batches") {
		var entries []Entry
		var wants []any
		var errs []error
		for range rapid.IntRange(1, 6).Draw(t, "entries") {
			seq++
			b := genCommand(m.rev, epoch).Draw(t, "command")
			env := Envelope{Kind: kindOf(b), Shard: 7, Request: RequestID{1, seq}, Body: b.AppendTo(nil)}
			entries = append(entries, Entry{Index: seq, Epoch: epoch, Kind: EntryCommand, Data: AppendEnvelope(nil, &env)})
			resp, err := m.do(b, epoch)
			wants, errs = append(wants, resp), append(errs, err)
		}
		i := 0
		err := s.Apply(entries, func(RequestID) bool { return true }, func(r *Result) {
			if r.Err != errs[i] { //nolint:errorlint // identity is the contract
				t.Fatalf("entry %d: rejection %v, want %v", r.Index, r.Err, errs[i])
			}
			if d := diff(wants[i], r.Response); d != "" {
				t.Fatalf("entry %d: response (-want +got):\n%s", r.Index, d)
			}
			i++
		})
		if err != nil {
			t.Fatal(err)
		}
		if rapid.Bool().Draw(t, "prune") {
			if _, err := s.DB().Prune(rapid.IntRange(1, 5).Draw(t, "step")); err != nil {
				t.Fatal(err)
			}
		}
		compareReads(t, s, m)
	}
}

// compareReads asks both for random ranges, read transactions and leases.
func compareReads(t *rapid.T, s *Store, m *model) {
	v, err := s.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if v.Revision() != m.rev || v.CompactRevision() != m.compacted {
		t.Fatalf("at %d/%d, want %d/%d", v.Revision(), v.CompactRevision(), m.rev, m.compacted)
	}
	for range 3 {
		r := genRange(m.rev).Draw(t, "read")
		want, wantErr := m.readRange(r, m.rev)
		got, err := v.Range(r)
		if err != wantErr { //nolint:errorlint // identity is the contract
			t.Fatalf("range %+v: %v, want %v", r, err, wantErr)
		}
		if err == nil {
			if d := diff(want, got); d != "" {
				t.Fatalf("range %+v (-want +got):\n%s", r, d)
			}
		}
	}
	leases := map[int64]Lease{}
	_ = v.Leases(func(l Lease) bool { leases[l.ID] = l; return true })
	if d := diff(m.leases, leases); d != "" {
		t.Fatalf("leases (-want +got):\n%s", d)
	}
	for id := range leases {
		_, keys, _, err := v.Lease(id, true)
		if d := diff(m.attached(id), keys); err != nil || d != "" {
			t.Fatalf("keys of lease %d: %v (-want +got):\n%s", id, err, d)
		}
	}
}

// run is one replica's way through a history.
type run struct {
	e *engine.Memory
	s *Store
}

// Goal: S1 to S3. A history gives the same state, result hashes and history hashes
// however it is batched, whoever wants responses, and through crashes and physical
// compaction. Method: the same entries on two replicas, one plain, one tormented.
func TestReplicasStayEqual(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries := genHistory(t, rapid.IntRange(1, 60).Draw(t, "length"))
		plain := run{e: engine.NewMemory()}
		plain.open(t)
		hashes := map[uint64]uint64{}
		for i := range entries {
			plain.apply(t, entries[i:i+1], func(RequestID) bool { return true }, hashes)
		}
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		other := run{e: engine.NewMemory()}
		other.open(t)
		for other.s.Applied().Index < uint64(len(entries)) {
			other.torment(t, rng)
			from := int(other.s.Applied().Index)
			to := min(len(entries), from+1+rng.IntN(8))
			other.apply(t, entries[from:to], func(id RequestID) bool { return rng.IntN(2) == 0 }, hashes)
		}
		if a, b := plain.s.Applied(), other.s.Applied(); diff(a, b) != "" {
			t.Fatalf("applied %+v and %+v", a, b)
		}
		compareHashes(t, plain.s, other.s)
	})
}

func (r *run) open(t *rapid.T) {
	var err error
	if r.s, err = Open(r.e, 7, Options{}); err != nil {
		t.Fatal(err)
	}
}

// apply applies entries and checks their result hashes against those seen before.
func (r *run) apply(t *rapid.T, entries []Entry, want func(RequestID) bool, hashes map[uint64]uint64) {
	err := r.s.Apply(entries, want, func(res *Result) {
		if old, ok := hashes[res.Index]; ok && old != res.Hash {
			t.Fatalf("entry %d has result hashes %x and %x", res.Index, old, res.Hash)
		}
		hashes[res.Index] = res.Hash
	})
	if err != nil {
		t.Fatal(err)
	}
}

// torment does what must not show.
func (r *run) torment(t *rapid.T, rng *rand.Rand) {
	var err error
	switch rng.IntN(8) {
	case 0:
		err = r.e.Flush()
	case 1:
		_, err = r.s.DB().Prune(1 + rng.IntN(4))
	case 2:
		durable, derr := r.s.DurableApplied()
		rev := r.s.DB().Head().Revision
		index := r.s.Applied().Index
		r.e, err = r.e.Crash(rng.IntN), derr
		r.open(t)
		if a := r.s.Applied(); a.Index < durable.Index {
			t.Fatalf("a crash went back to %d, durable was %d", a.Index, durable.Index)
		}
		if r.s.Applied().Index == index && r.s.DB().Head().Revision != rev {
			t.Fatalf("revision went from %d to %d in a restart", rev, r.s.DB().Head().Revision)
		}
	case 3:
		err = r.transfer()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// transfer moves the state to a fresh engine as a snapshot.
func (r *run) transfer() error {
	v, err := r.s.View()
	if err != nil {
		return err
	}
	defer v.Close()
	h, err := v.Header(7)
	if err != nil {
		return err
	}
	if h, err = DecodeSnapshotHeader(h.AppendTo(nil)); err != nil {
		return err
	}
	to := run{e: engine.NewMemory()}
	if to.s, err = Open(to.e, 7, Options{}); err != nil {
		return err
	}
	if err := to.s.Import(h, v.Export); err != nil {
		return err
	}
	*r = to
	return nil
}

func compareHashes(t *rapid.T, a, b *Store) {
	va, err := a.View()
	if err != nil {
		t.Fatal(err)
	}
	defer va.Close()
	vb, err := b.View()
	if err != nil {
		t.Fatal(err)
	}
	defer vb.Close()
	ha, erra := va.Hash()
	hb, errb := vb.Hash()
	if erra != nil || errb != nil || ha != hb {
		t.Fatalf("state hashes %x %v and %x %v", ha, erra, hb, errb)
	}
	for rev := va.CompactRevision(); rev <= va.Revision(); rev++ {
		ha, erra := va.HashKV(rev)
		hb, errb := vb.HashKV(rev)
		if erra != nil || errb != nil || ha != hb {
			t.Fatalf("hash at %d: %x %v and %x %v", rev, ha, erra, hb, errb)
		}
	}
}

// genHistory draws entries of every kind. The model tells which revisions exist.
func genHistory(t *rapid.T, n int) (entries []Entry) {
	m, epoch := newModel(), uint64(2)
	for i := range n {
		e := Entry{Index: uint64(i) + 1, Epoch: epoch, Kind: EntryCommand}
		switch rapid.IntRange(0, 15).Draw(t, "entry") {
		case 0:
			epoch++
			e.Epoch, e.Kind = epoch, EntryBarrier
		case 1:
			e.Kind, e.Data = EntryMembership, fmt.Appendf(nil, "members %d", i)
		default:
			b := genCommand(m.rev, epoch).Draw(t, "command")
			_, _ = m.do(b, epoch)
			env := Envelope{Kind: kindOf(b), Shard: 7, Request: RequestID{1, uint64(i)}, Body: b.AppendTo(nil)}
			e.Data = AppendEnvelope(nil, &env)
		}
		entries = append(entries, e)
	}
	return entries
}
