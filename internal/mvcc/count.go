package mvcc

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"sort"
)

// counts is the counted key index: it knows how many keys exist now in each of a
// list of chunks of the key space, about a thousand in each, so that a count over a
// million keys adds up a thousand numbers and looks at two chunks' keys.
//
// A Kubernetes list of 500 pods asks how many there are each time, and etcd answers
// from the tree of all keys that it holds in memory. Scanning the keys of an LSM
// instead takes as long as etcd's walk, or longer; a tree per key costs the memory
// that we want to save. Chunks cost neither: they are counted by one key-only scan
// when first needed, and from then on the writer moves the counters.
//
// It lives under DB.mu and describes the newest published state. A count at another
// state differs by the creations and deletions in between, which the ring or the
// event index lists.
type counts struct {
	built  bool
	chunks []chunk // ordered; each reaches to the next one's lo; the first lo is ""
	resets uint64  // tells a slow scan that its result is out of date

	building bool
	log      []keyDelta // creations and deletions since building was set
}

// chunk counts the keys from lo to the next chunk.
type chunk struct {
	lo []byte
	n  int64
}

// keyDelta is the effect of one event on the number of keys.
type keyDelta struct {
	key   []byte
	rev   int64
	delta int64
}

const (
	// chunkKeys is the size that chunks are made with; one that has doubled is split
	// when a count looks into it, and shrunken neighbours are joined.
	chunkKeys = 1024
	// countScanMax is the number of keys that a count scans before it asks the index.
	countScanMax = 2 * chunkKeys
	// countLogMax bounds what may happen during the scan that builds the index.
	countLogMax = 1 << 20
	// countEventsMax is how many changes a count at an older revision walks before
	// it scans the keys instead.
	countEventsMax = 200_000
)

func (c *counts) reset() {
	*c = counts{resets: c.resets + 1}
}

// apply moves the counters by published events.
func (c *counts) apply(events []*Event) {
	if !c.built && !c.building {
		return
	}
	for _, e := range events {
		if d := e.delta(); d != 0 {
			c.add(keyDelta{e.KV.Key, e.KV.ModRevision, d})
		}
	}
}

func (c *counts) add(d keyDelta) {
	if c.building {
		c.log = append(c.log, d)
		if len(c.log) > countLogMax {
			c.reset()
		}
		return
	}
	i := c.find(d.key)
	c.chunks[i].n += d.delta
	if c.chunks[i].n < chunkKeys/4 {
		c.join(i)
	}
}

// find returns the chunk that key belongs to.
func (c *counts) find(key []byte) int {
	return sort.Search(len(c.chunks), func(i int) bool { return bytes.Compare(c.chunks[i].lo, key) > 0 }) - 1
}

// join merges chunk i into the one before it if both are small.
func (c *counts) join(i int) {
	if i == 0 || c.chunks[i-1].n+c.chunks[i].n > chunkKeys {
		return
	}
	c.chunks[i-1].n += c.chunks[i].n
	c.chunks = append(c.chunks[:i], c.chunks[i+1:]...)
}

// hi is the end of chunk i; nil: no bound.
func (c *counts) hi(i int) []byte {
	if i+1 < len(c.chunks) {
		return c.chunks[i+1].lo
	}
	return nil
}

// Count returns the number of keys of rg at revision at, which Resolve has checked.
func (v *View) Count(rg Range, at int64) (int64, error) {
	n, err := v.db.count(&v.r, rg, at)
	return n, v.fence(err)
}

// count counts keys at revision at <= r.rev on the state of r.
func (db *DB) count(r *reader, rg Range, at int64) (int64, error) {
	if key, single := rg.SingleKey(); single {
		var v version
		ok, err := r.get(key, at, &v)
		if !ok {
			return 0, err
		}
		return 1, err
	}
	n, err := db.countNow(r, rg)
	if err != nil || at >= r.rev {
		return n, err
	}
	delta, ok, err := db.deltaSince(r, rg, at)
	if err != nil {
		return 0, err
	}
	if ok {
		return n - delta, nil
	}
	n = 0
	err = r.scan(rg, at, func(*version) (bool, error) {
		n++
		return true, nil
	})
	return n, err
}

