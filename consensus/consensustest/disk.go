package consensustest

import (
	"fmt"
	"slices"

	"github.com/quorate/quorate/consensus"
)

// write is one append on its way to a host's disk, or the install of a snapshot.
type write struct {
	seq      consensus.Seq
	hard     *consensus.HardState
	truncate consensus.Index
	entries  []consensus.Entry
	decided  consensus.Index
	install  *consensus.Snapshot
	repaired bool
	after    []consensus.Message // leave once this is durable (T3)
	own      consensus.Epoch     // that the machine led or ran for when it wrote these; zero: none
}

// newWrite copies what a Ready wants written: its slices are reused.
func newWrite(rd *consensus.Ready) write {
	w := write{
		seq: rd.Append.Seq, truncate: rd.Append.Truncate, decided: rd.Append.Decided, repaired: rd.Append.Repaired,
		entries: slices.Clone(rd.Append.Entries), after: slices.Clone(rd.AfterSync),
	}
	if rd.Append.HardState != nil {
		hard := *rd.Append.HardState
		w.hard = &hard
	}
	return w
}

// empty reports whether there is nothing to write: messages wait for an earlier write.
func (w *write) empty() bool {
	return w.hard == nil && w.truncate == 0 && len(w.entries) == 0 && w.decided == 0 && !w.repaired && w.install == nil
}

// lowest is the first index that a write touches; zero: none.
func (w *write) lowest() consensus.Index {
	low := w.truncate
	if w.install != nil {
		low = 1
	}
	for k := range w.entries {
		if i := w.entries[k].Index; low == 0 || i < low {
			low = i
		}
	}
	return low
}

// torn is what a crash in the middle of a write leaves: the hard state, the
// truncation and n entries (T2).
func (w *write) torn(n int) write {
	t := *w
	if n < len(w.entries) {
		t.decided, t.repaired = 0, false
	}
	t.entries = w.entries[:min(n, len(w.entries))]
	return t
}

// disk is a log as bytes would hold it.
type disk struct {
	sparse   bool // consensus.Engine.Sparse
	hard     consensus.HardState
	released consensus.Snapshot // the position, fence and configuration before the first entry
	decided  consensus.Index    // as the engine has said last
	// slots holds the entry at released.Index+1+k at place k; index zero is a hole.
	slots []consensus.Entry
	doubt bool // something durable was lost (C10)
}

// end is the last index that the log has.
func (d *disk) end() consensus.Index {
	return d.released.Index + consensus.Index(len(d.slots))
}

// entry returns the entry at i, if the log has it.
func (d *disk) entry(i consensus.Index) (consensus.Entry, bool) {
	if i <= d.released.Index || i > d.end() {
		return consensus.Entry{}, false
	}
	e := d.slots[i-d.released.Index-1]
	return e, e.Index != 0
}

// size is the payload of a span, as far as the log has it.
func (d *disk) size(span consensus.Span) (size int) {
	for i := span.Lo; i < span.Hi; i++ {
		e, _ := d.entry(i)
		size += len(e.Data)
	}
	return size
}

// perform does a write. An error names what no engine may ask for.
func (d *disk) perform(w *write) error {
	if w.hard != nil {
		if err := d.promise(*w.hard); err != nil {
			return err
		}
	}
	if w.install != nil {
		d.replace(*w.install)
	}
	if w.truncate != 0 {
		switch {
		case d.sparse:
			return fmt.Errorf("truncation at %d of a sparse log, whose entries are promises", w.truncate)
		case w.truncate <= d.released.Index || w.truncate > d.end():
			return fmt.Errorf("truncation at %d of a log (%d,%d]", w.truncate, d.released.Index, d.end())
		}
		d.slots = slices.Clone(d.slots[:w.truncate-d.released.Index-1])
	}
	for k := range w.entries {
		if err := d.put(&w.entries[k]); err != nil {
			return err
		}
	}
	if w.decided != 0 && w.decided < d.decided {
		return fmt.Errorf("decided falls from %d to %d", d.decided, w.decided)
	}
	d.decided = max(d.decided, w.decided)
	for i := d.released.Index + 1; i <= w.decided; i++ {
		if _, ok := d.entry(i); !ok {
			return fmt.Errorf("decided up to %d, and the log has no entry %d", w.decided, i)
		}
	}
	d.doubt = d.doubt && !w.repaired
	return nil
}

// promise takes a hard state, which never regresses and names one vote per epoch.
func (d *disk) promise(hard consensus.HardState) error {
	revoted := hard.Epoch == d.hard.Epoch && d.hard.Vote != 0 && hard.Vote != d.hard.Vote
	if hard.Epoch < d.hard.Epoch || revoted {
		return fmt.Errorf("hard state goes from %+v to %+v", d.hard, hard)
	}
	d.hard = hard
	return nil
}

func (d *disk) put(e *consensus.Entry) error {
	if e.Epoch == 0 || e.Orig == 0 || e.Orig > e.Epoch {
		return fmt.Errorf("entry %d of epoch %d, orig %d", e.Index, e.Epoch, e.Orig)
	}
	if !d.sparse {
		if e.Index != d.end()+1 {
			return fmt.Errorf("entry %d appended behind %d", e.Index, d.end())
		}
		d.slots = append(d.slots, *e)
		return nil
	}
	if e.Index <= d.released.Index {
		return fmt.Errorf("entry %d written, the log is released up to %d", e.Index, d.released.Index)
	}
	if old, ok := d.entry(e.Index); ok && (e.Epoch < old.Epoch || e.Epoch == old.Epoch && !same(e, &old)) {
		return fmt.Errorf("entry %d of epoch %d overwritten in epoch %d", e.Index, old.Epoch, e.Epoch)
	}
	for d.end() < e.Index {
		d.slots = append(d.slots, consensus.Entry{})
	}
	d.slots[e.Index-d.released.Index-1] = *e
	return nil
}

// release forgets everything up to a state. A dense log that does not reach so far
// starts anew behind it; a sparse one keeps what is above, in any case.
func (d *disk) release(at consensus.Snapshot) {
	switch {
	case at.Index >= d.end():
		d.slots = nil
	case at.Index > d.released.Index:
		d.slots = slices.Clone(d.slots[at.Index-d.released.Index:])
	}
	d.released = at
}

// replace is release for a state that does not follow from this log: the entries of
// a dense log above it may belong to another history.
func (d *disk) replace(at consensus.Snapshot) {
	if !d.sparse {
		d.slots = nil
	}
	d.release(at)
}

func (d *disk) clone() disk {
	c := *d
	c.slots = slices.Clone(d.slots)
	return c
}

// state describes the log to a machine that restarts.
func (d *disk) state() consensus.LogState {
	s := consensus.LogState{
		Released: d.released.Index, ReleasedEpoch: d.released.Epoch,
		Configuration: d.released.Configuration.Clone(), Decided: d.decided, InDoubt: d.doubt,
	}
	for k := range d.slots {
		s.Entries = append(s.Entries, d.slots[k].Info())
	}
	return s
}

// same reports whether two replicas that decide a and b agree (C1). The epoch in
// which a replica accepted a decided entry is its own affair.
func same(a, b *consensus.Entry) bool {
	return a.Index == b.Index && a.Orig == b.Orig && a.Kind == b.Kind && string(a.Data) == string(b.Data)
}
