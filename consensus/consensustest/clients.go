package consensustest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/quorate/quorate/consensus"
)

// Outcome is what became of a proposal, as its client sees it.
type Outcome uint8

const (
	// Open proposals have no end yet.
	Open Outcome = iota
	// Decided ones are applied, and not skipped, where they were proposed: the client
	// has been told.
	Decided
	// Skipped ones were decided behind a later leader's entry and have no effect (T6).
	Skipped
	// Answered is a read barrier's good end.
	Answered
	// Dropped ones never enter a log (C8).
	Dropped
	// Unknown ones may still be decided (C8).
	Unknown
	// Lost ones were open when their host crashed, or learned and not yet applied when
	// it took over another state.
	Lost
)

var outcomeNames = [...]string{"open", "decided", "skipped", "answered", "dropped", "unknown", "lost"}

// String names the outcome for traces.
func (o Outcome) String() string { return outcomeNames[o] }

// Proposal is one thing that a client wants.
type Proposal struct {
	ID      consensus.ProposalID
	Kind    consensus.ProposalKind
	Data    string
	Target  consensus.Membership
	Host    consensus.ReplicaID
	Epoch   consensus.Epoch // of the leader that took it
	Outcome Outcome
	// Index is where it was learned by the host that took it, or what a barrier was
	// answered with; zero: not yet.
	Index consensus.Index

	life  int             // of the host
	floor consensus.Index // decided before it was proposed
	times int             // decided and not skipped
}

func (p *Proposal) end(o Outcome) { p.Outcome = o }

// String describes the proposal for faults.
func (p *Proposal) String() string {
	return fmt.Sprintf("proposal %d %q of host %v in epoch %d (%v)", p.ID, p.Data, p.Host, p.Epoch, p.Outcome)
}

// reign is one leadership, as far as proposals are concerned.
type reign struct {
	host  consensus.ReplicaID
	epoch consensus.Epoch
}

// clients follow every proposal to its end.
type clients struct {
	all    []*Proposal // by ID-1
	byData map[string]*Proposal
	latest map[reign]consensus.ProposalID // the last one decided
}

func newClients() clients {
	return clients{byData: map[string]*Proposal{}, latest: map[reign]consensus.ProposalID{}}
}

// Propose proposes commands with this data, all or none. Data must be unique in a
// world: it is how a decision is recognised.
func (w *World) Propose(h *Host, data ...string) ([]*Proposal, error) {
	var taken []*Proposal
	p := consensus.Proposal{Kind: consensus.ProposeCommands}
	for _, text := range data {
		taken = append(taken, &Proposal{Kind: p.Kind, Data: text})
	}
	err := w.propose(h, &p, taken...)
	if err != nil {
		return nil, err
	}
	return taken, nil
}

// Read asks for a read barrier.
func (w *World) Read(h *Host) (*Proposal, error) {
	p := &Proposal{Kind: consensus.ProposeReadBarrier, floor: w.top()}
	err := w.propose(h, &consensus.Proposal{Kind: p.Kind, Now: w.time.reading(h)}, p)
	if err == nil && w.time != nil && h != w.busy {
		w.pump(h)
		if p.Outcome == Answered && len(h.status.Configuration.Voters) > 1 {
			w.time.leased++
		}
	}
	return p, err
}

// Change asks for a membership.
func (w *World) Change(h *Host, target consensus.Membership) (*Proposal, error) {
	p := &Proposal{Kind: consensus.ProposeMembership, Target: target}
	return p, w.propose(h, &consensus.Proposal{Kind: p.Kind, Target: target}, p)
}

// Transfer asks for another leader; zero: anybody.
func (w *World) Transfer(h *Host, to consensus.ReplicaID) error {
	return w.propose(h, &consensus.Proposal{Kind: consensus.ProposeTransfer, Transferee: to})
}

// propose hands a proposal in and checks the answer.
func (w *World) propose(h *Host, p *consensus.Proposal, as ...*Proposal) error {
	before := h.m.Status()
	for _, a := range as {
		a.ID = consensus.ProposalID(len(w.client.all) + 1)
		a.Host, a.life, a.Epoch = h.ID, h.life, before.HardState.Epoch
		w.client.all = append(w.client.all, a)
		if p.Kind == consensus.ProposeCommands {
			if w.client.byData[a.Data] != nil {
				w.fault("the test proposes %q twice", a.Data)
			}
			w.client.byData[a.Data] = a
			p.Commands = append(p.Commands, consensus.Command{ID: a.ID, Data: []byte(a.Data)})
		}
		p.ID = a.ID
	}
	err := h.m.Propose(*p)
	if err == nil && before.Role != consensus.Leader {
		w.fault("host %v, a %v, takes proposals", h.ID, before.Role)
	}
	if err != nil {
		for _, a := range as {
			a.end(Dropped) // nothing was taken
		}
		w.checkRefusal(h, before.Role, err)
		return err
	}
	for _, a := range as {
		h.open[a.ID] = a
	}
	return nil
}

func (w *World) checkRefusal(h *Host, role consensus.Role, err error) {
	known := []error{consensus.ErrNotLeader, consensus.ErrBusy, consensus.ErrInvalid, consensus.ErrMembershipPending, consensus.ErrTransferring}
	if !slices.ContainsFunc(known, func(k error) bool { return errors.Is(err, k) }) {
		w.fault("host %v refuses a proposal with %v", h.ID, err)
	}
	if errors.Is(err, consensus.ErrNotLeader) && role == consensus.Leader {
		w.fault("host %v leads and says %v", h.ID, err)
	}
}

