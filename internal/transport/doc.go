// Package transport carries messages, snapshots and probes between nodes.
package transport
