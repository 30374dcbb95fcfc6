package consensustest

import (
	"embed"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/quorate/quorate/consensus"
)

//go:embed testdata/*.txt
var transcripts embed.FS

// Transcripts replays testdata/*.txt. Each command acts on a world and prints what
// follows for clients and operators: what is decided, what is in force, how proposals
// ended, who leads. Messages, epochs and indexes are the engine's own and not shown.
//
//	group voters=(1,2,3) [learners=(4)] [message=N] [uncommitted=N]   new hosts
//	add 4                a host with an empty log and no configuration
//	elect 1              settle, and hand over until 1 leads
//	propose 1 a b c      commands, as one batch
//	read 1 name=r        a read barrier
//	change 1 voters=(…) [learners=(…)] | transfer 1 [to=2]
//	tick [1] [n=10]      time passes for one host or all; nothing is delivered
//	stabilize            sync, apply and deliver until nothing is left; no time passes
//	settle [n=10]        tick and stabilize, n times
//	deliver|drop [from=1] [to=2]   what is under way now and matches
//	cut 1 2 | isolate 1 | heal     lose what is said between hosts
//	stop 1 | go 1        the disk of 1 stands still while the world settles
//	sync 1 [n=1] | apply 1 | flush 1 | release 1
//	crash 1 [keep=N] [torn=N]      all writes but the first N are lost; of the next one
//	                     the hard state and N entries survive
//	damage 1             what 1 had on disk is lost (C10)
//	restart 1 | reset 2 peer=1 | unreachable 1 peer=2
//	status [1] | decided | finish  the last heals everything and demands progress
//
// The host "leader" is whoever leads. A line that begins with names and a colon holds
// for these engines only; a comment beside it says why they differ.
func Transcripts(t *testing.T, engine consensus.Engine, opts Options) {
	files, err := transcripts.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := transcripts.ReadFile(path.Join("testdata", f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if skipped(f.Name(), opts) {
			continue
		}
		t.Run(f.Name(), func(t *testing.T) {
			p := &play{engine: engine, opts: opts}
			datadriven.RunTestFromString(t, string(text), p.run(t, nil))
		})
	}
}

// Replay replays one transcript from a file. With -rewrite it writes the output anew;
// commit that only when you can explain every line that changed.
func Replay(t *testing.T, engine consensus.Engine, opts Options, file string) {
	if skipped(path.Base(file), opts) {
		t.Skip("not asked of this engine")
	}
	p := &play{engine: engine, opts: opts}
	datadriven.RunTest(t, file, p.run(t, nil))
}

func skipped(name string, opts Options) bool {
	return strings.HasPrefix(name, "doubt") && !opts.Doubt
}

// play is a world under the hands of a transcript.
type play struct {
	*World
	engine consensus.Engine
	opts   Options
	d      *datadriven.TestData
	out    strings.Builder
	inside *Inside // of a dialogue; else nil
	quiet  bool    // nothing is printed

	names map[*Proposal]string // of all that the transcript has proposed
	seen  map[*Proposal]Outcome
	shown consensus.Index // decisions printed
}

// run returns what performs a command: one of instead, or of commands.
func (p *play) run(t *testing.T, instead map[string]func(*play)) func(*testing.T, *datadriven.TestData) string {
	return func(_ *testing.T, d *datadriven.TestData) string {
		command := instead[d.Cmd]
		if command == nil {
			command = commands[d.Cmd]
		}
		if command == nil {
			t.Fatalf("%s: unknown command %s, have %v and %v", d.Pos, d.Cmd,
				slices.Sorted(maps.Keys(instead)), slices.Sorted(maps.Keys(commands)))
		}
		p.d = d
		p.out.Reset()
		p.quiet = p.flag("quiet")
		err := caught(func() {
			command(p)
			p.pumpAll()
			if p.inside == nil {
				p.events()
			}
		})
		if err != nil {
			t.Fatalf("%s: %s: %v", d.Pos, d.Cmd, err)
		}
		if p.out.Len() == 0 {
			p.out.WriteString("ok\n")
		}
		return merge(d.Expected, p.out.String(), p.engine.Name, p.opts.Like)
	}
}

func (p *play) pumpAll() {
	for _, h := range p.hosts {
		p.pump(h)
	}
}

// remark is a line that holds for some engines only.
var remark = regexp.MustCompile(`^([a-z][a-z0-9-]*(?:,[a-z][a-z0-9-]*)*): (.*)$`)

// merge returns want if an engine of these names may print got there, and got if not.
func merge(want, got string, names ...string) string {
	var mine strings.Builder
	for line := range strings.Lines(want) {
		m := remark.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		switch {
		case m == nil:
			mine.WriteString(line)
		case slices.ContainsFunc(strings.Split(m[1], ","), func(name string) bool { return slices.Contains(names, name) }):
			mine.WriteString(m[2] + "\n")
		}
	}
	if mine.String() == got {
		return want
	}
	return got
}

var commands map[string]func(*play)

func init() {
	commands = map[string]func(*play){
		"group":     (*play).group,
		"add":       func(p *play) { p.Add(p.id(0), consensus.Configuration{}) },
		"elect":     func(p *play) { p.Elect(p.id(0)) },
		"propose":   (*play).proposeAll,
		"read":      (*play).readOne,
		"change":    (*play).change,
		"transfer":  func(p *play) { p.result(p.Transfer(p.at(), consensus.ReplicaID(p.number("to", 0)))) },
		"tick":      (*play).ticks,
		"stabilize": func(p *play) { p.Stabilize() },
		"settle":    func(p *play) { p.Settle(p.number("n", 1)) },
		"deliver":   func(p *play) { p.each(func(k int) { p.deliverInOrder(k) }) },
		"drop":      func(p *play) { p.each(p.Drop) },
		"cut":       func(p *play) { p.Cut(p.id(0), p.id(1)) },
		"isolate":   func(p *play) { p.Isolate(p.at().ID) },
		"heal":      func(p *play) { p.Heal() },
		"stop":      func(p *play) { p.at().Stuck = true },
		"go":        func(p *play) { p.at().Stuck = false },
		"sync":      func(p *play) { p.Sync(p.at(), p.number("n", 1)) },
		"apply":     func(p *play) { p.Apply(p.at(), 1<<30) },
		"flush":     func(p *play) { p.Flush(p.at()) },
		"release":   func(p *play) { p.Release(p.at(), p.at().applied) },
		"crash":     func(p *play) { p.Crash(p.at(), p.number("keep", 0), p.number("torn", -1)) },
		"damage":    func(p *play) { p.damaged(p.at().ID, 0) },
		"restart":   func(p *play) { p.Start(p.at()) },
		"reset":     func(p *play) { p.peer(consensus.PeerReset) },
		"unreachable": func(p *play) {
			p.peer(consensus.PeerUnreachable)
		},
		"status":  (*play).statuses,
		"decided": (*play).decidedAll,
		"finish":  func(p *play) { p.finish() },
	}
}

func (p *play) print(format string, args ...any) {
	if !p.quiet {
		fmt.Fprintf(&p.out, format+"\n", args...)
	}
}

// sentinels are the contract's refusals of proposals, as a transcript prints them.
var sentinels = []error{
	consensus.ErrNotLeader, consensus.ErrBusy, consensus.ErrTransferring, consensus.ErrMembershipPending, consensus.ErrInvalid,
}

func (p *play) result(err error) {
	for _, s := range sentinels {
		if errors.Is(err, s) {
			p.print("refused (%v)", s)
		}
	}
}

// events prints what clients have seen since the last command.
func (p *play) events() {
	var decided []string
	for ; p.shown < p.top(); p.shown++ {
		d := &p.World.decided[p.shown]
		switch {
		case d.Skipped:
		case d.Kind == consensus.EntryCommand:
			if p.named(d) {
				decided = append(decided, string(d.Data))
			}
		case d.Kind == consensus.EntryMembership && !d.State.Configuration.Joint():
			p.printDecided(&decided)
			p.print("in force: %s", ShowConfiguration(&d.State.Configuration))
		}
	}
	p.printDecided(&decided)
	for _, q := range p.client.all {
		if q.Outcome == p.seen[q] {
			continue
		}
		p.seen[q] = q.Outcome
		switch {
		case p.names[q] == "": // finish asks on its own
		case q.Outcome == Decided && q.Kind == consensus.ProposeCommands: // has been printed
		case q.Outcome == Answered:
			p.print("%s answered behind %s", p.names[q], p.behind(q.Index))
		default:
			p.print("%s %v", p.names[q], q.Outcome)
		}
	}
}

func (p *play) printDecided(all *[]string) {
	if len(*all) > 0 {
		p.print("decided %s", strings.Join(*all, " "))
	}
	*all = nil
}

// named reports whether the transcript has proposed a command, and not finish.
func (p *play) named(d *Decision) bool { return p.names[p.client.byData[string(d.Data)]] != "" }

func (p *play) decidedAll() {
	all := "decided"
	for k := range p.World.decided {
		if d := &p.World.decided[k]; !d.Skipped && d.Kind == consensus.EntryCommand && p.named(d) {
			all += " " + string(d.Data)
		}
	}
	p.print("%s", all)
}

// behind names the last command at or below an index.
func (p *play) behind(i consensus.Index) string {
	for ; i > 0; i-- {
		if d := &p.World.decided[i-1]; d.Kind == consensus.EntryCommand && !d.Skipped && p.named(d) {
			return string(d.Data)
		}
	}
	return "nothing"
}

// flags are words that say how a command is to be done.
var flags = []string{"quiet", "keep"}

func (p *play) flag(name string) bool {
	return slices.ContainsFunc(p.d.CmdArgs, func(a datadriven.CmdArg) bool { return a.Key == name && len(a.Vals) == 0 })
}

// words are the arguments that are neither key=value nor flags.
func (p *play) words() (words []string) {
	for _, a := range p.d.CmdArgs {
		if len(a.Vals) == 0 && !slices.Contains(flags, a.Key) {
			words = append(words, a.Key)
		}
	}
	return words
}

// arg returns the values of key=value, nil if it is not there.
func (p *play) arg(key string) []string {
	for _, a := range p.d.CmdArgs {
		if a.Key == key {
			return a.Vals
		}
	}
	return nil
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(fault{err.Error()})
	}
	return n
}

