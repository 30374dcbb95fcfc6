package etcdraft

import "github.com/quorate/quorate/consensus"

// checkElectionSafety: at most one leader per epoch (§5.2).
func (w *world) checkElectionSafety(h *host) {
	s := h.m.Status()
	if s.Role != consensus.Leader {
		return
	}
	e := s.HardState.Epoch
	if other, ok := w.leaders[e]; ok && other != h.id {
		w.fault("epoch %d has leaders %v and %v", e, other, h.id)
	}
	w.leaders[e] = h.id
}

// checkAll checks the state of the world.
func (w *world) checkAll() {
	for _, h := range w.hosts {
		if h.m != nil {
			h.m.check(w.fault)
			w.checkLeaderCompleteness(h)
		}
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
	s := h.m.Status()
	if s.Role != consensus.Leader {
		return
	}
	for i := len(w.decided); i > 0; i-- {
		d := w.decided[i-1]
		if d.Index <= h.view.released.Index {
			return
		}
		if w.since[i-1] >= s.HardState.Epoch {
			continue
		}
		if e, ok := h.view.entry(d.Index); !ok || !sameEntry(e, d) {
			w.fault("leader %v of epoch %d lacks decided %v, has %v", h.id, s.HardState.Epoch, d, e)
			return
		}
	}
}

// check asserts the invariants on the fields of a machine, and that it knows of raft
// what is so.
func (m *Machine) check(fault func(string, ...any)) {
	l, now := &m.log, m.node.BasicStatus()
	ordered := l.applied <= m.handed && m.handed <= m.learned && m.learned <= m.commit && m.commit <= l.last()
	if !ordered || m.install.index == 0 && l.released > l.applied {
		fault("host %v: released %d applied %d handed %d learned %d commit %d last %d",
			m.id, l.released, l.applied, m.handed, m.learned, m.commit, l.last())
	}
	if m.disk.index > l.last() || m.install.index == 0 && m.disk.index < m.learned {
		fault("host %v: durable %d learned %d last %d", m.id, m.disk.index, m.learned, l.last())
	}
	if l.lastEpoch() > m.hard.Epoch {
		fault("host %v: last epoch %d, hard state %v", m.id, l.lastEpoch(), m.hard)
	}
	if now.GetTerm() != uint64(m.hard.Epoch) || now.GetCommit() != uint64(m.commit) || m.install.index == 0 && now.Applied != uint64(l.applied) {
		fault("host %v: raft has %+v", m.id, now)
	}
	c := fromConfState(confState(&m.active))
	if !c.Equal(&m.active.Membership) {
		fault("host %v: configuration %v becomes %v", m.id, m.active, c)
	}
	if m.role != consensus.Leader {
		if len(m.lead.ids)+len(m.read.queue) > 0 {
			fault("host %v: proposals of a follower: %v %v", m.id, m.lead.ids, m.read.queue)
		}
		return
	}
	if consensus.Index(len(m.lead.ids)) != l.last()+1-m.lead.first || m.lead.start == 0 {
		fault("host %v: %d proposals for [%d,%d], start %d", m.id, len(m.lead.ids), m.lead.first, l.last(), m.lead.start)
	}
	progress := m.node.Status()
	if len(progress.Config.Voters[0]) != len(m.active.Voters) || len(progress.Config.Voters[1]) != len(m.active.Outgoing) {
		fault("host %v: raft has %v, active is %v", m.id, progress.Config, m.active)
	}
}
