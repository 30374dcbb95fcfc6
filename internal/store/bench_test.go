package store

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"github.com/quorate/quorate/internal/engine"
	"github.com/quorate/quorate/internal/mvcc"
)

// cpuTime is the processor time of this process: on a shared machine it says more
// than the clock.
func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// reportCPU reports the processor time per operation since from.
func reportCPU(b *testing.B, from time.Duration, ops int) {
	b.ReportMetric(float64(cpuTime()-from)/float64(ops), "cpu-ns/op")
}

func benchStore(b *testing.B) *rig {
	e, err := engine.OpenPebble(vfs.Default, b.TempDir(), engine.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = e.Close() })
	s, err := Open(e, 7, Options{MVCC: mvcc.Options{Cache: mvcc.NewCache(48 << 20)}})
	if err != nil {
		b.Fatal(err)
	}
	return &rig{t: b, s: s, epoch: 1}
}

// putEntries makes n puts of 256 bytes to random keys out of space.
func (r *rig) putEntries(rng *rand.Rand, n, space int) []Entry {
	entries := make([]Entry, n)
	for i := range entries {
		value := make([]byte, 256)
		for j := range value {
			value[j] = byte(rng.Uint32())
		}
		entries[i] = r.entry(&PutRequest{Key: fmt.Appendf(nil, "/registry/pods/default/%08d", rng.IntN(space)), Value: value})
	}
	return entries
}

// BenchmarkApplyPut applies batches of puts, new keys and overwrites mixed.
func BenchmarkApplyPut(b *testing.B) {
	for _, size := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			r := benchStore(b)
			rng := rand.New(rand.NewPCG(1, 1))
			none := func(RequestID) bool { return false }
			b.ReportAllocs()
			b.ResetTimer()
			var cpu time.Duration
			for done := 0; done < b.N; done += size {
				b.StopTimer()
				entries := r.putEntries(rng, size, 100_000)
				for i := range entries {
					entries[i].Index = r.s.Applied().Index + 1 + uint64(i)
				}
				b.StartTimer()
				from := cpuTime()
				if err := r.s.Apply(entries, none, func(*Result) {}); err != nil {
					b.Fatal(err)
				}
				cpu += cpuTime() - from
			}
			b.ReportMetric(float64(cpu)/float64(b.N), "cpu-ns/op")
		})
	}
}

// millionStore holds a million keys of 256 bytes, once for all benchmarks.
var millionStore *rig

func million(b *testing.B) *rig {
	if millionStore != nil {
		return millionStore
	}
	dir, err := os.MkdirTemp("", "quorate-million-")
	if err != nil {
		b.Fatal(err)
	}
	e, err := engine.OpenPebble(vfs.Default, dir, engine.Options{})
	if err != nil {
		b.Fatal(err)
	}
	s, err := Open(e, 7, Options{MVCC: mvcc.Options{Cache: mvcc.NewCache(48 << 20)}})
	if err != nil {
		b.Fatal(err)
	}
	r := &rig{t: b, s: s, epoch: 1}
	from, start := cpuTime(), time.Now()
	value := make([]byte, 256)
	none := func(RequestID) bool { return false }
	const total, batch = 1_000_000, 250
	for i := 0; i < total; i += batch {
		entries := make([]Entry, batch)
		for j := range entries {
			_, _ = rand.NewChaCha8([32]byte{byte(i), byte(i >> 8), byte(i >> 16), byte(j)}).Read(value)
			key := fmt.Appendf(nil, "/registry/pods/default/%08d", (i+j)*7919%total)
			entries[j] = r.entry(&PutRequest{Key: key, Value: value})
			entries[j].Index = s.Applied().Index + 1 + uint64(j)
		}
		if err := s.Apply(entries, none, func(*Result) {}); err != nil {
			b.Fatal(err)
		}
	}
	millionStore = r
	b.Logf("loaded %d keys in %v, %v of CPU, resident %d MiB, %+v", total, time.Since(start), cpuTime()-from, residentMiB(), e.Stats())
	return r
}

// residentMiB is the resident memory of this process.
func residentMiB() int {
	var pages, resident int
	statm, err := os.ReadFile("/proc/self/statm")
	if err == nil {
		_, err = fmt.Sscan(string(statm), &pages, &resident)
	}
	if err != nil {
		return -1
	}
	return resident * os.Getpagesize() >> 20
}

// BenchmarkMillion reads from a store of a million keys.
func BenchmarkMillion(b *testing.B) {
	all := []byte{0}
	prefix, end := []byte("/registry/pods/"), []byte("/registry/pods0")
	for _, c := range []struct {
		name string
		r    RangeRequest
	}{
		{"count", RangeRequest{Key: all, RangeEnd: all, CountOnly: true}},
		{"count-prefix", RangeRequest{Key: prefix, RangeEnd: end, CountOnly: true}},
		{"limit=500", RangeRequest{Key: prefix, RangeEnd: end, Limit: 500}},
		{"limit=500-older", RangeRequest{Key: prefix, RangeEnd: end, Limit: 500, Revision: 999_000}},
		{"list=100", RangeRequest{Key: []byte("/registry/pods/default/00000500"), RangeEnd: []byte("/registry/pods/default/00000600")}},
		{"get", RangeRequest{Key: []byte("/registry/pods/default/00500000")}},
		{"get-recent", RangeRequest{Key: fmt.Appendf(nil, "/registry/pods/default/%08d", 999_999*7919%1_000_000)}},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := million(b)
			first := time.Now()
			if _, err := r.get(c.r); err != nil {
				b.Fatal(err)
			}
			b.Logf("first %v", time.Since(first))
			b.ReportAllocs()
			b.ResetTimer()
			from := cpuTime()
			for range b.N {
				if _, err := r.get(c.r); err != nil {
					b.Fatal(err)
				}
			}
			reportCPU(b, from, b.N)
		})
	}
}
