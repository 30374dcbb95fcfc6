//go:build !race

package consensustest

const slow = 1
