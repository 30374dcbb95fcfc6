package shard

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/paxos"
	memory "github.com/quorate/quorate/internal/engine"
	"github.com/quorate/quorate/internal/store"
	"github.com/quorate/quorate/internal/wal"
)

// scriptedPorts keeps what a host asks for, until the test answers.
type scriptedPorts struct {
	batches []Ticket
	reads   []*LogRead
	jobs    []*ApplyJob
	sent    []consensus.Message
	dropped int
	log     slotsInLog // what Holds knows
}

func (p *scriptedPorts) Append(t Ticket, _ *wal.Batch) { p.batches = append(p.batches, t) }
func (p *scriptedPorts) Read(job *LogRead)             { p.reads = append(p.reads, job) }
func (p *scriptedPorts) HighestOrig(consensus.GroupID, consensus.Span) (consensus.Epoch, bool) {
	return 0, false
}
func (p *scriptedPorts) Holds(_ consensus.GroupID, i consensus.Index, epoch consensus.Epoch) bool {
	return p.log[i].Epoch == epoch
}
func (p *scriptedPorts) Submit(job *ApplyJob) { p.jobs = append(p.jobs, job) }
func (p *scriptedPorts) Send(_ NodeID, m *consensus.Message) bool {
	p.sent = append(p.sent, *m)
	return true
}
func (p *scriptedPorts) Stream(*SnapshotSend)                                {}
func (p *scriptedPorts) ReadReady(ID, consensus.ProposalID, consensus.Index) {}
func (p *scriptedPorts) Dropped(_ ID, ids []consensus.ProposalID)            { p.dropped += len(ids) }
func (p *scriptedPorts) RoleChanged(ID, LeaderState)                         {}
func (p *scriptedPorts) Advanced(ID, consensus.Index, consensus.Epoch)       {}
func (p *scriptedPorts) Installed(ID, consensus.Index)                       {}

func (p *scriptedPorts) ports() Ports {
	return Ports{Log: p, Network: p, Apply: p, Snapshots: p, Outcome: p}
}

// scripted says what the test puts into ready.
type scripted struct {
	consensus.Machine
	ready []consensus.Ready
}

func (m *scripted) Status() consensus.Status     { return consensus.Status{} }
func (m *scripted) Done(consensus.Done)          {}
func (m *scripted) Step(consensus.Message) error { return nil }
func (m *scripted) Ready() (*consensus.Ready, bool) {
	if len(m.ready) == 0 {
		return nil, false
	}
	r := &m.ready[0]
	m.ready = m.ready[1:]
	return r, true
}

// slotsInLog is a sparse log's content.
type slotsInLog map[consensus.Index]consensus.Entry

func (l slotsInLog) Read(_ consensus.GroupID, s consensus.Span, _ int, dst []consensus.Entry) ([]consensus.Entry, error) {
	for i := s.Lo; i < s.Hi; i++ {
		e, ok := l[i]
		if !ok {
			break
		}
		dst = append(dst, e)
	}
	return dst, nil
}

