package consensustest

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/quorate/quorate/consensus"
)

// Inside is what a dialogue needs of an engine beyond the contract.
type Inside struct {
	// Campaign lets the election timer of a machine fire.
	Campaign func(consensus.Machine)
	// Silence makes a machine believe that it has not heard its leader for an election timeout.
	Silence func(consensus.Machine)
	// Election says which messages belong to an election.
	Election func(consensus.MessageKind) bool
	// Message prints a message; states are printed without it.
	Message func(*consensus.Message) string
	// Check reports which of the engine's own invariants its fields break.
	Check func(m consensus.Machine, fault func(format string, args ...any))
}

// Dialogues replays transcripts of one engine, which show each message, epoch and index:
// pattern names their files. A machine is asked for work when a command is through: what
// one command hands it is answered together. With -rewrite the output is written anew.
//
//	group voters=(1,2,3) [learners=(4)] [write=N] [message=N] [uncommitted=N]   new hosts
//	add 4                      a host with an empty log and no configuration
//	campaign 1                 the election timer of 1 fires
//	elect 1 [with=(2,3)]       nobody has heard a leader, 1 campaigns, only election
//	                           messages between these (or all) travel, in silence
//	tick [1] [n=10]            n ticks of one host or all
//	propose 1 a b c [id=7]     commands, as one batch; id names the proposal in the output
//	read 1 [id=7]              transfer 1 [to=2]
//	change 1 voters=(…) [learners=(…)] [write=N] [id=7]
//	deliver|drop [from=1] [to=2] [kind=append] [keep]   what is under way now and matches
//	cut 1 2 | isolate 1 | heal lose what is said between hosts
//	sync 1 [n=1]               the next n writes become durable
//	silence [1]                has not heard its leader for an election timeout
//	apply 1                    apply what is learned
//	stabilize                  sync, apply and deliver until nothing is left
//	crash 1 [keep=N] [torn=N]  all writes but the first N are lost; of the next one the
//	                           hard state and N entries survive
//	restart 1 | release 1 upto=5 | reset 2 peer=1 | unreachable 1 peer=2
//	status [1] | log [1] | net | decided   the log is what the machine has written, durable
//	                           or not; of a host that is down, what survives
//
// An entry is printed as index/epoch and what it is, and behind of the epoch in which it was
// proposed first, if that is another one. The word quiet behind a command keeps its output
// out of the file. Other commands are those of Transcripts.
func Dialogues(t *testing.T, engine consensus.Engine, opts Options, inside Inside, pattern string) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts in %s: %v", pattern, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			p := &play{engine: engine, opts: opts, inside: &inside}
			datadriven.RunTest(t, file, p.run(t, spoken))
		})
	}
}

// spoken are the commands that a dialogue has beside those of every transcript, or instead.
var spoken map[string]func(*play)

func init() {
	spoken = map[string]func(*play){
		"campaign":  func(p *play) { p.inside.Campaign(p.at().m) },
		"elect":     (*play).electAlone,
		"silence":   func(p *play) { p.silence(p.some()) },
		"propose":   (*play).proposeNamed,
		"read":      func(p *play) { q, err := p.Read(p.at()); p.name("read", q); p.reason(err) },
		"change":    func(p *play) { q, err := p.Change(p.at(), p.membership()); p.name("change", q); p.reason(err) },
		"transfer":  func(p *play) { p.reason(p.Transfer(p.at(), consensus.ReplicaID(p.number("to", 0)))) },
		"deliver":   func(p *play) { p.each(p.hand) },
		"drop":      func(p *play) { p.each(func(k int) { p.print("lost %s", p.message(&p.net[k].Message)); p.Drop(k) }) },
		"net":       func(p *play) { p.under(func(k int) bool { p.print("%s", p.message(&p.net[k].Message)); return true }) },
		"stabilize": (*play).rest,
		"release":   func(p *play) { p.Release(p.at(), consensus.Index(p.number("upto", 0))) },
		"status":    (*play).statusAloud,
		"log":       (*play).logs,
		"decided":   (*play).decidedAloud,
	}
}

// reason prints the whole of a refusal.
func (p *play) reason(err error) {
	if err != nil {
		p.print("refused: %v", err)
	}
}

// name names proposals as the command says.
func (p *play) name(otherwise string, qs ...*Proposal) {
	if id := p.arg("id"); len(id) > 0 {
		otherwise = id[0]
	}
	for _, q := range qs {
		p.names[q] = otherwise
	}
}

func (p *play) proposeNamed() {
	data := p.words()[1:]
	qs, err := p.Propose(p.at(), data...)
	p.reason(err)
	for _, q := range qs {
		p.name(q.Data, q)
	}
}

// proposal is what the transcript calls a proposal.
func (p *play) proposal(id consensus.ProposalID) string { return p.names[p.client.all[id-1]] }

func (p *play) silence(hosts []*Host) {
	for _, h := range hosts {
		if h.m != nil {
			p.inside.Silence(h.m)
		}
	}
}

func (p *play) electAlone() {
	h, with := p.at(), p.ids("with")
	in := func(id consensus.ReplicaID) bool {
		return id == h.ID || with == nil || slices.Contains(with, id)
	}
	p.silence(p.hosts)
	quiet := p.quiet
	p.quiet = true
	for n := range 24 { // a replica may first have to learn of a later epoch
		if n%8 == 0 && !h.leads() {
			p.inside.Campaign(h.m)
		}
		p.pumpAll()
		for _, o := range p.hosts {
			if o.m != nil && in(o.ID) {
				p.Sync(o, len(o.writes))
			}
		}
		for k := 0; k < len(p.net); {
			switch m := &p.net[k]; {
			case !p.inside.Election(m.Kind):
				k++
			case in(m.From) && in(m.To):
				p.hand(k)
			default:
				p.Drop(k)
			}
		}
	}
	p.quiet = quiet
	s := h.m.Status()
	p.status(&s)
}

func (p *play) hand(k int) {
	msg := p.net[k].Message
	if err := p.Deliver(k); err != nil {
		p.print("%s: refused: %v", p.message(&msg), err)
	}
}

func (p *play) rest() {
	p.Stabilize()
	for _, h := range p.hosts {
		if h.m != nil {
			p.inside.Check(h.m, p.fault)
		}
	}
}

func (p *play) statusAloud() {
	for _, h := range p.some() {
		if h.m == nil {
			p.print("%v: down", h.ID)
			continue
		}
		s := h.m.Status()
		p.status(&s)
	}
}

func (p *play) logs() {
	for _, h := range p.some() {
		line, log := h.ID.String()+":", &h.view
		if h.m == nil {
			log = &h.durable
		}
		for k := range log.slots {
			if e := &log.slots[k]; e.Index != 0 {
				line += " [" + ShowEntry(e) + "]"
			}
		}
		p.print("%s", line)
	}
}

// decidedAloud prints the whole sequence, and what of it does not count (C11).
func (p *play) decidedAloud() {
	for k := range p.World.decided {
		d := &p.World.decided[k]
		skipped := ""
		if d.Skipped {
			skipped = " skipped"
		}
		p.print("%s%s", ShowEntry(&d.Entry), skipped)
	}
}
