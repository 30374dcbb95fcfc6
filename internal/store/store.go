package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/quorate/quorate/internal/engine"
	"github.com/quorate/quorate/internal/mvcc"
)

// Options configures a Store.
type Options struct {
	// MVCC bounds what is kept in memory.
	MVCC mvcc.Options
}

// Store is the replicated state machine of one shard: a deterministic function from
// its entries to its state and results. One goroutine calls its methods; Views and
// watchers, which come out of it, are safe from any goroutine beside that one.
type Store struct {
	engine engine.Engine
	shard  ShardID
	keys   keyspace
	db     *mvcc.DB

	applied Applied
	quota   Quota
	leases  map[int64]Lease

	// The rest is scratch memory of Apply.
	results []Result
	command command
	hash    resultHash
	keyBuf  []byte
	valBuf  []byte
}

// Applied says how far the history was applied.
type Applied struct {
	Index uint64
	Epoch uint64 // of the entry at Index
	// Configuration is the data of the last membership entry at or below Index.
	Configuration []byte
	// Chain folds the result hashes of all entries up to Index: two replicas with
	// the same Index and different Chains have diverged.
	Chain uint64
}

// Lease is a lease as the state machine knows it: without a clock.
type Lease struct {
	ID         int64
	TTLSeconds int64
	// RemainingSeconds is what was left at the last checkpoint; zero: TTLSeconds.
	RemainingSeconds int64
}

// QuotaDefaultBytes is the quota until one is set, as in etcd.
const QuotaDefaultBytes = 2 << 30

// Quota is what a shard may hold. It is replicated, since its verdict must be the same on
// every replica (S8).
type Quota struct {
	Bytes  int64 // of logical size; less than zero: no limit
	Keys   int64 // that exist; zero: no limit
	Leases int64 // likewise
}

// Tables of a shard beside those of mvcc.
const (
	tableApplied   = 0x03 // (nothing) -> Applied
	tableQuota     = 0x04 // (nothing) -> quota
	tableLeases    = 0x20 // lease -> TTL
	tableLeaseKeys = 0x21 // lease, key -> nothing
)

// keyspace builds engine keys of a shard: its id, then a table.
type keyspace struct{ prefix []byte }

func newKeyspace(shard ShardID) keyspace {
	return keyspace{binary.BigEndian.AppendUint64(nil, uint64(shard))}
}

// span is everything of the shard.
func (k keyspace) span() engine.Span {
	id := binary.BigEndian.Uint64(k.prefix)
	return engine.Span{Lo: k.prefix, Hi: binary.BigEndian.AppendUint64(nil, id+1)}
}

func (k keyspace) table(dst []byte, table byte) []byte {
	return append(append(dst[:0], k.prefix...), table)
}

func (k keyspace) lease(dst []byte, id int64) []byte {
	return binary.BigEndian.AppendUint64(k.table(dst, tableLeases), uint64(id))
}

func (k keyspace) leaseKey(dst []byte, id int64, key []byte) []byte {
	return append(binary.BigEndian.AppendUint64(k.table(dst, tableLeaseKeys), uint64(id)), key...)
}

// leaseKeys is the span of the keys attached to a lease.
func (k keyspace) leaseKeys(id int64) (lower, upper []byte) {
	lower = k.leaseKey(nil, id, nil)
	if uint64(id) == ^uint64(0) {
		return lower, k.table(nil, tableLeaseKeys+1)
	}
	return lower, k.leaseKey(nil, id+1, nil)
}

// Open opens the state of a shard; one that was never written is empty.
func Open(e engine.Engine, shard ShardID, opts Options) (*Store, error) {
	if shard == 0 || shard == ^ShardID(0) {
		return nil, fmt.Errorf("store: invalid shard %d", shard)
	}
	s := &Store{engine: e, shard: shard, keys: newKeyspace(shard)}
	db, err := mvcc.Open(e, s.keys.prefix, opts.MVCC)
	if err != nil {
		return nil, fmt.Errorf("open shard %d: %w", shard, err)
	}
	s.db = db
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("open shard %d: %w", shard, err)
	}
	return s, nil
}

// Erase deletes all that the engine has of a shard, which nobody has open.
func Erase(e engine.Engine, shard ShardID) error {
	span := newKeyspace(shard).span()
	b := e.NewBatch()
	if err := errors.Join(b.DeleteRange(span.Lo, span.Hi), b.Commit(), b.Close()); err != nil {
		return fmt.Errorf("erase shard %d: %w", shard, err)
	}
	return nil
}

