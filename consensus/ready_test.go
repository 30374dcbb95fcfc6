package consensus_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/etcdraft"
	"github.com/quorate/quorate/consensus/paxos"
	"github.com/quorate/quorate/consensus/raft"
)

// Goal: a driver may go on with a machine while it works on its Ready. Method: three
// replicas of each engine; while one has work, time passes for it, messages come and
// commands are proposed; the work must still read as it did. Replicas sleep and messages are
// lost, so that there are elections, too.
func TestReadyStaysAsItIs(t *testing.T) {
	for _, e := range []consensus.Engine{raft.Engine, paxos.Engine, etcdraft.Engine} {
		g := newHasty(t, e)
		for n := range 3000 {
			i := g.rng.IntN(3)
			if n%500 < 200 && i == n/500%3 {
				continue // it sleeps, each in turn
			}
			g.input(i)
			if rd, ok := g.machines[i].Ready(); ok {
				before := show(rd)
				g.input(i)
				if after := show(rd); after != before {
					t.Fatalf("%s: the work\n%s\nhas become\n%s", e.Name, before, after)
				}
				g.work(i, rd)
			}
		}
		if s := g.machines[0].Status(); s.Commit < 100 || s.HardState.Epoch < 2 {
			t.Errorf("%s: too little has happened: %+v", e.Name, s)
		}
	}
}

// hastyBytes is MessageBytes of a hasty group.
const hastyBytes = 1 << 10

// hasty is a group whose drivers give their machines input at any time.
type hasty struct {
	t        *testing.T
	rng      *rand.Rand
	machines [3]consensus.Machine
	logs     [3]map[consensus.Index]consensus.Entry
	network  []consensus.Message
}

func newHasty(t *testing.T, e consensus.Engine) *hasty {
	g := &hasty{t: t, rng: rand.New(rand.NewPCG(1, 1))}
	first := consensus.Configuration{Membership: consensus.Membership{Voters: []consensus.ReplicaID{1, 2, 3}}}
	for i := range g.machines {
		m, err := e.New(consensus.Config{
			Group: 1, ID: consensus.ReplicaID(i + 1), Rand: g.rng, ElectionTicks: 10, HeartbeatTicks: 1, ReadRounds: 16,
			MessageBytes: hastyBytes, InflightMessages: 16, InflightBytes: 16 * hastyBytes, UncommittedBytes: 16 * hastyBytes,
			Log: consensus.LogState{Configuration: first},
		})
		if err != nil {
			t.Fatal(err)
		}
		g.machines[i], g.logs[i] = m, map[consensus.Index]consensus.Entry{}
	}
	return g
}

// input is all that may come to a machine: a tick, proposals, messages.
func (g *hasty) input(i int) {
	m := g.machines[i]
	m.Tick()
	_ = m.Propose(consensus.Proposal{Kind: consensus.ProposeCommands, Commands: []consensus.Command{{ID: 1, Data: []byte("command")}}})
	_ = m.Propose(consensus.Proposal{Kind: consensus.ProposeReadBarrier, ID: 2})
	kept := g.network[:0]
	for _, msg := range g.network {
		switch {
		case msg.To != consensus.ReplicaID(i+1):
			kept = append(kept, msg)
		case g.rng.IntN(40) > 0:
			if err := m.Step(msg); err != nil {
				g.t.Fatal(err)
			}
		}
	}
	g.network = kept
}

// work does what a Ready asks for, on a disk that is instant.
func (g *hasty) work(i int, rd *consensus.Ready) {
	log, cut := g.logs[i], rd.Append.Truncate
	maps.DeleteFunc(log, func(k consensus.Index, _ consensus.Entry) bool { return cut != 0 && k >= cut })
	for _, e := range rd.Append.Entries {
		log[e.Index] = e
	}
	for _, msg := range slices.Concat(rd.Send, rd.AfterSync) {
		if msg.FillFrom(func(k consensus.Index) (consensus.Entry, bool) { e, ok := log[k]; return e, ok }, hastyBytes) {
			g.network = append(g.network, msg)
		}
	}
	done := consensus.Done{Durable: rd.Append.Seq}
	if !rd.Learned.Empty() {
		done.Applied = rd.Learned.Hi - 1
	}
	g.machines[i].Done(done)
}

// show prints all that a Ready asks for.
func show(rd *consensus.Ready) string {
	s := fmt.Sprintf("%+v", *rd)
	if rd.Append.HardState != nil {
		s += fmt.Sprintf(" %+v", *rd.Append.HardState)
	}
	if rd.Install != nil {
		s += fmt.Sprintf(" %+v", *rd.Install)
	}
	return s
}
