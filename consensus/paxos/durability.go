package paxos

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/internal/ring"
)

// flight is an append that the driver has and that is not durable yet.
type flight struct {
	hard consensus.HardState
	// run is up to where, with this append, everything is decided or accepted in the
	// epoch of hard: as a leader what it has proposed, as a follower what it has heard.
	run consensus.Index
	// decided is what the log knows to be decided, with this append.
	decided consensus.Index
}

// durability follows appends from the machine to the disk. Acknowledgements come by
// Seq (C6).
type durability struct {
	issued  consensus.Seq // of the latest append handed out
	durable consensus.Seq // Invariant: durable <= issued
	// flights holds the appends (durable, issued] in order.
	flights ring.Ring[flight]
	// hard is the durable hard state, handed the latest one handed out.
	hard, handed consensus.HardState
	// run is flight.run of the latest durable append.
	run consensus.Index
	// decided is up to where the log knows durably that all is decided, told the last that
	// it was handed.
	decided, told consensus.Index
}

// handOut numbers an append.
func (d *durability) handOut(hard consensus.HardState, run, decided consensus.Index) consensus.Seq {
	d.issued++
	d.handed, d.told = hard, decided
	d.flights.Push(flight{hard, run, decided})
	return d.issued
}

// acknowledge records that every append up to seq is durable.
func (d *durability) acknowledge(seq consensus.Seq) {
	if seq > d.issued {
		panic(fmt.Sprintf("paxos: append %d reported durable, the latest is %d", seq, d.issued))
	}
	if seq <= d.durable {
		return
	}
	f := d.flights.At(int(seq - d.durable - 1))
	d.hard, d.run, d.decided = f.hard, f.run, f.decided
	d.flights.PopFront(int(seq - d.durable))
	d.durable = seq
}

// settled reports whether everything handed out is durable.
func (d *durability) settled() bool { return d.durable == d.issued }

// runIn is up to where what was accepted in an epoch is durable.
func (d *durability) runIn(epoch consensus.Epoch) consensus.Index {
	if d.hard.Epoch != epoch {
		return 0
	}
	return d.run
}
