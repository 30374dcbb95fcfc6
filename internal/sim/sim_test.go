package sim

import (
	"testing"
)

func TestQuick(t *testing.T) {
	total := Report{}
	for seed := uint64(1); seed <= 150; seed++ {
		r := Run(Options{Seed: seed})
		f := ""
		if r.Failure != nil {
			f = r.Failure.Checker + ": " + r.Failure.Text
			if len(f) > 1500 {
				f = f[:1500]
			}
			t.Logf("FAIL at %v %s", r.Failure.At, f)
		}
		t.Logf("seed %d: %v sim in %v, %d ops %d failed %d events %d faults", seed, r.SimTime, r.CoreTime, r.Operations, r.Failed, r.Events, r.Faults)
		total.Merge(&r)
	}
	t.Log("\n" + total.Table())
}
