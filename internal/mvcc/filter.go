package mvcc

import (
	"errors"
	"sync"

	"github.com/cespare/xxhash/v2"
)

// filter says of a key that it surely does not exist, or that it may. A put of a new
// key has to find out that there is no version to replace, and to hear it from the
// engine, which looks into memtables and asks the filters of every level, was the
// largest part of such a put.
//
// It is a Bloom filter of all keys that exist, and some that no longer do, at a byte
// and a half per key: the one thing here that grows with their number, up to 24 MiB. It
// grows by layers, since a Bloom filter cannot be made larger.
//
// An empty store begins with a complete one. One that is opened with keys has none
// until enough lookups have found nothing; then Prune reads the keys, a bounded step
// at a time, while the writer adds what it creates. A key that exists at the end was
// there when its step came, or was created since the beginning: so none is missing. A
// filter that is full, of deleted keys as a rule, is dropped and begins the same way;
// with too many keys for it there is none.
type filter struct {
	mu       sync.Mutex
	layers   []filterLayer
	keys     int
	complete bool   // every key that exists is in it (M11)
	reading  bool   // Prune is reading the keys
	next     []byte // the first key that Prune has not read
	tooMany  bool   // there are more keys than it can hold
	absent   int    // lookups in vain since there was none
	era      int    // how often it was started over: a step of reading may be under way beside that
}

const (
	// filterKeysMax bounds the keys in it, and with that its memory.
	filterKeysMax = 16 << 20
	// filterFirst is the size of the first layer in keys; each following one is four
	// times as large.
	filterFirst = 512
	// filterWanted is how many lookups in vain make the filter worth reading all
	// keys.
	filterWanted = 2000
	// filterReadFactor is how many keys Prune reads for each change it was allowed.
	filterReadFactor = 8
)

// reset starts over for a newly opened state.
func (f *filter) reset(empty bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.layers, f.keys, f.next, f.absent = nil, 0, nil, 0
	f.era++
	f.complete, f.reading, f.tooMany = empty, false, false
}

// rulesOut reports whether key surely does not exist.
func (f *filter) rulesOut(key []byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.complete {
		return false
	}
	return !f.has(xxhash.Sum64(key))
}

func (f *filter) has(h uint64) bool {
	for i := len(f.layers) - 1; i >= 0; i-- { // the last has most of the keys
		if f.layers[i].has(h) {
			return true
		}
	}
	return false
}

// missed counts a lookup in vain.
func (f *filter) missed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.absent++; f.absent == filterWanted && !f.complete && !f.tooMany {
		f.reading, f.next = true, []byte{}
	}
}

// wanted reports whether Prune has keys to read.
func (f *filter) wanted() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reading
}

// add puts in a key that was created.
func (f *filter) add(key []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.complete && !f.reading {
		return
	}
	h := xxhash.Sum64(key)
	if f.has(h) {
		return // it was there before
	}
	if f.keys == filterKeysMax {
		f.tooMany = f.reading
		f.layers, f.keys, f.absent, f.complete, f.reading = nil, 0, 0, false, false
		return
	}
	n := len(f.layers)
	if n == 0 || f.layers[n-1].keys == f.layers[n-1].max {
		size := filterFirst
		if n > 0 {
			size = min(4*f.layers[n-1].max, filterKeysMax-f.keys)
		}
		f.layers = append(f.layers, newFilterLayer(size))
		n++
	}
	f.layers[n-1].put(h)
	f.keys++
}

// read adds up to limit keys of the state to a filter that is being read, and
// reports whether there is more to read.
func (f *filter) read(db *DB, limit int) (more bool, err error) {
	f.mu.Lock()
	next, reading, era := f.next, f.reading, f.era
	f.mu.Unlock()
	if !reading {
		return false, nil
	}
	it, err := db.engine.NewIter(db.keys.currentSpan(next, nil))
	if err != nil {
		return false, err
	}
	n, ok := 0, it.First()
	for ; ok && n < limit; ok, n = it.Next(), n+1 {
		f.add(db.keys.currentKey(it.Key()))
	}
	if ok {
		next = append([]byte{}, db.keys.currentKey(it.Key())...)
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return false, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.era != era {
		return f.reading, nil // what was read went into what is gone
	}
	f.next = next
	if !ok && f.reading {
		f.reading, f.complete = false, true
	}
	return f.reading, nil
}

// filterLayer is a Bloom filter whose bits for one key lie in one cache line.
type filterLayer struct {
	blocks    [][8]uint64
	keys, max int
}

const (
	filterBitsPerKey = 12
	filterProbes     = 6
)

func newFilterLayer(keys int) filterLayer {
	return filterLayer{blocks: make([][8]uint64, (keys*filterBitsPerKey+511)/512), max: keys}
}

// block picks the cache line of a hash; the probes take other bits of it.
func (l *filterLayer) block(h uint64) *[8]uint64 {
	return &l.blocks[(h>>32)*uint64(len(l.blocks))>>32]
}

func (l *filterLayer) put(h uint64) {
	b := l.block(h)
	bits := uint32(h) * 0x9e3779b1
	for range filterProbes {
		b[bits>>29] |= 1 << (bits >> 23 & 63)
		bits = bits*0x85ebca6b + 0x27d4eb2f
	}
	l.keys++
}

func (l *filterLayer) has(h uint64) bool {
	b := l.block(h)
	bits := uint32(h) * 0x9e3779b1
	for range filterProbes {
		if b[bits>>29]&(1<<(bits>>23&63)) == 0 {
			return false
		}
		bits = bits*0x85ebca6b + 0x27d4eb2f
	}
	return true
}
