package store

import (
	"bytes"
	"math"
	"sort"

	"github.com/quorate/quorate/internal/mvcc"
)

// source is what a range reads: a View, or the Writer in the middle of a command.
type source interface {
	Head() mvcc.Head
	Get(key []byte, at int64) (kv KeyValue, ok bool, err error)
	Scan(rg mvcc.Range, at int64, fn func(kv *KeyValue) (bool, error)) error
	Count(rg mvcc.Range, at int64) (int64, error)
}

// writerSource makes a Writer a source.
type writerSource struct{ *mvcc.Writer }

func (s writerSource) Get(key []byte, at int64) (KeyValue, bool, error) { return s.GetAt(key, at) }

// Head is the state that reads see: with the revision under way, once it has a
// change.
func (s writerSource) Head() mvcc.Head {
	h := s.Writer.Head()
	h.Revision = s.Revision()
	return h
}

func (r *RangeRequest) hasRevisionBounds() bool {
	return r.MinModRevision != 0 || r.MaxModRevision != 0 ||
		r.MinCreateRevision != 0 || r.MaxCreateRevision != 0
}

func (r *RangeRequest) inBounds(kv *KeyValue) bool {
	return !(r.MaxModRevision != 0 && kv.ModRevision > r.MaxModRevision ||
		r.MinModRevision != 0 && kv.ModRevision < r.MinModRevision ||
		r.MaxCreateRevision != 0 && kv.CreateRevision > r.MaxCreateRevision ||
		r.MinCreateRevision != 0 && kv.CreateRevision < r.MinCreateRevision)
}

// limitWhileScanning reports whether the scan may stop at the limit. As in etcd the
// order of a result counts only when an order was asked for by name; a target alone
// sorts, too, but only what the limit and one more key left.
func (r *RangeRequest) limitWhileScanning() bool {
	return (r.SortOrder == SortNone || r.SortTarget == SortByKey && r.SortOrder == SortAscend) &&
		!r.hasRevisionBounds()
}

// runRange answers a range request.
func runRange(src source, r *RangeRequest) (*RangeResponse, error) {
	head := src.Head()
	at, err := head.Resolve(r.Revision)
	if err != nil {
		return nil, err
	}
	resp := &RangeResponse{Revision: head.Revision}
	if len(r.RangeEnd) == 0 {
		return resp, readKey(src, r, at, resp)
	}
	rg := mvcc.NewRange(r.Key, r.RangeEnd)
	if r.CountOnly {
		resp.Count, err = src.Count(rg, at)
		return resp, err
	}
	c := collector{r: r, max: math.MaxInt64}
	if r.Limit > 0 && r.Limit < math.MaxInt64 && r.limitWhileScanning() {
		c.max = r.Limit + 1 // one more tells whether there are more
	}
	if err := src.Scan(rg, at, c.add); err != nil {
		return nil, err
	}
	resp.KVs = c.kvs
	sortRange(resp.KVs, r)
	if r.Limit > 0 && int64(len(resp.KVs)) > r.Limit {
		resp.KVs, resp.More = resp.KVs[:r.Limit], true
	}
	stripValues(resp.KVs, r)
	resp.Count = c.scanned
	if int64(len(c.kvs)) == c.max {
		resp.Count, err = src.Count(rg, at)
	}
	return resp, err
}

// readKey is a range of one key.
func readKey(src source, r *RangeRequest, at int64, resp *RangeResponse) error {
	kv, ok, err := src.Get(r.Key, at)
	if err != nil || !ok {
		return err
	}
	resp.addKey(r, cloneKV(&kv))
	return nil
}

// addKey puts in the one key that a range of one key has found, and keeps it.
func (resp *RangeResponse) addKey(r *RangeRequest, kv *KeyValue) {
	resp.Count = 1
	if !r.CountOnly && r.inBounds(kv) {
		resp.KVs = []KeyValue{*kv}
		stripValues(resp.KVs, r)
	}
}

// stripValues makes a keys-only result look as etcd's: it has no lease either,
// except where the value was needed for sorting.
func stripValues(kvs []KeyValue, r *RangeRequest) {
	if !r.KeysOnly {
		return
	}
	for i := range kvs {
		kvs[i].Value = nil
		if r.SortTarget != SortByValue {
			kvs[i].Lease = 0
		}
	}
}

// collector copies visited keys out of a scan.
type collector struct {
	r       *RangeRequest
	max     int64 // stop behind so many
	kvs     []KeyValue
	scanned int64
	arena   []byte
}

// arenaBytes is the size of the chunks that results are copied into.
const arenaBytes = 16 << 10

func (c *collector) add(kv *KeyValue) (bool, error) {
	c.scanned++
	if !c.r.inBounds(kv) {
		return true, nil
	}
	out := *kv
	out.Key = c.copy(kv.Key)
	if c.r.KeysOnly && c.r.SortTarget != SortByValue {
		out.Value = nil
	} else {
		out.Value = c.copy(kv.Value)
	}
	c.kvs = append(c.kvs, out)
	return int64(len(c.kvs)) < c.max, nil
}

func (c *collector) copy(b []byte) []byte {
	if len(b) > cap(c.arena)-len(c.arena) {
		c.arena = make([]byte, 0, max(arenaBytes, len(b)))
	}
	n := len(c.arena)
	c.arena = append(c.arena, b...)
	return c.arena[n : n+len(b) : n+len(b)]
}

// sortRange orders a result. It uses sort.Sort as etcd does, so that keys which
// compare equal end up in the same order, too.
func sortRange(kvs []KeyValue, r *RangeRequest) {
	order := r.SortOrder
	if r.SortTarget != SortByKey && order == SortNone {
		order = SortAscend
	}
	if order == SortNone || r.SortTarget == SortByKey && order == SortAscend {
		return
	}
	var by sort.Interface = kvSort{kvs, kvLess[r.SortTarget]}
	if order == SortDescend {
		by = sort.Reverse(by)
	}
	sort.Sort(by)
}

var kvLess = [...]func(a, b *KeyValue) bool{
	SortByKey:     func(a, b *KeyValue) bool { return bytes.Compare(a.Key, b.Key) < 0 },
	SortByVersion: func(a, b *KeyValue) bool { return a.Version < b.Version },
	SortByCreate:  func(a, b *KeyValue) bool { return a.CreateRevision < b.CreateRevision },
	SortByMod:     func(a, b *KeyValue) bool { return a.ModRevision < b.ModRevision },
	SortByValue:   func(a, b *KeyValue) bool { return bytes.Compare(a.Value, b.Value) < 0 },
}

type kvSort struct {
	kvs  []KeyValue
	less func(a, b *KeyValue) bool
}

func (s kvSort) Len() int           { return len(s.kvs) }
func (s kvSort) Swap(i, j int)      { s.kvs[i], s.kvs[j] = s.kvs[j], s.kvs[i] }
func (s kvSort) Less(i, j int) bool { return s.less(&s.kvs[i], &s.kvs[j]) }