// countNow counts keys at the state of r: by scan if they are few, else by index.
func (db *DB) countNow(r *reader, rg Range) (int64, error) {
	n, next, err := r.countCurrent(rg, countScanMax)
	if err != nil || next == nil {
		return n, err
	}
	rest := Range{next, rg.hi}
	m, ok, err := db.countIndexed(r, rest)
	if err == nil && !ok {
		m, _, err = r.countCurrent(rest, -1)
	}
	return n + m, err
}

// countIndexed counts by the index, building or refining it first. It reports false
// when the index cannot answer for the state of r.
func (db *DB) countIndexed(r *reader, rg Range) (n int64, ok bool, err error) {
	db.awaitPublished(r.rev)
	if err := db.buildCounts(); err != nil {
		return 0, false, err
	}
	for _, key := range [][]byte{rg.lo, rg.hi} {
		if key == nil {
			continue
		}
		if err := db.splitChunk(r, key); err != nil {
			return 0, false, err
		}
	}
	inside, edges, ok := db.sumChunks(r.rev, rg)
	for _, edge := range edges {
		m, _, err := r.countCurrent(edge, -1)
		if err != nil {
			return 0, false, err
		}
		inside += m
	}
	return inside, ok, nil
}

// awaitPublished waits until revision rev is published. A View may catch a commit a
// moment before its events are: the writer is between two statements.
func (db *DB) awaitPublished(rev int64) {
	for db.Head().Revision < rev {
		runtime.Gosched()
	}
}

// sumChunks adds up the chunks that lie within rg, as they were at revision rev, and
// returns what is left of rg at either end.
func (db *DB) sumChunks(rev int64, rg Range) (n int64, edges []Range, ok bool) {
	db.mu.Lock()
	defer db.mu.Unlock()
	c := &db.mu.counts
	since, ok := db.mu.recent.since(stamp{rev: rev + 1})
	if !c.built || !ok {
		return 0, nil, false
	}
	first, last := c.find(rg.lo), len(c.chunks)-1
	if rg.hi != nil {
		last = c.find(rg.hi)
	}
	if !bytes.Equal(c.chunks[first].lo, rg.lo) {
		if first == last {
			return 0, []Range{rg}, true
		}
		edges = append(edges, Range{rg.lo, c.hi(first)})
		first++
	}
	inside := Range{c.chunks[first].lo, nil}
	if rg.hi != nil {
		inside.hi = c.chunks[last].lo
		edges = append(edges, Range{inside.hi, rg.hi})
		last--
	}
	for i := first; i <= last; i++ {
		n += c.chunks[i].n
	}
	for _, e := range since {
		if inside.Contains(e.KV.Key) {
			n -= e.delta()
		}
	}
	return n, edges, true
}

// deltaSince adds up the creations less the deletions of keys of rg behind revision
// at, up to the state of r. It reports false when there are too many to walk.
func (db *DB) deltaSince(r *reader, rg Range, at int64) (n int64, ok bool, err error) {
	db.awaitPublished(r.rev)
	db.mu.Lock()
	if since, held := db.mu.recent.since(stamp{rev: at + 1}); held {
		for _, e := range since {
			if e.KV.ModRevision <= r.rev && rg.Contains(e.KV.Key) {
				n += e.delta()
			}
		}
		db.mu.Unlock()
		return n, true, nil
	}
	db.mu.Unlock()
	if r.rev-at > countEventsMax {
		return 0, false, nil
	}
	return r.deltaFromIndex(rg, at)
}

