package consensus_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	etcd "go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/paxos"
	"github.com/quorate/quorate/consensus/raft"
)

// These benchmarks measure machines: three replicas in one goroutine, logs in memory that
// are durable at once, a queue for a network, nothing serialised. An operation is an entry
// that all three replicas have learned. etcd's raft is driven by the same kind of loop, with
// its own MemoryStorage for a log, at the same windows.

// group is three replicas of one kind.
type group interface {
	// propose hands a batch to the leader.
	propose(batch [][]byte) error
	// run delivers messages and drains replicas until nothing is left to do.
	run()
	// learned is what the slowest replica has learned.
	learned() uint64
}

// kinds are what is compared.
var kinds = []struct {
	name string
	make func(testing.TB) group
}{
	{"raft", func(tb testing.TB) group { return newLane(tb, raft.Engine) }},
	{"paxos", func(tb testing.TB) group { return newLane(tb, paxos.Engine) }},
	{"etcd", func(tb testing.TB) group { return newEtcdLane(tb) }},
}

// BenchmarkReplicate proposes batches and waits until all replicas have learned them.
func BenchmarkReplicate(b *testing.B) {
	for _, k := range kinds {
		for _, size := range []int{16, 256} {
			for _, batch := range []int{1, 64} {
				b.Run(fmt.Sprintf("engine=%s/size=%d/batch=%d", k.name, size, batch), func(b *testing.B) {
					replicate(b, k.make(b), size, batch)
				})
			}
		}
	}
}

