package paxos

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/quorate/quorate/consensus"
)

// FuzzStep feeds one machine whatever comes: forged messages, ticks, proposals,
// news of connections, in any order, with a driver that is correct. It must never
// panic or break an invariant on its fields, and a refused message must leave
// everything as it was.
func FuzzStep(f *testing.F) {
	rng := rand.New(rand.NewPCG(7, 7))
	for range 50 {
		seed := make([]byte, 400)
		for i := range seed {
			seed[i] = byte(rng.Uint32())
			if rng.IntN(3) > 0 {
				seed[i] %= 8
			}
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) { forge(t, data, nil) })
}

func forge(t *testing.T, data []byte, c *Coverage) {
	g := &forger{t: t, rest: data}
	g.start()
	g.m.Cover(c)
	for len(g.rest) > 0 {
		g.act()
		g.m.check(func(format string, args ...any) { t.Fatalf(format, args...) })
	}
}

// TestStepForged runs the fuzz target on random input, which covers more of it per
// second than the fuzzer does, and enters every cell of the handler table.
func TestStepForged(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 13))
	data := make([]byte, 2000)
	var coverage Coverage
	for n := range *forgeries / slow {
		for i := range data {
			data[i] = byte(rng.Uint32())
			if n%2 == 0 && rng.IntN(3) > 0 {
				data[i] %= 16
			}
		}
		func() {
			defer func() {
				if r := recover(); r != nil {
					t.Fatalf("input %d: %v", n, r)
				}
			}()
			forge(t, data, &coverage)
		}()
	}
	for _, cell := range Cells(&coverage) {
		if cell.Count == 0 && slow == 1 {
			t.Errorf("%s × %s was not entered", cell.Row, cell.Kind)
		}
	}
}

var forgeries = flag.Int("paxos.forgeries", 1500, "random inputs of TestStepForged")

// forger drives a machine and speaks for everybody else.
type forger struct {
	t      *testing.T
	rest   []byte
	m      *Machine
	log    disk
	seq    consensus.Seq
	states []consensus.Index // installs that are not complete
	upTo   consensus.Index   // learned
	own    []consensus.Message
}

func (g *forger) next() byte {
	if len(g.rest) == 0 {
		return 0
	}
	b := g.rest[0]
	g.rest = g.rest[1:]
	return b
}

func (g *forger) start() {
	w := newWorld(uint64(g.next()))
	c := w.defaults(1)
	c.Log.Configuration = [...]consensus.Configuration{voters(1, 2, 3), voters(1), voters(2, 3), {}}[g.next()%4]
	g.log.entries = map[consensus.Index]consensus.Entry{}
	m, err := New(c, 1+int(g.next()%8))
	if err != nil {
		g.t.Fatal(err)
	}
	g.m = m
}

func (g *forger) act() {
	switch b := g.next() % 16; b {
	case 0:
		g.m.Tick()
	case 1:
		for range 30 {
			g.m.Tick()
		}
	case 2:
		_ = g.m.Propose(consensus.Proposal{Kind: consensus.ProposeCommands, Commands: []consensus.Command{{ID: 1, Data: make([]byte, g.next())}}})
	case 3:
		_ = g.m.Propose(consensus.Proposal{Kind: consensus.ProposeReadBarrier, ID: 2})
	case 4:
		_ = g.m.Propose(consensus.Proposal{Kind: consensus.ProposeMembership, ID: 3, Target: g.membership()})
	case 5:
		_ = g.m.Propose(consensus.Proposal{Kind: consensus.ProposeTransfer, Transferee: consensus.ReplicaID(g.next() % 4)})
	case 6:
		g.drain()
		for _, msg := range g.own { // what it has told itself, and perhaps what others answer
			if g.next()%8 == 0 || msg.Epoch != g.m.hard.Epoch {
				continue
			}
			g.step(msg)
			for from := consensus.ReplicaID(2); from <= 3 && g.next()%4 > 0; from++ {
				g.step(consensus.Message{Kind: KindPromise, Group: 1, From: from, To: 1, Epoch: msg.Epoch, Index: msg.Index, Hint: msg.Index, Round: uint64(msg.Index)})
			}
		}
		g.own = nil
	case 7:
		g.m.Done(consensus.Done{Durable: g.seq})
	case 8:
		g.apply()
	case 9:
		g.m.Done(consensus.Done{Released: min(g.m.applied, consensus.Index(g.next()))})
	case 10:
		g.m.Done(consensus.Done{Peer: consensus.ReplicaID(g.next() % 4), State: consensus.PeerState(g.next() % 3)})
	case 11:
		g.m.Done(consensus.Done{SnapshotSent: consensus.SnapshotSent{
			To: consensus.ReplicaID(g.next() % 4), Index: consensus.Index(g.next()), OK: g.next()%2 == 0}})
	default:
		g.step(g.message())
	}
}

// step checks that a refusal changes nothing.
func (g *forger) step(msg consensus.Message) {
	before, hard := fmt.Sprintf("%+v", g.m.Status()), g.m.hard
	queued := len(g.m.queue.send) + len(g.m.queue.afterSync) + len(g.m.queue.entries)
	err := g.m.Step(msg)
	if g.m.hard.Epoch < hard.Epoch || g.m.hard.Epoch == hard.Epoch && hard.Vote != 0 && g.m.hard.Vote != hard.Vote {
		g.t.Fatalf("hard state regresses from %v to %v", hard, g.m.hard)
	}
	if err == nil {
		return
	}
	if after := fmt.Sprintf("%+v", g.m.Status()); after != before {
		g.t.Fatalf("%v\nchanged from\n%s to\n%s", err, before, after)
	}
	if n := len(g.m.queue.send) + len(g.m.queue.afterSync) + len(g.m.queue.entries); n != queued {
		g.t.Fatalf("%v: %d pieces of work, were %d", err, n, queued)
	}
}

