package consensustest

import (
	"slices"

	"github.com/quorate/quorate/consensus"
)

// learn checks order and agreement of what a machine hands out (C1, C2), and takes
// note of what is decided for the first time.
func (w *World) learn(h *Host, span consensus.Span) {
	if span.Empty() {
		return
	}
	w.tracef("%v learns %v", h.ID, span)
	if span.Lo != h.learned+1 {
		w.fault("host %v learns %v behind %d", h.ID, span, h.learned)
	}
	for i := span.Lo; i < span.Hi; i++ {
		e, ok := h.view.entry(i)
		switch {
		case !ok:
			w.fault("host %v learns %d, which its log does not have", h.ID, i)
			return
		case i > w.top():
			w.record(h, &e)
		case !same(&e, &w.decided[i-1].Entry):
			w.fault("host %v learns %s, another replica has learned %s", h.ID, show(&e), show(&w.decided[i-1].Entry))
		}
		w.client.learned(h, &e)
	}
	h.learned = span.Hi - 1
}

// record takes a decision that nobody has learned before.
func (w *World) record(h *Host, e *consensus.Entry) {
	before := w.at(w.top())
	d := Decision{Entry: *e, Skipped: e.Orig < before.Epoch, State: before}
	d.State.Index, d.State.Epoch = e.Index, max(before.Epoch, e.Orig)
	if e.Kind == consensus.EntryMembership && !d.Skipped {
		c, err := consensus.DecodeConfiguration(e.Data)
		if err != nil {
			w.fault("host %v learns a membership that nobody can read: %v", h.ID, err)
		}
		d.State.Configuration = c
	}
	if e.Kind < consensus.EntryCommand || e.Kind > consensus.EntryMembership {
		w.fault("host %v learns %s", h.ID, show(e))
	}
	w.decided = append(w.decided, d)
	w.checkEnough(h, e)
	w.client.decided(w, &d)
}

// checkEnough: what is learned is durable with enough voters (C4).
func (w *World) checkEnough(h *Host, e *consensus.Entry) {
	if w.rotten {
		return // an acknowledgement may have outlived what it acknowledged
	}
	holding := Holding{
		Index: e.Index, Learner: h.status,
		At:    func(i consensus.Index) consensus.Configuration { return w.at(i).Configuration },
		Holds: func(id consensus.ReplicaID) bool { return w.holds(id, e) },
	}
	enough := w.opts.Enough
	if enough == nil {
		enough = Majority
	}
	if !enough(holding) {
		var at []consensus.ReplicaID
		for _, o := range w.hosts {
			if holding.Holds(o.ID) {
				at = append(at, o.ID)
			}
		}
		w.fault("host %v learns %s, which is durable at %v only; configuration %+v",
			h.ID, show(e), at, h.status.Configuration)
	}
}

// holds reports whether a crash of a replica, or one that happened, leaves it with a
// decided entry, in its log or in its state.
func (w *World) holds(id consensus.ReplicaID, e *consensus.Entry) bool {
	h := w.Host(id)
	if h == nil {
		return false
	}
	if e.Index <= h.flushed || e.Index <= h.durable.released.Index {
		return true
	}
	has, ok := h.durable.entry(e.Index)
	return ok && same(&has, e)
}

// checkSeq: appends are numbered without gaps (C6).
func (w *World) checkSeq(h *Host, wr *write, empty bool) {
	want := h.seq
	if !empty {
		want++
	}
	if wr.seq != want && (!empty || len(wr.after) > 0) {
		w.fault("host %v hands out append %d behind %d, empty: %v", h.ID, wr.seq, h.seq, empty)
	}
	h.seq = want
}

