//go:build !race

package paxos

const slow = 1
