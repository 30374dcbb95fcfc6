package sim

import (
	"testing"
)

func TestQuick(t *testing.T) {
	for seed := uint64(1); seed <= 3; seed++ {
		r := Run(Options{Seed: seed, Calm: true})
		t.Logf("seed %d: %v sim in %v, %d ops %d failed %d events", seed, r.SimTime, r.CoreTime, r.Operations, r.Failed, r.Events)
		if r.Failure != nil {
			t.Fatalf("%+v %s\n%s", r.Failure.At, r.Failure.Checker, r.Failure.Text)
		}
		if seed == 1 {
			t.Log("\n" + r.Table())
		}
	}
}