func newScriptedHost(t *testing.T, p *scriptedPorts, limits Limits, engine consensus.Engine, c consensus.Config) (*Host, *Replica) {
	t.Helper()
	s, err := store.Open(memory.NewMemory(), 1, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h := NewHost(HostConfig{Node: 1, Incarnation: 1, Timing: Timing{ElectionTicks: 10, HeartbeatTicks: 1}, Limits: limits}, p.ports())
	r, err := h.Add(1, ReplicaConfig{Engine: engine, Store: s, Machine: c, Waiters: NewWaiters(func(int) {})})
	if err != nil {
		t.Fatal(err)
	}
	return h, r
}

// Goal: a slot never leaves with an older value (H10). Method: a read-back begins before an
// entry is written, and ends after that entry was written, applied and evicted.
func TestReadBackOvertakenByEviction(t *testing.T) {
	if x := readBackOvertaken(t); x != nil {
		t.Errorf("an accept of epoch 5 has %+v, this replica proposed another value", x)
	}
}

// readBackOvertaken plays that, and returns what should not have left.
func readBackOvertaken(t *testing.T) *consensus.Entry {
	e := func(i consensus.Index, epoch consensus.Epoch, data string) consensus.Entry {
		c := consensus.Configuration{Membership: consensus.Membership{Voters: []consensus.ReplicaID{ReplicaOf(NodeID(len(data)), 1)}}}
		return consensus.Entry{Index: i, Epoch: epoch, Orig: epoch, Kind: consensus.EntryMembership, Data: consensus.AppendConfiguration(nil, &c)}
	}
	log := slotsInLog{1: e(1, 1, "decided long ago"), 2: e(2, 1, "never decided")}
	own := e(2, 5, "decided in epoch 5")
	peer := ReplicaOf(2, 1)
	m := &scripted{ready: []consensus.Ready{{
		Append: consensus.Append{Seq: 1, HardState: &consensus.HardState{Epoch: 5}, Entries: []consensus.Entry{own}},
		Send:   []consensus.Message{{Kind: paxos.KindAccept, To: peer, Epoch: 5, Fill: consensus.Span{Lo: 1, Hi: 3}}},
	}}}
	p := &scriptedPorts{log: log}
	h, r := newScriptedHost(t, p, Limits{CacheBytes: 1}, consensus.Engine{Sparse: true, New: func(consensus.Config) (consensus.Machine, error) { return m, nil }}, consensus.Config{})
	h.Process()
	if len(p.reads) != 1 || len(p.batches) != 1 {
		t.Fatalf("%d reads, %d batches", len(p.reads), len(p.batches))
	}
	p.reads[0].Run(log) // before the writer gets to the batch
	log[2] = own
	h.Durable(p.batches[0])
	m.ready = append(m.ready, consensus.Ready{Append: consensus.Append{Seq: 1}, Learned: consensus.Span{Lo: 1, Hi: 3}})
	h.Process()
	for len(p.jobs) > 0 {
		job := p.jobs[0]
		p.jobs = p.jobs[1:]
		job.Run(log)
		if err := h.Applied(job); err != nil {
			t.Fatal(err)
		}
		h.Process()
	}
	if r.Applied() != 2 {
		t.Fatalf("applied %d", r.Applied())
	}
	h.LogRead(p.reads[0])
	for _, msg := range p.sent {
		for _, x := range msg.Entries {
			if x.Index == 2 && string(x.Data) != string(own.Data) {
				return &x
			}
		}
	}
	return nil
}

// Goal: none of the entries of a message is of a later epoch (H5): in a sparse log it need not
// be the last one.
func TestFillableLooksAtEveryEntry(t *testing.T) {
	m := &consensus.Message{Epoch: 3, Fill: consensus.Span{Lo: 5, Hi: 8}}
	if fillable(m, []consensus.Entry{entry(5, 2, 1), entry(6, 4, 1), entry(7, 2, 1)}) {
		t.Error("an entry of epoch 4 leaves in a message of epoch 3")
	}
}

// Goal: commands that are small and many are proposed in portions that a machine can take.
// Method: more of them than Paxos has slots in its window.
func TestManySmallCommands(t *testing.T) {
	self := ReplicaOf(1, 1)
	p := &scriptedPorts{}
	c := consensus.Config{Rand: rand.New(rand.NewPCG(1, 1)), Log: consensus.LogState{
		Configuration: consensus.Configuration{Membership: consensus.Membership{Voters: []consensus.ReplicaID{self}}},
	}}
	h, r := newScriptedHost(t, p, Limits{}, paxos.Engine, c)
	settle := func() {
		for range 20 {
			h.Process()
			for _, t := range p.batches {
				h.Durable(t)
			}
			p.batches = nil
		}
	}
	settle()
	if !r.State().Leads {
		t.Fatal("does not lead")
	}
	n := 0
	for range 3000 { // below Limits.QueuedCommands, 300 kB
		n++
		if err := h.Propose(1, r.State().Epoch, consensus.Command{ID: consensus.ProposalID(n), Data: fmt.Appendf(nil, "%0100d", n)}); err != nil {
			t.Fatal(err)
		}
	}
	settle()
	if p.dropped > 0 {
		t.Errorf("%d of %d commands were dropped by their own leader", p.dropped, n)
	}
}

// Goal: a machine's report to itself is lost when the log has moved on. Method: it is read
// from the log, and meanwhile one slot in its middle is accepted in a later epoch.
func TestOwnReportOvertakenBySlotInTheMiddle(t *testing.T) {
	self, b, c := ReplicaOf(1, 1), ReplicaOf(2, 1), ReplicaOf(3, 1)
	config := consensus.Config{Rand: rand.New(rand.NewPCG(1, 1)), HardState: consensus.HardState{Epoch: 1, Vote: self}, Log: consensus.LogState{
		Configuration: consensus.Configuration{Membership: consensus.Membership{Voters: []consensus.ReplicaID{self, b, c}}},
	}}
	log := slotsInLog{}
	for i := consensus.Index(1); i <= 3; i++ { // what it led in epoch 1, before a restart
		log[i] = consensus.Entry{Index: i, Epoch: 1, Orig: 1, Kind: consensus.EntryCommand, Data: []byte{1}}
		config.Log.Entries = append(config.Log.Entries, consensus.EntryInfo{Epoch: 1, Orig: 1, Kind: consensus.EntryCommand, Size: 1})
	}
	p := &scriptedPorts{}
	h, r := newScriptedHost(t, p, Limits{}, paxos.Engine, config)
	turn := func() {
		h.Process()
		for _, t := range p.batches {
			h.Durable(t)
		}
		p.batches = nil
		h.Process()
	}
	receive := func(m consensus.Message) {
		t.Helper()
		m.Group, m.To = Group(1), self
		if err := h.Receive(&m); err != nil {
			t.Fatal(err)
		}
		turn()
	}
	for r.Status().Role != consensus.Trial {
		h.Tick()
		turn()
	}
	receive(consensus.Message{Kind: paxos.KindPrePrepareReply, From: b, Epoch: 2})
	if len(p.reads) != 1 || r.Status().Role != consensus.Candidate {
		t.Fatalf("%d reads, is %v", len(p.reads), r.Status().Role)
	}
	p.reads[0].Run(log) // and takes its time
	receive(consensus.Message{Kind: paxos.KindPrepare, From: b, Epoch: 3})
	receive(consensus.Message{Kind: paxos.KindHeartbeat, From: b, Epoch: 3, Index: 3})
	receive(consensus.Message{Kind: paxos.KindAccept, From: b, Epoch: 3, Index: 1, Entries: []consensus.Entry{
		{Index: 2, Epoch: 3, Orig: 3, Kind: consensus.EntryCommand, Data: []byte{3}}, // slot 1 was lost, or comes later
	}})
	defer func() {
		if what := recover(); what != nil {
			t.Error(what)
		}
	}()
	h.LogRead(p.reads[0])
	turn()
}
