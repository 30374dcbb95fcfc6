// Package wal is a node's write-ahead log: one for all its consensus groups, and the
// only thing a node syncs on the way of a write.
//
// It stores, for each group, the hard state, the live entries, up to where entries were
// released and, if the engine says so, up to where they are decided. It gives entries back by group and index, and replays itself when it
// is opened. It does not know what an entry means, when it is decided, or which engine
// wrote it: Raft's entries are one run, Paxos' come out of order and leave holes.
//
// # How to use it
//
//	log, err := wal.Open(fs, dir, wal.Options{})
//	for _, g := range log.Groups() { ... log.State(g) ... }
//
//	for {                                   // the writer: one goroutine
//		collect(&batch)                     // whatever arrived during the last sync
//		err := log.Write(&batch)            // one write(2)
//		err = log.Sync()                    // one fdatasync
//		acknowledge(); batch.Reset()
//	}
//
// Write, Sync, Relieve and Close belong to the writer. Read, State, HighestOrig, Holds, Groups,
// Stats, Starved and Maintain may be called from anywhere. An error of Write or Sync
// ends the process unless it is ErrFull (wait, hand waiting batches to Relieve, try
// again) or ErrInvalid (a bug of the caller; nothing was written). Without Maintain a
// new segment file is written in passing, which holds up one batch in a while.
//
// # Invariants
//
// Other files cite these by number.
//
//	W1  Durable means readable. After Sync returns, everything written before is found
//	    by the next Open, whatever happens to the machine. Batches become durable in
//	    the order they were written; none is found in part.
//	W2  The end is torn only behind the last witness. Each batch says up to which
//	    number batches were durable when it was written. Damage at or below the highest
//	    number so declared is loss (W5); damage above it is a write that a crash
//	    interrupted, and the log ends before it. What verifies behind a torn end is made
//	    void by one atomic step, the rename of a new segment that says so (a cut), before
//	    anything is written there.
//	W3  Nothing verifies where it does not belong. Checksums cover the segment's number,
//	    which is never used again although its file is, the offset in it, and for
//	    entries group, index and epochs. What an earlier use of a file left behind, or a
//	    write that went astray, is not taken for part of the log.
//	W4  A segment is given up only when nothing live is in it and the batch that moved
//	    the last of it elsewhere is durable and has a witness. Segments go in the order
//	    of their age; an idle group pins none.
//	W5  Loss is said, never guessed away. An entry whose data is damaged stays in its
//	    place with its epoch and is reported as faulty. When the table of a batch is
//	    lost, every group that may have been in it is reported as suspect, with all the
//	    indexes that it may have changed: a group is cleared if its sections are
//	    numbered without a gap across the loss, and a group that the log does not know
//	    at all is suspect too. Such marks are part of the group's state: they outlive
//	    the damage, and go only by what makes the matter certain (the entry written
//	    again, truncated or released; a snapshot installed) or by Batch.Repaired. Open
//	    moves all that is live out of segments with a lost batch and gives them up, so
//	    that damage which a later Open finds is not taken for one that was settled.
//	W6  An error of a sync or a write is final. Nothing is acknowledged after it.
//	W7  A full disk tears nothing. A batch with entries is taken only while one more
//	    segment is ready behind it; that reserve is for what gives space back.
//	W8  Lengths are checked before memory is taken for them. Open takes memory in
//	    proportion to the largest batch and to what is live.
//
// # What the caller must do
//
// A suspect group may have promised more than its hard state says: its replica neither
// votes nor promises, nor counts as having accepted the indexes in GroupState.Faulty,
// until it has made sure with its peers. It then writes Batch.Repaired. A state whose
// applied index is ahead of the log restarts as from a snapshot: Batch.Install at that
// index. In a log with holes that, and a snapshot, is a Release: an acceptor forgets
// nothing that it has accepted above.
//
// # Deliberately absent
//
// Timers and goroutines: batches form by arrival, at the caller. Compression. Choosing
// the emptiest segment to reclaim: see reclaim.go. A checksum over a whole batch: each
// entry has its own, so that a damaged one does not cost its neighbours, and can be read
// alone.
//
// # What cannot be told
//
// Damage of the last batches, those behind the last witness, cannot be told from a torn
// write: they are cut off. That is at most what one sync covered, and nothing after a
// clean Close, which writes a witness. The same is true of a disk that says "synced" and
// then forgets: one node loses its end, and only its peers can tell. A disk must not damage the old content of a
// sector that is written again with the same content; batches share sectors.
//
// # Bytes
//
// All integers are little endian; uv is an unsigned varint (encoding/binary). Every
// checksum is a CRC32C. A log is a directory with files of equal size:
//
//	0123456789abcdef.wal    a segment; the digits are its number
//	0123456789abcdef.spare  a file without meaning, ready to become a segment
//	0123456789abcdef.tmp    a file being written for the first time
//	LOCK                    locked while a process has the log open
//
// A segment begins with its header, twice: at 0 and at 4096. Batches stand from 8192 on,
// one behind the other; what follows the last one is zeros or has no meaning.
//
//	offset size  segment header
//	     0    8  "quoraWAL"
//	     8    4  format version: 1
//	    12    4  key id: 0, not encrypted
//	    16    8  segment number
//	    24    8  bytes of the file
//	    32    8  cut: 0, or the number of the first batch in earlier segments that is void
//	    40    8  number of the segment before this one; 0 in the first
//	    48   16  identity of the node
//	    64   12  zero
//	    76    4  checksum of bytes 0 to 75
//
//	offset size  batch, at a multiple of 8
//	     0    4  "QBAt"
//	     4    4  checksum of: segment number (8), offset in the segment (8), bytes 8 to 47
//	     8    4  size of the batch, a multiple of 8
//	    12    4  size of header and table
//	    16    8  number of the batch: 1, 2, 3, ... without gap
//	    24    8  every batch up to this number is durable (W2)
//	    32    8  number of the first segment that is still needed (W4)
//	    40    4  checksum of: segment number (8), offset in the segment (8), the table
//	    44    4  zero
//	    48       table: sections until its end
//	             data of the entries, in the order of the table
//	             zeros up to the size
//
//	size  section: what the batch says about one group
//	  uv  group; 0 stands for all groups that the log does not know (W5)
//	   4  step: the group's sections are numbered 1, 2, 3, ... modulo 2^32
//	   1  flags: 1 suspect, 2 span present, 4 group is gone, 8 decided present
//	  uv  hard state: epoch
//	  uv  hard state: vote
//	  uv  released index
//	  uv  highest first epoch up to the released index
//	  uv  with flag 2: first index in doubt
//	  uv  with flag 2: index behind the last in doubt
//	  uv  with flag 8: every index up to this one is decided
//	  uv  number of records
//	      records
//
//	size  record
//	   1  kind: 1 entry, 2 lost entry, 3 truncate, 4 install, 5 remove
//	  uv  kinds 1, 2, 3: index
//	  uv  kinds 1, 2: epoch
//	  uv  kinds 1, 2: epoch in which it was first proposed
//	   1  kinds 1, 2: entry kind
//	  uv  kinds 1, 2: bytes of data; a lost entry has none in the batch
//	   4  kind 1: checksum of: segment number (8), offset of the data in the segment (8),
//	      group (8), index (8), epoch (8), first epoch (8), entry kind (1), data
//
// What a section says about hard state, release and doubt holds after the batch; its
// records are carried out in their order. A group's newest section is therefore all
// there is to know about it besides its entries, and a lost older one is made up for.
package wal
