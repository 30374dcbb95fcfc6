// Package placement is the catalog of a cluster: which nodes and keyspaces there are, where the
// replicas of these are, and how they get to where they should be. It is pure: it reads and makes
// records of the system keyspace, and does not know how they come there. Package ring finds the nodes.
//
//	catalog.go     the records as one node knows them
//	change.go      how keyspaces come, change and go
//	keyspace.go    a keyspace's record, shard.go where its replicas are
//	member.go      a node's record, membership.go how nodes come and go
//	plan.go        what should move: a step that whoever leads the system keyspace takes for all
//	load.go        what nodes report of their work, balance.go what moves for it
//	duty.go        which replicas a node opens, and which it erases
//	move.go        how it moves: steps that each shard's leader takes for its own
//
// # Records
//
// Keys of the system keyspace, values as JSON. Readers ignore fields that they do not know;
// a record of a later format than theirs is an error, and nothing is done with it.
//
//	keyspaces/NAME     one keyspace: Keyspace
//	own/NAME           likewise, of the two that every cluster has; until it is written they
//	                   are where they were founded
//	members/ID         one node, by its id in hex: Member
//	loads/ID           what a node has to do: Load
//	removed/ID         what is left of a node that is gone for good: Removed
//	shards/next        the id of the next shard, decimal
//	members-next       how many nodes have joined, decimal
//	members-room       how many changes counted on room for replicas, decimal
//	placement/paused   "true": nothing moves unless somebody asks for it
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
//	L5  A replica moves in steps, each of which is a change of the record or of the shard's
//	    membership, never both: the plan records an arrival, which becomes a learner; when it has
//	    everything the shard's leader records that it votes in place of another one, and makes
//	    that the membership; whom it replaces stays a learner until its clients are answered, and then
//	    records that it has gone. The next step follows from the record and the membership alone.
//	    If who was to vote cannot, the record goes back to what the membership is; and for
//	    whom does not answer and votes no more the leader records that it has gone.
//	L6  Of a shard's replicas no two ever have the same incarnation. One that comes back to a
//	    node where another one has been is a new one: what that has promised is forgotten there.
//	L7  Nobody votes before he has caught up as a learner, and a membership is asked for only
//	    if most of its voters answer and have caught up.
//	L8  No shard begins to move while it has no quorum that answers, at most so many move at a
//	    time, and of each one replica. Shards whose quorum is dead do not count; if it comes back,
//	    or if one goes back by L5, a few more may be on the move.
//	L9  The leader of a shard acts on a record that it has read after it came to lead, and only
//	    for as long as it does: whoever led before it, and whatever was recorded then, counts.
//	L10 What moves for its load keeps the ring's caps and zones, moves only while nothing must, and
//	    then stays for a while. With constant loads such moves end.
//	L11 A replica's data goes only when the catalog that names it no more is durable on its node: a
//	    restart with an earlier one would open the replica again, under the id under which it has
//	    promised something, and without its promises. And it goes only when that catalog holds all that was
//	    recorded before the process began: else a crash may have taken the node back to one that does not
//	    name the replica yet. Which replica's data a disk has is written on
//	    it: a record that names another one says nothing of what the rest of an earlier one is worth.
package placement
