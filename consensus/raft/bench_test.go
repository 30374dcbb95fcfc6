package raft

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/quorate/quorate/consensus"
)

// lane is the cheapest driver there is: an in-memory log that is durable at once
// and a queue for a network. It measures the machines.
type lane struct {
	machines [3]*Machine
	logs     [3]memoryLog
	network  []consensus.Message
	learned  [3]consensus.Index
}

// memoryLog keeps the entries behind released.
type memoryLog struct {
	released consensus.Index
	entries  []consensus.Entry
}

func newLane(tb testing.TB) *lane {
	l := &lane{}
	for i := range l.machines {
		m, err := New(consensus.Config{
			Group: 1, ID: consensus.ReplicaID(i + 1), Rand: rand.New(rand.NewPCG(1, uint64(i))),
			ElectionTicks: 10, HeartbeatTicks: 1, ReadRounds: 64,
			MessageBytes: 1 << 20, InflightMessages: 256, InflightBytes: 1 << 24, UncommittedBytes: 1 << 26,
			Log: consensus.LogState{Configuration: voters(1, 2, 3)},
		})
		if err != nil {
			tb.Fatal(err)
		}
		l.machines[i] = m
	}
	l.machines[0].campaign()
	l.run()
	if l.machines[0].role != consensus.Leader {
		tb.Fatal("no leader")
	}
	return l
}

func (l *lane) drain(i int) {
	m, log := l.machines[i], &l.logs[i]
	for rd, ok := m.Ready(); ok; rd, ok = m.Ready() {
		log.entries = append(log.entries, rd.Append.Entries...)
		l.post(log, rd.Send)
		l.post(log, rd.AfterSync)
		done := consensus.Done{Durable: rd.Append.Seq}
		if !rd.Learned.Empty() {
			l.learned[i] = rd.Learned.Hi - 1
			done.Applied = l.learned[i]
		}
		if len(log.entries) > 1<<14 {
			done.Released = l.learned[i] - 1<<10
			kept := log.entries[done.Released-log.released:] // messages may still share the old array
			log.entries, log.released = append(make([]consensus.Entry, 0, 1<<14+256), kept...), done.Released
		}
		m.Done(done)
	}
}

func (l *lane) post(log *memoryLog, msgs []consensus.Message) {
	for k := range msgs {
		msg := &msgs[k]
		if !msg.Fill.Empty() {
			msg.Entries = log.entries[msg.Fill.Lo-log.released-1 : msg.Fill.Hi-log.released-1]
			msg.Fill = consensus.Span{}
		}
		l.network = append(l.network, *msg)
	}
}

func (l *lane) run() {
	for i := range l.machines {
		l.drain(i)
	}
	for k := 0; k < len(l.network); k++ {
		to := int(l.network[k].To) - 1
		if err := l.machines[to].Step(l.network[k]); err != nil {
			panic(err)
		}
		l.drain(to)
	}
	l.network = l.network[:0]
}

// BenchmarkReplicate proposes batches and waits until all three replicas have
// learned them. One operation is one entry.
func BenchmarkReplicate(b *testing.B) {
	for _, size := range []int{16, 256} {
		for _, batch := range []int{1, 64} {
			b.Run(fmt.Sprintf("size=%d/batch=%d", size, batch), func(b *testing.B) { replicateBatches(b, size, batch) })
		}
	}
}

func replicateBatches(b *testing.B, size, batch int) {
	l := newLane(b)
	commands := make([]consensus.Command, batch)
	for k := range commands {
		commands[k] = consensus.Command{ID: consensus.ProposalID(k + 1), Data: make([]byte, size)}
	}
	p := consensus.Proposal{Kind: consensus.ProposeCommands, Commands: commands}
	b.ReportAllocs()
	for n := 0; n < b.N; n += batch {
		if err := l.machines[0].Propose(p); err != nil {
			b.Fatal(err)
		}
		l.run()
	}
	b.StopTimer()
	for i, learned := range l.learned {
		if int(learned) < b.N {
			b.Fatalf("replica %d learned %d of %d", i+1, learned, b.N)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

// BenchmarkRead answers one read barrier after the other on an idle group.
func BenchmarkRead(b *testing.B) {
	l := newLane(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := l.machines[0].Propose(consensus.Proposal{Kind: consensus.ProposeReadBarrier, ID: 1}); err != nil {
			b.Fatal(err)
		}
		l.run()
	}
}

// TestSteadyStateAllocations: replication allocates nothing per entry once buffers
// have grown.
func TestSteadyStateAllocations(t *testing.T) {
	l := newLane(t)
	p := consensus.Proposal{Kind: consensus.ProposeCommands, Commands: []consensus.Command{{ID: 1, Data: make([]byte, 16)}}}
	step := func() {
		if err := l.machines[0].Propose(p); err != nil {
			t.Fatal(err)
		}
		l.run()
	}
	for range 1 << 15 {
		step()
	}
	if n := testing.AllocsPerRun(1<<14, step); n > 0.1 {
		t.Errorf("%v allocations per entry", n)
	}
}
