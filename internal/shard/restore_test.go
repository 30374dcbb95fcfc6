package shard

import (
	"testing"

	"github.com/quorate/quorate/consensus"
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
	c, b, err := Restore(id, applied, state, first)
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
	if c, b, err = Restore(id, applied, state, first); err != nil || b != nil {
		t.Fatalf("second restart: %v, %v", b, err)
	}
	if c.HardState.Epoch != 4 || c.Log.Released != 7 || len(c.Log.Entries) != 1 {
		t.Errorf("second restart finds %+v", c)
	}
}
