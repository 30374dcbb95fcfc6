package shard

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/engine"
	"github.com/quorate/quorate/internal/env"
	"github.com/quorate/quorate/internal/store"
	"github.com/quorate/quorate/internal/wal"
)

// mended is a machine in doubt that says, when it is ticked, that it is repaired.
type mended struct {
	consensus.Machine
	ready []consensus.Ready
	state consensus.Status
}

func (m *mended) Status() consensus.Status { return m.state }
func (m *mended) Done(consensus.Done)      {}

func (m *mended) Tick() {
	m.ready = append(m.ready, consensus.Ready{Append: consensus.Append{Seq: 1, Repaired: true}})
}

func (m *mended) Ready() (*consensus.Ready, bool) {
	if len(m.ready) == 0 {
		return nil, false
	}
	r := &m.ready[0]
	m.ready = m.ready[1:]
	return r, true
}

// logPort writes each batch at once.
type logPort struct {
	LogPort
	t   *testing.T
	log *wal.Log
}

func (p *logPort) Append(_ Ticket, b *wal.Batch) {
	if err := p.log.Write(b); err != nil {
		p.t.Error(err)
	}
}

type noOutcome struct{ Outcome }

func (noOutcome) RoleChanged(ID, LeaderState) {}

// Goal: once the last replicas in doubt are repaired, in one turn or one after the other,
// a shard that the log has never heard of is no longer in doubt, and not before (H9).
func TestLastRepairSettlesEveryGroup(t *testing.T) {
	for name, together := range map[string]bool{"together": true, "one by one": false} {
		t.Run(name, func(t *testing.T) { testLastRepair(t, together) })
	}
}

func testLastRepair(t *testing.T, together bool) {
	log := lossyLog(t)
	defer log.Close()
	inDoubt := func() bool {
		state, err := log.State(Group(99))
		if err != nil {
			t.Fatal(err)
		}
		return state.Suspect
	}
	h := NewHost(HostConfig{Node: 1, Incarnation: 1, Timing: Timing{ElectionTicks: 10, HeartbeatTicks: 1}}, Ports{Log: &logPort{t: t, log: log}, Outcome: noOutcome{}})
	e := engine.NewMemory()
	machines := make(map[ID]*mended)
	for _, id := range []ID{1, 2} {
		s, err := store.Open(e, id, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		m := &mended{state: consensus.Status{InDoubt: true}}
		machines[id] = m
		make := consensus.Engine{New: func(consensus.Config) (consensus.Machine, error) { return m, nil }}
		if _, err := h.Add(id, ReplicaConfig{Engine: make, Store: s, Machine: consensus.Config{Log: consensus.LogState{InDoubt: true}}}); err != nil {
			t.Fatal(err)
		}
	}
	machines[1].Tick()
	if together {
		machines[2].Tick()
	} else {
		h.touch(h.order[0])
		h.Process()
		if !inDoubt() {
			t.Fatal("settled while a replica is in doubt")
		}
		machines[2].Tick()
	}
	for _, r := range h.order {
		h.touch(r)
	}
	h.Process()
	if inDoubt() {
		t.Error("still in doubt")
	}
}

// lossyLog is a log that has lost a batch, and so all that a group may have had in it.
func lossyLog(t *testing.T) *wal.Log {
	t.Helper()
	dir := t.TempDir()
	log, err := wal.Open(env.OSFS(), dir, wal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var b wal.Batch
	for i := consensus.Index(1); i <= 3; i++ {
		b.Reset()
		b.Append(7, []consensus.Entry{{Index: i, Epoch: 1, Orig: 1, Kind: consensus.EntryCommand, Data: fmt.Appendf(nil, "entry %d", i)}})
		if err := log.Write(&b); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	data, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data, []byte("entry 2"))
	data[at-8] ^= 1 // in the batch's table
	if err := os.WriteFile(names[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	if log, err = wal.Open(env.OSFS(), dir, wal.Options{}); err != nil {
		t.Fatal(err)
	}
	return log
}
