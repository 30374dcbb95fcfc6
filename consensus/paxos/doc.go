// Package paxos is Quorate's Multi-Paxos: one replica of one group as a pure state machine
// behind the contract of package consensus. Sources: Lamport, "The Part-Time Parliament"
// (1998) and "Paxos Made Simple" (2001, PMS); van Renesse and Altinbuken, "Paxos Made
// Moderately Complex" (2015, PMMC); Howard, Malkhi and Spiegelman, "Flexible Paxos" (2016);
// Lamport, Malkhi and Zhou, "Reconfiguring a State Machine" (2010, RSM).
//
// # What it promises
//
// Everything the contract asks (C1 to C9, C11, C12), from quorums of voters that can talk to each
// other, whatever is lost, delayed, doubled or reordered between them, and whatever a crash
// takes that was not yet durable. Any voter may come to lead, whatever its log holds: what
// it does not know it finds out in its election.
//
// Each slot is an instance of its own, so values are accepted in any order and leave holes.
// The words are the contract's: an epoch is a ballot's number, an index a slot, to vote is
// to promise.
//
// Reading order: kinds.go (the vocabulary), handlers.go (who does what with which message),
// slots.go and acceptor.go (what is accepted and learned), election.go and proposer.go
// (phase 1), replication.go (phase 2), configuration.go (who governs a slot), then the
// smaller nouns.
//
// # What the driver must know
//
// Beyond the contract:
//   - The log is sparse. Append.Entries come in any order; an entry replaces an earlier one
//     of its slot, which has a lower epoch. Append.Truncate is not used.
//   - An Install leaves the entries above the snapshot's index in the log: an acceptor must
//     not forget what it accepted. Nothing is accepted while an Install is under way.
//   - A candidate reads what its own acceptor holds by a message to itself, a promise: the
//     driver fills and delivers it like any other. It may be lost.
//   - Applying skips an entry whose Orig is below the highest Orig applied before it; the
//     driver keeps that highest Orig with its state. It is Snapshot.Epoch and
//     LogState.ReleasedEpoch (P6).
//   - Not only a leader asks for a snapshot to be streamed: whoever is asked for a promise by
//     a replica that is too far behind does.
//   - Windows count entryOverhead bytes per entry beside its data, and no more slots are open
//     than the window α, so Propose returns ErrBusy at that many, too.
//
// # Invariants
//
//	P1  One value per ballot. In a slot only one replica proposes in an epoch, and only one
//	    value: an acceptor promises an epoch to one replica, and two electing quorums of the
//	    electorate of a slot have a voter in common. A slot is decided when a deciding quorum
//	    of its electorate has durably accepted one epoch's value.
//	P2  Acceptors keep their word. Promised epochs only rise, nothing of a lower epoch than
//	    the promised one is accepted, and an accepted value is replaced only by one of a
//	    higher epoch, or released once it is decided. A promise, its report and an
//	    acknowledgement leave when what they say is durable (C4).
//	P3  Phase 1 (PMS §2.2, P2c). A leader proposes in a slot only with reports from an
//	    electing quorum of the slot's electorate, made after they promised its epoch: the
//	    value of the highest epoch in them if there is one, else a no-op below the last value
//	    reported, else a value of its own.
//	P4  What is released is decided. A report says up to where it leaves slots out because
//	    they are released there, and does not count in those until they are decided here.
//	P5  Learning by watermark. A follower takes a commit index over only as far as it has
//	    accepted each slot in that leader's own epoch: its value is then the decided one.
//	    What it accepted earlier may be something that was never decided.
//	P6  Primary order. An entry keeps the epoch in which it was first proposed, Orig, when it
//	    is proposed again. Of the decided sequence the entries count whose Orig is not below
//	    an earlier one's: otherwise a value that an old leader failed to get decided could be
//	    applied behind those of its successor.
//	P7  Configurations (RSM §4). A configuration decided in slot i governs from slot i+α on,
//	    alone; one that P6 skips governs nothing. The change is over when a deciding quorum of
//	    the new voters knows durably all that the others have decided; until then these
//	    belong to the group and may lead it.
//	P8  The window. Nothing is proposed in a slot above i+α before every slot up to i is
//	    decided and known to the proposer: so it always knows who governs.
//	P9  An epoch is opened only by a replica that electing quorums would promise it: trial
//	    rounds come first, and a replica that hears its leader agrees to none. A leadership
//	    transfer is the exception, at the leader's own wish.
//	P10 Without a lease (C12) a read barrier is answered by a leader that has decided its own barrier, at an index
//	    at or above its commit index of that moment, after deciding quorums of all
//	    electorates above that index have confirmed its epoch in a round that began after
//	    the read barrier was proposed.
//
// # Where this differs from the papers, and why that is safe
//
//   - Ballots are numbers, without a proposer's name in them. An acceptor promises a number
//     once, and electing quorums of one electorate intersect, so a number has one proposer in
//     each slot (P1); that is all that the proofs use the name for. Electing quorums are
//     therefore never smaller than a majority. In different slots, under different
//     configurations, two replicas may use one number at once: a replica that has slept
//     through a change, in slots that are long decided, and the leader behind them. The
//     first can only propose what is decided there, and steps down when the new voters
//     refuse it.
//   - One phase 1 is for all slots without end (PMS §3). A report is sent in parts, of which
//     each is asked for when the one before has arrived, so that it is bounded.
//   - A decided value is accepted like a proposed one, at the ballot of whoever tells: no
//     other value could be proposed there, so nothing can conflict.
//   - Holes are filled with one no-op each, not with one for a range of slots: an entry has
//     one slot, and the window bounds how many there are. One message has them all (ADR 0014
//     has the price).
//   - A leader that holds leases does not override the duty of new voters to another one
//     when it asks them for promises, and hands over only once it is established: it may
//     have slept through the change by which they became voters, and the leader behind that
//     may be answering reads (C12).
//   - A leader does not wait for its own disk before it sends values; like every acceptor it
//     counts once it is durable there.
//   - A follower does not learn each slot by its own acknowledgements of a quorum, but by the
//     leader's commit index (P5); the leader is PMMC's commander for all slots at once.
//   - The decided prefix is written to the log beside other things (Append.Decided). PMMC's
//     replicas remember all; ours would otherwise forget, all at once, that a change of
//     configuration is over, and depend on voters who are gone (P7).
//   - Reports leave out what is released (P4); PMMC §4.2 says that it may be, not how a
//     leader notices.
//   - Of what a leader proposed and nobody has acknowledged, a later command may be applied
//     without an earlier one. Raft never does that. Both ends are Unknown to who proposed
//     them (C8), and what was acknowledged is never skipped: that was applied, with all
//     before it.
//   - The entry that begins a change says its own slot and the write quorum of the voters
//     that go, so that who knows it from a snapshot alone knows who governs. RSM's replicas
//     have all configurations in their state.
//
// # Deliberately absent
//
// Repair of an acceptor's damaged log: New refuses one in doubt (C10). A promise that it has
// forgotten may be on its way to a candidate that no log reveals, and a candidate with any
// log may win here, so the argument that saves Raft's voter does not hold. Remove the
// replica and add it under a new id. Forwarding of proposals. Any look into command data.
// Entries: see package consensus; only what phase 1 has found and not yet
// proposed again is held here.
package paxos
