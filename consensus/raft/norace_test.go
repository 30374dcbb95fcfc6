//go:build !race

package raft

const slow = 1
