// Package engine is the ordered byte store below mvcc: one per node, shared by
// all shards, whose keys start with the shard's prefix. It has two
// implementations under one test suite: Pebble on disk and Memory, a persistent
// tree for the simulator.
//
// There is no log of its own here. The consensus log is the only synced write of
// a node; what the engine loses in a crash is applied again from there. That is
// why the caller puts the applied index into the batch that carries its effects,
// and releases the log only below what DurableGet shows.
//
//	E1  A batch is atomic: after any crash the engine holds all of it or nothing.
//	E2  A crash keeps a prefix of the committed batches, in commit order. Within a
//	    node this holds across shards too, except that an ingested span is durable
//	    at once (E4) while older batches of other spans may still be lost.
//	E3  When Flush returns, every batch committed before the call is durable.
//	    DurableGet never shows what a crash could take away.
//	E4  Ingest replaces a span atomically and durably: before and after it, also
//	    across a crash, readers find the whole old content or the whole new one.
//	E5  A snapshot is one point in commit order and does not change, with one
//	    exception: an Ingest over its span shows through. Readers of a span that is
//	    being replaced must be fenced by their owner (mvcc does, see M9).
//	E6  A failed write to disk never turns into a wrong answer: it is an error, or
//	    it ends the process through Options.Fatal.
//
// Deliberately absent: reads through a batch (mvcc keeps the few keys it needs in
// memory, which is cheaper than an indexed batch), transactions, and any knowledge
// of shards.
package engine