func (r *reader) deltaFromIndex(rg Range, at int64) (n int64, ok bool, err error) {
	it, err := r.NewIter(r.keys.event(nil, stamp{rev: at + 1}), r.keys.event(nil, stamp{rev: r.rev + 1}))
	if err != nil {
		return 0, false, err
	}
	walked := 0
	for more := it.First(); more && err == nil && walked <= countEventsMax; more = it.Next() {
		var c change
		var val []byte
		if val, err = it.Value(); err == nil {
			err = decodeChange(val, &c)
		}
		if rg.Contains(c.key) {
			e := Event{kind: c.kind}
			n += e.delta()
		}
		walked++
	}
	return n, walked <= countEventsMax, errors.Join(err, it.Error(), it.Close())
}

// buildCounts makes the index if there is none and nobody else is at it.
func (db *DB) buildCounts() error {
	db.mu.Lock()
	c := &db.mu.counts
	if c.built || c.building {
		db.mu.Unlock()
		return nil
	}
	c.building = true
	resets := c.resets
	db.mu.Unlock()

	chunks, rev, err := db.scanChunks()
	db.awaitPublished(rev) // else its last events would be counted a second time

	db.mu.Lock()
	defer db.mu.Unlock()
	if c.resets != resets {
		return err
	}
	log := c.log
	c.building, c.log = false, nil
	if err != nil {
		return err
	}
	c.chunks, c.built = chunks, true
	for _, d := range log {
		if d.rev > rev {
			c.add(d)
		}
	}
	return nil
}

// scanChunks counts all keys of the newest state.
func (db *DB) scanChunks() (chunks []chunk, rev int64, err error) {
	v, err := db.View()
	if err != nil {
		return nil, 0, err
	}
	defer v.Close()
	chunks, err = v.r.chunksOf(Range{})
	return chunks, v.shared.head.Revision, v.fence(err)
}

// chunksOf cuts the keys of rg into chunks, the first of which begins at rg.lo.
func (r *reader) chunksOf(rg Range) ([]chunk, error) {
	it, err := r.NewIter(r.keys.currentSpan(rg.lo, rg.hi))
	if err != nil {
		return nil, err
	}
	chunks := []chunk{{lo: bytes.Clone(rg.lo)}}
	for ok := it.First(); ok; ok = it.Next() {
		last := &chunks[len(chunks)-1]
		if last.n == chunkKeys {
			chunks = append(chunks, chunk{lo: bytes.Clone(r.keys.currentKey(it.Key()))})
			last = &chunks[len(chunks)-1]
		}
		last.n++
	}
	return chunks, errors.Join(it.Error(), it.Close())
}

// splitChunk cuts the chunk of key if it has grown too large to be scanned.
func (db *DB) splitChunk(r *reader, key []byte) error {
	db.mu.Lock()
	c := &db.mu.counts
	if !c.built {
		db.mu.Unlock()
		return nil
	}
	i := c.find(key)
	whole := Range{c.chunks[i].lo, c.hi(i)}
	large := c.chunks[i].n > 2*chunkKeys
	resets := c.resets
	db.mu.Unlock()
	if !large {
		return nil
	}
	parts, err := r.chunksOf(whole)
	if err != nil {
		return err
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	since, ok := db.mu.recent.since(stamp{rev: r.rev + 1})
	i = c.find(key)
	if c.resets != resets || !ok || !bytes.Equal(c.chunks[i].lo, whole.lo) || !bytes.Equal(c.hi(i), whole.hi) {
		return nil // it changed meanwhile; the next count tries again
	}
	split := counts{built: true, chunks: parts}
	for _, e := range since {
		if d := e.delta(); d != 0 && whole.Contains(e.KV.Key) {
			split.chunks[split.find(e.KV.Key)].n += d
		}
	}
	c.replace(i, split.chunks)
	return nil
}

// replace puts parts, which count the same keys, in place of chunk i.
func (c *counts) replace(i int, parts []chunk) {
	var n int64
	for _, p := range parts {
		n += p.n
	}
	if n != c.chunks[i].n {
		panic(fmt.Sprintf("mvcc: chunk at %q counts %d keys, a scan %d", c.chunks[i].lo, c.chunks[i].n, n))
	}
	rest := append([]chunk(nil), c.chunks[i+1:]...)
	c.chunks = append(append(c.chunks[:i], parts...), rest...)
}
