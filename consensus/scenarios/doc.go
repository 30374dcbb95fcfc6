// Package scenarios plays situations in which the choice of an engine shows. Its tests
// assert what comes of them, and docs/engines.md has tables and pictures made from the
// same runs: make engines makes them again, and a test sees to it that they are current.
//
// There is nothing here but tests. A scenario is one file: its runs, what a test asserts
// of them, its table and its picture.
//
//	engines_test.go     what is compared, and the pace of the timed scenarios
//	load_test.go        clients, and how long they wait
//	partition_test.go   constrained election, chained partition, a quorum of two
//	loss_test.go        messages are lost
//	stall_test.go       the leader's disk stands still
//	quorum_test.go      disks are slow, and two replicas decide instead of a majority
//	document_test.go    docs/engines.md
//	picture_test.go     SVG; chart_test.go and topology_test.go draw with it
//
// Time is ticks, and a run is a function of its seeds (consensustest.Timed): one that is
// repeated has the same numbers on every machine. They say what waiting for messages and
// disks costs. What the machines themselves cost is measured by BenchmarkReplicate in
// package consensus.
package scenarios
