package shard

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/paxos"
	"github.com/quorate/quorate/consensus/raft"
	"github.com/quorate/quorate/internal/env"
	"github.com/quorate/quorate/internal/store"
	"github.com/quorate/quorate/internal/wal"
)

// Goal: a replica whose engine was ahead of its log restarts twice. The epoch that
// the first restart took from the engine must be in the log, or the second one
// finds entries of an epoch that was never promised. Simulator seed 117.
func TestEngineAheadOfLogRestartsTwice(t *testing.T) {
	const id = ID(3)
	first := consensus.Configuration{Membership: consensus.Membership{Voters: []consensus.ReplicaID{1, 2, 3}}}
	applied := store.Applied{Index: 7, Epoch: 4}
	dir := t.TempDir()
	log, err := wal.Open(env.OSFS(), dir, wal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	state, err := log.State(Group(id))
	if err != nil {
		t.Fatal(err)
	}
	c, b, err := Restore(id, raft.Engine, applied, state, first)
	if err != nil || b == nil {
		t.Fatalf("engine at 7, empty log: %v", err)
	}
	b.Append(Group(id), []consensus.Entry{{Index: 8, Epoch: 4, Orig: 4, Kind: consensus.EntryCommand}})
	if err := log.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := log.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if log, err = wal.Open(env.OSFS(), dir, wal.Options{}); err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if state, err = log.State(Group(id)); err != nil {
		t.Fatal(err)
	}
	if c, b, err = Restore(id, raft.Engine, applied, state, first); err != nil || b != nil {
		t.Fatalf("second restart: %v, %v", b, err)
	}
	if c.HardState.Epoch != 4 || c.Log.Released != 7 || len(c.Log.Entries) != 1 {
		t.Errorf("second restart finds %+v", c)
	}
}

// Goal: what a damaged log still holds is used as far as it is whole; what the engine has
// applied is no loss; and whoever may have forgotten a promise starts in doubt, once and
// after each restart, until it is repaired (H9). Method: states of a log with entries 3 to
// 8 behind released index 2, and what Restore makes of them.
func TestRestoreOfDamagedLog(t *testing.T) {
	three := consensus.Configuration{Membership: consensus.Membership{Voters: []consensus.ReplicaID{1, 2, 3}}}
	alone := consensus.Configuration{Membership: consensus.Membership{Voters: []consensus.ReplicaID{1}}}
	open := consensus.Index(1<<64 - 1)
	for _, test := range []struct {
		name     string
		applied  consensus.Index
		faulty   []consensus.Span
		suspect  bool
		first    consensus.Configuration
		released consensus.Index
		last     consensus.Index
		doubt    bool
		err      error
		holes    int // entries from the first on of which the log knows nothing
	}{
		{"nothing", 5, nil, false, three, 2, 8, false, nil, 0},
		{"a hole that ends with the applied entry", 5, []consensus.Span{{Lo: 3, Hi: 6}}, false, three, 5, 8, false, nil, 3},
		{"a hole before the applied entry", 5, []consensus.Span{{Lo: 3, Hi: 5}}, false, three, 5, 8, false, nil, 2},
		{"a hole across it", 5, []consensus.Span{{Lo: 3, Hi: 7}}, false, three, 5, 5, true, nil, 4},
		{"below the applied index", 5, []consensus.Span{{Lo: 3, Hi: 4}}, false, three, 5, 8, false, nil, 0},
		{"the applied entry", 5, []consensus.Span{{Lo: 5, Hi: 6}}, false, three, 5, 8, false, nil, 0},
		{"above", 5, []consensus.Span{{Lo: 7, Hi: 8}}, false, three, 2, 6, true, nil, 0},
		{"both", 5, []consensus.Span{{Lo: 4, Hi: 5}, {Lo: 8, Hi: 9}}, false, three, 5, 7, true, nil, 0},
		{"across", 5, []consensus.Span{{Lo: 4, Hi: 8}}, false, three, 5, 5, true, nil, 0},
		{"all that could be", 5, []consensus.Span{{Lo: 3, Hi: open}}, true, three, 5, 5, true, nil, 0},
		{"the hard state", 5, nil, true, three, 2, 8, true, nil, 0},
		{"the engine is ahead", 20, []consensus.Span{{Lo: 7, Hi: 8}}, false, three, 20, 20, false, nil, 0},
		{"nobody to ask", 5, nil, true, alone, 0, 0, false, ErrLogDamaged, 0},
	} {
		state := wal.GroupState{HardState: consensus.HardState{Epoch: 2, Vote: 3}, Released: 2, ReleasedEpoch: 1, Faulty: test.faulty, Suspect: test.suspect}
		for i := consensus.Index(3); i <= 8; i++ {
			state.Entries = append(state.Entries, consensus.EntryInfo{Epoch: 2, Orig: 2, Kind: consensus.EntryCommand})
		}
		clear(state.Entries[:test.holes])
		c, mend, err := Restore(3, raft.Engine, store.Applied{Index: uint64(test.applied), Epoch: 2}, state, test.first)
		if !errors.Is(err, test.err) {
			t.Errorf("%s: %v", test.name, err)
		}
		if err != nil || test.err != nil {
			continue
		}
		last := c.Log.Released + consensus.Index(len(c.Log.Entries))
		if c.Log.Released != test.released || last != test.last || c.Log.InDoubt != test.doubt || c.HardState.Vote != 3 {
			t.Errorf("%s: %+v", test.name, c)
		}
		if needs := len(test.faulty) > 0 || test.suspect || test.applied > 8; (mend != nil) != needs {
			t.Errorf("%s: mends %v", test.name, mend != nil)
		}
	}
}

// Goal: a sparse log keeps what is above the applied state, whatever happens below: it is a
// promise (H10); and one that may have forgotten a promise is refused. Method: states of a
// log with slots 3, 4, 6 and 8 behind released slot 2, and what Restore makes of them.
func TestRestoreOfSparseLog(t *testing.T) {
	first := consensus.Configuration{Membership: consensus.Membership{Voters: []consensus.ReplicaID{1, 2, 3}}}
	for _, test := range []struct {
		name              string
		applied, decided  consensus.Index
		faulty            []consensus.Span
		suspect           bool
		released, entries consensus.Index
		mends             bool
		err               error
	}{
		{"nothing", 4, 4, nil, false, 2, 6, false, nil},
		{"the state is ahead of what the log knows decided", 4, 3, nil, false, 4, 4, true, nil},
		{"it is ahead of a slot that was accepted last", 7, 3, nil, false, 7, 1, true, nil},
		{"it is ahead of the whole log", 20, 4, nil, false, 20, 0, true, nil},
		{"a damaged slot is applied", 4, 4, []consensus.Span{{Lo: 3, Hi: 4}}, false, 4, 4, true, nil},
		{"a damaged slot is not", 4, 4, []consensus.Span{{Lo: 6, Hi: 7}}, false, 0, 0, false, ErrLogDamaged},
		{"a promise may be lost", 4, 4, nil, true, 0, 0, false, ErrLogDamaged},
	} {
		state := wal.GroupState{
			HardState: consensus.HardState{Epoch: 2, Vote: 3}, Released: 2, ReleasedEpoch: 1, Decided: test.decided,
			Faulty: test.faulty, Suspect: test.suspect, Entries: make([]consensus.EntryInfo, 6),
		}
		for _, i := range []int{3, 4, 6, 8} {
			state.Entries[i-3] = consensus.EntryInfo{Epoch: 2, Orig: 1, Kind: consensus.EntryCommand}
		}
		c, mend, err := Restore(3, paxos.Engine, store.Applied{Index: uint64(test.applied), Epoch: 2}, state, first)
		if !errors.Is(err, test.err) {
			t.Errorf("%s: %v", test.name, err)
		}
		if err != nil || test.err != nil {
			continue
		}
		if c.Log.Released != test.released || consensus.Index(len(c.Log.Entries)) != test.entries || c.HardState != state.HardState || c.Log.Decided != test.decided {
			t.Errorf("%s: %+v", test.name, c)
		}
		if (mend != nil) != test.mends {
			t.Errorf("%s: mends %v", test.name, mend != nil)
		}
		c.Group, c.ID, c.Rand, c.ElectionTicks, c.HeartbeatTicks = 3, 1, rand.New(rand.NewPCG(1, 1)), 10, 1
		c.MessageBytes, c.InflightMessages, c.InflightBytes, c.UncommittedBytes, c.ReadRounds = 1, 1, 1, 1, 1
		if _, err := paxos.Engine.New(c); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
