package consensustest

import (
	"errors"
	"slices"

	"github.com/quorate/quorate/consensus"
)

// touched is called when a machine has got an input.
func (w *World) touched(h *Host) {
	if h != w.busy && !w.lazy {
		w.pump(h)
	}
}

// pump drains a machine's Ready and checks what it says.
func (w *World) pump(h *Host) {
	if h.m == nil {
		return
	}
	for n := 0; ; n++ {
		rd, ok := h.m.Ready()
		if !ok {
			break
		}
		if n > 1000 {
			w.fault("host %v always has more to do: %+v", h.ID, rd)
		}
		h.status = h.m.Status()
		w.take(h, rd)
	}
	h.status = h.m.Status()
	w.checkStatus(h)
}

// take does the work of one Ready, in the order that package consensus asks for.
func (w *World) take(h *Host, rd *consensus.Ready) {
	w.checkLeader(h)
	if w.ready != nil {
		w.ready(h, rd)
	}
	wr := newWrite(rd)
	if h != w.busy && !w.lazy { // else it may have agreed to another's trial first, in this very epoch
		wr.own = h.ownEpoch()
	}
	w.performView(h, &wr)
	if !rd.Append.Empty() {
		w.tracef("%v writes %d: hard %+v, truncate %d, %d entries", h.ID, wr.seq, wr.hard, wr.truncate, len(wr.entries))
	}
	w.checkSeq(h, &wr, rd.Append.Empty())
	for _, msgs := range [][]consensus.Message{rd.Send, wr.after} {
		for k := range msgs {
			w.checkSize(h, &msgs[k])
		}
	}
	if len(wr.after) > 0 || !rd.Append.Empty() {
		h.writes = append(h.writes, wr)
	}
	for _, msg := range rd.Send {
		w.leave(h, msg, wr.own)
	}
	if rd.Install != nil {
		w.install(h, rd.Install)
	}
	w.learn(h, rd.Learned)
	w.client.ends(w, h, rd)
	for _, to := range rd.NeedSnapshot {
		w.stream(h, to)
	}
}

func (w *World) install(h *Host, s *consensus.Snapshot) {
	w.checkInstall(h, s)
	in := write{install: &consensus.Snapshot{Index: s.Index, Epoch: s.Epoch, Configuration: s.Configuration.Clone()}}
	if !w.engine.Sparse { // what is above is not touched, so a sparse log changes when the state is there
		w.performView(h, &in)
	}
	w.tracef("%v installs %d", h.ID, s.Index)
	h.installs++
	h.writes = append(h.writes, in)
	h.learned = s.Index
}

func (w *World) performView(h *Host, wr *write) {
	if err := h.view.perform(wr); err != nil {
		w.fault("host %v: %v", h.ID, err)
	}
}

// leave fills a message from the log (C5) and puts it on the network.
func (w *World) leave(h *Host, msg consensus.Message, own consensus.Epoch) {
	w.checkMessage(h, &msg, own)
	if !msg.FillFrom(h.view.entry, h.cfg.MessageBytes) {
		w.tracef("%v cannot fill %s to %v with %v", h.ID, w.engine.KindName(msg.Kind), msg.To, msg.Fill)
		return
	}
	if w.sent != nil {
		w.sent(msg)
	}
	w.net = append(w.net, packet{Message: msg})
}

// stream sends the applied state, as the driver does beside the contract.
func (w *World) stream(h *Host, to consensus.ReplicaID) {
	s := w.at(h.applied)
	w.tracef("%v streams %d to %v", h.ID, s.Index, to)
	msg := consensus.Message{
		Kind: consensus.KindSnapshot, Group: 1, From: h.ID, To: to, Epoch: h.epoch(), Snapshot: &s,
	}
	if w.sent != nil {
		w.sent(msg)
	}
	w.net = append(w.net, packet{msg, h.life})
}

// Deliver takes message k off the network and hands it to its addressee, who may
// refuse it. Between replicas that are cut off it is lost.
func (w *World) Deliver(k int) error {
	p := w.net[k]
	w.net = slices.Delete(w.net, k, k+1)
	return w.arrive(p, p.From == p.To || !w.cut[link{p.From, p.To}])
}

// Drop loses message k.
func (w *World) Drop(k int) {
	p := w.net[k]
	w.net = slices.Delete(w.net, k, k+1)
	_ = w.arrive(p, false)
}

// dropAll loses everything that is under way.
func (w *World) dropAll() {
	for len(w.net) > 0 {
		w.Drop(0)
	}
}

// Double puts message k on the network once more. The copy of a state is nobody's
// stream any more: an outcome comes once (T7).
func (w *World) Double(k int) {
	p := w.net[k]
	p.life = 0
	w.net = append(w.net, p)
}

func (w *World) arrive(p packet, ok bool) error {
	var err error
	to := w.Host(p.To)
	if ok = ok && to != nil && to.m != nil; ok {
		w.tracef("%v>%v %s epoch %d index %d/%d commit %d, %d entries",
			p.From, p.To, w.engine.KindName(p.Kind), p.Epoch, p.Index, p.IndexEpoch, p.Commit, len(p.Entries))
		if err = to.m.Step(p.Message); err != nil {
			w.tracef("refused: %v", err)
		}
		w.touched(to)
	}
	if from := w.Host(p.From); p.life != 0 && from != nil && from.m != nil && from.life == p.life {
		w.tracef("%v streamed %d to %v: %v", p.From, p.Snapshot.Index, p.To, ok)
		from.m.Done(consensus.Done{SnapshotSent: consensus.SnapshotSent{To: p.To, Index: p.Snapshot.Index, OK: ok}})
		w.touched(from)
	}
	return err
}

// acceptable faults an error that no message of a correct replica may cause.
// Membership is the exception: a replica may not know yet, or no longer.
func (w *World) acceptable(err error) {
	if err != nil && !errors.Is(err, consensus.ErrNotMember) {
		w.fault("a correct replica's message is refused: %v", err)
	}
}

// Cut loses what two replicas say to each other, in both directions.
func (w *World) Cut(a, b consensus.ReplicaID) {
	w.CutOneWay(a, b)
	w.CutOneWay(b, a)
}

// CutOneWay loses what one replica says to another.
func (w *World) CutOneWay(from, to consensus.ReplicaID) {
	w.tracef("what %v says to %v is lost", from, to)
	w.cut[link{from, to}] = true
}

// Isolate cuts a replica off from all others.
func (w *World) Isolate(id consensus.ReplicaID) {
	for _, o := range w.hosts {
		if o.ID != id {
			w.Cut(id, o.ID)
		}
	}
}

// Heal mends every connection.
func (w *World) Heal() {
	w.tracef("all connections are mended")
	clear(w.cut)
}

// Partition cuts these replicas off from all others, and leaves them together.
func (w *World) Partition(ids ...consensus.ReplicaID) {
	for _, o := range w.hosts {
		for _, id := range ids {
			if !slices.Contains(ids, o.ID) {
				w.Cut(id, o.ID)
			}
		}
	}
}
