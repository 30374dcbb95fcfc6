package sim

import (
	"runtime"
	"sync"
)

// Batch plays seeds on all cores, one goroutine for each, and hands every report to
// take, one at a time, in the order in which they end. It stops early when take
// returns false.
func Batch(seeds []uint64, run func(seed uint64) Report, take func(*Report) bool) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	next, stop := 0, false
	draw := func() (seed uint64, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if stop || next == len(seeds) {
			return 0, false
		}
		next++
		return seeds[next-1], true
	}
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed, ok := draw(); ok; seed, ok = draw() {
				r := run(seed)
				mu.Lock()
				stop = !take(&r) || stop
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}
