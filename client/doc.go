// Package client is the official etcd client with a keyspace: an ordinary *clientv3.Client
// whose calls go to one keyspace of a cluster, and of its nodes to the one that leads it.
//
//	c, err := client.New(clientv3.Config{Endpoints: endpoints}, "team-a")
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	_, err = c.Put(ctx, "greeting", "hello") // as with any other client of etcd
//
// What takes a *clientv3.Client, package concurrency for example, takes c.Client. Who builds
// clients otherwise gets the choice of a keyspace alone from InKeyspace. Keyspaces manages the
// keyspaces over the same connections.
//
//	client.go    New, and what a Client has beyond etcd's
//	keyspace.go  how a call names its keyspace
//	calls.go     which calls are for the leader, and which may change something
//	routing.go   what happens to a call on its way out and back
//	balancer.go  how a call gets to a node
//	guide.go     what is known of the nodes, and when to ask again
//	survey.go    asking the nodes
//
// # Invariants
//
//	L1  Every call of etcd's services names the keyspace, whatever metadata the caller has
//	    set; calls of other services name none.
//	L2  No call waits for knowledge of the leader. Without it, and while its node cannot be
//	    reached, a call goes to any node that can.
//	L3  This package sends no call again.
//	L4  A write that the client underneath would send again, though its outcome is not
//	    known, is answered before that with Unavailable.
//	L5  The nodes are asked who leads at most once per learnPeriod, however many calls there
//	    are, and not at all while there are none.
//
// # Where calls go
//
// Writes, linearizable reads and streams of keep-alives go to the leader's node: any other
// node would have to ask it, which is one hop more. Serializable reads, watches and the rest
// are spread over the nodes that carry the keyspace; those without it would pass the calls on.
// A stream stays where it is when the leader moves, and is opened again elsewhere by the etcd
// client when its node dies.
//
// Who leads is learned from Cluster.MemberList and Maintenance.Status, asked of every endpoint
// in the background. The header of the first names the node at the endpoint, the second the
// leader, and its header the node that has answered: another one if the keyspace is not here.
// So nothing is concluded from addresses, and endpoints may be aliases, tunnels or those of a
// plain etcd. Keyspaces.Describe knows nothing of the keyspace "default", and on a node without
// a replica no leader. The nodes are asked at the start; after an answer from a newer term, which
// shows that the leader has changed; after Unavailable and DeadlineExceeded; and every
// relearnPeriod. A call that failed so at the leader's node lets the next ones go to any node
// at once.
//
// Only the endpoints of the configuration are ever used. If the leader's node is not among
// them, calls go to any of them; Sync and AutoSyncInterval of etcd's client add the others.
//
// # How
//
// The client underneath has one connection per endpoint and takes them in turns, by gRPC's
// policy round_robin. This package puts a policy of its own in its place, which does the same
// except that it looks into the call's context for a preferred endpoint. So the choice is made
// for each call, at the time when a connection is taken, among those that are up: falling
// back costs nothing, and nothing is torn down when the leader moves. The other ways that
// etcd's client leaves open are worse: to reorder its endpoints cuts connections, and watches
// with them; a resolver of one's own cannot tell a write from a serializable read; a client
// per node has no common retries.
//
// The policy comes with dial options behind those of the configuration. Interceptors of the
// caller stay, outside of ours and inside of etcd's retries. A service config of the caller has no
// effect, as with etcd's client.
//
// # What is sent again, and by whom
//
//	gRPC             what has not left this process, and what the node's HTTP/2 has refused
//	                 unseen: any call
//	etcd's client    reads, after Unavailable, up to MaxUnaryRetries times; watches and
//	                 keep-alives, on a new stream; what a node refused because of an old
//	                 token or as a learner. Writes never after Unavailable, unless its text
//	                 says that there was no connection; but any call after DeadlineExceeded
//	                 or Canceled that came from the other side while the caller's context
//	                 is alive
//	a node           what it has passed on and the other one certainly did not begin
//	this package     nothing (L3)
//
// That last case of etcd's client is not safe: a server which counts the caller's deadline ends
// a little earlier than the caller and may have written all the same, and a write sent again
// is then made twice. L4 closes it. What remains is the caller's: after Unavailable or
// DeadlineExceeded a write may have been made, now or later or never, but once.
//
// # Deliberately absent
//
//   - More than one keyspace per Client: a Client each is cheap, and cannot be confused.
//   - Moving streams to a new leader. They work where they are.
//   - Routing for RangeStream by what it asks: a stream is opened before its request is seen.
package client