func replicate(b *testing.B, g group, size, batch int) {
	data := make([][]byte, batch)
	for k := range data {
		data[k] = make([]byte, size)
	}
	begin := g.learned()
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += batch {
		if err := g.propose(data); err != nil {
			b.Fatal(err)
		}
		g.run()
	}
	b.StopTimer()
	if got := g.learned() - begin; got < uint64(b.N) {
		b.Fatalf("%d of %d entries learned", got, b.N)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

// TestSteadyStateAllocations: replication allocates at most one object per entry once
// buffers have grown, in both of our engines.
func TestSteadyStateAllocations(t *testing.T) {
	for _, k := range kinds[:2] {
		g := k.make(t)
		data := [][]byte{make([]byte, 16)}
		step := func() {
			if err := g.propose(data); err != nil {
				t.Fatal(err)
			}
			g.run()
		}
		for range 1 << 15 {
			step()
		}
		if n := testing.AllocsPerRun(1<<14, step); n > 1 {
			t.Errorf("%s: %v allocations per entry", k.name, n)
		}
	}
}

const (
	laneKeep  = 1 << 10 // entries kept behind what is learned
	laneLimit = 1 << 14 // entries in a log before it is cut
)

// lane drives machines behind the contract.
type lane struct {
	machines [3]consensus.Machine
	logs     [3]memoryLog
	network  []consensus.Message
	known    [3]consensus.Index
	commands []consensus.Command
}

// memoryLog keeps the entries behind released. A slot that is not filled is zero.
type memoryLog struct {
	released consensus.Index
	entries  []consensus.Entry
}

func (l *memoryLog) put(entries []consensus.Entry) {
	for k := range entries {
		e := &entries[k]
		i := int(e.Index - l.released - 1)
		if i == len(l.entries) {
			l.entries = append(l.entries, *e)
			continue
		}
		for i >= len(l.entries) {
			l.entries = append(l.entries, consensus.Entry{})
		}
		l.entries[i] = *e
	}
}

func newLane(tb testing.TB, e consensus.Engine) *lane {
	l := &lane{}
	voters := consensus.Configuration{Membership: consensus.Membership{Voters: []consensus.ReplicaID{1, 2, 3}}}
	for i := range l.machines {
		m, err := e.New(consensus.Config{
			Group: 1, ID: consensus.ReplicaID(i + 1), Rand: rand.New(rand.NewPCG(1, uint64(i))),
			ElectionTicks: 10, HeartbeatTicks: 1, ReadRounds: 64,
			MessageBytes: 1 << 20, InflightMessages: 256, InflightBytes: 1 << 24, UncommittedBytes: 1 << 26,
			Log: consensus.LogState{Configuration: voters},
		})
		if err != nil {
			tb.Fatal(err)
		}
		l.machines[i] = m
	}
	for range 100 {
		l.machines[0].Tick()
		l.run()
		if l.machines[0].Status().Role == consensus.Leader {
			return l
		}
	}
	tb.Fatal("no leader")
	return nil
}

func (l *lane) propose(batch [][]byte) error {
	l.commands = l.commands[:0]
	for k := range batch {
		l.commands = append(l.commands, consensus.Command{ID: consensus.ProposalID(k + 1), Data: batch[k]})
	}
	return l.machines[0].Propose(consensus.Proposal{Kind: consensus.ProposeCommands, Commands: l.commands})
}

func (l *lane) learned() uint64 { return uint64(min(l.known[0], l.known[1], l.known[2])) }

func (l *lane) drain(i int) {
	m, log := l.machines[i], &l.logs[i]
	for rd, ok := m.Ready(); ok; rd, ok = m.Ready() {
		log.put(rd.Append.Entries)
		l.post(log, rd.Send)
		l.post(log, rd.AfterSync)
		done := consensus.Done{Durable: rd.Append.Seq}
		if !rd.Learned.Empty() {
			l.known[i] = rd.Learned.Hi - 1
			done.Applied = l.known[i]
		}
		if len(log.entries) > laneLimit {
			done.Released = l.known[i] - laneKeep
			kept := log.entries[done.Released-log.released:] // messages may still share the old array
			log.entries, log.released = append(make([]consensus.Entry, 0, laneLimit+256), kept...), done.Released
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

// etcdLane drives etcd's raft.
type etcdLane struct {
	nodes   [3]*etcd.RawNode
	logs    [3]*etcd.MemoryStorage
	network []*pb.Message
	known   [3]uint64
}

func newEtcdLane(tb testing.TB) *etcdLane {
	l := &etcdLane{}
	for i := range l.nodes {
		l.logs[i] = etcd.NewMemoryStorage()
		if err := l.logs[i].ApplySnapshot(bootSnapshot()); err != nil {
			tb.Fatal(err)
		}
		node, err := etcd.NewRawNode(&etcd.Config{
			ID: uint64(i + 1), ElectionTick: 10, HeartbeatTick: 1, Storage: l.logs[i], Applied: 1,
			MaxSizePerMsg: 1 << 20, MaxInflightMsgs: 256, MaxInflightBytes: 1 << 24, MaxUncommittedEntriesSize: 1 << 26,
			CheckQuorum: true, PreVote: true, Logger: quiet{&etcd.DefaultLogger{}},
		})
		if err != nil {
			tb.Fatal(err)
		}
		l.nodes[i] = node
	}
	if err := l.nodes[0].Campaign(); err != nil {
		tb.Fatal(err)
	}
	l.run()
	return l
}

func bootSnapshot() *pb.Snapshot {
	index, term := uint64(1), uint64(1)
	return &pb.Snapshot{Metadata: &pb.SnapshotMetadata{ConfState: &pb.ConfState{Voters: []uint64{1, 2, 3}}, Index: &index, Term: &term}}
}

func (l *etcdLane) propose(batch [][]byte) error {
	entries := make([]*pb.Entry, len(batch))
	for k := range batch {
		entries[k] = &pb.Entry{Data: batch[k]}
	}
	kind, from := pb.MessageType_MsgProp, uint64(1)
	return l.nodes[0].Step(&pb.Message{Type: &kind, From: &from, Entries: entries})
}

func (l *etcdLane) learned() uint64 { return min(l.known[0], l.known[1], l.known[2]) }

func (l *etcdLane) drain(i int) {
	for l.nodes[i].HasReady() {
		rd := l.nodes[i].Ready()
		if err := l.logs[i].Append(rd.Entries); err != nil {
			panic(err)
		}
		l.network = append(l.network, rd.Messages...)
		if n := len(rd.CommittedEntries); n > 0 {
			l.known[i] = rd.CommittedEntries[n-1].GetIndex()
			if first, _ := l.logs[i].FirstIndex(); l.known[i] > first+laneLimit {
				if err := l.logs[i].Compact(l.known[i] - laneKeep); err != nil {
					panic(err)
				}
			}
		}
		l.nodes[i].Advance(rd)
	}
}

func (l *etcdLane) run() {
	for i := range l.nodes {
		l.drain(i)
	}
	for k := 0; k < len(l.network); k++ {
		to := int(l.network[k].GetTo()) - 1
		if err := l.nodes[to].Step(l.network[k]); err != nil {
			panic(err)
		}
		l.drain(to)
	}
	l.network = l.network[:0]
}

// quiet drops etcd's log lines.
type quiet struct{ *etcd.DefaultLogger }

func (quiet) Debug(...any)            {}
func (quiet) Debugf(string, ...any)   {}
func (quiet) Info(...any)             {}
func (quiet) Infof(string, ...any)    {}
func (quiet) Warning(...any)          {}
func (quiet) Warningf(string, ...any) {}
