// Package crash kills the release binary with SIGKILL at its file operations, one run
// per operation, and checks what it finds when it starts again.
//
// A tracer (ptrace) follows all threads of the unmodified server and counts, in one
// counter, what changes its data directory: files opened to be created or cut, writes,
// syncs, renames, links, removals, new directories, changes of size. Reads, sockets,
// pipes and the log on standard output do not count. At the entry of operation N it
// kills the process. A test runs once without a kill to learn how many there are,
// chooses some or all of them, and takes a new directory for each.
//
// What the package promises:
//
//   - I1: the process is killed before operation N and after all earlier ones; what other
//     threads have begun may still happen, as with any SIGKILL. A point whose kill did not
//     happen, although the run had that many operations, fails.
//   - I2: each acknowledged write is there, at the revision that the server named; keys,
//     versions, leases, history and compaction are exactly those of the model.
//   - I3: the one request without an answer happened wholly or not at all.
//   - I4: the same flags start the member again, whatever it was killed at, also when it
//     is killed while it recovers; it takes a write, and ends on SIGTERM with exit code 0.
//   - I5: a member that is killed while three found a cluster joins it when it is started
//     again, is not taken for another one, and takes a write.
//   - I6: a test of 40 points or more fails if it never killed before an open, a write, a
//     sync or a rename, or if many points were behind the end of their run.
//   - I7: where ptrace is forbidden the tests fail and say so.
//
// Go's scheduler makes two runs differ a little: operation N of one is near operation N
// of another, not the same. A failed test names the operation that it was, and prints a
// command that kills at the same number again.
//
// Deliberately absent: power cuts, because SIGKILL loses nothing that was written (the
// crash tests of package wal cut the power at every operation); operations that happen in
// part; snapshots between members.
package crash
