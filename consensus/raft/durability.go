package raft

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/internal/ring"
)

// flight is an append that the driver has and that is not durable yet.
type flight struct {
	last consensus.Index // last index of the log, as far as this append and later truncations leave it
	hard consensus.HardState
}

// durability follows appends from the machine to the disk. Acknowledgements come
// by Seq, never by index and epoch: an entry that was truncated and appended again
// looks the same and is not the same (C6).
type durability struct {
	issued  consensus.Seq // of the latest append handed out
	durable consensus.Seq // Invariant: durable <= issued
	// flights holds the appends (durable, issued] in order.
	flights ring.Ring[flight]
	// index is the last index of the present log known durable. Invariant: at most
	// the log's last index.
	index consensus.Index
	// hard is the durable hard state, handed the latest one handed out.
	hard, handed consensus.HardState
}

// handOut numbers an append that leaves the log at last.
func (d *durability) handOut(last consensus.Index, hard consensus.HardState) consensus.Seq {
	d.issued++
	d.handed = hard
	d.flights.Push(flight{last, hard})
	return d.issued
}

// acknowledge records that every append up to seq is durable.
func (d *durability) acknowledge(seq consensus.Seq) {
	if seq > d.issued {
		panic(fmt.Sprintf("raft: append %d reported durable, the latest is %d", seq, d.issued))
	}
	if seq <= d.durable {
		return
	}
	k := int(seq - d.durable)
	for i := range k {
		d.index = max(d.index, d.flights.At(i).last)
	}
	d.hard = d.flights.At(k - 1).hard
	d.flights.PopFront(k)
	d.durable = seq
}

// truncate makes sure that no append already on its way counts for an entry at or
// above from, nor for an index that is about to be written anew.
func (d *durability) truncate(from consensus.Index) {
	d.index = min(d.index, from-1)
	for i := range d.flights.Len() {
		f := d.flights.At(i)
		f.last = min(f.last, from-1)
	}
}

// settled reports whether everything handed out is durable.
func (d *durability) settled() bool { return d.durable == d.issued }
