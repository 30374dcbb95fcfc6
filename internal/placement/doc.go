// Package placement is the catalog of a cluster: which keyspaces there are, and on which
// nodes their replicas are. It is pure: it reads and makes records of the system keyspace, and
// does not know how they come there. Package ring finds the nodes.
//
// # Records
//
// Keys of the system keyspace, values as JSON. Readers ignore fields that they do not know;
// a record of a later format than theirs is an error, and nothing is done with it.
//
//	keyspaces/NAME   one keyspace: Keyspace
//	shards/next      the id of the next shard, decimal
//
// # Invariants
//
//	L1  A shard's id is given once, for ever: a record is written in one transaction with
//	    the counter.
//	L2  A record's Epoch grows by one with each change of it. Whoever acts on a record says its
//	    epoch, and nobody acts on an earlier one than he has seen.
//	L3  What a shard was founded with (its id, engine and first nodes) never changes: its log
//	    speaks that engine's language, and a replica that has nothing begins with them.
//	L4  A deleted keyspace serves nobody, and can be brought back until its grace is over;
//	    then its record goes, and with it every replica's data.
package placement
