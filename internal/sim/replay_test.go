package sim

import (
	"bytes"
	"testing"
)

// Two runs of one seed give the same trace, byte for byte: a failure can be looked
// at again as often as it takes.
func TestReplay(t *testing.T) {
	for _, seed := range []uint64{1, 2, 3, 4} {
		var first, second bytes.Buffer
		Run(Options{Seed: seed, Trace: &first})
		Run(Options{Seed: seed, Trace: &second})
		if first.Len() == 0 {
			t.Fatalf("seed %d: no trace", seed)
		}
		if !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Errorf("seed %d: %s", seed, firstDifference(first.Bytes(), second.Bytes()))
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
