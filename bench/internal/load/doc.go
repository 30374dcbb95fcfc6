// Package load is the client of the benchmark: closed-loop load over a few
// shared connections, made light so that the machine's cores go to the servers.
//
//   - L1 Client c sends its request number n on connection (c+n) modulo all, so
//     leader and followers are asked equally often, as with etcd's own client.
//   - L2 A latency belongs to a request that began inside the measured window;
//     throughput counts requests that ended inside it; CPU per operation divides
//     what the servers used from the window's start until they were quiet by the
//     requests that ended in that time.
//   - L3 The same seed gives the same requests, whatever the system.
//   - L4 Replies are decoded only when they are checked. Decoding a list of 100
//     keys costs a client as much as sending it costs a server.
//
// Unary requests of a run carry no deadline header: one would arm a timer per
// request in the server. They are cancelled together when the run's time is over.
package load
