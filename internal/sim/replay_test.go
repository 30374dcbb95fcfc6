package sim

import (
	"bytes"
	"testing"
)

// Two runs of one seed give the same trace, byte for byte: a failure can be looked
// at again as often as it takes.
func TestReplay(t *testing.T) {
	for seed, engine := range []string{"raft", "raft", "paxos", "etcdraft", Mixed} {
		var first, second bytes.Buffer
		Run(Options{Seed: uint64(seed), Engine: engine, Trace: &first})
		Run(Options{Seed: uint64(seed), Engine: engine, Trace: &second})
		if first.Len() == 0 {
			t.Fatalf("%s, seed %d: no trace", engine, seed)
		}
		if !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Errorf("%s, seed %d: %s", engine, seed, firstDifference(first.Bytes(), second.Bytes()))
		}
	}
}

// firstDifference names the first line that two traces do not share.
func firstDifference(a, b []byte) string {
	x, y := bytes.Split(a, []byte("\n")), bytes.Split(b, []byte("\n"))
	for i := range min(len(x), len(y)) {
		if !bytes.Equal(x[i], y[i]) {
			return "traces part at\n" + string(x[i]) + "\n" + string(y[i])
		}
	}
	return "one trace is longer"
}
