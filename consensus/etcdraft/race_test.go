//go:build race

package etcdraft

// slow divides the amount of random work: the race detector costs a factor of ten,
// and there is nothing concurrent to find in here.
const slow = 10
