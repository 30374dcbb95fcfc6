package consensustest

import (
	"slices"

	"github.com/quorate/quorate/consensus"
)

// Host drives one machine the way a real driver does, in steps that a test chooses.
type Host struct {
	ID consensus.ReplicaID
	// Stuck disks write nothing while the world settles.
	Stuck bool

	m      consensus.Machine // nil: crashed
	cfg    consensus.Config
	life   int              // incarnations so far
	seq    consensus.Seq    // of the latest append handed out
	status consensus.Status // after the latest Ready

	installs int // asked for by all incarnations

	view    disk    // the log as the machine believes it
	durable disk    // the log as a crash would leave it
	writes  []write // between view and durable, in order

	due     consensus.Instant // when the next tick is due, in a world with clocks
	learned consensus.Index   // handed out by the machine
	applied consensus.Index   // in the state
	flushed consensus.Index   // of the state: what survives a crash

	// open are the proposals that this incarnation has taken and not ended.
	open map[consensus.ProposalID]*Proposal
}

// Up reports whether the host runs.
func (h *Host) Up() bool { return h.m != nil }

// Status is the machine's own description of itself.
func (h *Host) Status() consensus.Status { return h.m.Status() }

// Applied is the last index in the host's state.
func (h *Host) Applied() consensus.Index { return h.applied }

// Writes is the number of writes on their way to the disk.
func (h *Host) Writes() int { return len(h.writes) }

func (h *Host) epoch() consensus.Epoch { return h.status.HardState.Epoch }

// ownEpoch is the epoch that the host leads or runs for, or zero.
func (h *Host) ownEpoch() consensus.Epoch {
	if h.status.Role == consensus.Leader || h.status.Role == consensus.Candidate {
		return h.epoch()
	}
	return 0
}

func (h *Host) leads() bool { return h.m != nil && h.status.Role == consensus.Leader }

func (h *Host) installing() bool {
	return slices.ContainsFunc(h.writes, func(w write) bool { return w.install != nil })
}

// Start makes a machine from what the disk holds.
func (w *World) Start(h *Host) {
	c := w.defaults(h.ID)
	h.applied, h.learned, c.Applied = h.flushed, h.flushed, h.flushed
	if h.flushed > h.durable.released.Index && w.ahead(h) {
		h.durable.replace(w.at(h.flushed))
	}
	h.view = h.durable.clone()
	c.HardState, c.Log = h.view.hard, h.view.state()
	m, err := w.engine.New(c)
	if err != nil {
		w.fault("host %v does not restart: %v", h.ID, err)
		return
	}
	h.m, h.cfg = m, c
	h.life++
	h.due = 0
	h.seq = 0
	h.open = map[consensus.ProposalID]*Proposal{}
	h.status = m.Status()
	w.tracef("%v starts: %+v, log (%d,%d], applied %d", h.ID, c.HardState, h.view.released.Index, h.view.end(), c.Applied)
	w.touched(h)
}

// ahead reports whether the state is ahead of its log: the log lacks what was applied.
// The last entry shows it in a log without holes; a sparse one may hold what this replica
// accepted before another value was decided, so the engine itself says up to where it is good.
func (w *World) ahead(h *Host) bool {
	if w.engine.Sparse {
		return h.flushed > h.durable.decided
	}
	e, ok := h.durable.entry(h.flushed)
	return !ok || e.Epoch != w.at(h.flushed).Epoch
}

// Crash stops a host. Of its writes the first survive, and of the one after them
// its hard state and n entries; nothing of it if n is negative.
func (w *World) Crash(h *Host, survive, n int) {
	if h.m == nil {
		return
	}
	w.tracef("%v crashes, %d of %d writes survive", h.ID, survive, len(h.writes))
	for k := range h.writes {
		wr := h.writes[k]
		if k > survive || k == survive && (n < 0 || wr.install != nil) {
			break
		}
		if k == survive {
			wr = wr.torn(n)
		}
		w.perform(h, &wr)
	}
	h.m, h.writes = nil, nil
	h.applied, h.learned = h.flushed, h.flushed
	for _, p := range h.open {
		p.end(Lost)
	}
	h.open = nil
}

