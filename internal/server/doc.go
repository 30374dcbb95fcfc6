// Package server is a node's face to clients: etcd's v3 API and our own over gRPC, and the
// HTTP/1.1 endpoints for probes and metrics, on one port. Protobuf stops here: below this
// package there are only the store's own types.
//
//	listener ─► port ─┬─ HTTP/2 preface ─► grpc-go ─┬► route ─┬► gate ─► kv, watch, lease, ... ─► Keyspace
//	                  │                             │         └► forward ─► another member's port
//	                  │                             └► keyspaces, nodes, placement ───► Catalog, Cluster
//	                  └─ anything else ──► net/http ─► endpoints ─► probe ────────────► Keyspace
//
// What the server needs from below it declares itself (Keyspace, Node, Catalog, Cluster);
// package node's types come in through them.
//
// # Invariants
//
//	I1  No handler of etcd's API runs before the gate let its call through, and the gate
//	    decides in etcd's order: learner, client version, leader. A handler finds its
//	    keyspace in its context and nowhere else. A call of our own API is about the
//	    cluster: it chooses no keyspace, passes no gate, and is refused on a bound port.
//	I2  A linearizable read takes its View, or its answer from memory, after a Barrier
//	    that was asked for after the read arrived. A serializable one asks nobody.
//	I3  Every error of etcd's API reaches the client with the code and text of errorTable:
//	    clients compare both. Those of our own have a code of catalogCodes and a sentence,
//	    also in etcd's API where etcd has no counterpart (memberErrors).
//	I4  Headers are etcd's: complete on the outermost message, the revision alone inside
//	    a txn, nothing in a nested txn, no revision in lists of members, and a
//	    keep-alive's is made before the renewal.
//	I5  What our codec reads is what proto would read, and what it writes is byte for
//	    byte what proto would write. Bytes that proto refuses are refused.
//	I6  Nothing that a client controls grows without a bound: connections, silent
//	    connections, calls per connection, streams, watchers per stream, headers,
//	    messages, the memory a request decodes into, label values.
//	I7  A watch stream has two goroutines however many watchers it has. Waking it never
//	    waits; a slow client holds up its own stream and nothing else.
//	I8  A watch message never ends inside a revision, unless the client asked for
//	    fragments: whoever resumes after the last revision seen has missed nothing.
//	I9  A call that is answered here costs no label lookup, no lock that other calls
//	    share, and no goroutine beside the one that gRPC starts for it.
//	I10 A call for a keyspace on other members is passed on, once, to one of them. It is
//	    tried at another only if it is certain that the first did nothing. The client
//	    sees that member's answer: status, header, trailer, and in etcd's header its id.
//	I11 A call on a connection that is bound to a keyspace, by its port or by its client's
//	    certificate, reaches that keyspace or is refused, whatever it says, and so does
//	    what is passed on of it. A certificate that names a keyspace wrongly reaches none.
//
// # Deliberately absent
//
// ServeHTTP: gRPC runs on grpc-go's own transport, which costs a third. Chained
// interceptors: there is one for unary calls and one for streams. A recover around
// handlers: a broken invariant below must stop the process, not one call.
//
// # Where we differ from etcd, and why it is safe
//
//   - A streamed range is one View from beginning to end. etcd reads chunk by chunk, so
//     that a compaction ends the stream with an error, and repeats or loses keys when
//     the target is not the key.
//   - "too many requests" has the code ResourceExhausted, which etcd's client expects;
//     etcd's server sends Unknown by an oversight.
//   - A progress request that comes while a watcher catches up is answered when it has;
//     etcd stays silent, and clients ask again.
//   - Events that wait for a slow client leave in messages of about a request's size,
//     cut between revisions; etcd sends all of them in one message of any size.
//   - A created watcher's header names the revision at which it was registered, where
//     etcd's may be newer; a client that resumes from it loses nothing.
package server
