//go:build !race

package etcdraft

const slow = 1