// Shards lists the shards that the engine has anything of, ascending.
func Shards(e engine.Engine) (ids []ShardID, err error) {
	it, err := e.NewIter(nil, nil)
	if err != nil {
		return nil, err
	}
	for ok := it.First(); ok; {
		id := ShardID(binary.BigEndian.Uint64(it.Key()))
		ids = append(ids, id)
		ok = id != ^ShardID(0) && it.SeekGE(newKeyspace(id+1).prefix)
	}
	return ids, errors.Join(it.Error(), it.Close())
}

// load reads what is kept in memory.
func (s *Store) load() (err error) {
	if s.applied, err = readApplied(s.engine, s.keys); err != nil {
		return err
	}
	if s.quota, err = readQuota(s.engine, s.keys); err != nil {
		return err
	}
	s.leases = map[int64]Lease{}
	return scanLeases(s.engine, s.keys, func(l Lease) bool {
		s.leases[l.ID] = l
		return true
	})
}

// Shard names the shard.
func (s *Store) Shard() ShardID { return s.shard }

// Applied says how far the history was applied. The configuration is shared: do
// not modify it.
func (s *Store) Applied() Applied { return s.applied }

// DurableApplied is Applied as no crash can take it back: the log may be released
// up to it.
func (s *Store) DurableApplied() (Applied, error) {
	val, ok, err := s.engine.DurableGet(s.keys.table(nil, tableApplied), nil)
	if err != nil || !ok {
		return Applied{}, err
	}
	return decodeApplied(val)
}

// Cool lets go of what is kept in memory to be fast, and can be read again. Nothing is being applied.
func (s *Store) Cool() {
	s.db.Cool()
	s.results, s.command, s.hash = nil, command{}, resultHash{}
	s.keyBuf, s.valBuf = nil, nil
}

// DB gives access to watches (DB.Watch, DB.Progress) and to physical compaction
// (DB.Prune).
func (s *Store) DB() *mvcc.DB { return s.db }

const appliedVersion = 1

func appendApplied(dst []byte, a *Applied) []byte {
	dst = append(dst, appliedVersion)
	dst = binary.AppendUvarint(dst, a.Index)
	dst = binary.AppendUvarint(dst, a.Epoch)
	dst = binary.BigEndian.AppendUint64(dst, a.Chain)
	return append(dst, a.Configuration...)
}

func decodeApplied(b []byte) (Applied, error) {
	d := decoder{b: b}
	if v := d.byte(); v != appliedVersion {
		return Applied{}, fmt.Errorf("%w: applied record %d", ErrVersion, v)
	}
	a := Applied{Index: d.uvarint(), Epoch: d.uvarint()}
	if d.bad || len(d.b) < 8 {
		return Applied{}, fmt.Errorf("%w: applied record % x", ErrCorrupt, b)
	}
	a.Chain = binary.BigEndian.Uint64(d.b)
	if len(d.b) > 8 {
		a.Configuration = d.b[8:]
	}
	return a, nil
}

func readApplied(r engine.Reader, keys keyspace) (Applied, error) {
	val, ok, err := r.Get(keys.table(nil, tableApplied), nil)
	if err != nil || !ok {
		return Applied{}, err
	}
	return decodeApplied(val)
}

// A quota of bytes alone is written as version 1, which earlier builds read, too.
const (
	quotaVersionBytes = 1
	quotaVersion      = 2
)

// appendQuota encodes a quota:
//
//	byte     format version, 1 or 2
//	varint   bytes
//	uvarint  keys, uvarint leases   (version 2)
func appendQuota(dst []byte, q *Quota) []byte {
	if q.Keys == 0 && q.Leases == 0 {
		return binary.AppendVarint(append(dst, quotaVersionBytes), q.Bytes)
	}
	dst = binary.AppendVarint(append(dst, quotaVersion), q.Bytes)
	return binary.AppendUvarint(binary.AppendUvarint(dst, uint64(q.Keys)), uint64(q.Leases))
}

func decodeQuota(b []byte) (Quota, error) {
	d := decoder{b: b}
	v := d.byte()
	if v != quotaVersionBytes && v != quotaVersion {
		return Quota{}, fmt.Errorf("%w: quota record %d", ErrVersion, v)
	}
	q := Quota{Bytes: d.varint()}
	if v == quotaVersion {
		q.Keys, q.Leases = int64(d.uvarint()), int64(d.uvarint())
	}
	return q, d.end("quota record")
}

func readQuota(r engine.Reader, keys keyspace) (Quota, error) {
	val, ok, err := r.Get(keys.table(nil, tableQuota), nil)
	if err != nil || !ok {
		return Quota{Bytes: QuotaDefaultBytes}, err
	}
	return decodeQuota(val)
}
