package raft

import (
	"github.com/quorate/quorate/consensus"
)

// checkElectionSafety: at most one leader per epoch (§5.2).
func (w *world) checkElectionSafety(h *host) {
	if h.m.role != consensus.Leader {
		return
	}
	e := h.m.hard.Epoch
	if other, ok := w.leaders[e]; ok && other != h.id {
		w.fault("epoch %d has leaders %v and %v", e, other, h.id)
	}
	w.leaders[e] = h.id
}

// checkAll checks the state of the world.
func (w *world) checkAll() {
	for _, h := range w.hosts {
		if h.m == nil {
			continue
		}
		h.m.check(w.fault)
		w.checkLeaderCompleteness(h)
	}
	w.checkLogMatching()
}

// checkLogMatching: entries of equal index and epoch are equal, and so is
// everything before them (§5.3).
func (w *world) checkLogMatching() {
	for a := range w.hosts {
		for b := range a {
			x, y := &w.hosts[a].view, &w.hosts[b].view
			same := false
			for i := min(x.last(), y.last()); ; i-- {
				ex, okx := x.entry(i)
				ey, oky := y.entry(i)
				if !okx || !oky {
					break
				}
				same = same || ex.Epoch == ey.Epoch
				if same && !sameEntry(ex, ey) {
					w.fault("hosts %v and %v differ at %d below a common entry: %v, %v", w.hosts[a].id, w.hosts[b].id, i, ex, ey)
				}
			}
		}
	}
}

// checkLeaderCompleteness: what was decided in an earlier epoch is in a leader's log
// (§5.4). The epoch that counts is the one of the decision, not the entry's own.
func (w *world) checkLeaderCompleteness(h *host) {
	if h.m.role != consensus.Leader {
		return
	}
	for i := len(w.decided); i > 0; i-- {
		d := w.decided[i-1]
		if d.Index <= h.view.released.Index {
			return
		}
		if w.since[i-1] >= h.m.hard.Epoch {
			continue
		}
		if e, ok := h.view.entry(d.Index); !ok || !sameEntry(e, d) {
			w.fault("leader %v of epoch %d lacks decided %v, has %v", h.id, h.m.hard.Epoch, d, e)
			return
		}
	}
}

// check asserts the invariants on the fields of a machine.
func (m *Machine) check(fault func(string, ...any)) {
	l := &m.log
	ordered := m.applied <= m.learned && m.learned <= m.commit && m.commit <= l.last && l.released <= l.last
	if !ordered || m.duty.installing == 0 && l.released > m.applied {
		fault("host %v: released %d applied %d learned %d commit %d last %d", m.id, l.released, m.applied, m.learned, m.commit, l.last)
	}
	if m.disk.index > l.last {
		fault("host %v: durable %d last %d", m.id, m.disk.index, l.last)
	}
	if m.role == consensus.Follower && (m.duty.verified < m.commit || m.duty.verified > l.last) {
		fault("host %v: commit %d verified %d last %d", m.id, m.commit, m.duty.verified, l.last)
	}
	if l.totals.Len() != int(l.last-l.released)+1 {
		fault("host %v: %d totals for (%d,%d]", m.id, l.totals.Len(), l.released, l.last)
	}
	for i := range l.runs {
		if i > 0 && (l.runs[i].first <= l.runs[i-1].first || l.runs[i].epoch <= l.runs[i-1].epoch) {
			fault("host %v: epoch runs %v", m.id, l.runs)
		}
	}
	if l.last > l.released && (len(l.runs) == 0 || l.runs[0].first != l.released+1) {
		fault("host %v: epoch runs %v of a log (%d,%d]", m.id, l.runs, l.released, l.last)
	}
	if l.lastEpoch() > m.hard.Epoch {
		fault("host %v: last epoch %d, hard state %v", m.id, l.lastEpoch(), m.hard)
	}
	if m.role != consensus.Leader {
		return
	}
	if m.lead.ids.Len() != int(l.last+1-m.lead.first) {
		fault("host %v: %d proposals for [%d,%d]", m.id, m.lead.ids.Len(), m.lead.first, l.last)
	}
	for i := range m.peers {
		if p := &m.peers[i]; p.id != m.id && p.match >= p.next {
			fault("host %v: peer %v match %d next %d", m.id, p.id, p.match, p.next)
		}
	}
}