// decided judges an entry that nobody has learned before: only what was proposed,
// once, in its leader's epoch and order.
func (c *clients) decided(w *World, d *Decision) {
	if d.Kind != consensus.EntryCommand {
		return
	}
	p := c.byData[string(d.Data)]
	switch {
	case p == nil:
		w.fault("decided is %s, which nobody proposed", show(&d.Entry))
		return
	case p.Outcome == Dropped:
		w.fault("decided is %s: %v", show(&d.Entry), p)
	case d.Orig != p.Epoch:
		w.fault("decided is %s, handed in as %v", show(&d.Entry), p)
	case d.Skipped:
		return
	}
	if p.times++; p.times > 1 {
		w.fault("decided again is %s: %v", show(&d.Entry), p)
	}
	r := reign{p.Host, p.Epoch}
	if p.ID < c.latest[r] {
		w.fault("decided behind a later one of the same leader is %v", p)
	}
	c.latest[r] = p.ID
}

// learned notes the end of a host's own proposals, as far as it can see now.
func (c *clients) learned(h *Host, e *consensus.Entry) {
	switch e.Kind {
	case consensus.EntryCommand:
		if p := c.byData[string(e.Data)]; p != nil && h.open[p.ID] == p {
			p.Index = e.Index
		}
	case consensus.EntryMembership:
		now, err := consensus.DecodeConfiguration(e.Data)
		for _, p := range h.open {
			if err == nil && p.Kind == consensus.ProposeMembership && p.Target.Equal(&now.Membership) {
				p.Index = e.Index
			}
		}
	}
}

// applied answers the clients of a host whose proposals are in its state now.
func (c *clients) applied(w *World, h *Host, i consensus.Index) {
	for id, p := range h.open {
		if p.Index != i || p.Kind == consensus.ProposeReadBarrier {
			continue
		}
		delete(h.open, id)
		p.end(Decided)
		if w.decided[i-1].Skipped {
			p.end(Skipped)
		}
	}
}

// installed ends what this host has learned and had not applied when a state that
// contains it took the place of its own: nobody here knows what came of it.
func (c *clients) installed(h *Host) {
	for id, p := range h.open {
		if p.Kind != consensus.ProposeReadBarrier && p.Index != 0 && p.Index <= h.applied {
			delete(h.open, id)
			p.end(Lost)
		}
	}
}

// ends checks answers and bad ends of proposals (C8, C9).
func (c *clients) ends(w *World, h *Host, rd *consensus.Ready) {
	for _, r := range rd.Reads {
		p := c.close(w, h, r.ID, Answered)
		switch {
		case p == nil:
		case p.Kind != consensus.ProposeReadBarrier:
			w.fault("host %v answers %v as a read", h.ID, p)
		case r.Index < p.floor:
			w.fault("host %v answers a read at %d, decided before it was %d", h.ID, r.Index, p.floor)
		default:
			p.Index = r.Index
		}
	}
	for _, id := range rd.Unknown {
		c.close(w, h, id, Unknown)
	}
	for _, id := range rd.Dropped {
		if p := c.close(w, h, id, Dropped); p != nil && p.Kind == consensus.ProposeCommands {
			c.checkDropped(w, p)
		}
	}
}

// close ends a proposal, which must be open at this host, and not decided there.
func (c *clients) close(w *World, h *Host, id consensus.ProposalID, o Outcome) *Proposal {
	p := h.open[id]
	switch {
	case p == nil:
		w.fault("host %v says that %d is %v, which is not open there", h.ID, id, o)
		return nil
	case p.Index != 0:
		w.fault("host %v says %v of what it has learned: %v", h.ID, o, p)
	}
	w.tracef("%v: %v is %v", h.ID, p, o)
	delete(h.open, id)
	p.end(o)
	return p
}

// checkDropped: what is dropped is in nobody's log (C8).
func (c *clients) checkDropped(w *World, p *Proposal) {
	if p.times > 0 {
		w.fault("dropped is decided: %v", p)
	}
	for _, h := range w.hosts {
		for _, d := range []*disk{&h.view, &h.durable} {
			for k := range d.slots {
				if bytes.Equal(d.slots[k].Data, []byte(p.Data)) {
					w.fault("dropped is in the log of %v: %v", h.ID, p)
				}
			}
		}
	}
}

// show prints an entry for faults.
func show(e *consensus.Entry) string {
	switch e.Kind {
	case consensus.EntryCommand:
		return fmt.Sprintf("%d/%d (%d) %q", e.Index, e.Orig, e.Epoch, e.Data)
	case consensus.EntryMembership:
		if c, err := consensus.DecodeConfiguration(e.Data); err == nil {
			return fmt.Sprintf("%d/%d (%d) %s", e.Index, e.Orig, e.Epoch, ShowConfiguration(&c))
		}
	}
	return fmt.Sprintf("%d/%d (%d) %v", e.Index, e.Orig, e.Epoch, e.Kind)
}

// ShowConfiguration prints a configuration the way an operator would say it.
func ShowConfiguration(c *consensus.Configuration) string {
	s := "no voters"
	if len(c.Voters) > 0 {
		s = "voters " + showIDs(c.Voters)
	}
	if len(c.Learners) > 0 {
		s += " learners " + showIDs(c.Learners)
	}
	if c.WriteQuorum != 0 {
		s += fmt.Sprintf(" write quorum %d", c.WriteQuorum)
	}
	if c.Joint() {
		s += " outgoing " + showIDs(c.Outgoing)
	}
	if c.Begun != 0 {
		s += fmt.Sprintf(" since %d", c.Begun)
	}
	return s
}

func showIDs(ids []consensus.ReplicaID) string {
	parts := make([]string, len(ids))
	for k, id := range ids {
		parts[k] = id.String()
	}
	return strings.Join(parts, " ")
}
