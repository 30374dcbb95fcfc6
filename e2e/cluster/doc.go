// Package cluster starts store servers as separate processes for the
// end-to-end tests and treats them as black boxes.
//
// A server is a command line, a data directory and two ports. Both the
// server under test (`quorate serve`) and the reference (etcd, built from its
// own module) take etcd's flags, so one type describes both, and a test that
// passes with the reference on both sides has proved itself. E2E_ENGINE runs
// any of the suites on another consensus engine.
//
// What the package promises:
//
//   - I1: no process outlives the test. Each runs in its own process group,
//     is killed by Cleanup, and by the kernel when the test binary dies for
//     any reason (parent-death signal, Linux).
//   - I2: traffic stays on 127.0.0.1, on ports that are reserved among all test
//     processes of the machine (port.go) and lie outside the kernel's ephemeral
//     range, so that no outgoing connection takes one of them while a server is
//     down.
//   - I3: a binary is built once per machine and source state; test packages
//     that run at the same time share it under a file lock.
//   - I4: when a test fails, the tail of every member's log is printed.
//
// Deliberately absent: any knowledge of what the server does beyond the HTTP
// readiness check and the Status call.
package cluster