// number is mostly near what the machine has, sometimes small, sometimes absurd.
func (g *forger) number(near uint64) uint64 {
	switch b := g.next(); {
	case b < 40:
		return uint64(b % 8)
	case b < 248:
		return near + [8]uint64{0, 0, 0, 0, 0, 1, 1, math.MaxUint64}[b%8]
	case b < 252:
		return positionMax - uint64(b%3)
	default:
		return math.MaxUint64 - uint64(b%2)
	}
}

func (g *forger) index() consensus.Index {
	return consensus.Index(g.number(uint64(g.m.log.last())))
}

func (g *forger) epoch() consensus.Epoch {
	return consensus.Epoch(g.number(uint64(g.m.hard.Epoch)))
}

func (g *forger) message() consensus.Message {
	flags := g.next()
	msg := consensus.Message{
		Kind: consensus.MessageKind(g.next() % (kindCount + 1)), Group: 1, To: 1,
		From: [8]consensus.ReplicaID{2, 2, 2, 3, 3, 3, 4, 1}[g.next()%8], Epoch: g.epoch(),
		Index: g.index(), Commit: g.index(), Reject: flags&1 != 0, Force: flags&2 != 0,
	}
	if flags&24 == 24 {
		msg.Hint, msg.Round = g.index(), g.number(g.m.read.round)
	}
	if flags&96 == 96 {
		msg.IndexEpoch, msg.HintEpoch, msg.Doubt = g.epoch(), consensus.Epoch(flags%2), uint64(flags%2)
	}
	if msg.Kind == KindPromise { // usually one that makes sense
		msg.From = [8]consensus.ReplicaID{1, 1, 2, 2, 2, 3, 3, 4}[g.next()%8]
		msg.Hint, msg.Round = msg.Index+consensus.Index(g.next()%4), uint64(msg.Index)+uint64(g.next()%5)
		msg.Reject = msg.Reject && g.next()%8 == 0 // too many end each lead at once
	}
	if msg.Kind == KindSnapshot {
		msg.Snapshot = &consensus.Snapshot{Index: g.index(), Epoch: g.epoch(), Configuration: consensus.Configuration{Membership: g.membership()}}
	}
	if carriesEntries(msg.Kind) {
		g.entries(&msg)
	}
	return msg
}

func (g *forger) entries(msg *consensus.Message) {
	for k := range int(g.next() % 5) {
		epoch := max(1, msg.Epoch-consensus.Epoch(g.next()%3))
		e := consensus.Entry{
			Index: msg.Index + 1 + consensus.Index(k), Epoch: epoch, Orig: max(1, epoch-consensus.Epoch(g.next()%2)),
			Kind: consensus.EntryKind(1 + g.next()%2),
		}
		if g.next()%8 == 0 {
			c := consensus.Configuration{Membership: g.membership()}
			if g.next()%2 == 0 {
				c.Outgoing, c.Begun = g.membership().Voters, e.Index
			}
			e.Kind, e.Data = consensus.EntryMembership, consensus.AppendConfiguration(nil, &c)
		}
		msg.Entries = append(msg.Entries, e)
	}
}

// membership is usually valid.
func (g *forger) membership() (target consensus.Membership) {
	for b, id := g.next(), consensus.ReplicaID(1); id <= 4; id++ {
		switch (b >> (2 * (id - 1))) & 3 {
		case 0, 1:
			target.Voters = append(target.Voters, id)
		case 2:
			target.Learners = append(target.Learners, id)
		}
	}
	return target
}

// drain does what a correct driver does with each Ready, except that disk and
// state answer later, if at all.
func (g *forger) drain() {
	for rd, ok := g.m.Ready(); ok; rd, ok = g.m.Ready() {
		g.log.perform(&write{hard: rd.Append.HardState, entries: rd.Append.Entries, decided: rd.Append.Decided})
		g.seq = rd.Append.Seq
		if rd.Install != nil {
			g.log.perform(&write{install: rd.Install})
			g.states = append(g.states, rd.Install.Index)
			g.upTo = rd.Install.Index
		}
		if !rd.Learned.Empty() {
			if rd.Learned.Lo != g.upTo+1 || rd.Learned.Hi-1 > g.log.last() {
				g.t.Fatalf("learned %v after %d with a log up to %d", rd.Learned, g.upTo, g.log.last())
			}
			g.upTo = rd.Learned.Hi - 1
		}
		for _, msg := range append(rd.Send, rd.AfterSync...) {
			if msg.To == 1 && msg.FillFrom(g.log.entry, int(g.m.limit.messageCost)) {
				g.own = append(g.own, msg)
			}
		}
		for i := range rd.Send {
			// (A report may be overtaken by a snapshot: the driver drops it then, C5.)
			if fill := rd.Send[i].Fill; !fill.Empty() && fill.Lo > g.m.log.released && fill.Hi-1 > g.log.last() {
				g.t.Fatalf("%+v of a log (%d,%d]", rd.Send[i], g.m.log.released, g.log.last())
			}
		}
	}
}

func (g *forger) apply() {
	g.drain()
	g.states = nil
	if g.upTo > 0 {
		g.m.Done(consensus.Done{Applied: g.upTo})
	}
}
