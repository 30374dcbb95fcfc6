// Package compare holds package ring against libraries that Go programs use for the same
// purpose. It is a module of its own, so that these are no dependencies of ours; there is
// nothing but a test, which makes two tables of docs/ring.md (make ring).
package compare
