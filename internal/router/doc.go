// Package router finds the leader of a request's shard and gets the request
// there: keyspace → shard → leader here or elsewhere.
//
// A Router belongs to one node and is stepped by the owner of its shard.Host:
// inputs, then Flush, then Host.Process. It has no goroutine, clock or lock.
//
//	Submit ──► leader here?  ── yes ─► Host.Propose ─► ... ─► applied here ─► answer
//	             │ no
//	             └─► PacketForward to the leader's router ─► Host.Propose there
//	                 (the entry comes back by replication and is answered here)
//
//	Barrier ─► one round for all that wait, asked of the leader; answered when
//	           this node has applied the round's index, and then read locally
//
// # Invariants
//
//	P1  A command is handed in for one epoch at a time. It is handed in again only
//	    after the leader refused it or an entry of a later epoch was applied here
//	    (H7 of package shard): it enters the log at most once, whatever happens.
//	P2  A command whose fate is not known when its deadline comes, or when a
//	    snapshot skips the entries it may be in, is answered with an error that
//	    says so, and never handed in again.
//	P3  A barrier round is asked for after every request in it arrived, so that its
//	    index covers everything acknowledged before them (C9).
//	P4  A lease is renewed only after a barrier that was asked for after the
//	    holder's request arrived at the leader.
//	P5  Every request ends: by an answer or at its deadline.
package router
