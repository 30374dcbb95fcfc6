package raft

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/quorate/quorate/consensus"
)

// TestTranscripts replays testdata/*.txt. Each command acts on a world and prints
// what the machines answer. `go test -run Transcripts -rewrite` writes the output
// anew; commit that only when you can explain every line that changed.
//
//	group voters=(1,2,3) [learners=(4)] [message=N] [uncommitted=N]   new hosts
//	add 4                      a host with an empty log and no configuration
//	campaign 1                 the election timer of 1 fires
//	elect 1 [with=(2,3)]       nobody has heard a leader, 1 campaigns, only election
//	                           messages between these (or all) travel, in silence
//	tick [1] [n=10]            n ticks of one host or all
//	propose 1 [id=7] data      read 1 id=7      transfer 1 [to=2]
//	change 1 voters=(…) [learners=(…)]
//	deliver|drop [from=1] [to=2] [kind=append] [keep]   what is under way now and matches
//	cut 1 2 | heal             lose what 1 and 2 say to each other
//	sync 1 [n=1]               the next n writes become durable
//	silence [1]                has not heard its leader for an election timeout
//	apply 1                    apply what is learned
//	stabilize                  sync, apply and deliver until nothing is left
//	crash 1 [keep=N]           all writes but the first N are lost
//	restart 1 | release 1 upto=5 | reset 2 peer=1 | unreachable 1 peer=2
//	status [1] | log [1] | net
//
// The word quiet behind a command keeps its output out of the file.
func TestTranscripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) { replay(t, path) })
	}
}

func replay(t *testing.T, path string) {
	var s *script
	datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
		if d.Cmd == "group" {
			s = newScript(t)
		}
		command, ok := commands[d.Cmd]
		if !ok {
			t.Fatalf("%s: unknown command %s, have %v", d.Pos, d.Cmd, slices.Sorted(maps.Keys(commands)))
		}
		s.out.Reset()
		s.t, s.d = t, d
		_, s.quiet = s.arg("quiet")
		command(s)
		s.pump()
		if s.out.Len() == 0 {
			return "ok\n"
		}
		return s.out.String()
	})
}

// script is a world under the hands of a transcript.
type script struct {
	*world
	t     *testing.T
	d     *datadriven.TestData
	out   strings.Builder
	quiet bool
}

func newScript(*testing.T) *script {
	s := &script{world: newWorld(1)}
	s.onReady = func(h *host, rd *consensus.Ready) { s.print("%s", formatReady(h, rd)) }
	s.onFault = func(what string) { s.t.Fatalf("%s: %s", s.d.Pos, what) }
	return s
}

var commands = map[string]func(*script){
	"group":    (*script).group,
	"add":      func(s *script) { s.add(s.id(), consensus.Configuration{}) },
	"campaign": (*script).campaign,
	"tick":     (*script).ticks,
	"propose":  (*script).propose,
	"read":     func(s *script) { s.result(s.at().read(consensus.ProposalID(s.number("id", 0)))) },
	"transfer": func(s *script) { s.result(s.at().transfer(consensus.ReplicaID(s.number("to", 0)))) },
	"change":   (*script).change,
	"deliver":  func(s *script) { s.each(s.hand) },
	"drop": func(s *script) {
		s.each(func(k int) { s.print("lost %s\n", formatMessage(&s.net[k])); s.world.drop(k) })
	},
	"cut":         (*script).cutOff,
	"heal":        func(s *script) { clear(s.world.cut) },
	"silence":     (*script).silence,
	"elect":       (*script).electOne,
	"sync":        func(s *script) { s.world.sync(s.at(), s.number("n", 1)) },
	"apply":       func(s *script) { s.world.apply(s.at(), 1<<30) },
	"stabilize":   (*script).rest,
	"crash":       func(s *script) { s.world.crash(s.at(), s.number("keep", 0), 0) },
	"restart":     func(s *script) { s.start(s.at()) },
	"release":     func(s *script) { s.world.release(s.at(), consensus.Index(s.number("upto", 0))) },
	"reset":       func(s *script) { s.peer(consensus.PeerReset) },
	"unreachable": func(s *script) { s.peer(consensus.PeerUnreachable) },
	"status":      (*script).statuses,
	"log":         (*script).logs,
	"net":         func(s *script) { s.each(func(k int) { s.print("%s\n", formatMessage(&s.net[k])) }) },
}

func (s *script) print(format string, args ...any) {
	if !s.quiet {
		fmt.Fprintf(&s.out, format, args...)
	}
}

func (s *script) result(err error) {
	if err != nil {
		s.print("refused: %v\n", err)
	}
}

func (s *script) pump() {
	for _, h := range s.hosts {
		s.world.pump(h)
	}
}

// arg returns the value of key=value, and whether it is there.
func (s *script) arg(key string) (vals []string, ok bool) {
	for _, a := range s.d.CmdArgs {
		if a.Key == key {
			return a.Vals, true
		}
	}
	return nil, false
}

func (s *script) number(key string, otherwise int) int {
	vals, ok := s.arg(key)
	if !ok || len(vals) == 0 {
		return otherwise
	}
	n, err := strconv.Atoi(vals[0])
	if err != nil {
		s.t.Fatalf("%s: %s: %v", s.d.Pos, key, err)
	}
	return n
}

func (s *script) ids(key string) (ids []consensus.ReplicaID) {
	vals, _ := s.arg(key)
	for _, v := range vals {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			s.t.Fatalf("%s: %s: %v", s.d.Pos, key, err)
		}
		ids = append(ids, consensus.ReplicaID(n))
	}
	return ids
}

