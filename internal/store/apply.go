package store

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"github.com/quorate/quorate/consensus/mutant"
	"github.com/quorate/quorate/internal/mvcc"
)

// EntryKind says what an entry's data is. The numbers are those of the consensus
// contract.
type EntryKind uint8

const (
	EntryCommand    EntryKind = 1 // an envelope
	EntryBarrier    EntryKind = 2 // nothing to do
	EntryMembership EntryKind = 3 // a configuration, kept for the replica's restart
)

// Entry is one decided position of the shard's history.
type Entry struct {
	Index, Epoch uint64
	Kind         EntryKind
	Data         []byte // kept by the store; nobody may modify it any more
}

// Result is what a command did. It is the same on every replica, except that
// Response is only there where it was wanted.
type Result struct {
	Request  RequestID
	Kind     Kind // zero for entries that are no commands
	Index    uint64
	Revision int64 // the revision reached
	Err      error // a rejection (errors.go), or nil
	// Response is a pointer to the response type of the kind, or nil when it was
	// not wanted or Err is set.
	Response any
	// Hash covers the entry's position, its verdict and all changes it made.
	Hash uint64
	// Lease is the lease that a lease command granted, changed or revoked, for the
	// leader's lessor; it is not part of Hash.
	Lease int64
}

// Apply applies entries, which follow the applied index, in one engine batch (S1):
// their effects, the applied index, the epoch and the configuration become visible
// together. want tells for which requests to build a response; emit is then called
// once per entry, in order, with a Result that is valid during the call (its
// Response may be kept). An error means that this replica must stop: nothing of
// the batch is visible.
func (s *Store) Apply(entries []Entry, want func(RequestID) bool, emit func(*Result)) error {
	if len(entries) == 0 {
		return nil
	}
	w := s.db.Writer()
	w.Begin()
	applied := s.applied
	clear(s.results)
	s.results = s.results[:0]
	for i := range entries {
		r, err := s.applyEntry(w, &entries[i], &applied, want)
		if err != nil {
			_ = w.Abort()
			return fmt.Errorf("apply shard %d index %d: %w", s.shard, entries[i].Index, err)
		}
		s.results = append(s.results, r)
	}
	s.valBuf = appendApplied(s.valBuf[:0], &applied)
	if mutant.On(mutant.StoreAppliedApart) {
		apart := s.engine.NewBatch()
		_ = apart.Set(s.keys.table(nil, tableApplied), s.valBuf)
		_ = apart.Commit()
	}
	s.keyBuf = s.keys.table(s.keyBuf, tableApplied)
	if err := w.Batch().Set(s.keyBuf, s.valBuf); err != nil {
		return fmt.Errorf("apply shard %d: %w", s.shard, err)
	}
	if err := w.Commit(); err != nil {
		return fmt.Errorf("apply shard %d: %w", s.shard, err)
	}
	s.applied = applied
	for i := range s.results {
		emit(&s.results[i])
	}
	return nil
}

// applyEntry runs one entry and moves applied on to it (S2: whatever its kind and
// verdict).
func (s *Store) applyEntry(w *mvcc.Writer, e *Entry, applied *Applied, want func(RequestID) bool) (Result, error) {
	if e.Index != applied.Index+1 {
		return Result{}, fmt.Errorf("%w: %d after %d", ErrGap, e.Index, applied.Index)
	}
	r := Result{Index: e.Index}
	h := &s.hash
	h.buf = h.buf[:0]
	switch e.Kind {
	case EntryCommand:
		env, err := DecodeEnvelope(e.Data)
		if err != nil {
			return r, err
		}
		if env.Shard != s.shard {
			return r, fmt.Errorf("%w: for shard %d", ErrMalformed, env.Shard)
		}
		r.Request, r.Kind = env.Request, env.Kind
		c := &s.command
		*c = command{s: s, w: w, epoch: e.Epoch, want: want != nil && want(env.Request)}
		r.Response, err = c.run(env.Kind, env.Body)
		code, ok := rejectionCode(err)
		if !ok {
			return r, err
		}
		r.Err, r.Lease = err, c.lease
		h.verdict(code)
		h.events(w.Events())
	case EntryBarrier:
	case EntryMembership:
		applied.Configuration = e.Data
	default:
		return r, fmt.Errorf("%w: entry kind %d", ErrUnknownKind, e.Kind)
	}
	var err error
	if r.Revision, err = w.EndRevision(); err != nil {
		return r, err
	}
	r.Hash = h.sum(e, &r)
	applied.Index, applied.Epoch = e.Index, e.Epoch
	applied.Chain = chain(applied.Chain, r.Hash)
	return r, nil
}

// chain folds a result hash into the history's.
func chain(before, hash uint64) uint64 {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], before)
	binary.BigEndian.PutUint64(b[8:], hash)
	return xxhash.Sum64(b[:])
}

// resultHash gathers what a result hash covers.
type resultHash struct{ buf []byte }

func (h *resultHash) verdict(code byte) { h.buf = append(h.buf, code) }

func (h *resultHash) events(events []*mvcc.Event) {
	for _, e := range events {
		h.buf = append(h.buf, bit(e.Delete, 1))
		for _, n := range []int64{e.KV.CreateRevision, e.KV.ModRevision, e.KV.Version, e.KV.Lease} {
			h.buf = binary.AppendVarint(h.buf, n)
		}
		h.buf = binary.BigEndian.AppendUint64(h.buf, xxhash.Sum64(e.KV.Key))
		h.buf = binary.BigEndian.AppendUint64(h.buf, xxhash.Sum64(e.KV.Value))
	}
}

func (h *resultHash) sum(e *Entry, r *Result) uint64 {
	h.buf = append(h.buf, byte(e.Kind), byte(r.Kind))
	for _, n := range []uint64{e.Index, e.Epoch, r.Request.Node, r.Request.Seq, uint64(r.Revision)} {
		h.buf = binary.AppendUvarint(h.buf, n)
	}
	if e.Kind != EntryCommand {
		h.buf = append(h.buf, e.Data...)
	}
	return xxhash.Sum64(h.buf)
}
