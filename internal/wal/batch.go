package wal

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
)

// Entry is what the log stores.
type Entry = consensus.Entry

// Batch collects what the groups of a node want to be durable next. It is built by
// one goroutine and can be used again after Reset. What is said about one group
// keeps its order; groups have no order among each other. The data of entries is
// referenced, not copied, until Write returns.
type Batch struct {
	parts   []part
	at      map[consensus.GroupID]int // into parts
	size    int
	entries int
}

// part is a section under construction: records, and what changes in meta.
type part struct {
	section
	set    fields
	target meta
}

// fields says which fields of part.target were set.
type fields uint8

const (
	setHardState fields = 1 << iota
	setReleased         // raise the released index to target.released
	setInstalled        // the released index is target.released, whatever it was
	setRemoved          // start from nothing, not from the group's state
	setRepaired         // clear suspect and unknown
	setSuspect          // set suspect
	setDecided          // raise the decided index to target.decided
)

// keptParts bounds what Reset keeps for the next use.
const keptParts = 1024

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	for i := range b.parts {
		clear(b.parts[i].records) // drop references to data
	}
	b.parts = b.parts[:0]
	if len(b.at) > keptParts {
		b.at = nil
		b.parts = nil
	}
	clear(b.at)
	b.size, b.entries = 0, 0
}

// Empty reports whether there is nothing to write.
func (b *Batch) Empty() bool { return len(b.parts) == 0 }

// Size is an upper bound of the bytes that Write will take; compare it with
// Log.MaxBatchBytes.
func (b *Batch) Size() int { return batchHeaderSize + b.size + batchAlign }

// HardState replaces the group's hard state.
func (b *Batch) HardState(g consensus.GroupID, hs consensus.HardState) {
	p := b.part(g)
	p.set |= setHardState
	p.target.hardState = hs
}

// Truncate removes the group's entries at or above from.
func (b *Batch) Truncate(g consensus.GroupID, from consensus.Index) {
	b.record(b.part(g), record{kind: recordTruncate, index: max(from, 1)})
}

// Append writes entries. An entry at an existing index replaces it and leaves its
// neighbours alone; an engine that means "and everything behind it is gone"
// truncates first.
func (b *Batch) Append(g consensus.GroupID, entries []Entry) {
	if len(entries) == 0 {
		return
	}
	p := b.part(g)
	for i := range entries {
		e := &entries[i]
		if e.Index == 0 || e.Index == maxIndex || e.Kind == 0 || len(e.Data) > segmentBytesMax {
			panic(fmt.Sprintf("wal: group %d: entry at index %d of kind %d with %d bytes cannot be", g, e.Index, e.Kind, len(e.Data)))
		}
		b.record(p, record{
			kind: recordEntry, entryKind: e.Kind, index: e.Index, epoch: e.Epoch, orig: e.Orig,
			size: uint32(len(e.Data)), data: e.Data,
		})
		b.size += len(e.Data)
	}
	b.entries += len(entries)
}

// Release says that entries at or below index are not needed any more; epoch is the
// highest first epoch up to there, which in a log without holes is that of the entry at
// index. What is above stays. Releasing less than before changes nothing.
func (b *Batch) Release(g consensus.GroupID, index consensus.Index, epoch consensus.Epoch) {
	p := b.part(g)
	if p.set&(setReleased|setInstalled) != 0 && p.target.released >= index {
		return
	}
	p.set |= setReleased
	p.target.released, p.target.releasedEpoch = index, epoch
}

// Decided says that every entry of the group up to index is decided, and that the log
// holds the decided one or has released it. Saying less than before changes nothing.
func (b *Batch) Decided(g consensus.GroupID, index consensus.Index) {
	p := b.part(g)
	p.set |= setDecided
	p.target.decided = max(p.target.decided, index)
}

// Install says that the group's state now is a snapshot taken at (index, epoch):
// all its entries are gone and its log restarts behind index.
func (b *Batch) Install(g consensus.GroupID, index consensus.Index, epoch consensus.Epoch) {
	p := b.part(g)
	b.record(p, record{kind: recordInstall, index: index})
	p.set = p.set&^setReleased | setInstalled
	p.target.released, p.target.releasedEpoch = index, epoch
}

// Remove says that the group is gone from this node: its hard state and entries
// are forgotten.
func (b *Batch) Remove(g consensus.GroupID) {
	p := b.part(g)
	b.record(p, record{kind: recordRemove})
	p.set = setRemoved
	p.target = meta{}
}

// Repaired says that the caller has made sure of what GroupState.Suspect and the
// open end of GroupState.Faulty leave in doubt: the hard state in the log is at or
// above everything this replica ever promised, and no entry is missing. Single
// entries that are faulty are repaired by appending them again.
//
// Group 0 stands for all groups that the log does not know: a group that is created
// while those are in doubt begins in doubt.
func (b *Batch) Repaired(g consensus.GroupID) {
	p := b.partOf(g)
	p.set |= setRepaired
}

// Suspect keeps a group suspect until Repaired, although what was faulty is truncated
// or released: its replica has still forgotten what it promised.
func (b *Batch) Suspect(g consensus.GroupID) { b.part(g).set |= setSuspect }

func (b *Batch) record(p *part, r record) {
	p.records = append(p.records, r)
	b.size += recordBytesMax
}

func (b *Batch) part(g consensus.GroupID) *part {
	if g == everyGroup {
		panic("wal: group 0 cannot be")
	}
	return b.partOf(g)
}

// partOf finds or starts the section of a group. The pointer is valid until the next call.
func (b *Batch) partOf(g consensus.GroupID) *part {
	if n := len(b.parts); n > 0 && b.parts[n-1].group == g {
		return &b.parts[n-1]
	}
	if i, ok := b.at[g]; ok {
		return &b.parts[i]
	}
	if b.at == nil {
		b.at = make(map[consensus.GroupID]int)
	}
	n := len(b.parts)
	b.at[g] = n
	if n < cap(b.parts) {
		b.parts = b.parts[:n+1]
		b.parts[n] = part{section: section{group: g, records: b.parts[n].records[:0]}}
	} else {
		b.parts = append(b.parts, part{section: section{group: g}})
	}
	b.size += sectionBytesMax
	return &b.parts[n]
}
