// Package cluster runs three members of a system under test as processes on
// loopback and accounts for what they use.
//
//   - C1 A member is a command line plus etcd's flags; nothing here knows which
//     system it starts.
//   - C2 No member outlives this process: the kernel kills it when the
//     launcher's thread ends (PDEATHSIG), and Close kills and waits.
//   - C3 CPU time only grows: a member's time before a restart stays in its
//     account.
package cluster
