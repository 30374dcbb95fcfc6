package paxos

import (
	"slices"

	"github.com/quorate/quorate/consensus"
)

// governs returns the configuration that governs a slot, which follows from the decided
// slots that are α and more before it (P7).
func (w *world) governs(i consensus.Index) consensus.Configuration {
	c := w.first
	for k := range w.decided {
		e := &w.decided[k]
		if e.Index+consensus.Index(w.window) > i {
			break
		}
		if e.Kind == consensus.EntryMembership && e.Orig == w.fences[k] {
			c, _ = consensus.DecodeConfiguration(e.Data)
		}
	}
	return c
}

// count is how many of a configuration's voters a condition holds for.
func (w *world) count(c *consensus.Configuration, holds func(*host) bool) (n int) {
	for _, id := range c.Voters {
		if o := w.host(id); o != nil && holds(o) {
			n++
		}
	}
	return n
}

// quorums returns how many voters decide and how many elect.
func quorums(c *consensus.Configuration) (decide, elect int) {
	n := len(c.Voters)
	decide = n/2 + 1
	if c.WriteQuorum > 0 {
		decide = c.WriteQuorum
	}
	return decide, max(n/2+1, n+1-decide)
}

// checkValues: a slot has one value in an epoch (P1), and who proposes in it has promises
// of those who govern it (P3) and does not go beyond the window (P8).
func (w *world) checkValues(h *host, entries []consensus.Entry) {
	for _, e := range entries {
		at := ballot{e.Index, e.Epoch}
		had, ok := w.values[at]
		if ok && !sameEntry(had, e) {
			w.fault("host %v accepts %v in slot %d of epoch %d, another replica %v", h.id, e, e.Index, e.Epoch, had)
		}
		w.values[at] = e
		if h.m.role != consensus.Leader || e.Index <= consensus.Index(len(w.decided)) {
			continue
		}
		if e.Index > consensus.Index(len(w.decided)+w.window) {
			w.fault("leader %v proposes in slot %d, decided is %d", h.id, e.Index, len(w.decided))
		}
		c := w.governs(e.Index)
		_, elect := quorums(&c)
		if n := w.count(&c, func(o *host) bool { return o.durable.hard.Epoch >= e.Epoch }); n < elect {
			w.fault("leader %v proposes in slot %d of epoch %d with %d promises of %v", h.id, e.Index, e.Epoch, n, c)
		}
	}
}

// checkLearnRule: what is learned was accepted by a quorum in one epoch, on disk (P1).
func (w *world) checkLearnRule(h *host, e *consensus.Entry) {
	c := w.governs(e.Index)
	decide, _ := quorums(&c)
	for at := range w.values {
		if at.slot == e.Index && w.count(&c, func(o *host) bool {
			had, ok := o.durable.entry(e.Index)
			return ok && had.Epoch == at.epoch && sameEntry(had, *e)
		}) >= decide {
			return
		}
	}
	w.fault("host %v learned %v, which no quorum of %v has accepted", h.id, *e, c)
}

// checkHandover: once a change is over, a quorum of the new voters knows durably all that
// the old ones have decided (P7).
func (w *world) checkHandover(h *host, e *consensus.Entry) {
	if e.Kind != consensus.EntryMembership || e.Orig != w.fences[e.Index-1] {
		return
	}
	c, err := consensus.DecodeConfiguration(e.Data)
	if err != nil || c.Joint() {
		return
	}
	decide, _ := quorums(&c)
	at := consensus.Index(0)
	for k := range w.decided {
		x := &w.decided[k]
		if j, err := consensus.DecodeConfiguration(x.Data); x.Kind == consensus.EntryMembership && x.Orig == w.fences[k] && err == nil && j.Joint() {
			at = x.Index
		}
	}
	begin := at + consensus.Index(w.window)
	if e.Index < begin {
		w.fault("host %v: the change at %d is over with %d, the new voters govern from %d on", h.id, at, e.Index, begin)
	}
	if n := w.count(&c, func(o *host) bool { return max(o.durable.decided, o.durable.released.Index)+1 >= begin }); n < decide {
		w.fault("host %v: the change at %d is over with %d, and %d of %v know what was decided before", h.id, at, e.Index, n, c)
	}
}

// checkAll checks the state of the world.
func (w *world) checkAll() {
	for _, h := range w.hosts {
		if h.m != nil {
			h.m.check(w.fault)
		}
	}
}

// check asserts the invariants on the fields of a machine.
func (m *Machine) check(fault func(string, ...any)) {
	l := &m.log
	ordered := m.applied <= m.learned && m.learned <= m.commit && l.released <= m.commit && m.duty.run >= m.commit
	if !ordered || m.duty.installing == 0 && l.released > m.applied {
		fault("host %v: released %d applied %d learned %d commit %d run %d last %d", m.id, l.released, m.applied, m.learned, m.commit, m.duty.run, l.last())
	}
	for i := l.released + 1; i <= l.last(); i++ {
		switch s := l.at(i); {
		case s.epoch > m.hard.Epoch:
			fault("host %v: slot %d accepted in epoch %d, promised %d", m.id, i, s.epoch, m.hard.Epoch)
		case s.epoch == 0 && i <= m.commit:
			fault("host %v: slot %d is decided and a hole", m.id, i)
		}
	}
	if n := l.known.Len(); n > 0 && l.at(l.last()).epoch == 0 {
		fault("host %v: the last slot is a hole", m.id)
	}
	if !slices.IsSortedFunc(m.confs, func(a, b configurationAt) int { return int(a.index) - int(b.index) }) || len(m.confs) == 0 {
		fault("host %v: configurations %v", m.id, m.confs)
	}
	if m.role != consensus.Leader {
		return
	}
	open := uint64(0)
	for i := m.lead.settled + 1; i <= m.lead.last; i++ {
		s := l.at(i)
		open += s.cost()
	}
	if m.commit > m.lead.last || m.lead.settled > m.commit || open != m.lead.open {
		fault("host %v: settled %d commit %d last %d, open %d of %d", m.id, m.lead.settled, m.commit, m.lead.last, m.lead.open, open)
	}
	if m.lead.ids.Len() != int(m.lead.last+1-m.lead.first) || m.lead.last > m.commit+m.window {
		fault("host %v: %d proposals for [%d,%d], commit %d", m.id, m.lead.ids.Len(), m.lead.first, m.lead.last, m.commit)
	}
	for i := range m.peers {
		if p := &m.peers[i]; p.id != m.id && p.match >= p.next {
			fault("host %v: peer %v match %d next %d", m.id, p.id, p.match, p.next)
		}
	}
}

// checkOrder: what one leader proposed is applied in its order, each command at most once
// (P6). Of what was never acknowledged some may be missing.
func (c *chaos) checkOrder() {
	at := map[consensus.Epoch]int{}
	for i, e := range c.decided {
		if e.Kind != consensus.EntryCommand || e.Orig != c.fences[i] || string(e.Data) == "last" {
			continue
		}
		rest := c.proposed[e.Orig][at[e.Orig]:]
		k := slices.Index(rest, string(e.Data))
		if k < 0 {
			c.fault("epoch %d proposed %q, %q is applied behind place %d", e.Orig, c.proposed[e.Orig], e.Data, at[e.Orig])
		}
		at[e.Orig] += k + 1
	}
}
