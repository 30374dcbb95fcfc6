// Package consensustest is the conformance suite of package consensus: what an
// engine must do to be driven by Quorate, as tests that know nothing of the engine
// but the contract. One call runs all of it:
//
//	func TestConformance(t *testing.T) { consensustest.Run(t, myengine.Engine, consensustest.Options{}) }
//
// A World is a cluster in one goroutine from one seed. It drives its machines as a
// faithful driver does, with a disk that is late, a network that loses, doubles and
// reorders, and crashes that take everything that was not durable. While it runs it
// checks the contract on everything that the machines hand out. Chaos draws a whole
// life of a cluster from a seed; the other tests stage the situations that chance
// rarely finds; testdata holds some of them as text. Dialogues replays an engine's own, with
// each message. A Timed is a World in which messages
// and disks take their time; with it package scenarios compares engines.
//
// # Invariants
//
// What the World promises to an engine. C1 to C12 are those of package consensus.
//
//	T1  Determinism. A run is a function of engine, options and seed: there is no
//	    clock, goroutine or global chance, and no map is iterated where order shows.
//	T2  A disk performs appends in order of Seq (C7). A crash leaves any number of
//	    them and, of the next one, any prefix of its entries, behind its hard state
//	    and truncation.
//	T3  What waits for a Seq leaves when it is durable, from the log as it is then
//	    (C5). A crash takes what still waits.
//	T4  The log is released only at or below the flushed state and below everything
//	    that is still on its way to the disk.
//	T5  An install is in the same queue as the appends. Until it is done nothing is
//	    applied or released.
//	T6  A state is applied in order. An entry whose Orig is below one applied before
//	    is skipped: its command has no effect and its configuration does not come into
//	    force. In an engine whose leaders have all earlier entries this never happens.
//	    Snapshot.Epoch and LogState.ReleasedEpoch are the highest Orig up to there.
//	T7  Every NeedSnapshot gets one outcome, unless the machine dies first.
//	T8  A check asks only for what the contract says, or for progress under conditions
//	    in which every usable engine makes it. Who wins an election, which messages
//	    are sent, at which index something stands and how many barriers there are is
//	    the engine's business.
//
// # What is checked
//
// At each step: agreement (C1), order (C2), own epochs durable before use (C3),
// decided entries durable with enough voters (C4), hard states that never regress,
// one leader per epoch, limits of messages and windows, barriers at or above what was
// decided before (C9), proposals that end once and truly (C8), only proposed data,
// once, in the leader's order and in the epoch it was handed in for, and that a replica
// refuses what another one says with nothing but ErrNotMember. At the end of a run,
// after healing: progress, equal replicas, and an end to every proposal.
//
// # For authors of an engine
//
// Begin with the transcripts: each is a page to read, and fails at a line. Then the
// staged situations, then random clusters; a failure there prints the command that
// replays it, and -consensustest.trace prints all that happened on the way. Options say
// how an engine keeps its log and when a decision is durable. A transcript's line that
// cannot hold for an engine gets names in front and a comment that explains it.
//
// # Deliberately absent
//
// Linearizability of a store on top (the simulator's business), a judgement of speed, and
// any look into an engine. What only one engine promises is tested beside that engine.
package consensustest
