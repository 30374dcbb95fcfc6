// Command bench measures Quorate beside etcd: three members of each as
// processes on loopback, the same client code, in alternating turns within one
// run.
//
// # What it promises
//
//   - I1 Same work. Both systems get the same flags, the same requests from the
//     same seeds, the same number of connections and a data directory on the
//     same filesystem. Nobody is tuned: both run with their default settings.
//   - I2 Same moment. A turn of one system is followed at once by a turn of the
//     other, and the order swaps with every turn. The ratio is taken within a
//     turn, then the median over turns: a slow minute of the machine hits both.
//   - I3 Work is charged to whom it belongs. Server CPU is user plus system time
//     of the members' processes only. A turn's account stays open until the
//     members are quiet, so work put off by a system is paid by that system and
//     does not disturb the other one's turn.
//   - I4 Answers are looked at. One reply in 256 of every client is decoded and
//     checked; the others are only counted. A wrong answer fails the workload. A
//     failed request is counted, shown and never enters a latency.
//   - I5 Bounded. Clients, keys, turns and durations have limits; every request
//     ends with its turn; all addresses are 127.0.0.1; members end with the
//     benchmark, also when it is killed; data directories are removed unless
//     it is killed.
//
// # What it is not
//
// Clients and servers share the machine's cores, so absolute figures are this
// machine's and only ratios travel. There is no network delay and no open-loop
// load: latency is what a closed loop of so many clients sees.
//
// With -compare two consensus engines of ours take the turns, under the same rules.
//
// The etcd member is this same binary started as "bench etcd": the unchanged
// server of the etcd release in go.mod with the dependencies that it names.
package main