// perform makes a write durable.
func (w *World) perform(h *Host, wr *write) {
	if err := h.durable.perform(wr); err != nil {
		w.fault("disk of %v: %v", h.ID, err)
	}
	if wr.install != nil {
		h.applied, h.flushed = wr.install.Index, wr.install.Index
		w.client.installed(h)
	}
}

// Rot takes from a crashed host's log what was durable: the entries behind keep, and
// the hard state if it is not given (C10).
func (w *World) Rot(h *Host, keep consensus.Index, hard consensus.HardState) {
	d := &h.durable
	w.rotten = true
	d.doubt, d.hard = true, hard
	if keep < d.end() {
		d.slots = slices.Clone(d.slots[:max(keep, d.released.Index)-d.released.Index])
	}
	for k := range d.slots {
		d.hard.Epoch = max(d.hard.Epoch, d.slots[k].Epoch)
	}
	d.hard.Epoch = max(d.hard.Epoch, d.released.Epoch)
	w.tracef("%v loses its log behind %d, hard state %+v", h.ID, d.end(), d.hard)
}

// Sync makes the first n writes durable and lets go of what waited for them.
func (w *World) Sync(h *Host, n int) {
	for range min(n, len(h.writes)) {
		wr := h.writes[0]
		h.writes = h.writes[1:]
		w.perform(h, &wr)
		if wr.install != nil {
			if w.engine.Sparse {
				w.performView(h, &wr)
			}
			w.tracef("%v has installed %d", h.ID, wr.install.Index)
			h.m.Done(consensus.Done{Applied: wr.install.Index})
			continue
		}
		w.tracef("%v has append %d", h.ID, wr.seq)
		h.m.Done(consensus.Done{Durable: wr.seq})
		for _, msg := range wr.after {
			w.leave(h, msg, wr.own)
		}
	}
	w.touched(h)
}

// SyncAtOnce makes all appends up to the next install durable and acknowledges the
// last one only.
func (w *World) SyncAtOnce(h *Host) {
	if h.m == nil {
		return
	}
	n := slices.IndexFunc(h.writes, func(wr write) bool { return wr.install != nil })
	if n < 0 {
		n = len(h.writes)
	}
	done := h.writes[:n]
	h.writes = h.writes[n:]
	for k := range done {
		w.perform(h, &done[k])
	}
	if n > 0 {
		w.tracef("%v has all up to append %d", h.ID, done[n-1].seq)
		h.m.Done(consensus.Done{Durable: done[n-1].seq})
	}
	for k := range done {
		for _, msg := range done[k].after {
			w.leave(h, msg, done[k].own)
		}
	}
	w.touched(h)
}

// Apply applies up to n learned entries.
func (w *World) Apply(h *Host, n int) {
	before := h.applied
	for range n {
		if h.applied >= h.learned || h.installing() {
			break
		}
		h.applied++
		w.client.applied(w, h, h.applied)
	}
	if h.applied > before {
		w.tracef("%v has applied up to %d", h.ID, h.applied)
		h.m.Done(consensus.Done{Applied: h.applied})
		w.touched(h)
	}
}

// Flush makes the state durable as it is.
func (w *World) Flush(h *Host) {
	if !h.installing() {
		h.flushed = h.applied
	}
}

// Release cuts the log at or below i, as far as that is allowed (T4).
func (w *World) Release(h *Host, i consensus.Index) {
	w.Flush(h)
	i = min(i, h.flushed)
	for k := range h.writes {
		if low := h.writes[k].lowest(); low > 0 {
			i = min(i, low-1)
		}
	}
	if i <= h.durable.released.Index || h.installing() {
		return
	}
	h.durable.release(w.at(i))
	h.view.release(w.at(i))
	w.tracef("%v releases up to %d", h.ID, i)
	h.m.Done(consensus.Done{Released: i})
	w.touched(h)
}

// Peer tells a host of a change of its connection to another.
func (w *World) Peer(h *Host, id consensus.ReplicaID, s consensus.PeerState) {
	w.tracef("%v hears of its connection to %v: %d", h.ID, id, s)
	h.m.Done(consensus.Done{Peer: id, State: s})
	w.touched(h)
}
