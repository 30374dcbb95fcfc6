package wal

import (
	"bytes"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quorate/quorate/consensus"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Goal: readers beside the writer see what was written or that it is released, while
// segments roll, are reclaimed and recycled. Method: two readers and a maintainer
// beside a writer; an entry's data is a function of its index. Run it with -race.
func TestReadBesideTheWriter(t *testing.T) {
	l, err := openTiny(vfs.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	data := func(i consensus.Index) []byte { return bytes.Repeat([]byte{byte(i)}, int(i*37%3000)) }
	var written, released atomic.Uint64
	var stop atomic.Bool
	var wg sync.WaitGroup
	read := func() {
		defer wg.Done()
		var dst []Entry
		for !stop.Load() {
			lo, hi := consensus.Index(released.Load()+1), consensus.Index(written.Load()+1)
			if lo >= hi {
				continue
			}
			dst, err := l.Read(1, consensus.Span{Lo: lo, Hi: hi}, 1<<20, dst[:0])
			if err != nil && !errors.Is(err, ErrReleased) {
				t.Error(err)
				return
			}
			for k, e := range dst {
				if e.Index != lo+consensus.Index(k) || !bytes.Equal(e.Data, data(e.Index)) {
					t.Errorf("entry %d at %d is wrong", e.Index, lo+consensus.Index(k))
					return
				}
			}
			if _, err := l.State(1); err != nil {
				t.Error(err)
			}
			_, _, _ = l.Groups(), l.Stats(), l.Starved()
		}
	}
	wg.Add(3)
	go read()
	go read()
	go func() {
		defer wg.Done()
		for !stop.Load() {
			if err := l.Maintain(); err != nil {
				t.Error(err)
			}
		}
	}()
	var b Batch
	for i := consensus.Index(1); i <= 1500; i++ {
		b.Append(1, []Entry{{Index: i, Epoch: 1, Orig: 1, Kind: consensus.EntryCommand, Data: data(i)}})
		if i%10 == 0 {
			released.Store(uint64(i - 10))
			b.Release(1, i-10, 1)
		}
		if i%100 == 1 { // an idle group, moved now and then
			b.Append(2, []Entry{command(1, 1, "idle")})
		}
		mustWrite(t, l, &b)
		written.Store(uint64(i))
	}
	stop.Store(true)
	wg.Wait()
	if l.Stats().Reclaimed == 0 {
		t.Error("nothing was reclaimed")
	}
}
