package wal

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/env"
)

// benchBatch fills b with n entries of size bytes for each of the groups.
func benchBatch(b *Batch, entries []Entry, groups int, index consensus.Index) {
	b.Reset()
	for g := range groups {
		for i := range entries {
			entries[i].Index = index + consensus.Index(i)
		}
		b.Append(consensus.GroupID(g+1), entries)
		if index > consensus.Index(4*len(entries)) {
			b.Release(consensus.GroupID(g+1), index-consensus.Index(4*len(entries)), 1)
		}
	}
}

func benchEntries(n, size int) []Entry {
	entries := make([]Entry, n)
	for i := range entries {
		entries[i] = Entry{Epoch: 1, Orig: 1, Kind: consensus.EntryCommand, Data: make([]byte, size)}
	}
	return entries
}

// BenchmarkWrite measures Write alone: encoding, checksums, write(2), index, reclaiming
// and recycling. MB/s counts data. Files are the operating system's.
func BenchmarkWrite(b *testing.B) {
	for _, c := range []struct{ groups, entries, size int }{
		{1, 1, 256}, {1, 16, 256}, {1, 64, 256}, {1, 512, 256}, {1, 64, 16}, {1, 1, 1 << 20}, {100, 1, 256}, {1000, 1, 256},
	} {
		b.Run(fmt.Sprintf("groups=%d/entries=%d/size=%d", c.groups, c.entries, c.size), func(b *testing.B) {
			benchWrite(b, c.groups, c.entries, c.size, false)
		})
	}
}

// BenchmarkWriteSync adds one fdatasync to each batch.
func BenchmarkWriteSync(b *testing.B) {
	for _, entries := range []int{1, 16, 64, 512} {
		b.Run(fmt.Sprintf("entries=%d/size=256", entries), func(b *testing.B) {
			benchWrite(b, 1, entries, 256, true)
		})
	}
}

func benchWrite(b *testing.B, groups, entries, size int, sync bool) {
	l, err := Open(env.OSFS(), b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	var batch Batch
	template := benchEntries(entries, size)
	next := consensus.Index(1)
	step := func() {
		benchBatch(&batch, template, groups, next)
		next += consensus.Index(entries)
		if err := l.Write(&batch); err != nil {
			b.Fatal(err)
		}
		// Without syncs segments would never be freed.
		if sync || l.offset > l.space.size-(2<<20) {
			if err := l.Sync(); err != nil {
				b.Fatal(err)
			}
		}
	}
	for range 8 {
		step()
	}
	b.SetBytes(int64(groups * entries * size))
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		step()
	}
	b.ReportMetric(float64(b.N*groups*entries)/b.Elapsed().Seconds(), "entries/s")
}

// BenchmarkRead reads 64 neighbouring entries back.
func BenchmarkRead(b *testing.B) {
	l, err := Open(env.OSFS(), b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	var batch Batch
	batch.Append(1, func() []Entry {
		entries := benchEntries(64, 256)
		for i := range entries {
			entries[i].Index = consensus.Index(i + 1)
		}
		return entries
	}())
	mustWrite(b, l, &batch)
	b.SetBytes(64 * 256)
	b.ReportAllocs()
	dst := make([]Entry, 0, 64)
	for b.Loop() {
		if dst, err = l.Read(1, consensus.Span{Lo: 1, Hi: 65}, 1<<20, dst[:0]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen replays about 200 MB of entries of 256 bytes in 10,000 groups, and
// reports the memory that the index of a group with three entries takes.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	l, err := Open(env.OSFS(), dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	var batch Batch
	template := benchEntries(1, 256)
	for index := consensus.Index(1); index <= 50; index++ {
		for g := consensus.GroupID(1); g <= 10_000; g++ {
			template[0].Index = index
			batch.HardState(g, consensus.HardState{Epoch: 3, Vote: 12345})
			batch.Append(g, template)
			if index > 3 {
				batch.Release(g, index-3, 1)
			}
			if g%100 == 0 {
				if err := l.Write(&batch); err != nil {
					b.Fatal(err)
				}
				batch.Reset()
			}
		}
		if err := l.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	batch, l = Batch{}, nil
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		l, err := Open(env.OSFS(), dir, Options{})
		if err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		st := l.Stats()
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(st.Groups), "B/group")
		b.ReportMetric(float64(st.Segments), "segments")
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
