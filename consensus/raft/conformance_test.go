package raft_test

import (
	"path/filepath"
	"testing"

	"github.com/quorate/quorate/consensus/consensustest"
	"github.com/quorate/quorate/consensus/raft"
)

// Goal: Raft is an engine like any other.
// Method: the suite that every engine has to pass, without a look inside.
func TestConformance(t *testing.T) {
	consensustest.Run(t, raft.Engine, consensustest.Options{Doubt: true})
}

// Goal: elections and replication can be read, message by message, and stay as they are.
func TestTranscripts(t *testing.T) {
	consensustest.Dialogues(t, raft.Engine, consensustest.Options{Doubt: true}, raft.Inside, "testdata/*.txt")
}

// Goal: the transcripts of the suite can be written anew from here.
// Method: `go test -run ConformanceTranscripts ./consensus/raft -rewrite`.
func TestConformanceTranscripts(t *testing.T) {
	paths, err := filepath.Glob("../consensustest/testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			consensustest.Replay(t, raft.Engine, consensustest.Options{Doubt: true}, path)
		})
	}
}
