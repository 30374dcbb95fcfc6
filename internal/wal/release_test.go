package wal

import (
	"testing"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/env"
)

// Goal: a group may be released far ahead and go on there in one batch: a replica of a sparse
// group that was long away installs a snapshot so.
func TestReleaseAndAppendFarAhead(t *testing.T) {
	log, err := Open(env.OSFS(), t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	const at = 3 << 20
	var b Batch
	b.Release(7, at, 5)
	b.Append(7, []Entry{{Index: at + 1, Epoch: 5, Orig: 5, Kind: consensus.EntryCommand}})
	if err := log.Write(&b); err != nil {
		t.Error(err)
	}
}
