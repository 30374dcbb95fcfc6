// Package wal is a node's log: one for all its groups.
package wal
