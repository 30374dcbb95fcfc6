// Package transport carries consensus messages, forwarded requests, snapshots and
// probes between the nodes of a cluster, over connections that env.Network makes.
//
// Every node dials every other: one connection per direction carries messages, and each
// snapshot has a connection of its own, so that its bytes are never in front of a
// heartbeat. A caller encodes packets straight into the buffer of a peer with Send and
// lets them leave with Flush, which writes little at once, if the kernel takes it without
// waiting; a goroutine per peer writes the rest, whatever gathered during its last write
// in one call. The layers above tolerate loss, so nothing here is retried but
// connections.
//
//	t := transport.New(config)
//	go t.Serve(listener)
//	t.SetPeers(members)            // again after every change of the membership
//	for {                          // the owner's loop
//		t.Send(to, &packet)    // false: lost, go on
//		t.Flush()              // once per round
//	}
//
// # Invariants
//
//	T1  Integrity. A delivered packet was sent by the peer's process to this node: at most
//	    once, unchanged, and within one connection in the order of Send, without gaps.
//	    Between connections packets are lost, also after Send returned true.
//	T2  No caller waits. Send and Flush take a short lock and never wait for a network. A
//	    peer that is slow, stuck or gone fills its own buffer (Limits.PendingBytes) and
//	    loses its own packets, no other's.
//	T3  Delivered packets are the handler's, and alias their frame's memory, which is
//	    not touched again. Keeping one entry keeps its frame (Limits.BatchBytes, or one
//	    large packet) alive.
//	T4  Memory is bounded before it is allocated: a frame by Limits.FrameBytes and, beyond
//	    256 KiB, by what has arrived of it; decoded packets by four times their bytes.
//	T5  A dialler is judged before it is heard: protocol version, cluster, the node it meant
//	    to reach, incarnation, Config.Agree, then Handler.Accept. A refusal is one sentence
//	    that both sides show and log; it is retried every Limits.RefusedRetry. The dialler
//	    judges the acceptor in the same way, Handler.Accept apart.
//	T6  Of each peer the handler hears a sensible story, one event at a time. PeerUp: the
//	    connection to the peer stands. PeerDown(false): it broke or could not be made, or
//	    nothing came from the peer for Limits.IdleTimeout. PeerDown(true): the connection
//	    from the peer ended as when its process dies (EOF or RST without a goodbye, or the
//	    peer came back as another process). Until the next PeerUp, news only gets worse:
//	    at most one PeerDown(false), then at most one PeerDown(true).
//	T7  A snapshot is whole or not there. The handler's reader ends with io.EOF only after
//	    every chunk had its place and checksum and the end marker agreed with the total
//	    length and hash. The sender succeeds only by the receiver's word that it installed
//	    the state.
//	T8  One live connection per (peer, purpose): a newer one replaces the older. A
//	    connection is live once its first frame has arrived, so that what a dialler left
//	    behind long ago replaces nothing.
//	T9  Strangers cost little. Connections that are not live are bounded in number (the
//	    oldest gives way) and time (Limits.HandshakeTimeout), live ones by Limits.Inbound.
//
// PeerDown(true) is a hint: a peer that is alive but whose connection broke without a
// goodbye looks the same. Whoever campaigns on it must be able to be wrong.
//
// # Deliberately absent
//
// Authentication and encryption: they belong to the env.Network that makes connections,
// and Hello.Conn lets Handler.Accept compare what a certificate proves with what a hello
// claims. Without them anyone who reaches the port can claim any identity. Priorities
// between messages: what must not queue behind bulk has a connection of its own. Retries
// and acknowledgements of packets: consensus has its own.
//
// # Bytes
//
// Integers are little-endian; uvarint is Go's. A packet, the unit of Send:
//
//	offset  size  field
//	0       4     length of what follows, at least 52
//	4       1     version (high half, 1) and kind (low half)
//	              kind 1, a consensus message:
//	5       1       message kind, not 0
//	6       2       fields: 1 reject, 2 force; present are 4 epoch, 8 index, 16 index
//	                epoch, 32 commit, 64 round, 128 hint, 256 hint epoch, 512 entries,
//	                1024 snapshot, 2048 doubt
//	8       8       from
//	16      8       to
//	24      uvarint group
//	        uvarint each present number, in the order above
//	                zeros up to offset 56
//	                entries, if present: count uvarint, then each entry:
//	                  kind u8; flags u8: written out are 1 index, 2 epoch, 4 orig
//	                  (otherwise previous index + 1, previous epoch, this epoch; the
//	                  first entry follows the message's index and epoch)
//	                  these as uvarints; size uvarint; data; zeros up to 16 bytes
//	                snapshot, if present: index u64, epoch u64, write quorum u32, counts of
//	                  voters, outgoing voters and learners u32 each, their ids u64 each
//	              kind 2, a forwarded body:
//	5       uvarint size, data, zeros up to offset 56
//
// The least sizes, 56 of a packet and 16 of an entry, are what makes T4 hold: decoded, they
// take 184 and 56 bytes.
//
// A connection opens with a hello from the dialler and a verdict from the acceptor:
//
//	offset  size  field
//	0       8     "\x93QPEER\r\n"
//	8       2     lowest protocol version spoken; in a verdict that accepts: the chosen one
//	10      2     highest; the chosen one
//	12      4     length of the body, at most 4096
//	16      4     CRC32C of bytes 8 to 16 and the body
//	20            body; what a newer build adds at its end is ignored
//
//	hello:    purpose u8 (1 messages, 2 snapshot, 3 probe), expected node u64 (0: unknown),
//	          identity, terms
//	verdict:  reason u8 (0 accepted, 1 version, 2 cluster, 3 node, 4 incarnation, 5 handler,
//	          6 busy, 7 terms), identity, text (u16 length), terms
//	identity: cluster u64, node u64, incarnation u16, disk u64, lowest and highest feature
//	          level u32 each, boot u64 (differs between starts), name (u8 length)
//	terms:    what the ends must agree on, Config.Agree's business (u16 length, at most
//	          1024); missing from earlier builds, as if it were empty
//
// Then frames:
//
//	offset  size  field
//	0       4     CRC32C of everything behind it
//	4       4     length of the payload
//	8       1     kind
//	9             payload
//
//	kind                   from      payload
//	1  packets             dialler   packets, back to back
//	2  ping                dialler   u64 of the dialler's choice
//	3  bye                 dialler   none: the dialler lives and closes on purpose
//	4  echo                acceptor  the ping's payload
//	5  snapshot header     dialler   format u32, bytes u64, body (u32 length), one packet of
//	                                 kind 1 with a snapshot
//	6  snapshot chunk      dialler   offset u64, data (not empty)
//	7  snapshot end        dialler   total u64, xxhash64 of all data u64
//	8  snapshot abort      dialler   text
//	9  snapshot busy       acceptor  none: still at work
//	10 snapshot verdict    acceptor  installed u8 (0 or 1), text
//	11 probe reply         acceptor  flags u8 (1 bootstrapped, 2 member), incarnation u16, body
//
// A message connection carries kinds 1 to 4, a snapshot connection 5, then 6 and 9 any number
// of times, 7 or 8, and 10 at any time as its last; a probe connection 11 alone.
package transport
