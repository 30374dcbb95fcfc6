// Package contest measures ways to spread keys over nodes: package ring beside plain
// implementations of what it could be instead. Tests here and in the module ring/compare,
// which has libraries of others, make docs/ring.md of it. Nothing else uses it.
//
//	contest.go   what is measured, and rows of tables
//	rivals.go    ring, and the plain implementations
//
// Whatever a rival hashes, it hashes with XXH64, so that rivals differ in what they do
// with it alone. Balance and movement are functions of the rival; the time of a lookup and
// the memory depend on the machine.
package contest