func (p *play) number(key string, otherwise int) int {
	if vals := p.arg(key); len(vals) > 0 {
		return number(vals[0])
	}
	return otherwise
}

func (p *play) ids(key string) (ids []consensus.ReplicaID) {
	for _, v := range p.arg(key) {
		ids = append(ids, consensus.ReplicaID(number(v)))
	}
	return ids
}

func (p *play) id(k int) consensus.ReplicaID {
	words := p.words()
	if k >= len(words) {
		panic(fault{"an argument is missing"})
	}
	if words[k] != "leader" {
		return consensus.ReplicaID(number(words[k]))
	}
	l := p.Leader()
	if l == nil {
		panic(fault{"nobody leads"})
	}
	return l.ID
}

// at is the host that the first argument names.
func (p *play) at() *Host {
	h := p.Host(p.id(0))
	if h == nil {
		panic(fault{"there is no such host"})
	}
	return h
}

// some are the hosts that the first argument names: one, or all.
func (p *play) some() []*Host {
	if words := p.words(); len(words) > 0 {
		return []*Host{p.at()}
	}
	return p.hosts
}

func (p *play) group() {
	p.World = NewWorld(p.engine, p.opts, 1)
	p.names, p.seen, p.shown = map[*Proposal]string{}, map[*Proposal]Outcome{}, 0
	if p.inside != nil {
		p.World.lazy, p.World.ready = true, p.work
	}
	message, uncommitted := p.number("message", 256), p.number("uncommitted", 4096)
	p.Configure = func(c *consensus.Config) { c.MessageBytes, c.UncommittedBytes = message, uncommitted }
	c := consensus.Configuration{Membership: p.membership()}
	for _, id := range slices.Concat(c.Voters, c.Learners) {
		p.Add(id, c)
	}
}

