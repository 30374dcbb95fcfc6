package main

import (
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"time"
)

// heapBallastBytes lets the heap grow by twice as much before the collector runs: by
// itself it waits for as much garbage as there is alive.
//
// What is alive in Go's heap is little, since tables, blocks and memtables lie outside.
// The collector therefore ran several times a second under reads, shrank the stacks of
// idle handlers each time, and the next call grew them again: a fifth of the CPU time
// of a get. A larger GOGC was the other choice, but what it costs grows with what is
// alive, and it made puts slower by the pages that they touched first.
const heapBallastBytes = 32 << 20

// heapBallast is never touched, so it takes address space and no memory.
var heapBallast []byte

// quietenCollector lets the collector run less often, unless GOGC or GOMEMLIMIT say
// how often it should.
func quietenCollector(environ []string) {
	told := func(variable string) bool {
		return strings.HasPrefix(variable, "GOGC=") || strings.HasPrefix(variable, "GOMEMLIMIT=")
	}
	if !slices.ContainsFunc(environ, told) {
		heapBallast = make([]byte, heapBallastBytes)
	}
}

// quietPeriod is how long the collector must not have run before a node gives memory back.
const quietPeriod = 10 * time.Second

// quietHeap gives memory back that a node with nothing to do keeps: the garbage of its last
// work, which the collector would let lie for minutes, as much as there is alive and the ballast.
type quietHeap struct {
	cycles uint64 // of the collector, at the last look
	given  bool   // since the node fell quiet
}

// look is called once per quietPeriod. It reports whether it gave memory back.
func (q *quietHeap) look() bool {
	cycles := collectorCycles()
	quiet := cycles == q.cycles
	q.cycles, q.given = cycles, q.given && quiet
	if !quiet || q.given {
		return false
	}
	debug.FreeOSMemory()
	q.cycles, q.given = collectorCycles(), true
	return true
}

func collectorCycles() uint64 {
	sample := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
