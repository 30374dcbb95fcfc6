package paxos_test

import (
	"testing"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/consensustest"
	"github.com/quorate/quorate/consensus/paxos"
)

// Goal: Paxos is an engine like any other. Method: the shared suite; then random clusters
// with a window so small that it is often full, and changes of configuration overlap with
// elections. (A change fills the window with no-ops, so the default one takes long.)
func TestConformance(t *testing.T) {
	const window, small = 64, 5
	consensustest.Run(t, paxos.NewEngine(window), consensustest.Options{Enough: enough(window)})
	t.Run("small window", func(t *testing.T) {
		consensustest.Random(t, paxos.NewEngine(small), consensustest.Options{Enough: enough(small)})
	})
}

// Goal: the papers' situations can be read, message by message, and stay as they are. The
// window is so small that a change of configuration fits on a page.
func TestTranscripts(t *testing.T) {
	const window = 4
	consensustest.Dialogues(t, paxos.NewEngine(window), consensustest.Options{Enough: enough(window)}, paxos.Inside, "testdata/*.txt")
}

// enough is the rule of a slot: a deciding quorum of who governs it has the entry.
func enough(window consensus.Index) func(consensustest.Holding) bool {
	return func(h consensustest.Holding) bool {
		at := consensus.Index(0)
		if h.Index > window {
			at = h.Index - window
		}
		c := h.At(at)
		need := len(c.Voters)/2 + 1
		if c.WriteQuorum != 0 {
			need = c.WriteQuorum
		}
		for _, id := range c.Voters {
			if h.Holds(id) {
				need--
			}
		}
		return need <= 0
	}
}
