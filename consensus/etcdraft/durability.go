package etcdraft

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/quorate/quorate/consensus"
)

// flight is an append that the driver has and that is not durable yet.
type flight struct {
	last consensus.Index // last index of the log, as far as this append and later truncations leave it
	hard consensus.HardState
	// own are raft's messages to itself that wait for this append.
	own []*raftpb.Message
}

// durability follows appends from the machine to the disk, by Seq (C6).
type durability struct {
	issued  consensus.Seq // of the latest append handed out
	durable consensus.Seq // Invariant: durable <= issued
	// flights holds the appends (durable, issued] in order.
	flights []flight
	// index is the last index of the present log known durable. Invariant: at most
	// the log's last index.
	index consensus.Index
	// hard is the durable hard state, handed the latest one handed out.
	hard, handed consensus.HardState
}

// handOut numbers an append that leaves the log at last.
func (d *durability) handOut(last consensus.Index, hard consensus.HardState, own []*raftpb.Message) {
	d.issued++
	d.handed = hard
	d.flights = append(d.flights, flight{last, hard, own})
}

// join adds messages to the latest append, which must be under way.
func (d *durability) join(own []*raftpb.Message) {
	f := &d.flights[len(d.flights)-1]
	f.own = append(f.own, own...)
}

// acknowledge records that every append up to seq is durable and returns what waited
// for them.
func (d *durability) acknowledge(seq consensus.Seq) []*raftpb.Message {
	if seq > d.issued {
		panic(fmt.Sprintf("etcdraft: append %d reported durable, the latest is %d", seq, d.issued))
	}
	if seq <= d.durable {
		return nil
	}
	k := int(seq - d.durable)
	var own []*raftpb.Message
	for i := range k {
		f := &d.flights[i]
		d.index, d.hard = max(d.index, f.last), f.hard
		own = append(own, f.own...)
	}
	clear(d.flights[:k])
	d.flights, d.durable = d.flights[k:], seq
	return own
}

// truncate makes sure that no append already on its way counts for an entry at or
// above from, nor for an index that is about to be written anew.
func (d *durability) truncate(from consensus.Index) {
	d.index = min(d.index, from-1)
	for i := range d.flights {
		d.flights[i].last = min(d.flights[i].last, from-1)
	}
}

// settled reports whether everything handed out is durable.
func (d *durability) settled() bool { return d.durable == d.issued }
