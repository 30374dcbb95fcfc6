package main

import (
	"slices"
	"strings"
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
