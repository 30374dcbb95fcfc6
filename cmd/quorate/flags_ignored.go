package main

// ignoredFlags are those of etcd's flags that are accepted and have no effect yet. None
// of them may weaken security, durability or identity by its absence (Q3).
var ignoredFlags = []flagSpec{
	// Storage that works in another way here.
	{name: "max-snapshots", kind: natural, preset: "5", note: "snapshots are streamed and leave no files"},
	{name: "max-wals", kind: natural, preset: "5", note: "the log recycles its segments by itself"},
	{name: "backend-batch-interval", kind: duration, preset: "0s", note: "batches form by arrival"},
	{name: "backend-batch-limit", kind: integer, preset: "0", note: "batches form by arrival"},
	{name: "backend-bbolt-freelist-type", preset: "map", note: "there is no bbolt file"},
	{name: "bootstrap-defrag-threshold-megabytes", kind: natural, preset: "0", note: "space comes back without defragmentation"},
	{name: "memory-mlock", kind: boolean, preset: "false"},
	{name: "unsafe-no-fsync", kind: boolean, preset: "false", note: "an acknowledged write is always on disk"},
	{name: "v2-deprecation", preset: "write-only", note: "there is no v2 store"},

	// Consensus.
	{name: "initial-election-tick-advance", kind: boolean, preset: "true"},
	{name: "pre-vote", kind: boolean, preset: "true", note: "PreVote is always on"},
	{name: "strict-reconfig-check", kind: boolean, preset: "true"},
	{name: "max-learners", kind: integer, preset: "1"},
	{name: "snapshot-catchup-entries", kind: integer, preset: "5000", note: "--snapshot-count bounds the lag"},
	{name: "raft-read-timeout", kind: duration, preset: "5s"},
	{name: "raft-write-timeout", kind: duration, preset: "5s"},
	{name: "downgrade-check-time", kind: duration, preset: "5s"},

	// Client traffic.
	{name: "socket-reuse-port", kind: boolean, preset: "false"},
	{name: "socket-reuse-address", kind: boolean, preset: "false"},
	{name: "enable-grpc-gateway", kind: boolean, preset: "true"},

	// Compaction and checks.
	{name: "compaction-batch-limit", kind: integer, preset: "1000", note: "compaction always runs in small steps"},
	{name: "compaction-sleep-interval", kind: duration, preset: "0s", note: "compaction always runs in small steps"},
	{name: "corrupt-check-time", kind: duration, preset: "0s"},
	{name: "compact-hash-check-time", kind: duration, preset: "1m"},
	{name: "feature-gates"},

	// Looking inside.
	{name: "metrics", preset: "basic"},
	{name: "enable-log-rotation", kind: boolean, preset: "false", note: "rotate from outside and send SIGHUP"},
	{name: "log-rotation-config-json", note: "rotate from outside and send SIGHUP"},
	{name: "warning-apply-duration", kind: duration, preset: "100ms"},
	{name: "warning-unary-request-duration", kind: duration, preset: "300ms"},
	{name: "enable-distributed-tracing", kind: boolean, preset: "false"},
	{name: "distributed-tracing-address", preset: "localhost:4317"},
	{name: "distributed-tracing-service-name", preset: "etcd"},
	{name: "distributed-tracing-instance-id"},
	{name: "distributed-tracing-sampling-rate", kind: integer, preset: "0"},
}
