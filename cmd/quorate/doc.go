// Command quorate runs nodes of a Quorate cluster.
//
// It is the edge of the process: flags, environment and configuration file become one
// Config, a Config becomes a running node, and signals end it. Everything a node does
// with disk, clock and network goes through internal/env; only what belongs to the
// process itself (log files, child processes, signals, the service manager's socket) is
// opened here. The commands of `keyspace`, `node` and `placement` run no node: they are clients of
// a running one.
//
// What it promises:
//
//	Q1  Whatever starts etcd 3.7 starts quorate: same flags (with one dash or two), same
//	    ETCD_ variables, same configuration file, same defaults. Called as "etcd" it is
//	    `quorate serve`.
//	Q2  No flag is silently dropped. Each of etcd's flags is served, ignored with a
//	    warning, or refused; the tables flags_*.go say which, and a test holds them
//	    against etcd's own list.
//	Q3  A flag whose absence would weaken security, durability or identity is never
//	    ignored: asking for it is a start-up error until it is built.
//	Q4  Whatever is wrong with the input is one sentence on standard error that says what
//	    is wrong and what to do, and nothing on disk was touched by then.
//	Q5  Data goes to standard output, everything else to standard error. Nothing is ever
//	    coloured, so NO_COLOR and TERM=dumb need no handling.
//	Q6  Exit codes: 0 done or stopped on request; 1 could not start or failed; 2 the
//	    command line cannot be read; 128+n ended at once by a second signal n.
//
// Order of precedence: a flag, then QUORATE_X, then ETCD_X, then etcd's default. With
// --config-file (or its variables) the file alone counts, as in etcd.
//
// Where we deviate from etcd: a variable that a flag overrides is a warning (etcd
// refuses to start), an unknown key in the file is an error (etcd skips it), and
// --initial-cluster is derived from --name and --initial-advertise-peer-urls whenever it
// is not given (etcd: only if --name is given too). A host for 0.0.0.0 is not guessed
// where a URL is advertised. Heartbeats below 10 ms and requests above 10 MiB are refused.
package main