// checkMessage: a message is the sender's own and no epoch is used before it is
// durable (C3). Trial messages speak of an epoch that is nobody's yet, and their
// sender is not in it.
func (w *World) checkMessage(h *Host, msg *consensus.Message, own consensus.Epoch) {
	switch {
	case msg.Group != 1 || msg.From != h.ID || msg.To == 0 || msg.To == h.ID && !w.engine.Sparse || msg.Kind == 0:
		w.fault("host %v sends %+v", h.ID, msg)
	case len(msg.Entries) > 0:
		w.fault("host %v fills a message itself: %+v", h.ID, msg)
	}
	if own != 0 && msg.Epoch == own && own > h.durable.hard.Epoch {
		w.fault("host %v leads or runs for epoch %d and says so to %v with %s before its disk has more than epoch %d",
			h.ID, own, msg.To, w.engine.KindName(msg.Kind), h.durable.hard.Epoch)
	}
}

// checkSize: MessageBytes bounds what a machine wants to send in one message, as its log
// is at that moment.
func (w *World) checkSize(h *Host, msg *consensus.Message) {
	if size := h.view.size(msg.Fill); size > h.cfg.MessageBytes && msg.Fill.Len() > 1 {
		w.fault("host %v sends %d bytes in %d entries to %v, the limit is %d",
			h.ID, size, msg.Fill.Len(), msg.To, h.cfg.MessageBytes)
	}
}

// checkInstall: a state that is installed is one that was streamed, and ahead.
func (w *World) checkInstall(h *Host, s *consensus.Snapshot) {
	switch {
	case s.Index <= h.learned:
		w.fault("host %v installs %d, it has learned %d", h.ID, s.Index, h.learned)
	case s.Index > w.top():
		w.fault("host %v installs %d, decided is %d", h.ID, s.Index, w.top())
	default:
		want := w.at(s.Index)
		if s.Epoch != want.Epoch || !sameConfiguration(&s.Configuration, &want.Configuration) {
			w.fault("host %v installs %+v, streamed was %+v", h.ID, *s, want)
		}
	}
}

func sameConfiguration(a, b *consensus.Configuration) bool {
	return a.Equal(&b.Membership) && slices.Equal(a.Outgoing, b.Outgoing)
}

// checkLeader: an epoch has one leader, and everybody who names it names that one.
func (w *World) checkLeader(h *Host) {
	s := &h.status
	if s.Role != consensus.Leader {
		return
	}
	e := s.HardState.Epoch
	if other, ok := w.leaders[e]; ok && other != h.ID {
		w.fault("epoch %d has leaders %v and %v", e, other, h.ID)
	}
	if _, ok := w.leaders[e]; !ok {
		w.tracef("%v leads epoch %d", h.ID, e)
	}
	w.leaders[e] = h.ID
	if s.Leader != h.ID {
		w.fault("host %v leads and names %v the leader", h.ID, s.Leader)
	}
	for k := range s.Peers {
		if p := &s.Peers[k]; p.Inflight > h.cfg.InflightMessages {
			w.fault("host %v has %d messages under way to %v, the limit is %d", h.ID, p.Inflight, p.ID, h.cfg.InflightMessages)
		}
	}
}

// checkStatus: what a machine says of itself fits what it has been told and has
// handed out. Its Ready is drained.
func (w *World) checkStatus(h *Host) {
	w.checkLeader(h)
	s := &h.status
	switch {
	case s.Group != 1 || s.ID != h.ID:
		w.fault("host %v is replica %v of group %d", h.ID, s.ID, s.Group)
	case s.HardState != h.view.hard:
		w.fault("host %v is at %+v and has written %+v", h.ID, s.HardState, h.view.hard)
	case s.Commit < h.learned || s.Commit < s.Applied:
		w.fault("host %v has handed out %d, applied is %d, commit is %d", h.ID, h.learned, s.Applied, s.Commit)
	case s.Durable > s.LastIndex:
		w.fault("host %v has %d durable of %d", h.ID, s.Durable, s.LastIndex)
	case s.InDoubt != h.view.doubt && s.InDoubt != h.durable.doubt:
		w.fault("host %v is in doubt: %v, its log: %v", h.ID, s.InDoubt, h.durable.doubt)
	}
	if other, ok := w.leaders[s.HardState.Epoch]; ok && s.Role == consensus.Follower && s.Leader != 0 && s.Leader != other {
		w.fault("host %v follows %v in epoch %d, which %v leads", h.ID, s.Leader, s.HardState.Epoch, other)
	}
}