func (p *play) membership() consensus.Membership {
	return consensus.Membership{Voters: p.ids("voters"), Learners: p.ids("learners"), WriteQuorum: p.number("write", 0)}
}

func (p *play) proposeAll() {
	data := p.words()[1:]
	taken, err := p.Propose(p.at(), data...)
	for _, q := range taken {
		p.names[q] = q.Data
	}
	p.taken(err, len(data))
}

func (p *play) readOne() {
	q, err := p.Read(p.at())
	p.names[q] = "read"
	if name := p.arg("name"); len(name) > 0 {
		p.names[q] = name[0]
	}
	p.taken(err, 1)
}

func (p *play) change() {
	q, err := p.Change(p.at(), p.membership())
	p.names[q] = "change"
	p.taken(err, 1)
}

// taken prints a refusal; what was refused has had its end with that.
func (p *play) taken(err error, n int) {
	p.result(err)
	if err != nil {
		for _, q := range p.client.all[len(p.client.all)-n:] {
			p.seen[q] = q.Outcome
		}
	}
}

func (p *play) ticks() {
	for range p.number("n", 1) {
		for _, h := range p.some() {
			p.Tick(h)
			p.pump(h)
		}
	}
}

// each runs do for every message under way that matches from, to and kind. do removes it;
// with keep it removes a copy, which leaves the message under way.
func (p *play) each(do func(k int)) {
	keep := p.flag("keep")
	p.under(func(k int) bool {
		if keep {
			p.net = slices.Insert(p.net, k, p.net[k])
			p.net[k+1].life = 0 // an outcome comes once (T7)
		}
		do(k)
		return keep
	})
}

// under runs do for every message under way that matches. do says whether it is still there.
func (p *play) under(do func(k int) bool) {
	from, to := consensus.ReplicaID(p.number("from", 0)), consensus.ReplicaID(p.number("to", 0))
	kind := p.arg("kind")
	k := 0
	for range len(p.net) {
		m := &p.net[k]
		wrong := from != 0 && m.From != from || to != 0 && m.To != to || len(kind) > 0 && p.engine.KindName(m.Kind) != kind[0]
		if wrong || do(k) {
			k++
		}
	}
}

func (p *play) peer(s consensus.PeerState) {
	p.Peer(p.at(), consensus.ReplicaID(p.number("peer", 0)), s)
}

func (p *play) statuses() {
	for _, h := range p.some() {
		if h.m == nil {
			p.print("%v: down", h.ID)
			continue
		}
		s := h.m.Status()
		line := fmt.Sprintf("%v: ", h.ID)
		switch {
		case s.Role == consensus.Leader:
			line += "leads"
		case s.Leader != 0:
			line += fmt.Sprintf("follows %v", s.Leader)
		default:
			line += "knows no leader"
		}
		line += ", has applied " + p.behind(h.applied)
		if s.InDoubt {
			line += ", in doubt"
		}
		p.print("%s", line)
	}
}