// id is the first argument.
func (s *script) id() consensus.ReplicaID {
	n, err := strconv.ParseUint(s.d.CmdArgs[0].Key, 10, 64)
	if err != nil {
		s.t.Fatalf("%s: %v", s.d.Pos, err)
	}
	return consensus.ReplicaID(n)
}

// at is the host that the first argument names.
func (s *script) at() *host {
	h := s.world.host(s.id())
	if h == nil {
		s.t.Fatalf("%s: no host %v", s.d.Pos, s.id())
	}
	return h
}

// some are the hosts that the first argument names: one, or all.
func (s *script) some() []*host {
	if len(s.d.CmdArgs) > 0 && len(s.d.CmdArgs[0].Vals) == 0 {
		return []*host{s.at()}
	}
	return s.hosts
}

func (s *script) group() {
	c := voters(s.ids("voters")...)
	c.Learners = s.ids("learners")
	message, uncommitted := s.number("message", 256), s.number("uncommitted", 4096)
	s.config = func(cfg *consensus.Config) { cfg.MessageBytes, cfg.UncommittedBytes = message, uncommitted }
	for _, id := range append(slices.Clone(c.Voters), c.Learners...) {
		s.add(id, c)
	}
}

// campaign lets the election timer of one host fire. The others still believe in
// the leader that they have heard.
func (s *script) campaign() {
	m := s.at().m
	m.clock.elapsed, m.clock.silent = m.clock.timeout, m.limit.electionTicks
	m.Tick()
}

func (s *script) silence() {
	for _, h := range s.some() {
		if h.m != nil {
			h.m.clock.silent = h.m.limit.electionTicks
		}
	}
}

func (s *script) electOne() {
	h, with := s.at(), s.ids("with")
	in := func(id consensus.ReplicaID) bool {
		return id == h.id || with == nil || slices.Contains(with, id)
	}
	for _, o := range s.hosts {
		if o.m != nil {
			o.m.clock.silent = o.m.limit.electionTicks
		}
	}
	s.quiet = true
	for k := range 24 { // a replica may first have to learn of a later epoch
		if k%8 == 0 && h.m.role != consensus.Leader {
			s.campaign()
		}
		s.pump()
		for _, o := range s.hosts {
			if o.m != nil && in(o.id) {
				s.world.sync(o, len(o.writes))
			}
		}
		for k := 0; k < len(s.net); {
			m := &s.net[k]
			switch election := m.Kind >= KindPreVote && m.Kind <= KindVoteReply; {
			case !election:
				k++
			case in(m.From) && in(m.To):
				s.hand(k)
			default:
				s.world.drop(k)
			}
		}
	}
	s.quiet = false
	status := h.m.Status()
	s.print("%s", formatStatus(&status))
}

func (s *script) ticks() {
	for range s.number("n", 1) {
		for _, h := range s.some() {
			if h.m != nil {
				h.m.Tick()
				s.world.pump(h)
			}
		}
	}
}

func (s *script) propose() {
	data := s.d.CmdArgs[len(s.d.CmdArgs)-1].Key
	s.result(s.at().propose(consensus.ProposalID(s.number("id", 0)), data))
}

func (s *script) change() {
	target := consensus.Membership{Voters: s.ids("voters"), Learners: s.ids("learners")}
	s.result(s.at().change(consensus.ProposalID(s.number("id", 0)), target))
}

// each runs do for every message under way that matches from, to and kind. do may
// remove the message; with keep it acts on a copy, which leaves it under way.
func (s *script) each(do func(k int)) {
	from, to := s.number("from", 0), s.number("to", 0)
	kind, _ := s.arg("kind")
	_, keep := s.arg("keep")
	k := 0
	for range len(s.net) {
		m := &s.net[k]
		wrong := from != 0 && int(m.From) != from || to != 0 && int(m.To) != to ||
			len(kind) > 0 && KindName(m.Kind) != kind[0]
		before := len(s.net)
		if !wrong {
			if keep {
				s.net = slices.Insert(s.net, k, *m)
			}
			do(k)
		}
		if len(s.net) == before {
			k++
		}
	}
}

func (s *script) hand(k int) {
	msg := s.net[k]
	if err := s.world.deliver(k); err != nil {
		s.print("%s: refused: %v\n", formatMessage(&msg), err)
	}
}

func (s *script) cutOff() {
	a, b := s.id(), consensus.ReplicaID(0)
	n, err := strconv.ParseUint(s.d.CmdArgs[1].Key, 10, 64)
	if err != nil {
		s.t.Fatalf("%s: %v", s.d.Pos, err)
	}
	b = consensus.ReplicaID(n)
	s.world.cut[[2]consensus.ReplicaID{a, b}] = true
	s.world.cut[[2]consensus.ReplicaID{b, a}] = true
}

func (s *script) rest() {
	s.stabilize()
	s.checkAll()
}

func (s *script) peer(state consensus.PeerState) {
	s.at().m.Done(consensus.Done{Peer: consensus.ReplicaID(s.number("peer", 0)), State: state})
}

func (s *script) statuses() {
	for _, h := range s.some() {
		if h.m == nil {
			s.print("%v: down\n", h.id)
			continue
		}
		status := h.m.Status()
		s.print("%s", formatStatus(&status))
	}
}

func (s *script) logs() {
	for _, h := range s.some() {
		s.print("%v:", h.id)
		for i := range h.view.entries {
			s.print(" [%s]", formatEntry(&h.view.entries[i]))
		}
		s.print("\n")
	}
}
